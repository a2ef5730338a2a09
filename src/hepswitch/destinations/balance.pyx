# cython: language_level=3
"""Which node of a destination gets a packet, and the copy into that node's inbox: the hot path of relaying.

A policy is one `Choice` function in `_choice`: it picks one of the candidate nodes (a bit mask) for a packet. The
balancer asks it among the reachable nodes of the highest priority, then, when none of these took the packet, among those
of the next. When no reachable node takes it the fallback may; else the nodes that are not reachable: they may have a
spool, and a datagram is the only way to find out whether somebody listens again.

Not here: sockets, spools, retries (`udp_node`, `stream_node`), and what a call is (`Hep.call_key`).
"""

import os
import random
from collections import Counter

import xxhash
cimport cython
from libc.math cimport log
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free

from hepswitch.wire.frames cimport Frames
from hepswitch.wire.hep cimport Hep, mixed
from hepswitch.wire.plain_sip cimport DATAGRAM
from hepswitch.wire.raw cimport add_hop, add_number

MOST_NODES = 64                       # candidates are bits of one word

cdef int MOST_SUBSETS = 256           # of nodes, remembered as tuples for a user's policy

cdef enum Taken:                      # what became of a packet: of several outcomes the highest counts
    NOBODY = 0                        # there was no candidate
    FULL = 1
    UNFIT = 2                         # the packet cannot be written in the node's version
    NOT_SIP = 3                       # … and the node gets SIP alone
    TAKEN = 4


cdef class Node:
    """One far end of a destination, as the flow sees it. `flush()` and `overflow()` are the subclass's."""

    def __init__(self, str url, double weight, int version, Py_ssize_t room, int priority=0):
        self.url = url
        self.seed = xxhash.xxh3_64_intdigest(url.encode())
        self.weight = weight
        self.priority = priority
        self.version = version
        self.room = room
        self.enabled = True
        self.queue = int.from_bytes(os.urandom(8)) | 1       # another one with each start: what comes now is new
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
            return NOT_SIP if self.version >= DATAGRAM else UNFIT
        if self.mark:
            add_hop(inbox, self.mark)
        if self.numbered and add_number(inbox, self.queue, self.number + 1):
            self.number += 1
        self.accepted += 1
        return TAKEN

    cdef double load(self) noexcept:
        return (self.inbox.tail - self.inbox.head + self.elsewhere) / self.weight


