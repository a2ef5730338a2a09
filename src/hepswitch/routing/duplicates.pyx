# cython: language_level=3
"""Duplicates: the same message captured by several agents, recognised in memory that worker processes share.

Of each message as many copies are kept as the agent that saw it most often delivered: an agent's n-th sighting of a
message is a copy when another agent's n-th has come already. So a true retransmission, which is the same bytes again
from the same agent, is never taken for a copy, and it does not matter whose packets come first. `keep = 2` lets the
sightings of two agents pass, and so on. An agent is its capture id, its node name and the address that it sends from.

Two sightings belong together when they arrived within `lag` of each other by the switch's clock, and were captured
within `window` by the agents' clocks: the window must be larger than these differ. A too small one keeps copies, it
never costs a message.

The memory is sets of sightings, each under a lock of its own; the oldest sighting of a full set is forgotten. A process
that died while it held a lock delays the next one for a moment and no more. Not here: whether copies are dropped (`gate`).
"""

import os

import xxhash
from libc.stdint cimport uint64_t
from libc.string cimport memset

from hepswitch.routing.sender cimport Sender
from hepswitch.spinlock cimport acquire, release, word_read, word_swap
from hepswitch.wire.hep cimport Hep
from hepswitch.wire.index cimport CAPTAGENT_ID, PROTO_TYPE, Chunk

cdef enum:
    NODE_NAME = 0x13
    MOST_KEPT = 4

_digest = xxhash.xxh3_64_intdigest


def room(Py_ssize_t sightings):
    """Bytes of memory in which that many sightings fit."""
    return (1 + (sightings + WAYS - 1) // WAYS) * <Py_ssize_t> sizeof(Set)


cdef class Duplicates:
    """Recognises the same message from another agent, in `memory` (zeroed at first) that worker processes may share.

    `window_us`: how far apart the captures of copies may be; `lag_us`: their arrivals. `keep` copies pass (1 to 4).
    `key_of(packet)` gives what is the same in copies, or None for a packet that has none; None: the payload is the key.
    `proto_types`: only packets of these types are looked at; none means all. `marks`: copies are tagged "duplicate"
    instead of dropped. ValueError when the memory is too small or not aligned to 8 bytes.
    """

    def __cinit__(
        self, memory, uint64_t window_us, uint64_t lag_us, *,
        int keep=1, key_of=None, proto_types=(), marks=False,
    ):
        if not 1 <= keep <= MOST_KEPT:
            raise ValueError(f"1 to {MOST_KEPT} copies can be kept, not {keep}")
        self.memory = memory
        if self.memory.shape[0] < <Py_ssize_t> (2 * sizeof(Set)) or <uint64_t> &self.memory[0] % 8:
            raise ValueError(f"{len(memory)} bytes of memory cannot hold sightings: take room(n) bytes, aligned to 8")
        self.sets = <Set*> &self.memory[0]
        self.size = self.memory.shape[0] // sizeof(Set) - 1
        # The first set is the head: its lock is the seed, which whoever came first has drawn.
        word_swap(&self.sets.lock, 0, int.from_bytes(os.urandom(8)) | 1)
        self.seed = word_read(&self.sets.lock)
        self.window, self.lag, self.keep = window_us, lag_us, keep
        self.key_of, self.marks = key_of, marks
        memset(self.types, 0, sizeof(self.types))
        self.every = not proto_types
        for number in proto_types:
            self.types[<unsigned char> number] = True

    def seen(self, bytes key not None, bytes agent not None, uint64_t captured_us, uint64_t now_us):
        """Note that `agent` delivered `key`. True when as many copies as are kept came from other agents before.

        `captured_us` is the packet's own time, `now_us` a monotonic clock that all who share the memory read.
        """
        return self.look(_digest(key, self.seed), _digest(agent, self.seed), captured_us, now_us)

    cdef bint repeats(self, Hep hep, const Sender* sender, uint64_t now) except -1:
        """Is the packet, from `sender` at `now` (µs, monotonic), a copy of what other agents delivered?"""
        cdef const unsigned char* p = NULL
        cdef Py_ssize_t n = 0
        cdef uint64_t kind = 0
        if not self.every and not (hep.number(PROTO_TYPE, &kind) and kind < 256 and self.types[kind]):
            return False
        if self.key_of is None:
            hep.span(&p, &n)
            key = p[:n]
        else:
            key = self.key_of(hep)
        if not key:
            return False
        if not self.look(_digest(key, self.seed), self.agent_of(hep, sender), hep.captured_us(), now):
            return False
        self.copies += 1
        return True

    cdef uint64_t agent_of(self, Hep hep, const Sender* sender) except? 0:
        cdef uint64_t number = 0
        cdef Chunk* name = hep.find(0, NODE_NAME)
        hep.number(CAPTAGENT_ID, &number)
        agent = sender.octets[:16]
        if name != NULL:
            agent += hep.data[name.at:name.at + name.size]
        return _digest(agent, self.seed ^ number)

    cdef bint look(self, uint64_t key, uint64_t agent, uint64_t captured, uint64_t now) noexcept nogil:
        cdef Set* set = self.sets + 1 + (key >> 32) * self.size // 0x100000000u
        cdef bint found
        acquire(&set.lock)
        found = self.among(set, key, agent, captured, now)
        release(&set.lock)
        return found

    cdef bint among(self, Set* set, uint64_t key, uint64_t agent, uint64_t captured, uint64_t now) noexcept nogil:
        cdef Sighting* each
        cdef uint64_t count = 1
        cdef int i, own = -1, before = 0
        for i in range(WAYS):
            if set.keys[i] == key and set.sightings[i].agent == agent and self.fresh(set.arrived[i], now):
                own, count = i, set.sightings[i].count + 1
        for i in range(WAYS):
            each = &set.sightings[i]
            if set.keys[i] == key and i != own and each.count >= count and self.fresh(set.arrived[i], now):
                before += each.first <= captured + self.window and captured <= each.last + self.window
        if own < 0:
            own = 0
            for i in range(WAYS):
                if set.arrived[i] < set.arrived[own]:
                    own = i
            if self.fresh(set.arrived[own], now):
                if before >= self.keep:
                    return True              # there is no room to note a copy, and none is needed
                self.forgotten += 1
            set.keys[own] = key
            set.sightings[own] = Sighting(agent, captured, captured, 0)
        each = &set.sightings[own]
        each.first, each.last, each.count = min(each.first, captured), max(each.last, captured), count
        set.arrived[own] = now
        return before >= self.keep

    cdef bint fresh(self, uint64_t arrived, uint64_t now) noexcept nogil:
        # By another process's look at the clock it may have arrived a little later than now.
        return arrived != 0 and (now - arrived if now > arrived else arrived - now) <= self.lag
