from libc.stdint cimport uint64_t


cdef struct Bucket:
    uint64_t key
    uint64_t full            # when it is full again, monotonic ns; in the past: it is full (GCRA's theoretical arrival)


cdef class Buckets:
    cdef Bucket* buckets
    cdef uint64_t mask       # of the number of a set of buckets
    cdef uint64_t salt       # of keys from Python: hash() of numbers is the same everywhere
    cdef readonly uint64_t evicted

    cdef bint take_one(self, uint64_t key, uint64_t interval, uint64_t depth, uint64_t now) noexcept nogil


cdef uint64_t monotonic() noexcept nogil         # ns


cdef inline uint64_t mix(uint64_t key) noexcept nogil:
    """splitmix64's finaliser: no two numbers give the same."""
    key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9u
    key = (key ^ key >> 27) * 0x94D049BB133111EBu
    return key ^ key >> 31
