# cython: language_level=3, boundscheck=False, wraparound=False
"""What a SIP message says, in one pass over its bytes (RFC 3261 section 7). No Python objects, no copies.

Reads what is there: truncated, folded, LF-only or broken messages, binary bodies, hostile bytes; what is absent is an empty
span. The first of repeated headers counts. Not here: attributes (`sip`), and a grammar check.
"""

from libc.stdint cimport UINT32_MAX, uint32_t
from libc.string cimport memset

from hepswitch.wire.sip_text cimport (
    Bytes, Header, blank, bounded, find, first_line, line_end, lower, next_header, put, same, space, token,
)
from hepswitch.wire.sip_values cimport (
    credentials, decimal, element_end, identity, parameter, party, uri_parts,
)

cdef enum:
    LONGEST_METHOD = 64


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


cdef void sip_start(const unsigned char* p, Py_ssize_t n, SipFields* out) noexcept nogil:
    """The start line alone: is_request, status, method, reason_phrase, ruri. Many routes ask for nothing else."""
    memset(out, 0, sizeof(SipFields))
    out.content_length = -1
    out.head = <uint32_t>start_line(p, bounded(n), out)


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


cdef inline void one_party(Bytes p, Span value, Span* uri, Span* user, Span* domain, Span* tag) noexcept nogil:
    party(p, value.at, <Py_ssize_t>value.at + value.size, uri, user, domain, tag)


cdef inline void first_from(Bytes p, Py_ssize_t at, Py_ssize_t end, SipFields* out) noexcept nogil:
    """A From header: of several the first that has a URI counts."""
    if out.from_value.size:
        one_party(p, out.from_value, &out.from_uri, &out.from_user, &out.from_domain, &out.from_tag)
    if not out.from_uri.size:
        put(&out.from_value, p, at, end)


cdef inline void first_to(Bytes p, Py_ssize_t at, Py_ssize_t end, SipFields* out) noexcept nogil:
    """The same for To."""
    if out.to_value.size:
        one_party(p, out.to_value, &out.to_uri, &out.to_user, &out.to_domain, &out.to_tag)
    if not out.to_uri.size:
        put(&out.to_value, p, at, end)


cdef void sip_scan(const unsigned char* p, Py_ssize_t n, SipFields* out) noexcept nogil:
    """Every field of SipFields in one pass. The first of repeated headers counts."""
    sip_start(p, n, out)
    sip_headers(p, n, out)
    sip_parts(p, out)


cdef void sip_parts(const unsigned char* p, SipFields* out) noexcept nogil:
    """What stands inside the values that `sip_headers` found: URIs, users, hosts, tags, the branch."""
    cdef Py_ssize_t at, end
    uri_parts(p, out.ruri, &out.ruri_user, &out.ruri_domain)
    one_party(p, out.from_value, &out.from_uri, &out.from_user, &out.from_domain, &out.from_tag)
    one_party(p, out.to_value, &out.to_uri, &out.to_user, &out.to_domain, &out.to_tag)
    end = <Py_ssize_t>out.via.at + out.via.size
    at = find(p, out.via.at, end, 59)
    if at >= 0:
        parameter(p, at, end, b"branch", 6, 59, &out.via_branch)
    if out.contact.size:
        identity(p, out.contact.at, <Py_ssize_t>out.contact.at + out.contact.size, &out.contact_user)


cdef void sip_headers(const unsigned char* p, Py_ssize_t n, SipFields* out) noexcept nogil:
    """The values of the headers, in one pass behind `sip_start`; what is inside them is for `sip_parts`."""
    cdef Py_ssize_t at = out.head, size, start, end
    cdef Bytes name
    cdef Header header
    cdef Span proxy_user, user, server, preferred
    cdef unsigned char c
    n = bounded(n)
    memset(&proxy_user, 0, sizeof(Span))
    memset(&server, 0, sizeof(Span))
    memset(&preferred, 0, sizeof(Span))
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
        elif c == 102:                                                          # f
            if size == 1 or same(name, size, b"from", 4):
                first_from(p, start, end, out)
        elif c == 116:                                                          # t
            if size == 1 or same(name, size, b"to", 2):
                first_to(p, start, end, out)
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
