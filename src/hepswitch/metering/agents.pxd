from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from hepswitch.routing.packet cimport Packet
from hepswitch.routing.sender cimport Sender
from hepswitch.wire.index cimport Chunk, number_at

cdef enum:
    NODE_NAME = 0x13         # the highest generic chunk that is looked at
    TYPES = 48               # room for words.TYPES
    VERSIONS = 3


cdef struct Marks:           # what is looked at in a packet, found in one pass
    Chunk* first[NODE_NAME + 1]          # the first chunk of each generic id; NULL: none
    uint64_t captured        # µs


cdef struct Agent:
    uint64_t key             # hash of all that tells agents apart
    uint64_t packets[VERSIONS][TYPES]
    uint64_t payload[TYPES]  # bytes of payloads
    uint64_t bytes           # of packets
    uint64_t first, last     # times of arrival, µs
    double skew              # µs, smoothed; their time of capture minus our time of arrival
    uint64_t timed           # packets that skew was made of
    double rate              # packets a second, smoothed
    uint64_t before          # packets at the last sweep
    int node                 # number of its label
    int older, newer         # by `last`; -1: none
    int next                 # in the same bucket of the table; -1: none


cdef inline void mark(Packet packet, Marks* marks) noexcept nogil:
    cdef Chunk* chunk = packet.index.chunks
    cdef Chunk* end = chunk + packet.index.count
    memset(marks.first, 0, sizeof(marks.first))
    while chunk < end:
        if chunk.vendor == 0 and chunk.id <= NODE_NAME and marks.first[chunk.id] == NULL:
            marks.first[chunk.id] = chunk
        chunk += 1
    marks.captured = packet.captured_us()


cdef inline uint64_t number_of(Packet packet, Chunk* chunk) noexcept nogil:
    """Of a chunk in or behind the block of times, as `Raw.number` reads it; 0 when it is none."""
    if chunk == NULL or not 1 <= chunk.size <= 8:
        return 0
    return number_at(packet.data + chunk.at, chunk.size, packet.little_time)


cdef class Agents:
    cdef Agent* agents
    cdef int* heads          # first agent of each bucket; -1: none
    cdef list who            # of each agent: (captagent_id, node name, address, listener)
    cdef int count, room, most
    cdef uint64_t mask, seed
    cdef int oldest, newest
    cdef readonly uint64_t forgotten
    cdef readonly list nodes             # labels; the last one there can be is "other"
    cdef dict node_numbers
    cdef int most_nodes
    cdef dict gone           # what forgotten agents had sent: packets by (listener, version, type), by (node, type) with bytes

    cdef Agent* see(self, Packet packet, const Marks* marks, int type, const Sender* sender, str listener,
                    uint64_t listener_key, uint64_t arrived) except NULL
    cdef Agent* add(self, uint64_t key, uint64_t number, bytes name, const Sender* sender, str listener, uint64_t arrived) except NULL
    cdef int node_of(self, str label) except -1
    cdef int forget(self) except -1
    cdef void touch(self, int at) noexcept nogil
