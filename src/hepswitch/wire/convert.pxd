from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from hepswitch.wire.index cimport HEAD, put16, put_number_at
from hepswitch.wire.raw cimport Raw

cdef enum:
    ROOM_V3 = 160            # more than all but the payload takes when an older packet becomes version 3
    ROOM_OLD = 52


# Write the packet, with this payload, at out: room for the payload and as many bytes as above is there. They give the bytes
# written; version 3 may take more than MOST, then the length in its head is not set.
cdef Py_ssize_t as_v3(Raw packet, unsigned char* out, const unsigned char* payload, Py_ssize_t n) noexcept
cdef Py_ssize_t as_old(Raw packet, int version, unsigned char* out, bint six, const unsigned char* payload,
                       Py_ssize_t n) noexcept


# One generic chunk written at `out`; gives where the next one goes.
cdef inline unsigned char* chunk_at(unsigned char* out, int id, const unsigned char* p, Py_ssize_t n) noexcept nogil:
    put16(out, 0)
    put16(out + 2, id)
    put16(out + 4, n + HEAD)
    if n:
        memcpy(out + HEAD, p, n)
    return out + HEAD + n


cdef inline unsigned char* number_chunk(unsigned char* out, int id, int width, uint64_t value) noexcept nogil:
    cdef unsigned char packed[8]
    put_number_at(packed, width, value, False)
    return chunk_at(out, id, packed, width)
