from libc.stdint cimport uint16_t, uint32_t, uint64_t


cdef enum:
    PROTO_FAMILY = 0x01
    PROTO_ID = 0x02
    SRC_IP4 = 0x03
    DST_IP4 = 0x04
    SRC_IP6 = 0x05
    DST_IP6 = 0x06
    SRC_PORT = 0x07
    DST_PORT = 0x08
    TIMESTAMP = 0x09
    TIMESTAMP_US = 0x0A
    PROTO_TYPE = 0x0B
    CAPTAGENT_ID = 0x0C
    PAYLOAD = 0x0F
    COMPRESSED_PAYLOAD = 0x10
    CORRELATION_ID = 0x11

    SIP = 1
    SIP_JSON = 50
    UDP = 17
    FAMILY_4 = 2             # as Linux numbers them; that is what packets hold
    FAMILY_6 = 10
    HEAD = 6                 # bytes before the chunks of a packet, and before the value of a chunk
    OLD_TIME = 12            # bytes of the time block of version 2
    MOST = 65535             # bytes of a packet


cdef struct Chunk:
    uint16_t vendor
    uint16_t id
    uint32_t at              # offset of the value in the packet
    uint32_t size            # of the value


cdef struct Index:           # every chunk in order; v1/v2 fields appear as the chunks that they correspond to
    Chunk* chunks            # from malloc; whoever holds the index frees it
    int count
    int room


# These raise WireError. The caller has looked at the magic (version 3: 6 bytes, else 1).
cdef Py_ssize_t index_v3(Index* index, const unsigned char* p, Py_ssize_t size) except -1   # the packet's length: ≤ size
cdef bint index_old(Index* index, const unsigned char* p, Py_ssize_t size) except -1        # is v2's time little-endian?
cdef Py_ssize_t salvage(const unsigned char* p, Py_ssize_t size, Py_ssize_t* cut) except -1 # of a cut packet: length to keep

cdef int note(Index* index, int vendor, int id, Py_ssize_t at, Py_ssize_t size) except -1


cdef inline void put16(unsigned char* p, Py_ssize_t value) noexcept nogil:
    p[0] = <unsigned char> (value >> 8 & 0xFF)
    p[1] = <unsigned char> (value & 0xFF)


cdef inline bint is_six(uint64_t family) noexcept nogil:
    """AF_INET6 as Linux, Windows, NetBSD, FreeBSD and macOS number it: senders write their own."""
    return family == 10 or family == 23 or family == 24 or family == 28 or family == 30


cdef inline uint64_t number_at(const unsigned char* p, Py_ssize_t size, bint little) noexcept nogil:
    cdef uint64_t value = 0
    cdef Py_ssize_t i
    for i in range(size):
        value = value << 8 | p[size - 1 - i if little else i]
    return value


cdef inline void put_number_at(unsigned char* p, int size, uint64_t value, bint little) noexcept nogil:
    cdef int i
    for i in range(size):
        p[i if little else size - 1 - i] = <unsigned char> (value >> 8 * i & 0xFF)
