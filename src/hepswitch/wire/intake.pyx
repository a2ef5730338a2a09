# cython: language_level=3
"""Intake: captured frames become HEP packets, with the addresses and the times of capture that they had.

Plain UDP over IPv4 and IPv6, which nearly all SIP is, is read here in place; TCP, fragments, tunnels and extension headers by
`wire.ip`. Every message from or to a wanted port becomes a packet or is counted with a reason. Not here: where frames come
from (`wire.pcap`, `net`), the packets themselves (`wire.envelopes`), which call RTCP belongs to (`wire.media`).
"""

from libc.stdint cimport uint16_t, uint64_t
from libc.string cimport memcmp, memset

from hepswitch.wire.batch cimport Batch
from hepswitch.wire.envelopes cimport Envelopes
from hepswitch.wire.index cimport FAMILY_4, FAMILY_6, MOST, SIP, UDP
from hepswitch.wire.link cimport network_layer
from hepswitch.wire.plain_sip cimport keeps_alive
from hepswitch.wire.sip_scan cimport sip_call_id, sip_looks
from hepswitch.wire.sip_text cimport Span

from hepswitch.wire import rtcp as rtcp_module, tunnels
from hepswitch.wire.ip import Decoder
from hepswitch.wire.media import Media
from hepswitch.wire.tcp import NOT_SIP

cdef extern from "<string.h>" nogil:
    void* memmem(const void* haystack, size_t n, const void* needle, size_t size)

cdef enum:
    TCP = 6
    RTCP = 5                 # of HEP
    LOOK_EVERY = 1000000     # µs of capture time between two looks at what is waiting
    SET_BACK = 10000000      # µs: more is no disorder in a capture, but another clock

cdef int VXLAN = tunnels.VXLAN_PORT


