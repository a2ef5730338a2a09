# cython: language_level=3
"""What has just gone through the flow: copies of packets that belong to some call, for as long as one may look back.

A packet is known by its Call-ID or correlation id as it came, and an INVITE that begins a dialog by whatever else names
its call. What is handed on later is the packet as the route left it: masked if that masked it. A packet of 500 bytes costs
about 1.6 µs here, a quarter of what it costs to receive and send it. Not here: who looks back, and why (`tracing`).
"""

from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport memchr, memcmp

from hepswitch.routing.packet cimport Packet
from hepswitch.wire.hep cimport Hep

from collections import deque

cdef Py_ssize_t EACH = 600           # bytes that a packet costs beside its own: objects, its place in two queues
cdef Py_ssize_t LONGEST = 256        # characters of a name that is kept as it is


cdef class Kept:
    """A packet that has gone through. `given`: the targets of traces that have got it."""

    def before(self) -> Hep:
        """The packet as it came."""
        return self.load(Hep.__new__(Hep), self.came)

    def packet(self) -> Packet:
        """The packet as the route left it, to be handed on; it knows who has it already."""
        cdef Packet packet = Packet.__new__(Packet)
        self.load(packet, self.left)
        packet.context = self.context
        packet.sender = self.sender
        packet.handed = self.handed
        packet.given = self.given
        return packet

    def taken(self) -> None:
        """Somebody has taken it after all: it is not unrouted any more."""
        if self.unrouted:
            self.unrouted = False
            self.context.routed.unrouted -= 1

    cdef Hep load(self, Hep hep, bytes octets):
        hep.load(<unsigned char*> <char*> octets, len(octets), True)
        hep.detach()
        hep.arrival_us = self.arrival_us
        hep.truncated = self.cut
        return hep


cdef class LookBack:
    """Keeps packets for `seconds` by `clock`, in at most `most` bytes: older ones give way, and are counted in `forgotten`
    when it was too early.

    `shorten(name)` makes an unusual name what it is known by; `names_of(packet, sip)` gives the names by which an INVITE
    ties its dialog to others.
    """

    def __cinit__(self, double seconds, Py_ssize_t most, clock, shorten, names_of):
        self.seconds = seconds
        self.most = most
        self.clock = clock
        self.shorten = shorten
        self.names_of = names_of
        self.ring = deque()
        self.index = {}
        self.names = ()

    def __len__(self) -> int:
        return len(self.ring)

    cdef int enter(self, Packet packet) except -1:
        """Before the route: what the packet is known by."""
        cdef const unsigned char* p = NULL
        cdef Py_ssize_t n = 0
        cdef str name
        self.came, self.names = None, ()
        if not packet.identity(&p, &n):
            return 0
        self.came = packet.data[:packet.size]
        name = PyUnicode_DecodeUTF8(<const char*> p, n, "surrogateescape")
        if n > LONGEST or not name.isascii() or memchr(p, 10, <size_t> n) != NULL:
            name = self.shorten(name)
        packet.span(&p, &n)
        # An INVITE, or what may have one in it: JSON, or a message behind line ends.
        if n and (p[0] == b"I" or p[0] == b"{" or p[0] < b"A"):
            self.names = (name, *self.names_of(packet, packet.sip))
        else:
            self.names = (name,)
        return 0

    cdef int leave(self, Packet packet, bint unrouted) except -1:
        """Behind the route: keep it."""
        cdef Kept kept
        cdef double now
        if self.came is None:
            return 0
        kept = Kept.__new__(Kept)
        kept.came = kept.left = self.came
        if len(self.came) != packet.size or memcmp(<char*> self.came, packet.data, packet.size) != 0:
            kept.left = packet.data[:packet.size]
        kept.names = self.names
        kept.at = now = self.clock()
        kept.unrouted = unrouted
        kept.given = packet.given
        kept.context = packet.context
        kept.sender = packet.received
        kept.handed = packet.handed
        kept.arrival_us = packet.arrival_us
        kept.cut = packet.truncated
        self.came = None
        for name in kept.names:
            known = self.index.get(name)
            if known is None:
                known = self.index[name] = deque()
            known.append(kept)
        self.ring.append(kept)
        self.nbytes += weight(kept)
        return self.forget(now - self.seconds)

    cdef int forget(self, double before) except -1:
        cdef Kept kept
        while self.ring:
            kept = self.ring[0]
            if kept.at >= before:
                if self.nbytes <= self.most:
                    break
                self.forgotten += 1
            self.ring.popleft()
            self.nbytes -= weight(kept)
            for name in kept.names:
                known = self.index[name]
                known.popleft()
                if not known:
                    del self.index[name]
        return 0

    def of(self, name) -> list:
        """The packets known by this name, the oldest first."""
        self.forget(self.clock() - self.seconds)
        return list(self.index.get(name, ()))

    def clear(self) -> None:
        """Forget all."""
        self.ring.clear()
        self.index.clear()
        self.nbytes = 0


cdef Py_ssize_t weight(Kept kept):
    return EACH + len(kept.came) + (0 if kept.left is kept.came else len(kept.left))
