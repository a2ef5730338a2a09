from libc.stdint cimport uint64_t

from hepswitch.net.udp cimport UdpReceiver, msghdr
from hepswitch.wire.plain_sip cimport Ends, PlainSip


cdef class SipReceiver(UdpReceiver):
    cdef PlainSip sip
    cdef Ends bound                   # dst and dport: where the socket is bound

    cdef uint64_t told(self, msghdr* header, Ends* ends, uint64_t arrival_us) noexcept