cdef class Intake:
    """See intake.pyi."""

    def __init__(self, Envelopes envelopes not None, ports=(), *, rtcp=True, hep=False):
        cdef int port
        self.envelopes = envelopes
        self.listener = envelopes.packets.listener
        self.decoder = Decoder()
        self.media = Media() if rtcp else None
        self.hep = hep
        memset(self.wanted, 0 if ports else 0xFF, sizeof(self.wanted))
        for low, high in ports:
            if not 0 <= low <= high <= 65535:
                raise ValueError(f"{low}-{high} is no range of ports: write for example 5060-5090")
            for port in range(low, high + 1):
                self.wanted[port >> 3] |= 1 << (port & 7)

    # ── frames ───────────────────────────────────────────────────────────────────────────────────────────────────────

    cdef int frame(self, const unsigned char* p, Py_ssize_t size, Py_ssize_t original_size, int linktype,
                   uint64_t time_us, int vlan) except -1:
        cdef bint cut = size < original_size
        cdef Py_ssize_t at = network_layer(p, size, linktype, &vlan), n, header, end, length
        cdef int protocol, family, width
        cdef uint16_t sport, dport
        cdef const unsigned char* src
        self.frames += 1
        if time_us > self.looked_us + LOOK_EVERY or time_us + SET_BACK < self.looked_us:
            self.expire(time_us)
        if at < 0 or at >= size:
            return 0
        p += at
        n = size - at
        if p[0] >> 4 == 4 and n >= 20:
            header, length, protocol, family, width, src = (p[0] & 15) * 4, p[2] << 8 | p[3], p[9], FAMILY_4, 4, p + 12
            if header < 20 or header > n:
                return 0
            end = min(n, length) if length >= header else n   # 0: the sender's card would have filled it in
            if (p[6] << 8 | p[7]) & 0x3FFF:                   # a fragment
                return self.decode(p, n, time_us, vlan, cut) if is_carrier(protocol) else 0
        elif p[0] >> 4 == 6 and n >= 40:
            header, length, protocol, family, width, src = 40, p[4] << 8 | p[5], p[6], FAMILY_6, 16, p + 8
            end = min(n, header + length) if length else n
        else:
            return 0
        if protocol != UDP and protocol != TCP:
            return self.decode(p, n, time_us, vlan, cut) if is_carrier(protocol) else 0
        if end - header < 8:
            return 0
        sport, dport = <uint16_t> (p[header] << 8 | p[header + 1]), <uint16_t> (p[header + 2] << 8 | p[header + 3])
        if protocol == TCP:
            return self.decode(p, n, time_us, vlan, cut) if self.wants(sport) or self.wants(dport) else 0
        if dport == VXLAN:
            return self.decode(p, n, time_us, vlan, cut)
        length = p[header + 4] << 8 | p[header + 5]
        if length >= 8:
            end = min(end, header + length)
        return self.datagram(family, UDP, src, src + width, sport, dport, time_us, vlan, p + header + 8, end - header - 8,
                             cut)

    cdef bint wants(self, uint16_t port) noexcept:
        return self.wanted[port >> 3] >> (port & 7) & 1

    cdef int decode(self, const unsigned char* p, Py_ssize_t n, uint64_t time_us, int vlan, bint cut) except -1:
        """The long way: whatever the packet, from its IP header on, completes."""
        self.found(self.decoder.packet(time_us, p[:n], vlan), cut)
        return self.count_losses()

    cdef int found(self, datagrams, bint cut) except -1:
        cdef bytes src, dst, payload
        for time_us, proto_id, src, sport, dst, dport, payload, vlan in datagrams:
            self.datagram(FAMILY_4 if len(src) == 4 else FAMILY_6, proto_id, src, dst, sport, dport, time_us, vlan,
                          payload, len(payload), cut)
        return 0

    # ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────

    cdef int datagram(self, int family, int proto_id, const unsigned char* src, const unsigned char* dst,
                      uint16_t sport, uint16_t dport, uint64_t time_us, int vlan,
                      const unsigned char* p, Py_ssize_t n, bint cut) except -1:
        cdef Span call
        cdef bint wanted = self.wants(sport) or self.wants(dport)
        if wanted and sip_looks(p, n):
            sip_call_id(p, n, &call)
            if not self.envelopes.put(family, proto_id, src, dst, sport, dport, time_us, SIP, vlan,
                                      p + call.at, call.size, p, n):
                return self.malformed("too large for HEP" if time_us // 1000000 >> 32 == 0 else "time after 2106", 1)
            self.truncated += cut
            if self.media is not None and call.size:
                self.learn(p, n, p + call.at, call.size)
        elif wanted and self.hep and hep_looks(p, n):
            if not self.envelopes.put_whole(p, n):
                self.malformed("too large for HEP", 1)
        elif self.media is not None and proto_id == UDP and rtcp_looks(p, n):
            self.report(family, src, dst, sport, dport, time_us, vlan, p, n)
        elif wanted:
            self.refuse("keep-alive" if keeps_alive(p, n) else NOT_SIP, n)
        return 0

    cdef int report(self, int family, const unsigned char* src, const unsigned char* dst, uint16_t sport, uint16_t dport,
                    uint64_t time_us, int vlan, const unsigned char* p, Py_ssize_t n) except -1:
        """RTCP, made JSON as agents do."""
        cdef int width = 4 if family == FAMILY_4 else 16
        cdef bytes call, report
        call = self.media.call_of(src[:width], sport, dst[:width], dport)
        if call is None:
            return self.refuse("RTCP of no known call", n)
        report = rtcp_module.encode(p[:n])
        if report is None:
            return self.refuse("RTCP without a report", n)
        if not self.envelopes.put(family, UDP, src, dst, sport, dport, time_us, RTCP, vlan, call, len(call),
                                  report, len(report)):
            return self.malformed("time after 2106", 1)
        return 0

    cdef int learn(self, const unsigned char* p, Py_ssize_t n, const unsigned char* call_id, Py_ssize_t size) except -1:
        cdef const unsigned char* body
        if memmem(p, n, b"\nm=", 3) == NULL:                  # no header begins so
            return 0
        body = <const unsigned char*> memmem(p, n, b"\r\n\r\n", 4)
        if body == NULL:
            body = p
        self.media.learn(call_id[:size], body[:p + n - body])
        return 0

    # ── counting ─────────────────────────────────────────────────────────────────────────────────────────────────────

    cdef int refuse(self, str reason, Py_ssize_t n) except -1:
        self.listener.packets += 1
        self.listener.bytes += n
        self.listener.refused[reason] += 1
        return 0

    cdef int malformed(self, str reason, Py_ssize_t count) except -1:
        self.listener.packets += count
        self.listener.malformed += count
        self.listener.malformed_reasons[reason] += count
        return 0

    cdef int count_losses(self) except -1:
        losses = self.decoder.losses
        if losses:
            for reason, count in losses.items():
                if reason == NOT_SIP:
                    self.listener.packets += count
                    self.listener.refused[reason] += count
                else:
                    self.malformed(reason, count)
            losses.clear()
        return 0

    # ── for Python ───────────────────────────────────────────────────────────────────────────────────────────────────

    def add(self, frame, int vlan=-1):
        cdef bytes data = frame.data
        self.frame(data, len(data), frame.original_length, frame.linktype, frame.time_us, vlan)

    def expire(self, uint64_t time_us):
        self.looked_us = time_us
        self.found(self.decoder.expire(time_us), False)
        self.count_losses()

    def finish(self):
        self.found(self.decoder.finish(), False)
        self.count_losses()

    cdef Batch sealed(self):
        if self.frames:
            self.listener.frames += self.frames
            self.listener.truncated += self.truncated
            self.frames = self.truncated = 0
        return self.envelopes.sealed()

    cdef int empty(self) except -1:
        return self.envelopes.empty()

    def batch(self):
        return self.sealed()

    def clear(self):
        self.empty()

    def __len__(self):
        return len(self.envelopes)


def looks_like_hep(bytes data not None):
    return bool(hep_looks(data, len(data)))


cdef bint hep_looks(const unsigned char* p, Py_ssize_t n) noexcept nogil:
    if n >= 4 and (memcmp(p, b"HEP3", 4) == 0 or memcmp(p, b"EEP3", 4) == 0):
        return True
    if n >= 2 and p[0] == 0x1F and p[1] == 0x8B:
        return True
    return (n >= 16 and (p[0] == 1 or p[0] == 2) and (p[2] == FAMILY_4 or p[2] == FAMILY_6)
            and (p[3] == 6 or p[3] == 17 or p[3] == 22 or p[3] == 50 or p[3] == 132))


cdef inline bint rtcp_looks(const unsigned char* p, Py_ssize_t n) noexcept nogil:
    """RFC 3550 section 6.1 and appendix A.2: version 2, a known type, whole words."""
    return n >= 8 and p[0] >> 6 == 2 and 200 <= p[1] <= 207 and n % 4 == 0


cdef inline bint is_carrier(int protocol) noexcept nogil:
    """What `wire.ip` reads further: UDP and TCP (in fragments), IP in IP, GRE, extension headers of IPv6."""
    return (protocol == UDP or protocol == TCP or protocol == 4 or protocol == 41 or protocol == 47 or protocol == 0
            or protocol == 43 or protocol == 44 or protocol == 51 or protocol == 60 or protocol == 135
            or protocol == 139 or protocol == 140)
