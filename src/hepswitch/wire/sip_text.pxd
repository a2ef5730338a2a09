# Bytes, lines and header fields of SIP as text. Inline, for `sip_scan` and `sip`; nothing here knows what a header means.

from libc.stdint cimport UINT32_MAX, uint32_t
from libc.string cimport memchr

ctypedef const unsigned char* Bytes


cdef struct Span:            # a piece of the message; size 0 and at 0 when absent
    uint32_t at
    uint32_t size


cdef struct Header:
    Py_ssize_t name, name_end, value, value_end


cdef inline bint blank(unsigned char c) noexcept nogil:
    return c == 32 or c == 9


cdef inline bint space(unsigned char c) noexcept nogil:        # inside a value, where a fold is white space too
    return c == 32 or c == 9 or c == 13 or c == 10


cdef inline unsigned char lower(unsigned char c) noexcept nogil:
    return c | 0x20 if 65 <= c <= 90 else c


cdef inline bint token(unsigned char c) noexcept nogil:        # RFC 3261 section 25.1
    return (48 <= c <= 57 or 65 <= c <= 90 or 97 <= c <= 122 or c == 45 or c == 46 or c == 33 or c == 37 or c == 42
            or c == 95 or c == 43 or c == 96 or c == 39 or c == 126)


cdef inline bint same(Bytes p, Py_ssize_t n, const char* name, Py_ssize_t size) noexcept nogil:
    """Whether p[:n] is `name` (given in lower case) in any case."""
    cdef Py_ssize_t i
    if n != size:
        return False
    for i in range(n):
        if lower(p[i]) != <unsigned char>name[i]:
            return False
    return True


cdef inline Py_ssize_t find(Bytes p, Py_ssize_t at, Py_ssize_t end, unsigned char c) noexcept nogil:
    """Offset of `c` in p[at:end], or -1."""
    cdef const void* hit
    if at >= end:
        return -1
    hit = memchr(p + at, c, <size_t>(end - at))
    return -1 if hit == NULL else <Bytes>hit - p


cdef inline void put(Span* out, Bytes p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """out = p[at:end] without white space around it; absent when nothing is left."""
    while at < end and space(p[at]):
        at += 1
    while end > at and space(p[end - 1]):
        end -= 1
    out.at = <uint32_t>at if end > at else 0
    out.size = <uint32_t>(end - at)


cdef inline Py_ssize_t bounded(Py_ssize_t n) noexcept nogil:   # a Span counts in 32 bits
    return min(n, <Py_ssize_t>UINT32_MAX)


cdef inline Py_ssize_t first_line(Bytes p, Py_ssize_t n) noexcept nogil:
    """Where the start line begins: after the CRLFs that may come before it (RFC 3261 section 7.5)."""
    cdef Py_ssize_t at = 0
    while at < n and (p[at] == 13 or p[at] == 10):
        at += 1
    return at


cdef inline Py_ssize_t line_end(Bytes p, Py_ssize_t at, Py_ssize_t n) noexcept nogil:
    """Offset of the LF that ends the line, n when it is cut off."""
    cdef Py_ssize_t end = find(p, at, n, 10)
    return n if end < 0 else end


cdef inline bint next_header(Bytes p, Py_ssize_t n, Py_ssize_t* at, Header* out) noexcept nogil:
    """The header field at `at`, folds included; `at` moves behind it. False at the blank line or the end.

    At the blank line `at` then stands behind it, hence at the body. A line without a colon is passed over.
    """
    cdef Py_ssize_t start, end, colon
    while at[0] < n:
        start = at[0]
        end = line_end(p, start, n)
        at[0] = end + 1 if end < n else n
        if end == start or (end == start + 1 and p[start] == 13):
            return False
        while at[0] < n and blank(p[at[0]]):
            end = line_end(p, at[0], n)
            at[0] = end + 1 if end < n else n
        colon = start
        while colon < end and p[colon] != 58:    # names are short: faster than memchr
            colon += 1
        if colon == end:
            continue
        out.value = colon + 1
        out.value_end = end
        while colon > start and blank(p[colon - 1]):
            colon -= 1
        out.name = start
        out.name_end = colon
        return True
    return False


cdef inline Py_ssize_t head_end(Bytes p, Py_ssize_t at, Py_ssize_t n) noexcept nogil:
    """Offset behind the blank line that ends the headers, looked for from `at` on; -1 when it is not there."""
    cdef Py_ssize_t end = find(p, at, n, 10)
    while end >= 0:
        if end + 1 < n and p[end + 1] == 10:
            return end + 2
        if end + 2 < n and p[end + 1] == 13 and p[end + 2] == 10:
            return end + 3
        end = find(p, end + 1, n, 10)
    return -1
