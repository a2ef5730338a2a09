# cython: language_level=3, boundscheck=False, wraparound=False
"""Sip: a tolerant, lazy view of captured SIP (RFC 3261 section 7).

Reads what is there: truncated, folded, LF-only or broken messages, binary bodies, hostile bytes. Nothing here raises on
bad SIP; what is absent is None. `sip_scan` finds every common field in one pass for those that need many of them.

Not here: a grammar check, a SIP stack, the JSON that some agents wrap SIP in (`wire.hep` unwraps it), and SDP (`wire.sdp`).
"""

import re

from libc.stdint cimport UINT32_MAX
from libc.string cimport memchr, memset

ctypedef const unsigned char* Bytes

cdef enum:
    LONGEST_METHOD = 64
    LONGEST_HEAD = 8192      # how far a candidate start line is searched for a Call-ID when splitting a payload

_FOLD = re.compile(r"[ \t]*\r?\n[ \t]+")

_COMPACT = {  # RFC 3261 section 7.3.3 and the IANA registry of SIP header fields
    "a": "accept-contact", "b": "referred-by", "c": "content-type", "d": "request-disposition",
    "e": "content-encoding", "f": "from", "i": "call-id", "j": "reject-contact", "k": "supported",
    "l": "content-length", "m": "contact", "n": "identity-info", "o": "event", "r": "refer-to", "s": "subject",
    "t": "to", "u": "allow-events", "v": "via", "x": "session-expires", "y": "identity",
}
_SHORT = {name: letter for letter, name in _COMPACT.items()}


# --- bytes -----------------------------------------------------------------------------------------------------------

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


cdef struct Header:
    Py_ssize_t name, name_end, value, value_end


cdef bint next_header(Bytes p, Py_ssize_t n, Py_ssize_t* at, Header* out) noexcept nogil:
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


# --- start line ------------------------------------------------------------------------------------------------------

cdef inline bint reply_line(Bytes p, Py_ssize_t n) noexcept nogil:
    return n >= 8 and same(p, 4, b"sip/", 4) and 48 <= p[4] <= 57


cdef bint sip_looks(const unsigned char* p, Py_ssize_t n) noexcept nogil:
    """Whether p[:n] starts like SIP: a status line, or a request line that ends in a SIP version.

    A request line that is cut off does when its URI begins with sip:, sips:, tel: or urn:.
    """
    cdef Py_ssize_t at = first_line(p, n), end, i, uri
    p += at
    n -= at
    if n < 8:
        return False
    if reply_line(p, n):
        return True
    i = 0
    while i < n and i < LONGEST_METHOD and token(p[i]):
        i += 1
    if i == 0 or i == n or not blank(p[i]):
        return False
    while i < n and blank(p[i]):
        i += 1
    uri = i
    end = find(p, i, n, 10)
    if end < 0:
        return ((n - uri >= 4 and (same(p + uri, 4, b"sip:", 4) or same(p + uri, 4, b"tel:", 4)
                                   or same(p + uri, 4, b"urn:", 4)))
                or (n - uri >= 5 and same(p + uri, 5, b"sips:", 5)))
    while end > uri and space(p[end - 1]):
        end -= 1
    i = end
    while i > uri and not blank(p[i - 1]):
        i -= 1
    return i > uri and end - i >= 5 and same(p + i, 4, b"sip/", 4) and 48 <= p[i + 4] <= 57


cdef Py_ssize_t start_line(Bytes p, Py_ssize_t n, SipFields* out) noexcept nogil:
    """Read the request or status line; gives where the headers begin."""
    cdef Py_ssize_t at = first_line(p, n), end = line_end(p, at, n), after = end + 1 if end < n else n, i, last
    while end > at and space(p[end - 1]):
        end -= 1
    i = at
    if reply_line(p + at, end - at):
        while i < end and not blank(p[i]):
            i += 1
        while i < end and blank(p[i]):
            i += 1
        last = i
        while i < end and i < last + 3 and 48 <= p[i] <= 57:
            out.status = out.status * 10 + (p[i] - 48)
            i += 1
        put(&out.reason_phrase, p, i, end)
        return after
    out.is_request = True
    while i < end and token(p[i]):
        i += 1
    if i == end or not blank(p[i]):
        return after
    put(&out.method, p, at, i)
    last = end
    while last > i and not blank(p[last - 1]):
        last -= 1
    if not (end - last >= 4 and same(p + last, 4, b"sip/", 4)):
        last = end
    put(&out.ruri, p, i, last)
    return after


