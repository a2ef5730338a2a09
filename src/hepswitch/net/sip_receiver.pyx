# cython: language_level=3
"""Datagrams of plain SIP as HEP packets: from whom, to which of our addresses and when is asked of the kernel.

Not here: what is SIP (`wire.plain_sip`), reading (`net.udp`).
"""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

from hepswitch.net.udp cimport CMSG_DATA, CMSG_FIRSTHDR, CMSG_NXTHDR, SOL_SOCKET, UdpReceiver, cmsghdr, msghdr
from hepswitch.wire.batch cimport Batch, Item
from hepswitch.wire.plain_sip cimport Ends, PlainSip, put_ipv4, put_sender

import socket

cdef extern from "<netinet/in.h>" nogil:
    int IPPROTO_IP, IPPROTO_IPV6, IP_PKTINFO

cdef extern from *:
    """
    /* <linux/in6.h> and <asm-generic/socket.h>, which C libraries show under conditions only */
    enum { V6_RECVPKTINFO = 49, V6_PKTINFO = 50, TIMESTAMPNS = 35 };
    """
    enum: V6_RECVPKTINFO
    enum: V6_PKTINFO
    enum: TIMESTAMPNS


def tell_more(sock) -> None:
    """Have the kernel note with each datagram that comes to `sock` which address it was sent to, and when it came."""
    sock.setsockopt(socket.SOL_SOCKET, TIMESTAMPNS, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, V6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)


cdef class SipReceiver(UdpReceiver):
    """A `UdpReceiver` whose batches are HEP packets around the SIP that came; what is no SIP is counted.

    The address and time that a packet tells are those of the kernel if `tell_more` was called, else the address that
    the socket is bound to and the time of the read.
    """

    def __init__(self, sock, listener, int slots=256):
        cdef bytes name
        address, port = sock.getsockname()[:2]
        name = socket.inet_pton(sock.family, address.partition("%")[0])
        if sock.family == socket.AF_INET6:
            memcpy(self.bound.dst, <const unsigned char*> name, 16)
        else:
            put_ipv4(self.bound.dst, name)
        self.bound.dport = port
        self.sip = PlainSip(listener)

    def receive(self):
        """See `UdpReceiver`. The batch is empty when nothing of what came was SIP."""
        cdef Batch batch = UdpReceiver.receive(self)
        cdef Ends ends
        cdef Item* item
        cdef Py_ssize_t i
        cdef uint64_t time_us
        if batch is None:
            return None
        self.sip.envelopes.empty()
        for i in range(batch.count):
            item = &batch.items[i]
            ends = self.bound
            put_sender(&ends, item.sender, item.sender_size)
            time_us = self.told(&self.messages[i].msg_hdr, &ends, batch.arrival_us)
            self.sip.take(item.data, item.size, &ends, time_us, item.sender, item.sender_size)
        return self.sip.envelopes.sealed()

    cdef uint64_t told(self, msghdr* header, Ends* ends, uint64_t arrival_us) noexcept:
        # What the kernel said of a datagram: the address goes to ends, the time of arrival is given.
        cdef cmsghdr* control = CMSG_FIRSTHDR(header)
        cdef int64_t at[2]
        while control != NULL:
            if control.cmsg_level == SOL_SOCKET and control.cmsg_type == TIMESTAMPNS:
                memcpy(at, CMSG_DATA(control), sizeof(at))
                arrival_us = <uint64_t> (at[0] * 1000000 + at[1] // 1000)
            elif control.cmsg_level == IPPROTO_IP and control.cmsg_type == IP_PKTINFO:
                put_ipv4(ends.dst, CMSG_DATA(control) + 8)     # struct in_pktinfo: ipi_ifindex, ipi_spec_dst, ipi_addr
            elif control.cmsg_level == IPPROTO_IPV6 and control.cmsg_type == V6_PKTINFO:
                memcpy(ends.dst, CMSG_DATA(control), 16)       # struct in6_pktinfo begins with ipi6_addr
            control = CMSG_NXTHDR(header, control)
        return arrival_us
