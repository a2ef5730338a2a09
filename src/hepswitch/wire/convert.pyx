# cython: language_level=3
"""A packet written in another HEP version: 1 or 2 as 3, and 3 as 1 or 2, with every field that the target can carry.

Not here: whether the target can carry it at all (`hep`).
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

from hepswitch.wire.index cimport (
    CAPTAGENT_ID, DST_PORT, FAMILY_4, FAMILY_6, HEAD, MOST, OLD_TIME, PAYLOAD, PROTO_ID, PROTO_TYPE, SIP, SRC_IP4, SRC_IP6,
    SRC_PORT, TIMESTAMP, TIMESTAMP_US, UDP,
    Chunk, put16, put_number_at,
)
from hepswitch.wire.raw cimport Raw


cdef Py_ssize_t as_v3(Raw packet, unsigned char* out, const unsigned char* payload, Py_ssize_t n) noexcept:
    cdef unsigned char* at = out + HEAD
    cdef uint64_t us = packet.captured_us(), value = 0
    cdef Chunk* chunk
    cdef int i
    memcpy(out, b"HEP3", 4)
    for i in range(packet.index.count):
        chunk = &packet.index.chunks[i]
        if chunk.id <= DST_PORT:
            at = chunk_at(at, chunk.id, packet.data + chunk.at, chunk.size)
    if us:
        at = number_chunk(at, TIMESTAMP, 4, us // 1000000)
        at = number_chunk(at, TIMESTAMP_US, 4, us % 1000000)
    at = number_chunk(at, PROTO_TYPE, 1, SIP)
    if packet.number(CAPTAGENT_ID, &value):
        at = number_chunk(at, CAPTAGENT_ID, 4, value)
    at = chunk_at(at, PAYLOAD, payload, n)
    if at - out <= MOST:
        put16(out + 4, at - out)
    return at - out


cdef Py_ssize_t as_old(Raw packet, int version, unsigned char* out, bint six, const unsigned char* payload,
                       Py_ssize_t n) noexcept:
    cdef int width = 16 if six else 4, i
    cdef uint64_t value = 0, us = packet.captured_us()
    cdef Chunk* chunk
    cdef unsigned char* at = out + 8 + 2 * width
    memset(out, 0, ROOM_OLD)
    out[0], out[1], out[2] = <unsigned char> version, <unsigned char> (8 + 2 * width), FAMILY_6 if six else FAMILY_4
    out[3] = <unsigned char> value if packet.number(PROTO_ID, &value) else UDP
    for i in range(2):
        if packet.number(SRC_PORT + i, &value):
            put16(out + 4 + 2 * i, value & 0xFFFF)
        chunk = packet.address(SRC_IP4 + i, SRC_IP6 + i)
        if chunk != NULL:
            memcpy(out + 8 + width * i, packet.data + chunk.at, width)
    if version == 2:
        put_number_at(at, 4, us // 1000000, True)
        put_number_at(at + 4, 4, us % 1000000, True)
        if packet.number(CAPTAGENT_ID, &value) and value <= 0xFFFF:
            put_number_at(at + 8, 2, value, True)
        at += OLD_TIME
    if n:
        memcpy(at, payload, n)
    return at + n - out
