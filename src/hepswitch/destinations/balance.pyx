# cython: language_level=3
"""Which node of a destination gets a packet, and the copy into that node's inbox: the hot path of relaying.

A policy is one `Choice` function in `_choice`: it picks one of the candidate nodes (a bit mask) for a packet. The
balancer asks it first among the active nodes, then, when none of these took the packet, among the others: they may have
a spool, and a datagram is the only way to find out whether somebody listens again.

Not here: sockets, spools, retries (`udp_node`, `stream_node`), and what a call is (`Hep.call_key`).
"""

from collections import Counter

import xxhash
from libc.math cimport log
from libc.stdint cimport uint64_t

from hepswitch.wire.frames cimport Frames
from hepswitch.wire.hep cimport Hep

MOST_NODES = 64                       # candidates are bits of one word

cdef enum Taken:
    FULL = 0
    TAKEN = 1
    UNFIT = 2                         # the packet cannot be written in the node's version


cdef class Node:
    """One far end of a destination, as the flow sees it. `flush()` and `overflow()` are the subclass's."""

    def __init__(self, str url, double weight, int version, Py_ssize_t room):
        self.url = url
        self.seed = xxhash.xxh3_64_intdigest(url.encode())
        self.weight = weight
        self.version = version
        self.room = room
        self.inbox = Frames()
        self.refused = Counter()

    def overflow(self):
        """The inbox has reached `room`. True when there is room now (in an inbox that may be another one)."""
        return False

    cdef int take(self, Hep packet) except -1:
        cdef Frames inbox = self.inbox
        if inbox.tail - inbox.head >= self.room:
            if not self.overflow():
                return FULL
            inbox = self.inbox
        try:
            packet.write_to(inbox, self.version)
        except ValueError:
            return UNFIT
        self.accepted += 1
        return TAKEN


cdef class Balancer:
    """Offers packets to `nodes` (1 to 64 `Node`s) by `policy`: first, all, round-robin or call."""

    def __init__(self, nodes, str policy):
        self.nodes = tuple(nodes)
        if not 1 <= len(self.nodes) <= MOST_NODES:
            raise ValueError(f"a destination has 1 to {MOST_NODES} nodes, not {len(self.nodes)}")
        self.choice = _choice(policy)
        self.refused = Counter()
        self.turn = -1
        self.even = len({node.weight for node in self.nodes}) == 1

    def offer(self, Hep packet not None):
        """Write the packet, as it is now, into the inbox of the node that the policy picks.

        True when a node took it (with `all`: at least one did). Never blocks and never raises for the far end's sake.
        """
        if self.choice == NULL:
            return self.each(packet)
        cdef uint64_t reachable = self.reachable()
        cdef uint64_t every = _mask(len(self.nodes))
        cdef int rest, taken = self.one(packet, reachable)
        if taken != TAKEN and reachable != every:
            rest = self.one(packet, every & ~reachable)
            taken = rest if rest == TAKEN or taken == FULL else taken
        if taken == TAKEN:
            return True
        self.refused[_reason(taken)] += 1
        return False

    cdef uint64_t reachable(self):
        cdef uint64_t mask = 0
        cdef int i
        for i in range(len(self.nodes)):
            if (<Node> self.nodes[i]).active:
                mask |= <uint64_t> 1 << i
        return mask

    cdef int one(self, Hep packet, uint64_t candidates) except -1:
        # Ask the policy again without the nodes that had no room, until one takes the packet or none is left.
        cdef int i, taken, worst = FULL
        while candidates:
            i = self.choice(self, packet, candidates)
            taken = (<Node> self.nodes[i]).take(packet)
            if taken == TAKEN:
                return TAKEN
            if taken == UNFIT:
                worst = UNFIT
            candidates &= ~(<uint64_t> 1 << i)
        return worst

    cdef bint each(self, Hep packet) except -1:
        cdef bint any_took = False
        cdef int taken
        cdef Node node
        for node in self.nodes:
            taken = node.take(packet)
            if taken == TAKEN:
                any_took = True
            else:
                node.refused[_reason(taken)] += 1
        return any_took


cdef str _reason(int taken):
    return "cannot be written in this HEP version" if taken == UNFIT else "queue full"


# ── policies ─────────────────────────────────────────────────────────────────────────────────────────────────────────

cdef Choice _choice(str policy) except? NULL:
    if policy == "call":
        return _call
    if policy == "first":
        return _first
    if policy == "round-robin":
        return _round_robin
    if policy == "all":
        return NULL
    raise ValueError(f"no policy is named {policy!r}: first, all, round-robin or call")


cdef int _first(Balancer balancer, Hep packet, uint64_t candidates) except -1:
    cdef int i = 0
    while not candidates >> i & 1:
        i += 1
    return i


cdef int _round_robin(Balancer balancer, Hep packet, uint64_t candidates) except -1:
    cdef int i = balancer.turn
    while True:
        i += 1
        if i >= len(balancer.nodes):
            i = 0
        if candidates >> i & 1:
            balancer.turn = i
            return i


cdef int _call(Balancer balancer, Hep packet, uint64_t candidates) except -1:
    # Rendezvous hashing: every node has a score for the call, the highest has the call. Without a node only its own
    # calls move, each to its second best. With weights the score is -w / ln(u), u uniform in (0, 1): a node's share is
    # its weight's share. It grows with u, so equal weights need no logarithm and choose the same.
    if candidates & (candidates - 1) == 0:
        return _first(balancer, packet, candidates)
    cdef uint64_t key = packet.call_key(), drawn, highest = 0
    cdef double score, best_score = -1.0
    cdef int i, best = -1
    cdef Node node
    for i in range(len(balancer.nodes)):
        if not candidates >> i & 1:
            continue
        node = <Node> balancer.nodes[i]
        drawn = _mixed(key ^ node.seed)
        if balancer.even:
            if best < 0 or drawn > highest:
                best, highest = i, drawn
        else:
            score = -node.weight / log(((drawn >> 11) + 0.5) * (1.0 / 9007199254740992.0))
            if score > best_score:
                best, best_score = i, score
    return best


cdef inline uint64_t _mixed(uint64_t x) noexcept nogil:
    # The finalizer of splitmix64: every bit of x changes every bit of the result with probability one half.
    x = (x ^ (x >> 30)) * <uint64_t> 0xbf58476d1ce4e5b9
    x = (x ^ (x >> 27)) * <uint64_t> 0x94d049bb133111eb
    return x ^ (x >> 31)


cdef inline uint64_t _mask(Py_ssize_t count) noexcept nogil:
    return ~<uint64_t> 0 >> (64 - count)
