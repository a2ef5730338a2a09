from libc.stdint cimport uint16_t, uint32_t, uint64_t

from hepswitch.wire.frames cimport Frames


cdef struct Chunk:
    uint16_t vendor
    uint16_t id
    uint32_t at              # offset of the value in data
    uint32_t size            # of the value


cdef class Hep:
    cdef unsigned char* data          # the packet, valid HEP at all times; edits go into it at once
    cdef Py_ssize_t size
    cdef unsigned char* owned         # our own buffer when data points into it, else NULL …
    cdef Py_ssize_t owned_room
    cdef object keeper                # … and then this (or the caller's batch) keeps data alive
    cdef bint frozen                  # data belongs to an immutable object: copy before the first edit
    cdef int _version                 # 1, 2 or 3
    cdef bint little_time             # v2: its time block is little-endian
    cdef Chunk* index                 # every chunk in order; v1/v2 fields appear as the chunks that they correspond to
    cdef int chunk_count, chunk_room
    cdef object sip_view              # cached Sip, False when the payload is not SIP, None when not asked yet
    cdef object inflated              # cached inflated payload (bytes) of chunk 0x10
    cdef uint64_t arrival_us          # receiver's clock; the time of a packet that carries none

    cdef int load(self, unsigned char* data, Py_ssize_t size, bint frozen) except -1   # raises WireError
    cdef int detach(self) except -1                        # take the bytes along: from now on data is owned
    cdef Chunk* find(self, int vendor, int id) noexcept nogil                          # first such chunk or NULL
    cdef int span(self, const unsigned char** p, Py_ssize_t* n) except -1              # payload, inflated if need be
    cdef uint64_t call_key(self) except? 0                 # hash of the call's identity; see Hep.call_identity
    cdef int write_to(self, Frames frames, int version) except -1                      # version 0: as it is
