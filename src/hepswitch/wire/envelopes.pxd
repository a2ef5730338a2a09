from libc.stdint cimport uint16_t, uint64_t

from hepswitch.wire.batch cimport Batch
from hepswitch.wire.frames cimport Frames


cdef class Envelopes:
    cdef Frames frames                # the packets, end to end
    cdef Frames senders               # sockaddrs of who sent each of them; none at all for captured traffic
    cdef Batch packets                # views on both; empty from a put until sealed(), for the packets may move
    cdef bytes agent                  # the value of chunk 0x0c in every packet …
    cdef bytes node                   # … and of 0x13, empty when there is no name

    # One packet around payload[:n]. family: 2 (addresses of 4 bytes) or 10 (16 bytes); vlan: -1 when there is none;
    # correlation_size: 0 when there is none. Gives 1, or 0 with nothing put when HEP cannot say it: more than 65,535
    # bytes, or a time after 2106.
    cdef int put(self, int family, int proto_id, const unsigned char* src, const unsigned char* dst,
                 uint16_t sport, uint16_t dport, uint64_t time_us, int proto_type, int vlan,
                 const unsigned char* correlation, Py_ssize_t correlation_size,
                 const unsigned char* payload, Py_ssize_t n) except -1
    cdef int put_whole(self, const unsigned char* packet, Py_ssize_t size) except -1   # one that is HEP already; as put()
    # Who sent the packet put last (a sockaddr, copied): of every packet of the batch or of none.
    cdef int sent_by(self, const unsigned char* sender, Py_ssize_t size) except -1
    cdef Batch sealed(self)           # batch()
    cdef int empty(self) except -1    # clear()