cdef class Balancer:
    """Offers packets to `nodes` (1 to 64 `Node`s) by `policy`: call, source, hash:EXPRESSION, round-robin, random,
    weighted, first, all, least-loaded or script:NAME.

    `value_of` makes a function that gives an expression's value for a packet; `hash:` needs it. Until `set_policy` is
    called `script:` chooses as `call` does.
    """

    def __cinit__(self):
        self.groups = <uint64_t*> calloc(MOST_NODES, sizeof(uint64_t))
        if self.groups == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.groups)

    def __init__(self, nodes, str policy, value_of=None):
        self.refused = Counter()
        self.last = -1
        self.dice = random.getrandbits(64)
        self.arrange(nodes, policy, value_of)

    def arrange(self, nodes, str policy, value_of=None):
        """Take these nodes and this policy from now on. ValueError: nothing has changed."""
        placed = tuple(nodes)
        if not 1 <= len(placed) <= MOST_NODES:
            raise ValueError(f"a destination has 1 to {MOST_NODES} nodes, not {len(placed)}")
        cdef Choice choice = _choice(policy)
        value = None
        if choice == _hash:
            if value_of is None:
                raise ValueError(f"policy {policy!r} needs fields of packets, and there is nothing here that knows them")
            value = value_of(policy.removeprefix("hash:"))
        self.nodes, self.choice, self.value = placed, choice, value
        self.reorder()

    def reorder(self):
        """Weights or priorities of nodes have changed."""
        cdef Node node
        cdef uint64_t mask
        cdef int i
        for i in range(len(self.nodes)):
            (<Node> self.nodes[i]).place = i
        self.group_count = 0
        for priority in sorted({node.priority for node in self.nodes}, reverse=True):
            mask = 0
            for node in self.nodes:
                if node.priority == priority:
                    mask |= <uint64_t> 1 << node.place
            self.groups[self.group_count] = mask
            self.group_count += 1
        self.even = len({node.weight for node in self.nodes}) == 1
        self.places = {node.url: node.place for node in self.nodes}
        self.subsets = {}

    def set_policy(self, script):
        """The user's function for `script:NAME`: `script(packet, nodes)` gives a node, its URL or its place in `nodes`, a
        sequence of these in order of preference, or None to leave it to `call`. `nodes` are those that may get the packet.
        """
        self.script = script

    def policy_failed(self, error):
        """A user's policy or a hashed value raised, or the answer made no sense: `call` chooses instead."""
        self.failures += 1

    def offer(self, Hep packet not None, **said):
        """Write the packet, as it is now, into the inbox of the node that the policy picks.

        True when a node took it (with `all`: at least one did), here or of the fallback. Never blocks and never raises for
        the far end's sake. What is `said` of the packet beside its bytes has no place in them.
        """
        cdef uint64_t enabled, reachable
        cdef Hep copy = self.treated(packet)
        if copy is None:
            return False
        self.survey(&enabled, &reachable)
        cdef int taken = self.now(packet, copy, enabled, reachable)
        if taken != TAKEN and enabled != reachable and (self.choice != NULL or reachable == 0):
            taken = max(taken, self.ask(packet, copy, enabled & ~reachable))
        if taken == TAKEN:
            return True
        if self.choice != NULL or taken == NOBODY:           # with `all` each node counts what it refused
            self.refused[_reason(taken)] += 1
        return False

    def relieve(self, Hep packet not None):
        """`offer` for another destination's sake: True when a reachable node took the packet; it may not wait here."""
        cdef uint64_t enabled, reachable
        cdef Hep copy = self.treated(packet)
        if copy is None:
            return False
        self.survey(&enabled, &reachable)
        return self.now(packet, copy, enabled, reachable) == TAKEN

    cdef Hep treated(self, Hep packet):
        # What this destination sends of the packet; None when it wants nothing of it. Policies look at the packet itself.
        if self.treat is None:
            return packet
        copy = self.treat(packet)
        if isinstance(copy, str):
            self.refused[copy] += 1
            return None
        return copy

    cdef int now(self, Hep packet, Hep copy, uint64_t enabled, uint64_t reachable) except -1:
        # Where there is no need to wait: a reachable node, or the fallback. Each of all nodes is asked when one is reachable.
        # The fallback gets what this destination would have sent: what is masked for the one is so for its stand-in.
        cdef int taken = NOBODY
        if reachable:
            taken = self.ask(packet, copy, reachable if self.choice != NULL else enabled)
        if taken != TAKEN and self.fallback is not None and self.fallback.relieve(copy):
            self.relieved += 1
            return TAKEN
        return taken

    @cython.boundscheck(False)
    @cython.wraparound(False)
    cdef void survey(self, uint64_t* enabled, uint64_t* reachable) noexcept:
        # The nodes that take new packets; those of them that are reachable.
        cdef tuple nodes = self.nodes
        cdef uint64_t taking = 0, active = 0
        cdef Py_ssize_t i
        for i in range(len(nodes)):
            taking |= <uint64_t> (<Node> nodes[i]).enabled << i
            active |= <uint64_t> (<Node> nodes[i]).active << i
        enabled[0], reachable[0] = taking, taking & active

    cdef int ask(self, Hep packet, Hep copy, uint64_t candidates) except -1:
        cdef int i, taken = NOBODY
        if self.choice == NULL:
            return self.each(copy, candidates)
        for i in range(self.group_count):
            if candidates & self.groups[i]:
                taken = max(taken, self.one(packet, copy, candidates & self.groups[i]))
                if taken == TAKEN:
                    break
        return taken

    cdef int one(self, Hep packet, Hep copy, uint64_t candidates) except -1:
        # Ask the policy again without the nodes that had no room, until one takes the packet or none is left.
        cdef int i, taken = NOBODY
        while candidates and taken != TAKEN:
            i = self.choice(self, packet, candidates) if candidates & (candidates - 1) else _first(self, packet, candidates)
            taken = max(taken, (<Node> self.nodes[i]).take(copy))
            candidates &= ~(<uint64_t> 1 << i)
        return taken

    cdef int each(self, Hep copy, uint64_t candidates) except -1:
        cdef int i, taken, best = NOBODY
        cdef Node node
        for i in range(len(self.nodes)):
            if candidates >> i & 1:
                node = <Node> self.nodes[i]
                taken = node.take(copy)
                if taken != TAKEN:
                    node.refused[_reason(taken)] += 1
                best = max(best, taken)
        return best

    cdef tuple among(self, uint64_t candidates):
        cdef Node node
        found = self.subsets.get(candidates)
        if found is None:
            if len(self.subsets) >= MOST_SUBSETS:
                self.subsets.clear()
            found = self.subsets[candidates] = tuple([node for node in self.nodes if candidates >> node.place & 1])
        return found

    cdef int picked(self, answer, tuple nodes, uint64_t candidates) except -2:
        # Place of the first named node that is a candidate; -1 when none of them is.
        cdef int place
        if answer is None:
            return -1
        for each in (answer,) if isinstance(answer, (Node, str, int)) else answer:
            if isinstance(each, Node):
                place = (<Node> each).place
                if place >= len(self.nodes) or self.nodes[place] is not each:
                    raise LookupError(f"{each.url} is no node of this destination")
            elif isinstance(each, str):
                place = self.places[each]
            else:
                if not 0 <= each < len(nodes):
                    raise IndexError(f"there are {len(nodes)} nodes to choose from, and {each} is none of them")
                place = (<Node> nodes[each]).place
            if candidates >> place & 1:
                return place
        return -1


