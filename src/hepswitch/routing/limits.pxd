from libc.stdint cimport uint64_t

from hepswitch.buckets cimport Buckets
from hepswitch.routing.sender cimport Sender
from hepswitch.wire.hep cimport Hep


cdef class Limit:
    cdef readonly str name
    cdef readonly bint marks
    cdef readonly uint64_t exceeded
    cdef Buckets buckets
    cdef uint64_t interval, depth, salt
    cdef int kind, id

    cdef bint exceeds(self, Hep hep, const Sender* sender, str listener, uint64_t now) except -1
    cdef uint64_t key(self, Hep hep, const Sender* sender, str listener) except? 0
