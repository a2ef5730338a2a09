# cython: language_level=3
"""Plain SIP. As it comes to a listener: cut out of streams, put into envelopes; what is no SIP is counted. As it goes to a
destination: the message alone, so that in a stream its Content-Length ends it.

Not here: sockets (`net.sip_receiver`, `sources`), what stands in a message (`sip`), streams of captures (`tcp`).
"""

from libc.stdint cimport int64_t, uint16_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memcmp, memcpy, memset

from cpython.bytearray cimport PyByteArray_AS_STRING

from hepswitch.wire.batch cimport Batch, Item
from hepswitch.wire.envelopes cimport Envelopes
from hepswitch.wire.frames cimport Frames
from hepswitch.wire.sip_scan cimport SipFields, sip_call_id, sip_headers, sip_looks, sip_start
from hepswitch.wire.sip_text cimport (
    Header, Span, find, first_line, head_end, line_end, lower, next_header, same, space,
)
from hepswitch.wire.sip_values cimport decimal
from hepswitch.wire.stream cimport FrameReader

import socket

from hepswitch.wire.errors import WireError

cdef extern from "<sys/socket.h>" nogil:
    enum: AF_INET
    enum: AF_INET6

cdef enum:
    UDP = 17
    TCP = 6
    TYPE_SIP = 1
    LONGEST = 65535          # a longer message fits into no HEP packet
    START = 8                # bytes without which nothing looks like SIP
    STUN_HEAD = 20
    MORE = 48                # bytes that `framed` may add to a message

cdef unsigned char[12] V4_MAPPED = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]


cdef class PlainSip:
    """Puts the SIP that comes to `listener` into `envelopes`. The rest is counted there, in `refused` by its reason."""

    def __cinit__(self, listener, bint stream=False):
        self.listener = listener
        self.protocol = TCP if stream else UDP
        self.envelopes = Envelopes(listener)

    cdef int take(self, const unsigned char* p, Py_ssize_t n, Ends* ends, uint64_t time_us,
                  const unsigned char* sender, Py_ssize_t sender_size) except -1:
        cdef bint four = mapped(ends.src) and (mapped(ends.dst) or unspecified(ends.dst))
        cdef int skip = 12 if four else 0
        cdef Span id
        if not sip_looks(p, n):
            return self.refuse(n, "keep-alive" if keeps_alive(p, n) else "not SIP")
        sip_call_id(p, n, &id)
        if not self.envelopes.put(AF_INET if four else AF_INET6, self.protocol, ends.src + skip, ends.dst + skip,
                                  ends.sport, ends.dport, time_us, TYPE_SIP, -1, p + id.at, id.size, p, n):
            return self.refuse(n, "too large for HEP")
        if sender_size:
            self.envelopes.sent_by(sender, sender_size)
        return 0

    cdef int refuse(self, Py_ssize_t n, str reason) except -1:
        self.listener.packets += 1
        self.listener.bytes += n
        self.listener.refused[reason] += 1
        return 0


