# cython: language_level=3
"""Captured frames out of a ring that the kernel fills (AF_PACKET, TPACKET_V3), read in place, a block at a time.

The ring belongs to the socket, not to the process: who maps it next goes on where the last one stopped. What must outlive
a process (the next block, how much was lost) is kept in the private part of the first block.

Not here: which frames (`net.packet_filter`), making and binding the socket, when to read (`sources.mirror`), what is in a
frame (`wire.intake`).
"""

import os
import struct
from socket import SOCK_DGRAM

from libc.errno cimport errno
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from hepswitch.wire.intake cimport Intake

cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void*, size_t, int, int, int, long)
    int munmap(void*, size_t)
    int PROT_READ, PROT_WRITE, MAP_SHARED
    void* MAP_FAILED

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    int getsockopt(int, int, int, void*, socklen_t*)

cdef extern from *:
    """
    #include <linux/if_packet.h>
    /* The kernel writes a block, then its status; the reader reads the block, then gives it back. */
    static inline uint32_t block_status(const uint32_t* status) { return __atomic_load_n(status, __ATOMIC_ACQUIRE); }
    static inline void give_back(uint32_t* status) { __atomic_store_n(status, TP_STATUS_KERNEL, __ATOMIC_RELEASE); }
    """
    uint32_t block_status(const uint32_t*) nogil
    void give_back(uint32_t*) nogil
    int SOL_PACKET "263", PACKET_STATISTICS, PACKET_VERSION, PACKET_RX_RING, TPACKET_V3
    uint32_t TP_STATUS_USER, TP_STATUS_VLAN_VALID
    cdef struct tpacket_hdr_v1:
        uint32_t block_status, num_pkts, offset_to_first_pkt
    cdef union tpacket_bd_header_u:
        tpacket_hdr_v1 bh1
    cdef struct tpacket_block_desc:
        uint32_t offset_to_priv
        tpacket_bd_header_u hdr
    cdef struct tpacket_hdr_variant1:
        uint32_t tp_vlan_tci
    cdef struct tpacket3_hdr:
        uint32_t tp_next_offset, tp_sec, tp_nsec, tp_snaplen, tp_len, tp_status
        uint16_t tp_mac
        tpacket_hdr_variant1 hv1
    cdef struct tpacket_stats_v3:
        unsigned int tp_drops

cdef enum:
    BLOCK_SIZE = 1 << 18
BLOCK = BLOCK_SIZE
"""Bytes of a block: what is handed over at once, and more than the largest frame."""

LEAST_BLOCKS = 4
CELL = 2048
RETIRE = 10
"""Milliseconds after which the kernel hands over a block that is not full: how late a packet may be."""

cdef enum:
    ETHERNET = 1           # LINKTYPE_ of a raw socket's frames …
    RAW_IP = 101           # … and of a cooked one's
    VLAN_ID = 0x0FFF
    TAGS_INSIDE = 2        # that `net.packet_filter` looks behind
    HEADS = 128            # more than the bytes of a frame's heads


cdef struct Frame:
    const unsigned char* data
    Py_ssize_t size, original_size
    int linktype, vlan     # vlan: -1 when there is none
    uint64_t time_us


cdef struct Kept:
    # What outlives a process.
    uint64_t following     # number of the block to read next
    uint64_t drops         # frames lost since the socket was bound


