from libc.stdint cimport uint32_t, uint64_t

from hepswitch.wire.frames cimport Frames
from hepswitch.wire.index cimport Chunk, Index

cdef enum:
    ANY = -1                          # vendor: whichever
    OWN_VENDOR = 0x4853               # of chunks.TRAIL and chunks.NUMBER
    TRAIL_ID = 0x7F01
    NUMBER_ID = 0x7F02


cdef class Raw:
    cdef unsigned char* data          # the packet, valid HEP at all times; edits go into it at once
    cdef Py_ssize_t size
    cdef unsigned char* owned         # our own buffer, kept from packet to packet; data is ours while data == owned …
    cdef Py_ssize_t owned_room
    cdef object keeper                # … and else this (or the caller's batch) keeps data alive
    cdef bint frozen                  # data belongs to an immutable object: copy before the first edit
    cdef int _version                 # 1, 2 or 3; 0: no packet
    cdef bint little_time             # v2: its time block is little-endian
    cdef Index index
    cdef object sip_view              # Hep's cached Sip, False when the payload is not SIP, None when not asked yet
    cdef object inflated              # Hep's cached inflated payload (bytes; b"" when it cannot be) of chunk 0x10
    cdef uint64_t arrival_us          # receiver's clock; the time of a packet that carries none
    cdef readonly bint truncated      # the sender cut the packet: what is there of it was kept

    cdef int load(self, unsigned char* data, Py_ssize_t size, bint frozen) except -1   # raises WireError
    cdef int detach(self) except -1                        # take the bytes along: from now on data is owned
    cdef Chunk* find(self, int vendor, int id) noexcept nogil                          # first such chunk or NULL
    cdef bint number(self, int id, uint64_t* out) noexcept nogil                       # generic chunk as a number
    cdef Chunk* address(self, int four, int six) noexcept nogil                        # the one that counts, or NULL
    cdef uint64_t captured_us(self) noexcept nogil         # time of capture, else of arrival
    cdef bint numbered(self, uint64_t* queue, uint64_t* number) noexcept nogil         # as chunks.NUMBER says
    cdef int trail(self, uint32_t id) noexcept nogil       # switches that it passed; negative when `id` is among them

    cdef int put_number(self, int id, int width, uint64_t value, str name) except -1
    cdef int put_value(self, int vendor, int id, const unsigned char* p, Py_ssize_t n) except -1
    cdef int put_address(self, int four, int six, value, str name) except -1
    cdef int put_payload(self, bytes value) except -1
    cdef bint remove(self, int vendor, int id) except -1   # every such chunk; vendor ANY: of any vendor
    cdef int unnumber(self) except -1                      # take chunks.NUMBER out
    cdef int own(self, Py_ssize_t room) except -1
    cdef int refuse(self, str name) except -1

    cdef int load_gzip(self, unsigned char* data, Py_ssize_t size) except -1
    cdef int load_cut(self, unsigned char* data, Py_ssize_t size) except -1
    cdef int replace(self, Chunk* chunk, const unsigned char* p, Py_ssize_t n) except -1
    cdef int rename(self, Chunk* chunk, int id) except -1
    cdef int append(self, int vendor, int id, const unsigned char* p, Py_ssize_t n) except -1


# To the last frame, if it can carry it.
cdef bint add_hop(Frames frames, uint32_t id) except -1
cdef bint add_number(Frames frames, uint64_t queue, uint64_t number) except -1
cdef str out_of_range(str name, int width, value)
cdef str too_big(Py_ssize_t size)