cdef class SipReader(FrameReader):
    """A `FrameReader` for a stream of SIP, framed by Content-Length (RFC 3261 section 18.3; none means no body).

    `fill` gives the messages as HEP packets from `peer` to `local` (each "ip", port), sent over TCP and captured when
    they arrived. Blank lines between messages are keep-alives (RFC 5626 section 3.5.1), and nothing is counted for them.
    `sip` makes the packets: one for the readers of all connections, for what it holds is gone with the next `fill()`.
    """

    def __init__(self, PlainSip sip not None, peer, local):
        self.sip = sip
        self.cut = Batch(sip.listener, peer)
        memset(&self.ends, 0, sizeof(Ends))
        put_address(self.ends.src, peer[0])
        put_address(self.ends.dst, local[0])
        self.ends.sport, self.ends.dport = peer[1], local[1]

    def fill(self, Batch batch not None) -> bool:
        """Put the complete messages into `batch` (emptied first), 256 at most. False when there is none.

        The packets live until the next `fill()` of a reader with the same `sip`. WireError when what comes next is no SIP
        ("not SIP"), or "too long"; messages before it are given out first, the error is raised by the call after.
        """
        cdef Envelopes envelopes = self.sip.envelopes
        cdef Batch packets
        cdef Item* item
        cdef Py_ssize_t i
        batch.count = 0
        envelopes.empty()
        if not FrameReader.fill(self, self.cut):
            return False
        for i in range(self.cut.count):
            item = &self.cut.items[i]
            self.sip.take(item.data, item.size, &self.ends, self.cut.arrival_us, NULL, 0)
        packets = envelopes.sealed()
        batch.arrival_us = self.cut.arrival_us
        batch.keeper = packets
        for i in range(packets.count):
            batch.put(packets.items[i].data, packets.items[i].size, NULL, 0)
        return True

    cdef Py_ssize_t frame(self) except -1:
        cdef const unsigned char* p = <const unsigned char*> PyByteArray_AS_STRING(self.memory)
        cdef Py_ssize_t have, size
        if not self.searched:
            while self.head < self.tail and (p[self.head] == 13 or p[self.head] == 10):
                self.head += 1
        p += self.head
        have = self.tail - self.head
        if have < START:
            return 0
        if not self.whole:
            if not sip_looks(p, have) and (find(p, 0, have, 10) >= 0 or have > LONGEST):
                raise WireError(0, "not SIP")
            self.whole = sized(p, have, max(self.searched - 3, <Py_ssize_t> 0))
            self.searched = have
        if self.whole > LONGEST or (not self.whole and have > LONGEST):
            raise WireError(0, "too long")
        if not self.whole or self.whole > have:
            return 0
        size = self.whole
        self.whole = self.searched = 0
        return size


cdef Py_ssize_t sized(const unsigned char* p, Py_ssize_t n, Py_ssize_t at) noexcept:
    """Size of the SIP message at p by its Content-Length; 0 while its headers, which do not end before `at`, go on."""
    cdef SipFields fields
    cdef Py_ssize_t head = head_end(p, at, n)
    if head < 0:
        return 0
    sip_start(p, head, &fields)
    sip_headers(p, head, &fields)
    return head + max(fields.content_length, 0)


def message_size(const unsigned char[::1] data not None) -> int:
    """Bytes of the SIP message that `data` begins with, by its Content-Length; 0 when its headers are not all there."""
    return sized(&data[0], data.shape[0], 0) if data.shape[0] else 0


def head_size(const unsigned char[::1] data not None, Py_ssize_t searched=0) -> int:
    """Bytes of the headers that `data` begins with; 0 when they are not all there, as in the first `searched` bytes."""
    return max(head_end(&data[0], max(searched, <Py_ssize_t> 0), data.shape[0]), 0) if data.shape[0] else 0


def message_start(const unsigned char[::1] data not None) -> int:
    """Where the first line is that a message (SIP, HEP) begins with or may yet begin with; len(data) when there is none."""
    cdef const unsigned char* p
    cdef Py_ssize_t at = 0, n = data.shape[0], end
    if not n:
        return 0
    p = &data[0]
    while at < n:
        if p[at] == 13 or p[at] == 10:
            at += 1
            continue
        if n - at >= 4 and (memcmp(p + at, b"HEP3", 4) == 0 or memcmp(p + at, b"EEP3", 4) == 0):
            return at
        end = find(p, at, n, 10)
        if (end < 0 and n - at < LONGEST) or sip_looks(p + at, (n if end < 0 else end + 1) - at):
            return at
        at = n if end < 0 else end + 1
    return n


cdef bint keeps_alive(const unsigned char* p, Py_ssize_t n) noexcept nogil:
    """Blank lines or NULs (RFC 5626 section 3.5.1 and what phones make of it), or a STUN message (RFC 5389 section 6)."""
    cdef Py_ssize_t i
    if n >= STUN_HEAD and p[0] < 2 and memcmp(p + 4, b"\x21\x12\xa4\x42", 4) == 0:
        return True
    for i in range(n):
        if p[i] != 13 and p[i] != 10 and p[i] != 0 and p[i] != 32:
            return False
    return True


# ── to a destination ─────────────────────────────────────────────────────────────────────────────────────────────────

