# cython: language_level=3
"""The record of a lake: one journal frame that holds a packet as the route left it, who sent it, and what the route said.

The layout is in docs/architecture.md ("The journal"). Not here: the journal's blocks (`journal`), rows (`destinations.records`).
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

import ipaddress
import json
from typing import NamedTuple

from hepswitch.wire.errors import WireError

cdef extern from "<sys/socket.h>" nogil:
    enum: AF_INET
    enum: AF_INET6

cdef enum:
    HEAD = 36
    MARK = 16
    MARKED = 1                   # of the flags: a mark stands between head and meta

cdef Py_ssize_t MOST_META = 0xFFFF


class StoredPacket(NamedTuple):
    """A record in Python's words. `meta` is None when there is none; `sender_ip` is "" when nobody knows the sender."""

    arrival_us: int
    sender_ip: str
    sender_port: int
    meta: dict | None
    hep: bytes


cdef int put_record(Frames frames, Hep hep, const unsigned char* sockaddr, Py_ssize_t n, bytes meta,
                    bytes mark) except -1:
    cdef uint8_t family = 0
    cdef const unsigned char* address = NULL
    cdef uint16_t kind = 0
    cdef unsigned char port[2]
    memset(port, 0, 2)
    if sockaddr != NULL and n >= 16:
        memcpy(&kind, sockaddr, 2)
        if kind == AF_INET:
            family, address = 4, sockaddr + 4
            memcpy(port, sockaddr + 2, 2)
        elif kind == AF_INET6 and n >= 24:
            family, address = 6, sockaddr + 8
            memcpy(port, sockaddr + 2, 2)
    return put(frames, hep, family, <uint16_t> (port[0] << 8 | port[1]), address, meta, mark)


cdef int put(Frames frames, Hep hep, uint8_t family, uint16_t port, const unsigned char* address, bytes meta,
             bytes mark) except -1:
    cdef Py_ssize_t meta_size = len(meta)
    cdef Py_ssize_t head = HEAD if mark is None else HEAD + MARK
    cdef Py_ssize_t size = head + meta_size + hep.size
    cdef unsigned char* out
    if mark is not None and len(mark) != MARK:
        raise ValueError(f"a mark has {MARK} bytes, not {len(mark)}")
    if meta_size > MOST_META:
        raise ValueError(f"what a route says of a packet takes {meta_size} bytes as JSON; at most {MOST_META} fit a record")
    out = frames.reserve(size)
    little(out, <uint64_t> size, 4)
    little(out + 4, <uint64_t> meta_size, 2)
    out[6] = family
    out[7] = 0 if mark is None else MARKED
    little(out + 8, hep.arrival_us, 8)
    little(out + 16, port, 2)
    memset(out + 18, 0, 18)
    if family:
        memcpy(out + 20, address, 4 if family == 4 else 16)
    if mark is not None:
        memcpy(out + HEAD, <const unsigned char*> mark, MARK)
    if meta_size:
        memcpy(out + head, <const unsigned char*> meta, meta_size)
    if hep.size:
        memcpy(out + head + meta_size, hep.data, hep.size)
    return frames.commit(size)


cdef int read_record(const unsigned char* p, Py_ssize_t size, Record* out) except -1:
    cdef Py_ssize_t head = HEAD
    if size < HEAD:
        raise WireError(0, "too short")
    if <Py_ssize_t> number(p, 4) != size:
        raise WireError(0, "bad length")
    out.family = p[6]
    if out.family != 0 and out.family != 4 and out.family != 6:
        raise WireError(6, "unknown family")
    out.arrival_us = number(p + 8, 8)
    out.port = <uint16_t> number(p + 16, 2)
    out.address = p + 20
    out.mark = NULL
    if p[7] & MARKED:
        head += MARK
        if size < head:
            raise WireError(HEAD, "too short")
        out.mark = p + HEAD
    out.meta = p + head
    out.meta_size = <Py_ssize_t> number(p + 4, 2)
    if out.meta_size > size - head:
        raise WireError(4, "bad length")
    out.packet = out.meta + out.meta_size
    out.packet_size = size - head - out.meta_size
    return 0


cdef inline void little(unsigned char* out, uint64_t value, int size) noexcept nogil:
    cdef int i
    for i in range(size):
        out[i] = <unsigned char> (value >> 8 * i)


cdef inline uint64_t number(const unsigned char* p, int size) noexcept nogil:
    cdef uint64_t value = 0
    cdef int i
    for i in range(size):
        value |= <uint64_t> p[i] << 8 * i
    return value


def write(Frames frames not None, Hep hep not None, str sender_ip="", uint16_t sender_port=0, meta=None, bytes mark=None) -> None:
    """Append the record of `hep`, as it is now, to `frames`. `meta` is a dict, or None; `mark` (16 bytes) that of the
    message whose first packet it is. ValueError for a bad address or mark."""
    said = b"" if not meta else json.dumps(meta, separators=(",", ":")).encode()
    address = ipaddress.ip_address(sender_ip) if sender_ip else None
    packed = b"" if address is None else address.packed
    put(frames, hep, address.version if address else 0, sender_port, packed, said, mark)


def read(data) -> StoredPacket:
    """The record in `data` (bytes-like). WireError when it contradicts itself."""
    cdef const unsigned char[::1] view = data
    cdef Record record
    read_record(&view[0] if view.shape[0] else NULL, view.shape[0], &record)
    sender = ""
    if record.family:
        sender = str(ipaddress.ip_address(<bytes> record.address[:4 if record.family == 4 else 16]))
    meta = None
    if record.meta_size:
        try:
            meta = json.loads(<bytes> record.meta[:record.meta_size])
        except (ValueError, RecursionError):
            raise WireError(HEAD, "bad meta") from None
        if not isinstance(meta, dict):
            raise WireError(HEAD, "bad meta")
    return StoredPacket(record.arrival_us, sender, record.port, meta, <bytes> record.packet[:record.packet_size])


def marks_in(data, lengths) -> list:
    """The marks that the records in `data`, end to end, bear; `lengths` (u32) of them. What is no record bears none."""
    cdef const unsigned char[::1] view = data
    cdef const uint32_t[::1] sizes = lengths
    cdef Py_ssize_t i, at = 0
    cdef list found = []
    for i in range(sizes.shape[0]):
        if sizes[i] > view.shape[0] - at:
            raise ValueError("the records are longer than the data")
        if sizes[i] >= HEAD + MARK and view[at + 7] & MARKED:
            found.append(bytes(view[at + HEAD:at + HEAD + MARK]))
        at += sizes[i]
    return found