cdef str _reason(int taken):
    if taken == UNFIT:
        return "cannot be written in this HEP version"
    if taken == NOT_SIP:
        return "not SIP"
    return "queue full" if taken == FULL else "every node is disabled"


# ── policies ─────────────────────────────────────────────────────────────────────────────────────────────────────────
# They are asked when there are at least two candidates.

cdef Choice _choice(str policy) except? NULL:
    if policy == "call":
        return _call
    if policy == "source":
        return _source
    if policy.startswith("hash:"):
        return _hash
    if policy == "round-robin":
        return _round_robin
    if policy == "random":
        return _random
    if policy == "weighted":
        return _weighted
    if policy == "first":
        return _first
    if policy == "least-loaded":
        return _least_loaded
    if policy.startswith("script:"):
        return _script
    if policy == "all":
        return NULL
    raise ValueError(
        f"no policy is named {policy!r}: call, source, hash:EXPRESSION, round-robin, random, weighted, first, all, "
        "least-loaded or script:NAME"
    )


cdef int _first(Balancer balancer, Hep packet, uint64_t candidates) except -1:
    cdef int i = 0
    while not candidates >> i & 1:
        i += 1
    return i


cdef int _round_robin(Balancer balancer, Hep packet, uint64_t candidates) except -1:
    cdef int i = balancer.last
    while True:
        i += 1
        if i >= len(balancer.nodes):
            i = 0
        if candidates >> i & 1:
            balancer.last = i
            return i


cdef int _weighted(Balancer balancer, Hep packet, uint64_t candidates) except -1:
    # Each node waits its weight longer with every packet; the one that waited longest has its turn, and pays for it.
    cdef double sum = 0
    cdef Node node, best = None
    cdef int i
    for i in range(len(balancer.nodes)):
        if candidates >> i & 1:
            node = <Node> balancer.nodes[i]
            node.turn += node.weight
            sum += node.weight
            if best is None or node.turn > best.turn:
                best = node
    best.turn -= sum
    return best.place


