from libc.stdint cimport uint16_t, uint64_t

from hepswitch.wire.batch cimport Batch
from hepswitch.wire.envelopes cimport Envelopes
from hepswitch.wire.frames cimport Frames
from hepswitch.wire.stream cimport FrameReader


cpdef enum Plain:                     # given to Hep.write_to for a version: the SIP of the packet alone, no HEP
    DATAGRAM = 4
    STREAM = 5


cdef struct Ends:                     # addresses as IPv6; IPv4 is IPv4-mapped
    unsigned char src[16]
    unsigned char dst[16]
    uint16_t sport, dport


cdef int put_ipv4(unsigned char* out, const unsigned char* four) noexcept
cdef int put_sender(Ends* ends, const unsigned char* sender, Py_ssize_t size) noexcept   # from a sockaddr


cdef bint keeps_alive(const unsigned char* p, Py_ssize_t n) noexcept nogil   # no message, only a sign of life


cdef int put_sip(Frames frames, bytes raw, list messages) except -1    # messages: of raw, for a stream; else None. ValueError


cdef class PlainSip:
    cdef object listener
    cdef int protocol                 # IPPROTO_UDP or IPPROTO_TCP
    cdef Envelopes envelopes

    # One message between `ends`, sent by the sockaddr `sender` (size 0: by the batch's peer): enveloped or counted.
    cdef int take(self, const unsigned char* p, Py_ssize_t n, Ends* ends, uint64_t time_us,
                  const unsigned char* sender, Py_ssize_t sender_size) except -1
    cdef int refuse(self, Py_ssize_t n, str reason) except -1


cdef class SipReader(FrameReader):
    cdef PlainSip sip
    cdef Ends ends
    cdef Batch cut                    # views on the messages of one read
    cdef Py_ssize_t searched          # bytes of the message at head in which its headers do not end
    cdef Py_ssize_t whole             # size of the message at head once its headers are there, else 0
