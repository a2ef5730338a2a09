# cython: language_level=3
"""Where the chunks of a HEP packet are: one pass over the bytes of any version, every bound checked.

The fields in the fixed header of versions 1 and 2 are noted as the chunks that they correspond to. Sources: HEP3 Network
Protocol Specification rev. 37; for versions 1 and 2 what senders do. Not here: who owns the bytes and edits them (`raw`),
and what chunks mean (`fields`).
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport realloc

from hepswitch.wire.errors import WireError

cdef uint64_t YEAR_2000 = 946684800
cdef uint64_t YEAR_2100 = 4102444800


cdef Py_ssize_t index_v3(Index* index, const unsigned char* p, Py_ssize_t size) except -1:
    cdef Py_ssize_t at = HEAD, length, total = p[4] << 8 | p[5]
    cdef Chunk* chunk
    cdef int count = 0
    if total < HEAD:
        raise WireError(4, "bad length")
    if total > size:
        raise WireError(4, "truncated")
    while at < total:
        if total - at < HEAD:
            raise WireError(at, "bad chunk length")
        length = p[at + 4] << 8 | p[at + 5]
        if length < HEAD or length > total - at:
            raise WireError(at + 4, "bad chunk length")
        if count == index.room:
            grow(index)
        chunk = &index.chunks[count]
        chunk.vendor = <uint16_t> (p[at] << 8 | p[at + 1])
        chunk.id = <uint16_t> (p[at + 2] << 8 | p[at + 3])
        chunk.at = <uint32_t> (at + HEAD)
        chunk.size = <uint32_t> (length - HEAD)
        count += 1
        at += length
    index.count = count
    return total


cdef Py_ssize_t salvage(const unsigned char* p, Py_ssize_t size, Py_ssize_t* cut) except -1:
    """How much to keep of a version 3 packet that its sender cut: up to the last whole chunk, or into the payload.

    `cut` is where the payload begins (its chunk) when it is the part that was cut, else 0: the length there and the
    packet's own must be corrected. WireError when the payload had not begun.
    """
    cdef Py_ssize_t at = HEAD, length
    cdef bint payload, found = False
    cut[0] = 0
    while size - at >= HEAD:
        payload = p[at] == 0 and p[at + 1] == 0 and p[at + 2] == 0 and p[at + 3] == PAYLOAD
        length = p[at + 4] << 8 | p[at + 5]
        if length < HEAD:
            raise WireError(at + 4, "bad chunk length")
        if length > size - at:
            if payload and size - at > HEAD:
                cut[0] = at
                return size
            break
        found = found or payload
        at += length
    if not found:
        raise WireError(4, "truncated")
    return at


cdef bint index_old(Index* index, const unsigned char* p, Py_ssize_t size) except -1:
    cdef Py_ssize_t at, width = 4, end = size
    cdef int four = 0
    cdef bint little = False
    if size < 8:
        raise WireError(0, "too short")
    if is_six(p[2]):
        width, four = 16, 2
    elif p[2] != FAMILY_4:
        raise WireError(2, "unknown family")
    at = 8 + 2 * width
    if size < at + (OLD_TIME if p[0] == 2 else 0):
        raise WireError(0, "too short")
    index.count = 0
    note(index, 0, PROTO_FAMILY, 2, 1)
    note(index, 0, PROTO_ID, 3, 1)
    note(index, 0, SRC_IP4 + four, 8, width)
    note(index, 0, DST_IP4 + four, 8 + width, width)
    note(index, 0, SRC_PORT, 4, 2)
    note(index, 0, DST_PORT, 6, 2)
    if p[0] == 2:
        little = time_is_little(p + at)
        note(index, 0, TIMESTAMP, at, 4)
        note(index, 0, TIMESTAMP_US, at + 4, 4)
        note(index, 0, CAPTAGENT_ID, at + 8, 2)
        at += OLD_TIME
    while end > at and p[end - 1] == 0:
        end -= 1
    note(index, 0, PAYLOAD, at, end - at)
    return little


cdef bint time_is_little(const unsigned char* p) noexcept nogil:
    """Senders write the time of version 2 in their own byte order: take the one that makes sense, else the usual one."""
    cdef int i
    cdef uint64_t seconds
    for i in range(2):
        seconds = number_at(p, 4, i == 0)
        if YEAR_2000 <= seconds < YEAR_2100 and number_at(p + 4, 4, i == 0) < 1000000:
            return i == 0
    return True


cdef int note(Index* index, int vendor, int id, Py_ssize_t at, Py_ssize_t size) except -1:
    """Add a chunk behind the others."""
    cdef Chunk* chunk
    if index.count == index.room:
        grow(index)
    chunk = &index.chunks[index.count]
    chunk.vendor, chunk.id = <uint16_t> vendor, <uint16_t> id
    chunk.at, chunk.size = <uint32_t> at, <uint32_t> size
    index.count += 1
    return 0


cdef int grow(Index* index) except -1:
    cdef int room = max(2 * index.room, 32)
    grown = <Chunk*> realloc(index.chunks, room * sizeof(Chunk))
    if grown == NULL:
        raise MemoryError()
    index.chunks, index.room = grown, room
    return 0
