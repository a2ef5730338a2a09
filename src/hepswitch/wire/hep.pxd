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
    cdef unsigned char* owned         # our own buffer, kept from packet to packet; data is ours while data == owned …
    cdef Py_ssize_t owned_room
    cdef object keeper                # … and else this (or the caller's batch) keeps data alive
    cdef bint frozen                  # data belongs to an immutable object: copy before the first edit
    cdef int _version                 # 1, 2 or 3; 0: no packet
    cdef bint little_time             # v2: its time block is little-endian
    cdef Chunk* index                 # every chunk in order; v1/v2 fields appear as the chunks that they correspond to
    cdef int chunk_count, chunk_room
    cdef object sip_view              # cached Sip, False when the payload is not SIP, None when not asked yet
    cdef object inflated              # cached inflated payload (bytes; b"" when it cannot be) of chunk 0x10
    cdef uint64_t arrival_us          # receiver's clock; the time of a packet that carries none
    cdef readonly bint truncated      # the sender cut the packet: what is there of it was kept

    cdef int load(self, unsigned char* data, Py_ssize_t size, bint frozen) except -1   # raises WireError
    cdef int detach(self) except -1                        # take the bytes along: from now on data is owned
    cdef Chunk* find(self, int vendor, int id) noexcept nogil                          # first such chunk or NULL
    cdef bint number(self, int id, uint64_t* out) noexcept nogil                       # generic chunk as a number
    cdef Chunk* address(self, int four, int six) noexcept nogil                        # the one that counts, or NULL
    cdef int span(self, const unsigned char** p, Py_ssize_t* n) except -1              # payload, inflated if need be
    cdef uint64_t captured_us(self) noexcept nogil         # time of capture, else of arrival
    cdef bint identity(self, const unsigned char** p, Py_ssize_t* n) except -1
    cdef uint64_t call_key(self) except? 0                 # hash of the call's identity; see Hep.call_identity
    cdef int write_to(self, Frames frames, int version) except -1                      # version 0: as it is

    cdef int fail(self, Py_ssize_t offset, str reason) except -1
    cdef int load_gzip(self, unsigned char* data, Py_ssize_t size) except -1
    cdef int index_v3(self) except -1
    cdef int index_old(self) except -1
    cdef int salvage(self) except -1
    cdef int more_index(self) except -1
    cdef int note(self, int id, Py_ssize_t at, Py_ssize_t size) except -1
    cdef int own(self, Py_ssize_t room) except -1
    cdef int put_number(self, int id, int width, uint64_t value, str name) except -1
    cdef int put_value(self, int vendor, int id, const unsigned char* p, Py_ssize_t n) except -1
    cdef int put_address(self, int four, int six, value, str name) except -1
    cdef int put_payload(self, bytes value) except -1
    cdef int replace(self, Chunk* chunk, const unsigned char* p, Py_ssize_t n) except -1
    cdef int rename(self, Chunk* chunk, int id) except -1
    cdef int append(self, int vendor, int id, const unsigned char* p, Py_ssize_t n) except -1
    cdef bint remove(self, int vendor, int id) except -1   # every such chunk; vendor -1: of any vendor
    cdef int refuse(self, str name) except -1
    cdef object view(self, Chunk* chunk, str kind)
    cdef Py_ssize_t encode(self, int version, unsigned char** out, Frames frames) except -1
    cdef Py_ssize_t encode_v3(self, unsigned char* out, const unsigned char* payload, Py_ssize_t n) noexcept
    cdef Py_ssize_t encode_old(self, int version, unsigned char* out, bint six, const unsigned char* payload, Py_ssize_t n) noexcept
