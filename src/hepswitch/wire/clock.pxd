# The wall clock, for the hot paths: when something arrived.

from libc.stdint cimport uint64_t

cdef extern from "<time.h>" nogil:
    ctypedef int clockid_t
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    clockid_t CLOCK_REALTIME
    int clock_gettime(clockid_t, timespec*)


cdef inline uint64_t wall_us() noexcept nogil:
    """µs since 1970."""
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return <uint64_t> now.tv_sec * 1000000 + now.tv_nsec // 1000