cdef int _random(Balancer balancer, Hep packet, uint64_t candidates) except -1:
    cdef double left = 0
    cdef int i, chosen = 0
    for i in range(len(balancer.nodes)):
        if candidates >> i & 1:
            left += (<Node> balancer.nodes[i]).weight
    balancer.dice += <uint64_t> 0x9e3779b97f4a7c15         # splitmix64
    left *= _unit(_mixed(balancer.dice))
    for i in range(len(balancer.nodes)):
        if candidates >> i & 1:
            chosen = i                                     # the last one also when rounding leaves a little
            left -= (<Node> balancer.nodes[i]).weight
            if left < 0:
                break
    return chosen


cdef int _least_loaded(Balancer balancer, Hep packet, uint64_t candidates) except -1:
    # Of several equal ones the next in turn: most of the time nothing waits anywhere.
    cdef int count = <int> len(balancer.nodes), step, i, best = -1
    cdef double load, least = 0
    for step in range(1, count + 1):
        i = (balancer.last + step) % count
        if candidates >> i & 1:
            load = (<Node> balancer.nodes[i]).load()
            if best < 0 or load < least:
                best, least = i, load
    balancer.last = best
    return best


cdef int _call(Balancer balancer, Hep packet, uint64_t candidates) except -1:
    return _highest(balancer, packet.call_key(), candidates)


cdef int _source(Balancer balancer, Hep packet, uint64_t candidates) except -1:
    # Who sent it: only a packet of the flow knows; else the captured sender stands for it.
    received = getattr(packet, "received", None)
    address = packet.src_ip if received is None else received.src_ip
    return _highest(balancer, _key(address, packet), candidates)


cdef int _hash(Balancer balancer, Hep packet, uint64_t candidates) except -1:
    try:
        value = balancer.value(packet)
    except Exception as error:
        balancer.policy_failed(error)
        value = None
    return _highest(balancer, _key(value, packet), candidates)


cdef int _script(Balancer balancer, Hep packet, uint64_t candidates) except -1:
    cdef int place = -1
    if balancer.script is not None:
        nodes = balancer.among(candidates)
        try:
            place = balancer.picked(balancer.script(packet, nodes), nodes, candidates)
        except Exception as error:
            balancer.policy_failed(error)
    return _call(balancer, packet, candidates) if place < 0 else place


cdef uint64_t _key(value, Hep packet) except? 0:
    """A value as a number: bytes and text alike. The call's when there is none."""
    cdef bytes raw
    if value is None or value == "" or value == b"":
        return packet.call_key()
    raw = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
    return mixed(raw, len(raw))


@cython.boundscheck(False)
@cython.wraparound(False)
cdef int _highest(Balancer balancer, uint64_t key, uint64_t candidates) except -1:
    # Rendezvous hashing: every node has a score for the key, the highest has its packets. Without a node only its own
    # move, each key to its second best. With weights the score is -w / ln(u), u uniform in (0, 1): a node's share is
    # its weight's share. It grows with u, so equal weights need no logarithm and choose the same.
    cdef uint64_t drawn, highest = 0
    cdef double score, best_score = -1.0
    cdef int best = -1
    cdef tuple nodes = balancer.nodes
    cdef Py_ssize_t i
    cdef Node node
    for i in range(len(nodes)):
        if not candidates >> i & 1:
            continue
        node = <Node> nodes[i]
        drawn = _mixed(key ^ node.seed)
        if balancer.even:
            if best < 0 or drawn > highest:
                best, highest = <int> i, drawn
        else:
            score = -node.weight / log(_unit(drawn))
            if score > best_score:
                best, best_score = <int> i, score
    return best


cdef inline double _unit(uint64_t drawn) noexcept nogil:
    # Uniform in (0, 1), both excluded.
    return ((drawn >> 11) + 0.5) * (1.0 / 9007199254740992.0)


cdef inline uint64_t _mixed(uint64_t x) noexcept nogil:
    # The finalizer of splitmix64: every bit of x changes every bit of the result with probability one half.
    x = (x ^ (x >> 30)) * <uint64_t> 0xbf58476d1ce4e5b9
    x = (x ^ (x >> 27)) * <uint64_t> 0x94d049bb133111eb
    return x ^ (x >> 31)
