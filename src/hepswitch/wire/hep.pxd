from libc.stdint cimport uint64_t

from hepswitch.wire.frames cimport Frames
from hepswitch.wire.index cimport Chunk
from hepswitch.wire.raw cimport Raw


cdef class Hep(Raw):                                       # the bytes, the index and the time: see Raw
    cdef bytes mark                                        # of the batch that it is in (Batch.mark); None: of none that has one
    cdef int span(self, const unsigned char** p, Py_ssize_t* n) except -1              # payload, inflated if need be
    cdef bint identity(self, const unsigned char** p, Py_ssize_t* n) except -1
    cdef uint64_t call_key(self) except? 0                 # hash of the call's identity; see Hep.call_identity
    cdef int write_to(self, Frames frames, int version) except -1                      # version 0: as it is; or Plain

    cdef object view(self, Chunk* chunk, str kind)
    cdef Py_ssize_t encode(self, int version, unsigned char** out, Frames frames) except -1


cdef uint64_t mixed(const unsigned char* p, Py_ssize_t n) noexcept nogil               # the hash behind call_key()
