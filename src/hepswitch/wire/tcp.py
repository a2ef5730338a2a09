"""TCP streams of a capture put together and cut into messages: SIP by Content-Length, HEP by its length field.

Tolerates what captures do: a stream whose beginning is missing, retransmissions, segments out of order, lost segments.
A stream of anything else is passed over. Not here: live sockets (`wire.stream` reads HEP from those).
"""

from __future__ import annotations

from collections.abc import Iterator

from hepswitch.wire.plain_sip import message_size
from hepswitch.wire.sip import looks_like_sip

Key = tuple[bytes, int, bytes, int]
"""Source address and port, destination address and port: one direction of a connection."""

MOST_STREAMS = 4096
"""Directions that are followed at one time; the one silent for longest is given up first."""
MOST_WAITING = 256
"""Segments behind a gap; when there are more, the gap is taken as lost."""
LONGEST_MESSAGE = 1 << 20
LONGEST_START = 1 << 16

_FIN, _SYN, _RST = 1, 2, 4
_HALF = 1 << 31
_MODULUS = 1 << 32


class Streams:
    """Every TCP direction of a capture. Bounded; raises nothing."""

    def __init__(self) -> None:
        self._streams: dict[Key, _Stream] = {}

    def segment(self, time_us: int, src: bytes, dst: bytes, data: bytes) -> Iterator[tuple[Key, bytes]]:
        """The messages that one segment (TCP header and all, at least 20 bytes) completes."""
        key = (src, int.from_bytes(data[:2], "big"), dst, int.from_bytes(data[2:4], "big"))
        flags = data[13]
        stream = self._streams.pop(key, None)
        if stream is None or flags & _SYN:
            stream = _Stream()
        stream.time_us = time_us
        stream.add(int.from_bytes(data[4:8], "big"), bool(flags & _SYN), data[max(data[12] >> 4, 5) * 4 :])
        for message in stream.messages():
            yield key, message
        if flags & (_FIN | _RST) and not stream.waiting:
            for message in stream.rest():
                yield key, message
            return
        self._streams[key] = stream
        if len(self._streams) > MOST_STREAMS:
            del self._streams[next(iter(self._streams))]

    def finish(self) -> Iterator[tuple[int, Key, bytes]]:
        """(time in µs, direction, message) of what was still waiting for its end."""
        for key, stream in self._streams.items():
            for message in stream.rest():
                yield stream.time_us, key, message
        self._streams.clear()


class _Stream:
    __slots__ = ("buffer", "next", "time_us", "waiting")

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.next: int | None = None
        self.waiting: dict[int, bytes] = {}
        self.time_us = 0

    def add(self, sequence: int, syn: bool, payload: bytes) -> None:
        if syn:
            sequence = (sequence + 1) % _MODULUS
        if self.next is None:
            if not syn and not payload:
                return
            self.next = sequence
        if not payload:
            return
        if len(payload) > len(self.waiting.get(sequence, b"")):
            self.waiting[sequence] = payload
        self._join()
        if len(self.waiting) > MOST_WAITING:
            # the gap will not be filled: what came before it is cut off, and the stream goes on behind it
            start = self.next
            self.next = min(self.waiting, key=lambda at: (at - start) % _MODULUS)
            self.buffer.clear()
            self._join()

    def _join(self) -> None:
        """Move what follows on from `waiting` to the buffer; what is there already is dropped."""
        while self.waiting:
            start = self.next or 0
            ready = [at for at in self.waiting if (start - at) % _MODULUS < _HALF]
            if not ready:
                return
            for at in sorted(ready, key=lambda at: (at - start + _HALF) % _MODULUS):
                payload = self.waiting.pop(at)
                known = ((self.next or 0) - at) % _MODULUS
                self.buffer += payload[known:]
                self.next = ((self.next or 0) + max(len(payload) - known, 0)) % _MODULUS

    def messages(self) -> Iterator[bytes]:
        while (size := _message_size(self.buffer)) is not None:
            yield bytes(self.buffer[:size])
            del self.buffer[:size]

    def rest(self) -> Iterator[bytes]:
        """What is there of a message whose end is missing, and what came behind a gap."""
        start = self.next or 0
        while True:
            if looks_like_sip(bytes(self.buffer)):
                yield bytes(self.buffer)
            self.buffer.clear()
            if not self.waiting:
                return
            self.next = min(self.waiting, key=lambda at: (at - start) % _MODULUS)
            self._join()
            yield from self.messages()


def _message_size(buffer: bytearray) -> int | None:
    """Size of the whole message that the buffer begins with, None when more is needed.

    Drops keep-alives (RFC 5626 section 3.5.1) and what is no message from the front of the buffer.
    """
    while buffer:
        if buffer[0] in b"\r\n":
            del buffer[: len(buffer) - len(buffer.lstrip(b"\r\n"))]
            continue
        if buffer.startswith((b"HEP3", b"EEP3")):
            size = int.from_bytes(buffer[4:6], "big")
            if size >= 6 or len(buffer) < 6:
                return size if len(buffer) >= max(size, 6) else None
        elif looks_like_sip(bytes(buffer[:LONGEST_START])):
            size = _sip_size(buffer)
            if size <= LONGEST_MESSAGE:
                return size if 0 < size <= len(buffer) else None
        elif b"\n" not in buffer[:LONGEST_START] and len(buffer) < LONGEST_START:
            return None
        # no message begins here: go on at the next line
        line = buffer.find(b"\n")
        del buffer[: line + 1 if line >= 0 else len(buffer)]
    return None


def _sip_size(buffer: bytearray) -> int:
    """Size of the SIP message that begins here; 0 when its headers are not whole yet. No Content-Length means no body."""
    size = message_size(buffer)
    return size or (0 if len(buffer) < LONGEST_MESSAGE else LONGEST_MESSAGE + 1)
