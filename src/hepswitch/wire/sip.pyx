# cython: language_level=3, boundscheck=False, wraparound=False
"""Sip: a tolerant, lazy view of captured SIP (RFC 3261 section 7).

Reads what is there: truncated, folded, LF-only or broken messages, binary bodies, hostile bytes. Nothing here raises on
bad SIP; what is absent is None. The fields come from `sip_scan`, once somebody asks for one.

Not here: a grammar check, a SIP stack, the JSON that some agents wrap SIP in (`wire.hep` unwraps it), and SDP (`wire.sdp`).
"""

import re

from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport memchr

from hepswitch.wire.sip_scan cimport sip_call_id, sip_headers, sip_looks, sip_parts, sip_scan, sip_start
from hepswitch.wire.sip_text cimport Bytes, Header, Span, bounded, first_line, line_end, lower, next_header, put, same

cdef enum:
    LONGEST_HEAD = 8192      # how far a candidate start line is searched for a Call-ID when splitting a payload

_FOLD = re.compile(r"[ \t]*\r?\n[ \t]+")

_COMPACT = {  # RFC 3261 section 7.3.3 and the IANA registry of SIP header fields
    "a": "accept-contact", "b": "referred-by", "c": "content-type", "d": "request-disposition",
    "e": "content-encoding", "f": "from", "i": "call-id", "j": "reject-contact", "k": "supported",
    "l": "content-length", "m": "contact", "n": "identity-info", "o": "event", "r": "refer-to", "s": "subject",
    "t": "to", "u": "allow-events", "v": "via", "x": "session-expires", "y": "identity",
}
_SHORT = {name: letter for letter, name in _COMPACT.items()}


cdef inline SipFields* start_of(Sip sip) noexcept:
    """The fields with at least those of the start line read."""
    if not sip.scanned and not sip.started:
        sip_start(<Bytes><char*>sip.raw, len(sip.raw), &sip.fields)
        sip.started = True
    return &sip.fields


cdef inline SipFields* fields_of(Sip sip) noexcept:
    """The fields with the values of headers read."""
    if not sip.scanned:
        start_of(sip)
        sip_headers(<Bytes><char*>sip.raw, len(sip.raw), &sip.fields)
        sip.scanned = True
    return &sip.fields


cdef inline SipFields* parts_of(Sip sip) noexcept:
    """The fields with all of them read."""
    if not sip.parsed:
        fields_of(sip)
        sip_parts(<Bytes><char*>sip.raw, &sip.fields)
        sip.parsed = True
    return &sip.fields


cdef inline str decoded(bytes raw, Py_ssize_t at, Py_ssize_t size):
    """The text of a piece of the message, unfolded (RFC 3261 section 7.3.1)."""
    cdef const char* p = <const char*><char*>raw + at
    cdef str text = PyUnicode_DecodeUTF8(p, size, "surrogateescape")
    return text if memchr(p, 10, <size_t>size) == NULL else _FOLD.sub(" ", text)


cdef inline object text_of(Sip sip, Span span):
    return decoded(sip.raw, span.at, span.size) if span.size else None


cdef class Sip:
    """A SIP message as it was captured. See sip.pyi for what each attribute gives."""

    def __init__(self, bytes raw not None):
        self.raw = raw
        self.parsed = self.scanned = self.started = False

    def __repr__(self):
        cdef SipFields* f = fields_of(self)
        what = text_of(self, f.method) if f.is_request else f.status
        return f"<Sip {what} {text_of(self, f.call_id)}>"

    @property
    def is_request(self):
        return bool(start_of(self).is_request)

    @property
    def method(self):
        return text_of(self, start_of(self).method)

    @property
    def status(self):
        cdef SipFields* f = start_of(self)
        return f.status if f.status else None

    @property
    def reason(self):
        return text_of(self, start_of(self).reason_phrase)

    @property
    def ruri(self):
        return text_of(self, start_of(self).ruri)

    @property
    def ruri_user(self):
        return text_of(self, parts_of(self).ruri_user)

    @property
    def ruri_domain(self):
        return text_of(self, parts_of(self).ruri_domain)

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
        return text_of(self, parts_of(self).via_branch)

    @property
    def from_uri(self):
        return text_of(self, parts_of(self).from_uri)

    @property
    def from_user(self):
        return text_of(self, parts_of(self).from_user)

    @property
    def from_domain(self):
        return text_of(self, parts_of(self).from_domain)

    @property
    def from_tag(self):
        return text_of(self, parts_of(self).from_tag)

    @property
    def to_uri(self):
        return text_of(self, parts_of(self).to_uri)

    @property
    def to_user(self):
        return text_of(self, parts_of(self).to_user)

    @property
    def to_domain(self):
        return text_of(self, parts_of(self).to_domain)

    @property
    def to_tag(self):
        return text_of(self, parts_of(self).to_tag)

    @property
    def contact(self):
        return text_of(self, fields_of(self).contact)

    @property
    def contact_user(self):
        return text_of(self, parts_of(self).contact_user)

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


cdef Sip sip_of(bytes raw):
    cdef Sip sip = Sip.__new__(Sip)
    sip.raw = raw
    return sip


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
