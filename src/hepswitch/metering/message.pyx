# cython: language_level=3, boundscheck=False, wraparound=False
"""What is measured of a SIP message, read in one pass that stops as soon as it is known: made to run on every packet.

`wire.sip_scan` reads everything there is to know; this is a fifth of it. Not here: what follows from it (`calls`).
"""

from libc.stdint cimport UINT32_MAX, uint8_t, uint32_t
from libc.string cimport memcmp, memset

from hepswitch.wire.sip_text cimport (
    Bytes, Header, Span, blank, bounded, find, first_line, line_end, lower, next_header, put, same, space,
)
from hepswitch.wire.sip_values cimport address, element_end, parameter

from hepswitch.metering import words

cdef extern from "<string.h>" nogil:     # GNU's
    """
    #ifndef _GNU_SOURCE
    void *memrchr(const void *, int, size_t);
    #endif
    """
    void* memrchr(const void* p, int c, size_t n)

cdef enum:
    VIA = 1
    FROM = 2
    TO = 4
    CALL_ID = 8
    CSEQ = 16
    ALL = 31
    LETTERS = 1 << 2 | 1 << 5 | 1 << 8 | 1 << 17 | 1 << 19 | 1 << 21 | 1 << 23    # c f i r t v x: of the headers read
    MOST_STATUS = 700
    TAIL = 6                 # of "_b2b-1", which Asterisk's and others' second leg has behind the first one's Call-ID

cdef uint8_t response_of[MOST_STATUS]
cdef const char* method_names[METHODS - 1]
cdef Py_ssize_t method_sizes[METHODS - 1]
cdef list kept_names = [word.encode() for word in words.METHODS if word != words.OTHER]

assert (len(words.METHODS), len(words.RESPONSES)) == (METHODS, RESPONSES)
for number, word in enumerate(kept_names):
    method_names[number], method_sizes[number] = word, len(word)
memset(response_of, UNKNOWN, sizeof(response_of))
for number, status in enumerate(words.STATUSES):
    response_of[<int> status] = METHODS + number


cdef inline int method_number(Bytes p, Span span) noexcept nogil:
    cdef int i
    for i in range(METHODS - 1):
        if method_sizes[i] == span.size and memcmp(p + span.at, method_names[i], span.size) == 0:
            return i
    return UNKNOWN


cdef inline void sequence(Bytes p, Py_ssize_t at, Py_ssize_t end, Said* out) noexcept nogil:
    cdef uint64_t number = 0
    cdef Span method, whole
    put(&whole, p, at, end)
    at, end = whole.at, whole.at + whole.size
    while at < end and 48 <= p[at] <= 57:
        number = min(number * 10 + (p[at] - 48), <uint64_t> UINT32_MAX)
        at += 1
    out.cseq = <uint32_t> number
    put(&method, p, at, end)
    if method.size:
        out.method = method_number(p, method)


cdef inline bint spelled(Bytes p, Py_ssize_t at, Py_ssize_t end, const char* name, Py_ssize_t size, Span* out) noexcept nogil:
    """The value of the parameter `name` ("tag=") as nearly everybody writes it; False: look more closely."""
    cdef Py_ssize_t value
    at = find(p, at, end, 59)
    while at >= 0:
        value = at + 1
        if end - value > size and memcmp(p + value, name, size) == 0:
            at = value = value + size
            while at < end and p[at] != 59 and p[at] != 44 and p[at] != 34 and not space(p[at]):
                at += 1
            out.at, out.size = <uint32_t> value, <uint32_t> (at - value)
            return at > value
        at = find(p, value, end, 59)
    return False


cdef inline void tag(Bytes p, Py_ssize_t at, Py_ssize_t end, Span* out) noexcept nogil:
    cdef Span uri
    cdef const unsigned char* angle = <const unsigned char*> memrchr(p + at, 62, <size_t> (end - at))
    cdef Py_ssize_t after = end
    if angle != NULL:
        after = angle - p + 1
        if after == end or spelled(p, after, end, b"tag=", 4, out):
            return
    address(p, at, end, &uri, &after)
    parameter(p, after, end, b"tag", 3, 59, out)


cdef inline void branch(Bytes p, Py_ssize_t at, Py_ssize_t end, Span* out) noexcept nogil:
    if not spelled(p, at, end, b"branch=", 7, out):
        end = element_end(p, at, end)
        at = find(p, at, end, 59)
        if at >= 0:
            parameter(p, at, end, b"branch", 6, 59, out)


