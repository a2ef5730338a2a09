from libc.stdint cimport uint64_t

from hepswitch.wire.frames cimport Frames
from hepswitch.wire.hep cimport Hep


cdef class Node:
    # What the flow sees of one far end. Subclasses move `inbox` on; nothing here waits or does I/O.
    cdef readonly str url             # scheme://host:port, its name in the books
    cdef readonly uint64_t seed       # stable hash of the URL: decides, with a call's key, whose call it is
    cdef readonly double weight
    cdef public int version           # HEP version that it is sent; 0: as the packet is
    cdef public bint active           # reachable as far as we know: preferred to a node that is not
    cdef public Frames inbox          # where an accepted packet is written
    cdef public Py_ssize_t room       # bytes in the inbox from which overflow() decides
    cdef public uint64_t accepted
    cdef readonly object refused      # Counter: copies that it could not take, by reason (policy all)

    cdef int take(self, Hep packet) except -1


ctypedef int (*Choice)(Balancer balancer, Hep packet, uint64_t candidates) except -1


cdef class Balancer:
    cdef readonly tuple nodes
    cdef readonly object refused      # Counter: packets that no node took, by reason
    cdef Choice choice                # NULL: every node gets a copy
    cdef int turn                     # round-robin: the node that had the last packet
    cdef bint even                    # all weights are the same

    cdef uint64_t reachable(self)
    cdef int one(self, Hep packet, uint64_t candidates) except -1
    cdef bint each(self, Hep packet) except -1
