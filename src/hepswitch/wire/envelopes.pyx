# cython: language_level=3
"""Envelopes: HEPv3 packets made around payloads that came without HEP, end to end, given to the flow as a batch.

What `Hep.new()` would make of the same values, byte for byte, at the speed of a mirror port. Not here: what a payload is
(`wire.intake`), sockets, counting.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from hepswitch.wire.batch cimport Batch
from hepswitch.wire.clock cimport wall_us
from hepswitch.wire.convert cimport chunk_at, number_chunk
from hepswitch.wire.frames cimport Frames
from hepswitch.wire.index cimport (
    CAPTAGENT_ID, CORRELATION_ID, DST_IP4, DST_IP6, DST_PORT, FAMILY_6, HEAD, MOST, PAYLOAD, PROTO_FAMILY, PROTO_ID,
    PROTO_TYPE, SRC_IP4, SRC_IP6, SRC_PORT, TIMESTAMP, TIMESTAMP_US,
    is_six, put16,
)

import socket

cdef enum:
    VLAN_ID = 0x12
    NODE_NAME = 0x13
    LONGEST_NAME = 255       # bytes of a node's name
    # Bytes of everything but the correlation id, the node's name and the payload: 15 heads, and the values.
    FIXED = 15 * HEAD + 1 + 1 + 2 * 16 + 2 * 2 + 2 * 4 + 1 + 4 + 2


cdef class Envelopes:
    """See envelopes.pyi."""

    def __init__(self, listener, captagent_id=2001, node_name=None, peer=None):
        cdef bytes name = (node_name or "").encode("utf-8", "surrogateescape")
        if not 0 <= captagent_id < 1 << 32:
            raise ValueError(f"captagent_id takes a number 0..4294967295, not {captagent_id}")
        if len(name) > LONGEST_NAME:
            raise ValueError(f"node_name has {len(name)} bytes; it may have {LONGEST_NAME}")
        self.frames = Frames()
        self.senders = Frames()
        self.packets = Batch(listener, peer)
        self.packets.keeper = (self.frames, self.senders)
        self.agent = captagent_id.to_bytes(4, "big")
        self.node = name

    cdef int put(self, int family, int proto_id, const unsigned char* src, const unsigned char* dst,
                 uint16_t sport, uint16_t dport, uint64_t time_us, int proto_type, int vlan,
                 const unsigned char* correlation, Py_ssize_t correlation_size,
                 const unsigned char* payload, Py_ssize_t n) except -1:
        cdef bint six = is_six(family)
        cdef int width = 16 if six else 4
        cdef uint64_t seconds = time_us // 1000000
        cdef unsigned char* start
        cdef unsigned char* at
        cdef Py_ssize_t size
        self.packets.count = 0                               # what was given out may move now
        if n > MOST or correlation_size > MOST or seconds >> 32:
            return 0
        start = self.frames.reserve(FIXED + LONGEST_NAME + correlation_size + n)
        at = number_chunk(start + HEAD, PROTO_FAMILY, 1, family)
        at = number_chunk(at, PROTO_ID, 1, proto_id)
        at = chunk_at(at, SRC_IP6 if six else SRC_IP4, src, width)
        at = chunk_at(at, DST_IP6 if six else DST_IP4, dst, width)
        at = number_chunk(at, SRC_PORT, 2, sport)
        at = number_chunk(at, DST_PORT, 2, dport)
        at = number_chunk(at, TIMESTAMP, 4, seconds)
        at = number_chunk(at, TIMESTAMP_US, 4, time_us - seconds * 1000000)
        at = number_chunk(at, PROTO_TYPE, 1, proto_type)
        at = chunk_at(at, CAPTAGENT_ID, self.agent, 4)
        if correlation_size:
            at = chunk_at(at, CORRELATION_ID, correlation, correlation_size)
        if vlan >= 0:
            at = number_chunk(at, VLAN_ID, 2, vlan)
        if self.node:
            at = chunk_at(at, NODE_NAME, self.node, len(self.node))
        at = chunk_at(at, PAYLOAD, payload, n)
        size = at - start
        if size > MOST:
            return 0
        memcpy(start, b"HEP3", 4)
        put16(start + 4, size)
        self.frames.commit(size)
        return 1

    cdef int put_whole(self, const unsigned char* packet, Py_ssize_t size) except -1:
        self.packets.count = 0
        if size > MOST:
            return 0
        self.frames.put(packet, size)
        return 1

    cdef int sent_by(self, const unsigned char* sender, Py_ssize_t size) except -1:
        return self.senders.put(sender, size)

    cdef Batch sealed(self):
        cdef Py_ssize_t i, start, end = self.frames.head, sender_end = self.senders.head
        cdef bint sent = len(self.senders) > 0
        self.packets.count = 0
        self.packets.arrival_us = wall_us()
        if sent and len(self.senders) != len(self.frames):
            raise ValueError(f"{len(self.frames)} packets and {len(self.senders)} who sent them: say it for each")
        for i in range(len(self.frames)):
            start, end = end, self.frames.ends[self.frames.first + i]
            self.packets.put(self.frames.data + start, end - start, NULL, 0)
            if sent:
                start, sender_end = sender_end, self.senders.ends[self.senders.first + i]
                self.packets.items[i].sender = self.senders.data + start
                self.packets.items[i].sender_size = <uint32_t> (sender_end - start)
        return self.packets

    cdef int empty(self) except -1:
        self.packets.count = 0
        self.senders.clear()
        self.frames.clear()
        return 0

    def add(self, bytes payload not None, *, src_ip, src_port, dst_ip, dst_port, time_us, proto_id=17, proto_type=1,
            vlan_id=None, bytes correlation_id not None=b""):
        cdef bytes src = packed(src_ip), dst = packed(dst_ip)
        if len(src) != len(dst):
            raise ValueError(f"{src_ip} and {dst_ip} are of two families: a packet goes between addresses of one")
        for name, value, most in (("src_port", src_port, 65535), ("dst_port", dst_port, 65535), ("proto_id", proto_id, 255),
                                  ("proto_type", proto_type, 255), ("vlan_id", vlan_id or 0, 65535),
                                  ("time_us", time_us, (1 << 64) - 1)):
            if not 0 <= value <= most:
                raise ValueError(f"{name} takes a number 0..{most}, not {value}")
        return bool(self.put(
            2 if len(src) == 4 else FAMILY_6, proto_id, src, dst, src_port, dst_port, time_us, proto_type,
            -1 if vlan_id is None else vlan_id, correlation_id, len(correlation_id), payload, len(payload),
        ))

    def add_whole(self, bytes packet not None):
        return bool(self.put_whole(packet, len(packet)))

    def batch(self):
        return self.sealed()

    def clear(self):
        self.empty()

    def __len__(self):
        return len(self.frames)


cdef bytes packed(address):
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, address)
        except OSError:
            continue
    raise ValueError(f"{address!r} is no IPv4 or IPv6 address")
