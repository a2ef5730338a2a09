# Values of SIP headers taken apart: addresses, URIs, parameters, comma lists. Inline, for `sip_scan`.

from libc.stdint cimport int64_t
from libc.string cimport memset

from hepswitch.wire.sip_text cimport Bytes, Span, find, put, same, space


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


cdef inline Py_ssize_t element_end(Bytes p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Where the first element of a comma list ends; commas in quotes and in <> do not count."""
    cdef bint angle = False
    if find(p, at, end, 44) < 0:         # as nearly always: no need to look at each byte
        return end
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


cdef inline bint parameter(Bytes p, Py_ssize_t at, Py_ssize_t end, const char* name, Py_ssize_t size, unsigned char between,
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


cdef inline void address(Bytes p, Py_ssize_t at, Py_ssize_t end, Span* uri, Py_ssize_t* after) noexcept nogil:
    """Split a name-addr or addr-spec (RFC 3261 section 20.10): its URI, and where header parameters begin."""
    cdef Py_ssize_t i = find(p, at, end, 60), close
    if find(p, at, end if i < 0 else i, 34) >= 0:
        i = at                           # a quoted string may hold a <
    elif i < 0:
        i = end
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


cdef inline void uri_parts(Bytes p, Span uri, Span* user, Span* domain) noexcept nogil:
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


cdef inline int64_t decimal(Bytes p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
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


cdef inline void identity(Bytes p, Py_ssize_t at, Py_ssize_t end, Span* user) noexcept nogil:
    cdef Span uri, domain
    cdef Py_ssize_t after = end
    memset(&uri, 0, sizeof(Span))
    memset(&domain, 0, sizeof(Span))
    address(p, at, element_end(p, at, end), &uri, &after)
    uri_parts(p, uri, user, &domain)


cdef inline void credentials(Bytes p, Py_ssize_t at, Py_ssize_t end, Span* user) noexcept nogil:
    """username of a Digest value: behind the scheme, a comma list of parameters (RFC 3261 section 22.4)."""
    while at < end and space(p[at]):
        at += 1
    while at < end and not space(p[at]):
        at += 1
    parameter(p, at, end, b"username", 8, 44, user)
