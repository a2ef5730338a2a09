# cython: language_level=3
"""Rate limits: which bucket a packet takes its token from.

Not here: the buckets (`hepswitch.buckets`), and what becomes of a packet that found none (`gate`).
"""

import os

from libc.stdint cimport uint64_t

from hepswitch.buckets cimport Buckets, mix
from hepswitch.routing.sender cimport Sender
from hepswitch.wire.hep cimport Hep
from hepswitch.wire.index cimport CAPTAGENT_ID, Chunk
from hepswitch.wire.raw cimport ANY

from hepswitch.wire.chunks import by_name

cdef enum Kind:
    SOURCE
    LISTENER
    NUMBER
    ADDRESS
    OCTETS


cdef class Limit:
    """At most a rate of packets for each value of `by`: "source", "listener", "agent", or a chunk's name or number.

    `interval_ns` and `depth_ns` are `buckets.pace`'s. `marks`: what is too much is tagged "limited" instead of dropped.
    Packets without the chunk share one bucket. ValueError when no chunk is called `by`.
    """

    def __init__(self, str name, str by, uint64_t interval_ns, uint64_t depth_ns, Buckets buckets not None, *, marks=False):
        self.name, self.marks, self.buckets = name, marks, buckets
        self.interval, self.depth = interval_ns, depth_ns
        self.salt = int.from_bytes(os.urandom(8))         # the same value under two limits has two buckets
        self.kind, self.id = _kind_of(by)

    cdef bint exceeds(self, Hep hep, const Sender* sender, str listener, uint64_t now) except -1:
        if self.buckets.take_one(self.key(hep, sender, listener), self.interval, self.depth, now):
            return False
        self.exceeded += 1
        return True

    cdef uint64_t key(self, Hep hep, const Sender* sender, str listener) except? 0:
        cdef uint64_t value = 0
        cdef Chunk* chunk = NULL
        cdef bytes octets = b""
        if self.kind == NUMBER:
            hep.number(self.id, &value)
            return mix(value ^ self.salt)
        if self.kind == LISTENER:
            return mix(<uint64_t> <Py_ssize_t> hash(listener) ^ self.salt)
        if self.kind == SOURCE:
            octets = sender.octets[:16]
        else:
            if self.kind == ADDRESS:
                chunk = hep.address(self.id, self.id + 2)
            else:
                chunk = hep.find(0, self.id)
                if chunk == NULL:
                    chunk = hep.find(ANY, self.id)
            if chunk != NULL:
                octets = hep.data[chunk.at:chunk.at + chunk.size]
        # hash() of bytes is SipHash with a key of this process; these buckets are never compared with another's.
        return mix(<uint64_t> <Py_ssize_t> hash(octets) ^ self.salt)


def _kind_of(str by):
    special = {"source": (SOURCE, 0), "listener": (LISTENER, 0), "agent": (NUMBER, CAPTAGENT_ID)}
    if by in special:
        return special[by]
    if by in by_name:
        chunk = by_name[by]
        if chunk.type.startswith("uint"):
            return NUMBER, chunk.id
        return ADDRESS if by in ("src_ip", "dst_ip") else OCTETS, chunk.id
    try:
        number = int(by, 0)
    except ValueError:
        number = -1
    if not 0 <= number <= 0xFFFF:
        raise ValueError(
            f'by = "{by}" is nothing that packets have: write source, agent, listener, a chunk such as node_name, or its number'
        )
    return OCTETS, number
