from libc.stdint cimport int64_t, uint32_t

from hepswitch.wire.sip_text cimport Span


cdef struct SipFields:       # what one pass over a message finds; values are trimmed, folded lines still folded
    uint32_t head            # where the headers begin
    Span from_value          # of the header; what is inside it, and URIs, users, hosts, tags: sip_parts
    Span to_value
    bint is_request
    int status               # 0 for a request
    Span method              # of the request line
    Span ruri
    Span reason_phrase
    Span call_id
    Span cseq                # whole value
    Span cseq_method
    uint32_t cseq_number
    Span via                 # first Via value (first element of a comma list)
    Span via_branch
    Span from_uri            # inside <> or bare, without header parameters
    Span from_user
    Span from_domain         # host without port
    Span from_tag
    Span to_uri
    Span to_user
    Span to_domain
    Span to_tag
    Span ruri_user
    Span ruri_domain
    Span contact             # first Contact value
    Span contact_user
    Span pid_user            # P-Asserted-Identity, else P-Preferred-Identity
    Span auth_user           # Proxy-Authorization, else Authorization: username
    Span user_agent          # User-Agent, else Server
    Span reason              # Reason header
    Span content_type
    Span x_cid               # X-CID, the other leg's Call-ID
    int64_t content_length   # -1 when absent
    Span body                # after the blank line, no longer than Content-Length


cdef bint sip_looks(const unsigned char* p, Py_ssize_t n) noexcept nogil             # does it start like SIP?
cdef bint sip_call_id(const unsigned char* p, Py_ssize_t n, Span* out) noexcept nogil
cdef void sip_start(const unsigned char* p, Py_ssize_t n, SipFields* out) noexcept nogil
cdef void sip_headers(const unsigned char* p, Py_ssize_t n, SipFields* out) noexcept nogil   # after sip_start
cdef void sip_parts(const unsigned char* p, SipFields* out) noexcept nogil             # after sip_headers
cdef void sip_scan(const unsigned char* p, Py_ssize_t n, SipFields* out) noexcept nogil