cdef inline bint late(Said* out) noexcept nogil:
    """Whether headers matter that stand far down."""
    return out.status >= 300 or out.method == BYE or out.method == CANCEL


cdef inline bint start_line(Bytes p, Py_ssize_t n, Py_ssize_t* head, Said* out) noexcept nogil:
    """The status, or the method; `head`: where headers begin. False when `response` is none."""
    cdef Py_ssize_t at = first_line(p, n), end = line_end(p, at, n), start = at
    cdef Span method
    head[0] = min(end + 1, n)
    while at < end and not blank(p[at]):
        at += 1
    if at - start > 4 and same(p + start, 4, b"sip/", 4):
        while at < end and blank(p[at]):
            at += 1
        start = at
        while at < end and at < start + 3 and 48 <= p[at] <= 57:
            out.status = out.status * 10 + (p[at] - 48)
            at += 1
        if not 100 <= out.status < MOST_STATUS:
            return False
        out.response = response_of[out.status]
        return True
    method.at, method.size = <uint32_t> start, <uint32_t> (at - start)
    out.method = out.response = method_number(p, method)
    return True


cdef inline Py_ssize_t relevant(Bytes p, Py_ssize_t at, Py_ssize_t n) noexcept nogil:
    """Where the next line begins, from `at` on, that may be a header to be read, or ends them. Most begin with another letter."""
    cdef unsigned char c
    while at < n:
        c = p[at] | 0x20
        if not 97 <= c <= 122 or LETTERS >> (c - 97) & 1:
            break
        at = line_end(p, at, n) + 1
        while at < n and blank(p[at]):
            at = line_end(p, at, n) + 1
    return min(at, n)


cdef bint read_message(Bytes p, Py_ssize_t n, Said* out) noexcept nogil:
    cdef Header header
    cdef Span spare
    cdef Py_ssize_t at = 0, size
    cdef int found = 0, this
    cdef unsigned char c
    memset(out, 0, sizeof(Said))
    out.method = -1
    n = bounded(n)
    if not start_line(p, n, &at, out):
        return False
    while True:
        at = relevant(p, at, n)
        if not next_header(p, n, &at, &header):
            break
        size = header.name_end - header.name
        if size == 0:
            continue
        c = lower(p[header.name])
        this = 0
        if c == 118:                                                            # v
            if size == 1 or same(p + header.name, size, b"via", 3):
                this = VIA
        elif c == 102:                                                          # f
            if size == 1 or same(p + header.name, size, b"from", 4):
                this = FROM
        elif c == 116:                                                          # t
            if size == 1 or same(p + header.name, size, b"to", 2):
                this = TO
        elif c == 105:                                                          # i
            if size == 1:
                this = CALL_ID
        elif c == 99:                                                           # c
            if size == 7 and same(p + header.name, size, b"call-id", 7):
                this = CALL_ID
            elif size == 4 and same(p + header.name, size, b"cseq", 4):
                this = CSEQ
        elif c == 114:                                                          # r
            if not out.reason.size and same(p + header.name, size, b"reason", 6):
                put(&out.reason, p, header.value, header.value_end)
        elif c == 120:                                                          # x
            if not out.rtp_stat.size and same(p + header.name, size, b"x-rtp-stat", 10):
                put(&out.rtp_stat, p, header.value, header.value_end)
        if this & found or not this:
            continue                                                            # the first of repeated headers counts
        if this == CALL_ID:
            put(&out.call_id, p, header.value, header.value_end)
        elif this == CSEQ:
            sequence(p, header.value, header.value_end, out)
        elif this == VIA:
            branch(p, header.value, header.value_end, &out.branch)
        elif this == FROM:
            tag(p, header.value, header.value_end, &out.from_tag)
        else:
            spare.at = spare.size = 0
            tag(p, header.value, header.value_end, &spare)
            out.to_tag = spare.size > 0
        found |= this
        if found == ALL and not late(out):
            break
    while out.call_id.size > TAIL and memcmp(p + out.call_id.at + out.call_id.size - TAIL, b"_b2b-1", TAIL) == 0:
        out.call_id.size -= TAIL
    return out.call_id.size > 0 and out.method >= 0