# --- values ----------------------------------------------------------------------------------------------------------

cdef inline Py_ssize_t quoted_end(Bytes p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Behind the quoted string that begins at `at`; `end` when it is never closed."""
    at += 1
    while at < end:
        if p[at] == 92:
            at += 1
        elif p[at] == 34:
            return at + 1
        at += 1
    return end


cdef Py_ssize_t element_end(Bytes p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Where the first element of a comma list ends; commas in quotes and in <> do not count."""
    cdef bint angle = False
    while at < end:
        if p[at] == 34 and not angle:
            at = quoted_end(p, at, end)
            continue
        if p[at] == 60:
            angle = True
        elif p[at] == 62:
            angle = False
        elif p[at] == 44 and not angle:
            return at
        at += 1
    return end


cdef bint parameter(Bytes p, Py_ssize_t at, Py_ssize_t end, const char* name, Py_ssize_t size, unsigned char between,
                    Span* out) noexcept nogil:
    """The value of the parameter `name` in p[at:end], whose parameters stand between `between` (; or ,)."""
    cdef Py_ssize_t start, stop, value
    while at < end:
        while at < end and (space(p[at]) or p[at] == between):
            at += 1
        start = at
        while at < end and p[at] != 61 and p[at] != between:
            at += 1
        stop = at
        while stop > start and space(p[stop - 1]):
            stop -= 1
        if at == end or p[at] == between:
            continue
        at += 1
        while at < end and space(p[at]):
            at += 1
        if at < end and p[at] == 34:
            value = at + 1
            at = quoted_end(p, at, end)
            if same(p + start, stop - start, name, size):
                put(out, p, value, at - 1 if at > value and p[at - 1] == 34 else at)
                return True
        else:
            value = at
            while at < end and p[at] != between and not space(p[at]) and p[at] != 44:
                at += 1
            if same(p + start, stop - start, name, size):
                put(out, p, value, at)
                return True
        while at < end and p[at] != between:
            at += 1
    return False


cdef void address(Bytes p, Py_ssize_t at, Py_ssize_t end, Span* uri, Py_ssize_t* after) noexcept nogil:
    """Split a name-addr or addr-spec (RFC 3261 section 20.10): its URI, and where header parameters begin."""
    cdef Py_ssize_t i = at, close
    while i < end and p[i] != 60:
        if p[i] == 34 and quoted_end(p, i, end) == end and p[end - 1] != 34:
            i = find(p, i, end, 60)      # a quote that is never closed is no quote
            i = end if i < 0 else i
        else:
            i = quoted_end(p, i, end) if p[i] == 34 else i + 1
    if i < end:
        close = find(p, i, end, 62)
        if close < 0:
            put(uri, p, i + 1, end)
            after[0] = end
        else:
            put(uri, p, i + 1, close)
            after[0] = close + 1
        return
    # without <> a semicolon begins the header's parameters, but one in the user part belongs to the user
    i = find(p, at, end, 64)
    if i < 0:
        i = at
    while i < end and p[i] != 59 and p[i] != 44:
        i += 1
    put(uri, p, at, i)
    after[0] = i


cdef void uri_parts(Bytes p, Span uri, Span* user, Span* domain) noexcept nogil:
    """User (without password and parameters) and host (without port, IPv6 in its brackets) of a URI."""
    cdef Py_ssize_t at = uri.at, end = <Py_ssize_t>uri.at + uri.size, colon, sign, i
    cdef bint sip
    colon = at
    while colon < end and p[colon] != 58 and p[colon] != 64 and p[colon] != 91:
        colon += 1
    sign = find(p, at, end, 64)
    if colon < end and p[colon] == 58:
        sip = same(p + at, colon - at, b"sip", 3) or same(p + at, colon - at, b"sips", 4)
        if same(p + at, colon - at, b"tel", 3):
            i = colon + 1
            while i < end and p[i] != 59 and p[i] != 63:
                i += 1
            put(user, p, colon + 1, i)
            return
        if sip or sign >= 0:
            at = colon + 1
        else:
            return                       # urn:service:sos and the like have neither
    if sign >= at:
        i = at
        while i < sign and p[i] != 58 and p[i] != 59:
            i += 1
        put(user, p, at, i)
        at = sign + 1
    i = at
    if i < end and p[i] == 91:
        i = find(p, at, end, 93)
        i = end if i < 0 else i + 1
    else:
        while i < end and p[i] != 58 and p[i] != 59 and p[i] != 63 and p[i] != 62 and p[i] != 44 and not space(p[i]):
            i += 1
    put(domain, p, at, i)


cdef inline void party(Bytes p, Py_ssize_t at, Py_ssize_t end, Span* uri, Span* user, Span* domain,
                       Span* tag) noexcept nogil:
    cdef Py_ssize_t after = end
    if uri.size:
        return
    address(p, at, end, uri, &after)
    uri_parts(p, uri[0], user, domain)
    parameter(p, after, end, b"tag", 3, 59, tag)


cdef void sequence(Bytes p, Py_ssize_t at, Py_ssize_t end, SipFields* out) noexcept nogil:
    cdef uint32_t number = 0
    cdef Py_ssize_t i
    put(&out.cseq, p, at, end)
    i = out.cseq.at
    end = <Py_ssize_t>out.cseq.at + out.cseq.size
    while i < end and 48 <= p[i] <= 57:
        if number > 429496728:
            number = UINT32_MAX          # beyond 32 bits: RFC 3261 section 8.1.1.5 forbids it
        else:
            number = number * 10 + (p[i] - 48)
        i += 1
    out.cseq_number = number
    put(&out.cseq_method, p, i, end)


cdef int64_t decimal(Bytes p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """The number at the start of p[at:end], -1 when there is none or it is absurd."""
    cdef int64_t number = 0
    cdef Py_ssize_t start
    while at < end and space(p[at]):
        at += 1
    start = at
    while at < end and at - start < 12 and 48 <= p[at] <= 57:
        number = number * 10 + (p[at] - 48)
        at += 1
    return number if at > start else -1


cdef void identity(Bytes p, Py_ssize_t at, Py_ssize_t end, Span* user) noexcept nogil:
    cdef Span uri, domain
    cdef Py_ssize_t after = end
    memset(&uri, 0, sizeof(Span))
    memset(&domain, 0, sizeof(Span))
    address(p, at, element_end(p, at, end), &uri, &after)
    uri_parts(p, uri, user, &domain)


cdef void credentials(Bytes p, Py_ssize_t at, Py_ssize_t end, Span* user) noexcept nogil:
    """username of a Digest value: behind the scheme, a comma list of parameters (RFC 3261 section 22.4)."""
    while at < end and space(p[at]):
        at += 1
    while at < end and not space(p[at]):
        at += 1
    parameter(p, at, end, b"username", 8, 44, user)


# --- what others call ------------------------------------------------------------------------------------------------

cdef bint sip_call_id(const unsigned char* p, Py_ssize_t n, Span* out) noexcept nogil:
    """The value of Call-ID (or i), trimmed. Looks at the first letters of lines only: made to run on every packet."""
    cdef Py_ssize_t at, end, colon
    cdef unsigned char c
    n = bounded(n)
    out.at = 0
    out.size = 0
    at = first_line(p, n)
    at = line_end(p, at, n) + 1
    while at < n:
        c = p[at] | 0x20
        if c == 99 or c == 105:          # c, i
            colon = 0
            if c == 105:
                colon = at + 1
            elif n - at > 7 and same(p + at, 7, b"call-id", 7):
                colon = at + 7
            if colon:
                while colon < n and blank(p[colon]):
                    colon += 1
                if colon < n and p[colon] == 58:
                    end = line_end(p, colon, n)
                    while end + 1 < n and blank(p[end + 1]):
                        end = line_end(p, end + 1, n)
                    put(out, p, colon + 1, end)
                    if out.size:
                        return True
        elif p[at] == 10 or (p[at] == 13 and at + 1 < n and p[at + 1] == 10):
            return False
        at = line_end(p, at, n) + 1
    return False


cdef bint sip_scan(const unsigned char* p, Py_ssize_t n, SipFields* out) noexcept nogil:
    """Every field of SipFields in one pass. The first of repeated headers counts. Gives what `sip_looks` gives."""
    cdef Py_ssize_t at, size, start, end, after
    cdef Bytes name
    cdef Header header
    cdef Span proxy_user, user, server, preferred
    cdef unsigned char c
    n = bounded(n)
    memset(out, 0, sizeof(SipFields))
    memset(&proxy_user, 0, sizeof(Span))
    memset(&server, 0, sizeof(Span))
    memset(&preferred, 0, sizeof(Span))
    out.content_length = -1
    at = start_line(p, n, out)
    uri_parts(p, out.ruri, &out.ruri_user, &out.ruri_domain)
    while next_header(p, n, &at, &header):
        name = p + header.name
        size = header.name_end - header.name
        start = header.value
        end = header.value_end
        if size == 0:
            continue
        c = lower(name[0])
        if c == 118:                                                            # v
            if not out.via.size and (size == 1 or same(name, size, b"via", 3)):
                put(&out.via, p, start, element_end(p, start, end))
                start = out.via.at
                end = start + out.via.size
                after = find(p, start, end, 59)
                if after >= 0:
                    parameter(p, after, end, b"branch", 6, 59, &out.via_branch)
        elif c == 102:                                                          # f
            if size == 1 or same(name, size, b"from", 4):
                party(p, start, end, &out.from_uri, &out.from_user, &out.from_domain, &out.from_tag)
        elif c == 116:                                                          # t
            if size == 1 or same(name, size, b"to", 2):
                party(p, start, end, &out.to_uri, &out.to_user, &out.to_domain, &out.to_tag)
        elif c == 99:                                                           # c
            if size == 7 and same(name, size, b"call-id", 7):
                if not out.call_id.size:
                    put(&out.call_id, p, start, end)
            elif size == 4 and same(name, size, b"cseq", 4):
                if not out.cseq.size:
                    sequence(p, start, end, out)
            elif size == 7 and same(name, size, b"contact", 7):
                if not out.contact.size:
                    put(&out.contact, p, start, element_end(p, start, end))
            elif size == 14 and same(name, size, b"content-length", 14):
                if out.content_length < 0:
                    out.content_length = decimal(p, start, end)
            elif size == 1 or same(name, size, b"content-type", 12):
                if not out.content_type.size:
                    put(&out.content_type, p, start, end)
        elif c == 105:                                                          # i
            if size == 1 and not out.call_id.size:
                put(&out.call_id, p, start, end)
        elif c == 109:                                                          # m
            if size == 1 and not out.contact.size:
                put(&out.contact, p, start, element_end(p, start, end))
        elif c == 108:                                                          # l
            if size == 1 and out.content_length < 0:
                out.content_length = decimal(p, start, end)
        elif c == 117:                                                          # u
            if not out.user_agent.size and same(name, size, b"user-agent", 10):
                put(&out.user_agent, p, start, end)
        elif c == 115:                                                          # s
            if not server.size and same(name, size, b"server", 6):
                put(&server, p, start, end)
        elif c == 112:                                                          # p
            if same(name, size, b"p-asserted-identity", 19):
                if not out.pid_user.size:
                    identity(p, start, end, &out.pid_user)
            elif same(name, size, b"p-preferred-identity", 20):
                if not preferred.size:
                    identity(p, start, end, &preferred)
            elif same(name, size, b"proxy-authorization", 19):
                if not proxy_user.size:
                    credentials(p, start, end, &proxy_user)
        elif c == 97:                                                           # a
            if not out.auth_user.size and same(name, size, b"authorization", 13):
                credentials(p, start, end, &out.auth_user)
        elif c == 114:                                                          # r
            if not out.reason.size and same(name, size, b"reason", 6):
                put(&out.reason, p, start, end)
        elif c == 120:                                                          # x
            if not out.x_cid.size and same(name, size, b"x-cid", 5):
                put(&out.x_cid, p, start, end)
    if out.contact.size:
        identity(p, out.contact.at, <Py_ssize_t>out.contact.at + out.contact.size, &out.contact_user)
    if proxy_user.size:
        out.auth_user = proxy_user
    if not out.user_agent.size:
        out.user_agent = server
    if not out.pid_user.size:
        out.pid_user = preferred
    if at < n:
        out.body.at = <uint32_t>at
        out.body.size = <uint32_t>(n - at)
        if 0 <= out.content_length < n - at:
            out.body.size = <uint32_t>out.content_length
    return sip_looks(p, n)


# --- Python ----------------------------------------------------------------------------------------------------------

cdef inline SipFields* fields_of(Sip sip) noexcept:
    if not sip.scanned:
        sip_scan(<Bytes><char*>sip.raw, len(sip.raw), &sip.fields)
        sip.scanned = True
    return &sip.fields


cdef inline str decoded(bytes raw, Py_ssize_t at, Py_ssize_t size):
    """The text of a piece of the message, unfolded (RFC 3261 section 7.3.1)."""
    cdef str text = raw[at:at + size].decode("utf-8", "surrogateescape")
    return _FOLD.sub(" ", text) if "\n" in text else text


cdef inline object text_of(Sip sip, Span span):
    return decoded(sip.raw, span.at, span.size) if span.size else None


cdef class Sip:
    """A SIP message as it was captured. See sip.pyi for what each attribute gives."""

    def __cinit__(self, *args, **options):
        self.raw = b""

    def __init__(self, bytes raw not None):
        self.raw = raw
        self.scanned = False

    def __repr__(self):
        cdef SipFields* f = fields_of(self)
        what = text_of(self, f.method) if f.is_request else f.status
        return f"<Sip {what} {text_of(self, f.call_id)}>"

    @property
    def is_request(self):
        return bool(fields_of(self).is_request)

    @property
    def method(self):
        return text_of(self, fields_of(self).method)

    @property
    def status(self):
        cdef SipFields* f = fields_of(self)
        return f.status if f.status else None

    @property
    def reason(self):
        return text_of(self, fields_of(self).reason_phrase)

    @property
    def ruri(self):
        return text_of(self, fields_of(self).ruri)

    @property
    def ruri_user(self):
        return text_of(self, fields_of(self).ruri_user)

    @property
    def ruri_domain(self):
        return text_of(self, fields_of(self).ruri_domain)

    @property
    def call_id(self):
        cdef Span span
        if self.scanned:
            return text_of(self, self.fields.call_id)
        sip_call_id(<Bytes><char*>self.raw, len(self.raw), &span)
        return text_of(self, span)

    @property
    def cseq(self):
        cdef SipFields* f = fields_of(self)
        if f.cseq.size and 48 <= (<Bytes><char*>self.raw)[f.cseq.at] <= 57:
            return f.cseq_number
        return None

    @property
    def cseq_method(self):
        return text_of(self, fields_of(self).cseq_method)

    @property
    def via(self):
        return text_of(self, fields_of(self).via)

    @property
    def via_branch(self):
        return text_of(self, fields_of(self).via_branch)

    @property
    def from_uri(self):
        return text_of(self, fields_of(self).from_uri)

    @property
    def from_user(self):
        return text_of(self, fields_of(self).from_user)

    @property
    def from_domain(self):
        return text_of(self, fields_of(self).from_domain)

    @property
    def from_tag(self):
        return text_of(self, fields_of(self).from_tag)

    @property
    def to_uri(self):
        return text_of(self, fields_of(self).to_uri)

    @property
    def to_user(self):
        return text_of(self, fields_of(self).to_user)

    @property
    def to_domain(self):
        return text_of(self, fields_of(self).to_domain)

    @property
    def to_tag(self):
        return text_of(self, fields_of(self).to_tag)

    @property
    def contact(self):
        return text_of(self, fields_of(self).contact)

    @property
    def contact_user(self):
        return text_of(self, fields_of(self).contact_user)

    @property
    def pid_user(self):
        return text_of(self, fields_of(self).pid_user)

    @property
    def auth_user(self):
        return text_of(self, fields_of(self).auth_user)

    @property
    def user_agent(self):
        return text_of(self, fields_of(self).user_agent)

    @property
    def content_type(self):
        return text_of(self, fields_of(self).content_type)

    @property
    def content_length(self):
        cdef SipFields* f = fields_of(self)
        return f.content_length if f.content_length >= 0 else None

    @property
    def body(self):
        cdef Span span = fields_of(self).body
        return self.raw[span.at:<Py_ssize_t>span.at + span.size]

    @property
    def sdp(self):
        body = self.body
        if not body:
            return None
        from hepswitch.wire.sdp import parse  # noqa: PLC0415 (few messages are asked for it)

        return parse(body)

    def header(self, str name not None):
        found = values(self.raw, name, True)
        return found[0] if found else None

    def headers(self, str name not None):
        return values(self.raw, name, False)

    def messages(self):
        return split(self.raw)


cdef list values(bytes raw, str name, bint first):
    cdef bytes long, short
    cdef Bytes p = <Bytes><char*>raw
    cdef Py_ssize_t n = len(raw), at, size
    cdef Header header
    cdef Span span
    cdef list found = []
    wanted = name.strip().lower()
    wanted = _COMPACT.get(wanted, wanted)
    long = wanted.encode("utf-8", "surrogateescape")
    short = _SHORT.get(wanted, "").encode()
    n = bounded(n)
    at = line_end(p, first_line(p, n), n) + 1
    while next_header(p, n, &at, &header):
        size = header.name_end - header.name
        if (same(p + header.name, size, <char*>long, len(long))
                or (size == 1 and len(short) == 1 and lower(p[header.name]) == <unsigned char>(<char*>short)[0])):
            put(&span, p, header.value, header.value_end)
            found.append(decoded(raw, span.at, span.size))
            if first:
                break
    return found


cdef list split(bytes raw):
    """The messages in one payload: by Content-Length, else where a start line with a Call-ID behind it begins.

    Blank lines between messages are dropped; what follows the last message and is no SIP stays with it.
    """
    cdef Bytes p = <Bytes><char*>raw
    cdef Py_ssize_t n = bounded(len(raw)), start, end, at
    cdef SipFields f
    cdef Span call_id
    cdef list found = []
    start = first_line(p, n)
    while start < n:
        sip_scan(p + start, n - start, &f)
        at = -1
        if f.body.size or (f.body.at and f.content_length == 0):
            end = start + f.body.at
            if f.content_length >= 0:
                end += f.body.size
                at = end + first_line(p + end, n - end)
                if at >= n or not sip_looks(p + at, n - at):
                    at = -1
            else:
                at = end
                while at < n:
                    at += first_line(p + at, n - at)
                    if sip_looks(p + at, n - at) and sip_call_id(p + at, min(n - at, LONGEST_HEAD), &call_id):
                        break
                    at = line_end(p, at, n) + 1
                if at >= n:
                    at = -1
                end = at
        if at < 0:
            found.append(raw[start:])
            break
        found.append(raw[start:end])
        start = at
    return found


def looks_like_sip(bytes data not None):
    return bool(sip_looks(<Bytes><char*>data, len(data)))
