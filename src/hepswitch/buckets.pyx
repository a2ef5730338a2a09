# cython: language_level=3
"""Token buckets by key in a table that does not grow, however many keys there are.

A bucket is one number, the time when it is full again (the "virtual scheduling" form of the token bucket, GCRA, ITU-T
I.371): a token moves it on by the interval between two tokens, and there is none when it would be further away than the
bucket is deep. Keys are 64-bit hashes, seeded in each process as Python's are, so nobody can aim at another's bucket.

Not here: what is limited and what happens then (`routing.limits`, route scripts).
"""

import functools
import os

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free

from hepswitch.units import parse_rate

cdef extern from "<time.h>" nogil:
    ctypedef int clockid_t
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    clockid_t CLOCK_MONOTONIC
    int clock_gettime(clockid_t, timespec*)

cdef enum:
    WAYS = 8                 # buckets of one set: a key may be in any bucket of its set
    MOST = 1 << 24           # buckets

LONGEST = 1 << 62            # ns, so that no sum of times overflows


cdef class Buckets:
    """At most `size` token buckets (rounded up to a power of two, ≥ 8), each known by a key.

    A bucket that has filled up again is the same as one that never was, so it gives way for nothing. When a new key finds
    no such place, the bucket nearest to full gives way (`evicted`): of a flood of new keys, those of the flood.
    """

    def __cinit__(self, Py_ssize_t size=65536):
        if not 1 <= size <= MOST:
            raise ValueError(f"there can be 1..{MOST} buckets, not {size}")
        cdef uint64_t sets = 1
        while sets * WAYS < <uint64_t> size:
            sets *= 2
        self.mask = sets - 1
        self.salt = int.from_bytes(os.urandom(8))
        self.buckets = <Bucket*> calloc(sets * WAYS, sizeof(Bucket))
        if self.buckets == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.buckets)

    cdef bint take_one(self, uint64_t key, uint64_t interval, uint64_t depth, uint64_t now) noexcept nogil:
        cdef Bucket* ways = self.buckets + (key & self.mask) * WAYS
        cdef Bucket* bucket = ways
        cdef uint64_t full
        cdef int i
        for i in range(WAYS):
            if ways[i].key == key:
                bucket = ways + i
                break
            if ways[i].full < bucket.full:
                bucket = ways + i
        if bucket.key != key:
            self.evicted += bucket.full > now
            bucket.key, bucket.full = key, now
        full = max(bucket.full, now) + interval
        if full - now > depth:
            return False
        bucket.full = full
        return True

    def take(self, key, uint64_t interval_ns, uint64_t depth_ns, uint64_t now_ns):
        """One token of the bucket `key` at the time `now_ns` (monotonic). False when it is empty.

        A token comes every `interval_ns`; the bucket holds `depth_ns // interval_ns` of them.
        """
        return self.take_one(mix(<uint64_t> <Py_ssize_t> hash(key) ^ self.salt), interval_ns, depth_ns, now_ns)

    def limit(self, key, rate, burst=None):
        """True when one more of `key` is within `rate` ("100/s", "60/m", or a number a second), False when it is too much.

        `burst` (default: the number in the rate) may come at once. Any hashable value is a key: an address, a user, a
        tuple. The same key with another rate is the same bucket. ValueError for what is no rate.
        """
        interval, depth = _pace(rate, burst)
        return self.take(key, interval, depth, monotonic())


def pace(rate, burst=None, share=1):
    """(interval_ns, depth_ns) of one of `share` workers that together keep to `rate` and `burst`. ValueError."""
    count, seconds = parse_rate(rate)
    burst = max(count, 1) if burst is None else burst
    if not 1 <= burst <= 1e9:
        raise ValueError(f"a burst is a number of packets 1..1000000000, not {burst!r}")
    interval = max(round(1e9 * seconds * share / count), 1)
    return interval, min(max(round(interval * burst / share), interval), LONGEST)


_pace = functools.lru_cache(1024)(pace)


cdef uint64_t monotonic() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t> now.tv_sec * 1000000000 + <uint64_t> now.tv_nsec
