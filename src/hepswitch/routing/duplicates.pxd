from libc.stdint cimport uint64_t

from hepswitch.routing.sender cimport Sender
from hepswitch.wire.hep cimport Hep

cdef enum:
    WAYS = 10                # sightings in one set


cdef struct Sighting:        # one message as one agent delivered it
    uint64_t agent
    uint64_t first, last     # times of capture, µs
    uint64_t count           # how often the agent delivered it


cdef struct Set:             # 512 bytes; what most look-ups read is in the first cache lines
    uint64_t lock
    uint64_t keys[WAYS]
    uint64_t arrived[WAYS]   # the latest, µs of the monotonic clock; 0: free
    uint64_t spare[3]
    Sighting sightings[WAYS]


cdef class Duplicates:
    cdef unsigned char[::1] memory       # keeps alive what sets points to
    cdef Set* sets
    cdef uint64_t size       # sets
    cdef uint64_t seed       # of the hashes; the same for all who share the memory
    cdef uint64_t window, lag
    cdef int keep
    cdef object key_of
    cdef bint every          # type of packet
    cdef bint types[256]
    cdef readonly bint marks
    cdef readonly uint64_t copies
    cdef readonly uint64_t forgotten

    cdef bint repeats(self, Hep hep, const Sender* sender, uint64_t now) except -1
    cdef uint64_t agent_of(self, Hep hep, const Sender* sender) except? 0
    cdef bint look(self, uint64_t key, uint64_t agent, uint64_t captured, uint64_t now) noexcept nogil
    cdef bint among(self, Set* set, uint64_t key, uint64_t agent, uint64_t captured, uint64_t now) noexcept nogil
    cdef bint fresh(self, uint64_t arrived, uint64_t now) noexcept nogil