cdef int put_sip(Frames frames, bytes raw, list messages) except -1:
    cdef Py_ssize_t n = len(raw), done = 0, size
    cdef unsigned char* out
    cdef bytes message
    if messages is None:
        return frames.put(raw, n)
    out = frames.reserve(n + MORE * len(messages))
    for message in messages:
        size = framed(out + done, message, len(message))
        # Who finds no SIP in a stream, or too much of it, ends the connection, and what is under way is lost. A start line
        # that the capture has cut is no SIP any more when an end is put to it.
        if size <= LONGEST and sip_looks(out + done, size):
            done += size
    if not done:
        raise ValueError("there is no message that a stream can hold")
    return frames.commit(done)


cdef Py_ssize_t framed(unsigned char* out, const unsigned char* p, Py_ssize_t n) noexcept:
    """Write a message as a stream needs it (RFC 3261 section 18.3): with a Content-Length, and a body of that length.

    A datagram may leave the header out, may have bytes behind the body, and may have lost the end of it on its way here:
    then the header is added, the bytes are left out, the number is that of what is there.
    """
    cdef Py_ssize_t at = first_line(p, n), head, lines, value = 0, value_end = 0, have = 0
    cdef int64_t length = -1
    cdef Header header
    cdef unsigned char* end = out
    p += at
    n -= at
    head = head_end(p, 0, n)
    at = line_end(p, 0, n) + 1
    while not value and next_header(p, n if head < 0 else head, &at, &header):
        if measures(p + header.name, header.name_end - header.name):
            value, value_end = header.value, header.value_end
            while value_end > value and space(p[value_end - 1]):
                value_end -= 1
            length = decimal(p, value, value_end)
    if head < 0:                                       # cut in its headers
        lines = n
        while lines and (p[lines - 1] == 13 or p[lines - 1] == 10):
            lines -= 1
    else:
        lines = head - 2 if p[head - 2] == 13 else head - 1
        have = n - head
        if 0 <= length <= have:
            memcpy(out, p, head + length)
            return head + length
    if value:
        end = copied(end, p, value)
        end += snprintf(<char*> end, MORE, b" %zd", have)
        end = copied(end, p + value_end, lines - value_end)
        if head < 0:
            end = copied(end, b"\r\n", 2)
    else:
        end = copied(end, p, lines)
        end += snprintf(<char*> end, MORE, b"%sContent-Length: %zd\r\n", b"\r\n" if head < 0 else b"", have)
    end = copied(end, b"\r\n", 2)
    if have:
        end = copied(end, p + head, have)
    return end - out


cdef inline unsigned char* copied(unsigned char* out, const unsigned char* p, Py_ssize_t n) noexcept:
    memcpy(out, p, n)
    return out + n


cdef inline bint measures(const unsigned char* name, Py_ssize_t n) noexcept nogil:
    """Is this header Content-Length, or its compact form?"""
    return same(name, n, b"content-length", 14) or (n == 1 and lower(name[0]) == b"l")


# ── addresses ────────────────────────────────────────────────────────────────────────────────────────────────────────

cdef inline bint mapped(const unsigned char* p) noexcept nogil:
    return memcmp(p, V4_MAPPED, 12) == 0


cdef inline bint unspecified(const unsigned char* p) noexcept nogil:
    cdef int i
    for i in range(16):
        if p[i]:
            return False
    return True


cdef int put_ipv4(unsigned char* out, const unsigned char* four) noexcept:
    memcpy(out, V4_MAPPED, 12)
    memcpy(out + 12, four, 4)
    return 0


cdef int put_address(unsigned char* out, address) except -1:
    cdef str text = address.partition("%")[0]
    cdef bytes packed
    if ":" in text:
        packed = socket.inet_pton(AF_INET6, text)
        memcpy(out, <const unsigned char*> packed, 16)
    else:
        packed = socket.inet_pton(AF_INET, text)
        put_ipv4(out, packed)
    return 0


cdef int put_sender(Ends* ends, const unsigned char* sender, Py_ssize_t size) noexcept:
    cdef uint16_t family = 0
    memset(ends.src, 0, 16)
    ends.sport = 0
    if size < 8:
        return 0
    memcpy(&family, sender, 2)
    ends.sport = sender[2] << 8 | sender[3]
    if family == AF_INET:
        put_ipv4(ends.src, sender + 4)
    elif family == AF_INET6 and size >= 24:
        memcpy(ends.src, sender + 8, 16)
    return 0
