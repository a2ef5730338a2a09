from libc.stdint cimport uint64_t

from hepswitch.routing.packet cimport Context, Packet
from hepswitch.wire.hep cimport Hep


cdef class Kept:
    cdef readonly bytes came             # the packet as it came, and as the route left it: the same object if that is alike
    cdef readonly bytes left
    cdef readonly double at              # when, by the clock
    cdef bint unrouted                   # nobody has taken it yet
    cdef public object given             # see Packet.given
    cdef tuple names
    cdef Context context
    cdef object sender
    cdef list handed
    cdef uint64_t arrival_us
    cdef bint cut

    cdef Hep load(self, Hep hep, bytes octets)


cdef class LookBack:
    cdef public double seconds
    cdef readonly Py_ssize_t most
    cdef readonly Py_ssize_t nbytes
    cdef readonly uint64_t forgotten
    cdef object clock, shorten, names_of
    cdef object ring                     # Kept, the oldest first
    cdef dict index                      # by each of their names
    cdef bytes came                      # of the packet at hand
    cdef tuple names

    cdef int enter(self, Packet packet) except -1
    cdef int leave(self, Packet packet, bint unrouted) except -1
    cdef int forget(self, double before) except -1
