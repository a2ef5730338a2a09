from libc.stdint cimport uint16_t, uint64_t

from hepswitch.wire.batch cimport Batch
from hepswitch.wire.envelopes cimport Envelopes


cdef class Intake:
    cdef Envelopes envelopes
    cdef object listener
    cdef object decoder               # wire.ip.Decoder: what is not plain UDP
    cdef object media                 # wire.media.Media; None when RTCP is no concern
    cdef bint hep                     # HEP inside is a packet too
    cdef unsigned char wanted[8192]   # a bit for each port
    cdef uint64_t looked_us           # time of capture at which expire() was called last
    cdef Py_ssize_t frames, truncated # not yet told to the listener

    # One captured frame, as it lies in memory: size bytes of original_size are there; vlan is what the frame itself does
    # not say, -1 when there is none.
    cdef int frame(self, const unsigned char* p, Py_ssize_t size, Py_ssize_t original_size, int linktype,
                   uint64_t time_us, int vlan) except -1
    cdef Batch sealed(self)           # batch() for C
    cdef int empty(self) except -1    # clear() for C

    cdef bint wants(self, uint16_t port) noexcept
    cdef int decode(self, const unsigned char* p, Py_ssize_t n, uint64_t time_us, int vlan, bint cut) except -1
    cdef int found(self, datagrams, bint cut) except -1
    cdef int datagram(self, int family, int proto_id, const unsigned char* src, const unsigned char* dst,
                      uint16_t sport, uint16_t dport, uint64_t time_us, int vlan,
                      const unsigned char* p, Py_ssize_t n, bint cut) except -1
    cdef int report(self, int family, const unsigned char* src, const unsigned char* dst, uint16_t sport, uint16_t dport,
                    uint64_t time_us, int vlan, const unsigned char* p, Py_ssize_t n) except -1
    cdef int learn(self, const unsigned char* p, Py_ssize_t n, const unsigned char* call_id, Py_ssize_t size) except -1
    cdef int refuse(self, str reason, Py_ssize_t n) except -1
    cdef int malformed(self, str reason, Py_ssize_t count) except -1
    cdef int count_losses(self) except -1
