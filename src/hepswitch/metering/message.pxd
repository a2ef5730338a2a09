from libc.stdint cimport uint32_t, uint64_t

from hepswitch.wire.sip_text cimport Bytes, Span

cdef enum:                   # numbers in words.METHODS; the others need no name here
    INVITE = 0
    ACK = 1
    BYE = 2
    CANCEL = 3
    REGISTER = 4
    UNKNOWN = 14             # the last of METHODS: "other", also among RESPONSES
    METHODS = 15
    RESPONSES = 90           # checked against words.RESPONSES when the module is loaded


cdef struct Said:            # what is measured of a SIP message; spans are empty when absent
    int method               # of CSeq; a request without it: its own
    int response             # number in words.RESPONSES
    int status               # 0: a request
    bint to_tag
    uint32_t cseq
    Span call_id             # without what a B2BUA puts behind it
    Span from_tag
    Span branch              # of the first Via
    Span reason              # of BYE, CANCEL and final replies that are no success
    Span rtp_stat            # X-RTP-Stat, of BYE and its replies


cdef bint read_message(Bytes p, Py_ssize_t n, Said* out) noexcept nogil    # False: no Call-ID, or no method