def request_ring(sock, Py_ssize_t size):
    """Let the kernel put what `sock` (AF_PACKET) captures into a ring of about `size` bytes; gives its exact size.

    Raises OSError when that much memory cannot be had.
    """
    blocks = max(size // BLOCK, LEAST_BLOCKS)
    sock.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V3)
    # struct tpacket_req3; version 3 takes the room that a frame needs, but wants to hear of cells that fill the blocks
    request = struct.pack("7I", BLOCK, blocks, CELL, blocks * (BLOCK // CELL), RETIRE, sizeof(Kept), 0)
    sock.setsockopt(SOL_PACKET, PACKET_RX_RING, request)
    return blocks * BLOCK


cdef class PacketRing:
    """The ring of `sock`, which `request_ring` made `size` bytes long; frames lost for want of room go to
    `listener.kernel_drops`, the count since the socket was bound.

    Raises OSError when the ring cannot be mapped.
    """

    cdef object sock                  # keeps fd open
    cdef int fd
    cdef object listener
    cdef unsigned char* memory
    cdef Py_ssize_t blocks
    cdef Kept* kept
    cdef bint cooked

    def __cinit__(self, sock, listener, Py_ssize_t size):
        cdef tpacket_block_desc* first
        self.sock = sock
        self.fd = sock.fileno()
        self.listener = listener
        self.cooked = sock.type == SOCK_DGRAM
        self.blocks = size // BLOCK_SIZE
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, self.fd, 0)
        if memory == MAP_FAILED:
            raise _os_error()
        self.memory = <unsigned char*> memory
        first = <tpacket_block_desc*> memory
        if first.offset_to_priv + sizeof(Kept) > BLOCK_SIZE:
            raise OSError(f"the ring is not one of TPACKET_V3: private part at {first.offset_to_priv}")
        self.kept = <Kept*> (self.memory + first.offset_to_priv)
        listener.kernel_drops += self.kept.drops
        self.count_drops()

    def __dealloc__(self):
        self.close()

    def close(self) -> None:
        """Take the ring out of this process's memory: until then the socket lives on, closed or not."""
        if self.memory != NULL:
            munmap(self.memory, self.blocks * BLOCK_SIZE)
            self.memory = NULL

    cdef tpacket_block_desc* following(self) except NULL:
        """The block to read next."""
        if self.memory == NULL:
            raise ValueError("the ring is closed")
        return <tpacket_block_desc*> (self.memory + <Py_ssize_t> (self.kept.following % <uint64_t> self.blocks) * BLOCK_SIZE)

    def read(self, Intake intake not None) -> bool:
        """Hand the frames of the oldest block to `intake`; False when no block is ready."""
        cdef Frame frame
        cdef unsigned char* at = self.ready()
        if at == NULL:
            return False
        while at != NULL:
            at = self.look(at, &frame)
            intake.frame(frame.data, frame.size, frame.original_size, frame.linktype, frame.time_us, frame.vlan)
        return True

    def release(self) -> None:
        """Give the block that was read back to the kernel: what was made of it is safe, or given up."""
        cdef tpacket_block_desc* block = self.following()
        if block_status(&block.hdr.bh1.block_status) & TP_STATUS_USER:
            give_back(&block.hdr.bh1.block_status)
            self.kept.following += 1

    def count_drops(self) -> None:
        """Bring `listener.kernel_drops` up to date."""
        self.following()  # or it is closed
        cdef tpacket_stats_v3 stats
        cdef socklen_t size = sizeof(stats)
        memset(&stats, 0, sizeof(stats))
        if getsockopt(self.fd, SOL_PACKET, PACKET_STATISTICS, &stats, &size) != 0:
            raise _os_error()
        self.kept.drops += stats.tp_drops  # the kernel's own count begins again with each reading
        self.listener.kernel_drops += stats.tp_drops

    cdef unsigned char* ready(self) except? NULL:
        """The first frame of the oldest block that the kernel has handed over, NULL when there is none."""
        cdef tpacket_block_desc* block = self.following()
        if not block_status(&block.hdr.bh1.block_status) & TP_STATUS_USER or block.hdr.bh1.num_pkts == 0:
            return NULL
        return self.checked(<unsigned char*> block + block.hdr.bh1.offset_to_first_pkt)

    cdef unsigned char* look(self, unsigned char* at, Frame* frame) except? NULL:
        """Fill `frame` from what is at `at`; where the next one of its block is, NULL behind the last."""
        cdef tpacket3_hdr* head = <tpacket3_hdr*> at
        cdef Py_ssize_t room = BLOCK_SIZE - (at - self.memory) % BLOCK_SIZE
        if head.tp_mac + <Py_ssize_t> head.tp_snaplen > room:
            raise OSError(f"the kernel's ring is broken: a frame of {head.tp_snaplen} bytes where {room} are left")
        frame.data = at + head.tp_mac
        frame.size, frame.original_size = head.tp_snaplen, head.tp_len
        frame.time_us = <uint64_t> head.tp_sec * 1000000 + head.tp_nsec // 1000
        frame.vlan = head.hv1.tp_vlan_tci & VLAN_ID if head.tp_status & TP_STATUS_VLAN_VALID else -1
        frame.linktype = RAW_IP if self.cooked else ETHERNET
        if self.cooked:
            skip_tags(frame)
        return self.checked(at + head.tp_next_offset) if head.tp_next_offset else NULL

    cdef unsigned char* checked(self, unsigned char* at) except NULL:
        """`at`, where a frame's head must be."""
        cdef Py_ssize_t place = at - self.memory
        if place < 0 or place % BLOCK_SIZE > BLOCK_SIZE - HEADS or place >= self.blocks * BLOCK_SIZE:
            raise OSError(f"the kernel's ring is broken: a frame at {place}")
        return at


cdef void skip_tags(Frame* frame) noexcept:
    """A cooked frame that has more than one tag may begin with the second (IEEE 802.1Q: 2 bytes of tag, 2 of EtherType).

    What the kernel says of it differs between versions, so the bytes are asked. An IPv4 header has the frame's length
    where an EtherType would stand.
    """
    cdef const unsigned char* data
    cdef int tags, kind, version
    for tags in range(TAGS_INSIDE):
        if frame.size < 5:
            break
        data = frame.data
        kind, version = data[2] << 8 | data[3], data[4] >> 4
        if data[0] >> 4 == 4 and kind == frame.original_size:
            break
        if not (kind == 0x0800 and version == 4 or kind == 0x86DD and version == 6 or kind in (0x8100, 0x88A8, 0x9100)):
            break
        frame.vlan = (data[0] << 8 | data[1]) & VLAN_ID
        frame.data += 4
        frame.size -= 4
        frame.original_size -= 4


cdef _os_error():
    return OSError(errno, os.strerror(errno))
