cimport cython
from libc.stdint cimport uint32_t, uint64_t

from hepswitch.wire.frames cimport Frames
from hepswitch.wire.hep cimport Hep


cdef class Node:
    # What the flow sees of one far end. Subclasses move `inbox` on; nothing here waits or does I/O.
    cdef readonly str url             # scheme://host:port, its name in the books
    cdef readonly uint64_t seed       # stable hash of the URL: decides, with a call's key, whose call it is
    cdef public double weight
    cdef public int priority          # higher is asked first
    cdef public int version           # HEP version that it is sent; 0: as the packet is; or Plain: the SIP alone
    cdef public uint32_t mark         # this switch's id, added to the trail of what is sent; 0: none
    cdef public bint numbered         # each packet gets its number in this queue (chunks.NUMBER)
    cdef readonly uint64_t queue      # the queue's name: nobody but the far end ever sees it
    cdef readonly uint64_t number     # of the last packet
    cdef public bint active           # reachable as far as we know: preferred to a node that is not
    cdef public bint enabled          # takes new packets
    cdef public Frames inbox          # where an accepted packet is written
    cdef public Py_ssize_t room       # bytes in the inbox from which overflow() decides
    cdef public Py_ssize_t elsewhere  # bytes that wait outside the inbox, less those in it that wait for nothing
    cdef public uint64_t accepted
    cdef readonly object refused      # Counter: copies that it could not take, by reason (policy all)
    cdef int place                    # in the balancer's nodes
    cdef double turn                  # weighted: how long it has waited

    @cython.final
    cdef int take(self, Hep packet) except -1
    cdef double load(self) noexcept


ctypedef int (*Choice)(Balancer balancer, Hep packet, uint64_t candidates) except -1


cdef class Balancer:
    cdef readonly tuple nodes
    cdef readonly object refused      # Counter: packets that no node took, by reason
    cdef public object treat          # packet → what is sent of it, or the reason why nothing is; None: the packet itself
    cdef public object fallback       # a Balancer that is asked when no reachable node takes a packet, or None
    cdef readonly uint64_t relieved   # packets that the fallback took
    cdef readonly uint64_t failures   # of a user's policy or of the value that is hashed: `call` chose instead
    cdef Choice choice                # NULL: every node gets a copy
    cdef object value                 # hash: what to hash, Callable[[Hep], object]
    cdef object script                # script: the user's function, None while there is none
    cdef dict subsets                 # script: the nodes of a bit mask, as a tuple
    cdef dict places                  # script: URL → place
    cdef uint64_t* groups             # nodes of one priority each, the highest first
    cdef int group_count
    cdef int last                     # round-robin, least-loaded: the node that had the last packet
    cdef uint64_t dice                # random: state of the generator
    cdef bint even                    # all weights are the same

    @cython.final
    cdef void survey(self, uint64_t* enabled, uint64_t* reachable) noexcept
    @cython.final
    cdef Hep treated(self, Hep packet)
    @cython.final
    cdef int now(self, Hep packet, Hep copy, uint64_t enabled, uint64_t reachable) except -1
    @cython.final
    cdef int ask(self, Hep packet, Hep copy, uint64_t candidates) except -1
    @cython.final
    cdef int one(self, Hep packet, Hep copy, uint64_t candidates) except -1
    @cython.final
    cdef int each(self, Hep copy, uint64_t candidates) except -1
    cdef tuple among(self, uint64_t candidates)
    cdef int picked(self, answer, tuple nodes, uint64_t candidates) except -2
