"""TCP streams of a capture put together and cut into messages: SIP by Content-Length or by the frames of a WebSocket
(RFC 7118), HEP by its length field.

Tolerates what captures do: a stream whose beginning is missing, retransmissions with other boundaries, keep-alives, segments
out of order, lost segments, ports used again. A stream of anything else is passed over. Bounded in number, in bytes and in
time of capture; what is given up is counted. Not here: live sockets (`wire.stream` reads HEP from those).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from hepswitch.wire.plain_sip import head_size, message_size, message_start
from hepswitch.wire.sip import looks_like_sip
from hepswitch.wire.websocket import WebSocket, handshake_size

Key = tuple[bytes, int, bytes, int]
"""Source address and port, destination address and port: one direction of a connection."""
Found = tuple[int, int, Key, bytes]
"""Time in µs, protocol (TCP or WEBSOCKET), direction, message."""
TCP, WEBSOCKET = 6, 50
"""As in HEP's proto_id; the second by convention."""

MOST_STREAMS = 4096
"""Directions that are followed at one time; the one silent for longest is given up first."""
MOST_WAITING = 256
"""Segments behind a gap; when there are more, the gap is taken as lost."""
MOST_HELD = 64 << 20
"""Bytes of all streams; beyond it the one silent for longest is given up."""
GAP_US = 2_000_000
"""From the first segment behind a gap until the gap is taken as lost: a retransmission would be here by then."""
IDLE_US = 600_000_000
"""Silence after which a stream is taken as over. Keep-alives on SIP connections come every two minutes (RFC 5626)."""
LINGER_US = 10_000_000
"""How long a stream that ended is remembered, so that what is sent again is known again."""
MOST_BEHIND = 16 << 20
"""Bytes: a segment further back is none sent again, but of a new connection whose beginning was not captured."""
SEGMENT = 128
"""Bytes that a segment costs beside its payload: many small ones are not to hold more than `MOST_HELD` says."""
LONGEST_MESSAGE = 1 << 20

LOST, NOT_SIP, NO_ROOM = "lost TCP segments", "not SIP", "too many TCP streams"

_FIN, _SYN, _RST = 1, 2, 4
_HALF = 1 << 31
_MODULUS = 1 << 32


class Streams:
    """Every TCP direction of a capture. Raises nothing; `losses` is told of each gap and each stream that is given up."""

    def __init__(self, losses: Counter[str]) -> None:
        self._losses = losses
        self._streams: dict[Key, _Stream] = {}  # the one silent for longest stands first
        self.held = 0
        """Bytes that are waiting for something."""

    def __len__(self) -> int:
        return len(self._streams)

    def segment(self, time_us: int, src: bytes, dst: bytes, data: bytes) -> Iterator[Found]:
        """The messages that one segment (TCP header and all, at least 20 bytes) completes."""
        key = (src, int.from_bytes(data[:2], "big"), dst, int.from_bytes(data[2:4], "big"))
        sequence, flags = int.from_bytes(data[4:8], "big"), data[13]
        payload = data[max(data[12] >> 4, 5) * 4 :]
        if flags & _SYN:
            sequence = (sequence + 1) % _MODULUS
        stream = self._streams.pop(key, None)
        if stream is not None:
            self.held -= stream.held
            if (flags & _SYN and sequence != stream.start) or (payload and stream.is_passed(sequence)):
                yield from self._rest(key, stream)
                stream = None
        if stream is None:
            stream = _Stream(self._losses)
        stream.time_us = time_us
        stream.add(sequence, bool(flags & _SYN), payload)
        for message in stream.messages():
            yield time_us, stream.protocol, key, message
        if flags & _FIN:
            stream.end = (sequence + len(payload)) % _MODULUS
        elif flags & _RST:
            stream.end = stream.next
        if stream.ended:
            yield from self._rest(key, stream)
        if stream.next is None:
            return
        self._streams[key] = stream
        self.held += stream.held
        while len(self._streams) > MOST_STREAMS or self.held > MOST_HELD:
            oldest = next(iter(self._streams))
            given_up = self._streams.pop(oldest)
            self.held -= given_up.held
            if given_up.held:  # else what comes next is read as if nothing had been there
                self._losses[NO_ROOM] += 1
            yield from self._rest(oldest, given_up)

    def expire(self, time_us: int) -> Iterator[Found]:
        """What is behind gaps that nobody will fill any more at this time of capture, and of streams that fell silent."""
        for key, stream in list(self._streams.items()):
            before = stream.held
            if stream.waiting and time_us - stream.gap_us > GAP_US:
                stream.skip()
                for message in stream.messages():
                    yield stream.time_us, stream.protocol, key, message
            if time_us - stream.time_us > (IDLE_US if stream.end is None else LINGER_US):
                yield from self._rest(key, stream)
                del self._streams[key]
            self.held += (stream.held if key in self._streams else 0) - before

    def finish(self) -> Iterator[Found]:
        """What was still waiting for its end."""
        for key, stream in self._streams.items():
            yield from self._rest(key, stream)
        self._streams.clear()
        self.held = 0

    def _rest(self, key: Key, stream: _Stream) -> Iterator[Found]:
        for message in stream.rest():
            yield stream.time_us, stream.protocol, key, message


class _Stream:
    __slots__ = (
        "buffer", "cut", "end", "gap_us", "junk", "losses", "next", "searched", "size", "socket", "start", "time_us",
        "waiting",
    )  # fmt: skip

    def __init__(self, losses: Counter[str]) -> None:
        self.losses = losses
        self.buffer = bytearray()
        self.size = 0
        """Of the message that the buffer begins with, once that is known."""
        self.searched = 0
        """Bytes of it in which its headers do not end: not looked at again, however small the segments are."""
        self.start: int | None = None
        self.next: int | None = None
        self.end: int | None = None
        self.waiting: dict[int, bytes] = {}
        self.time_us = 0
        self.gap_us = 0
        self.junk = False
        self.socket: WebSocket | None = None
        self.cut: list[bytes] = []
        """Beginnings of messages whose rest was lost, to be given out."""

    @property
    def held(self) -> int:
        """Bytes that are waiting for something."""
        framed = self.socket.held if self.socket is not None else 0
        return len(self.buffer) + framed + sum(map(len, self.waiting.values())) + SEGMENT * len(self.waiting)

    @property
    def protocol(self) -> int:
        """TCP, or what was found to be inside."""
        return TCP if self.socket is None else WEBSOCKET

    @property
    def ended(self) -> bool:
        """Whether everything up to its end is here."""
        return self.end is not None and self.next is not None and (self.next - self.end) % _MODULUS < _HALF

    def is_passed(self, sequence: int) -> bool:
        """Whether data at `sequence` is of a later connection between the same ports: before all this, or behind its end."""
        if self.next is None:
            return False
        behind = (self.next - sequence) % _MODULUS
        return MOST_BEHIND < behind < _HALF or (self.ended and behind >= _HALF)

    def add(self, sequence: int, syn: bool, payload: bytes) -> None:
        if self.next is None:
            # One byte in the middle of a connection is a keep-alive (RFC 9293 section 3.8.4): what it carries came before.
            if not syn and len(payload) <= 1:
                return
            self.start = self.next = sequence
        if not payload:
            return
        if not self.waiting:
            self.gap_us = self.time_us
        if len(payload) > len(self.waiting.get(sequence, b"")):
            self.waiting[sequence] = payload
        self._join()
        if len(self.waiting) > MOST_WAITING or (self.waiting and self.time_us - self.gap_us > GAP_US):
            self.skip()

    def skip(self) -> None:
        """The gap will not be filled: the stream goes on behind it. A message that it cut is kept as far as it goes."""
        start = self.next or 0
        self.losses[LOST] += 1
        self.next = min(self.waiting, key=lambda at: (at - start) % _MODULUS)
        self.gap_us = self.time_us
        cut = bytes(self.buffer)
        self._drop(len(cut))
        self._join()
        if looks_like_sip(cut):
            self.cut.append(cut)

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
        yield from self.cut
        self.cut.clear()
        if self.socket is None and (size := handshake_size(self.buffer)) != 0:
            if size is None:
                return
            self._drop(size)
            self.socket = WebSocket()
        yield from self._plain() if self.socket is None else self._framed(self.socket)

    def _plain(self) -> Iterator[bytes]:
        while size := self._whole():
            yield bytes(self.buffer[:size])
            self._drop(size)

    def _whole(self) -> int:
        """Size of the message that the buffer begins with, 0 when it is not all there."""
        while self.buffer and not self.size:
            start = message_start(self.buffer)
            if self.buffer[:start].strip(b"\r\n"):  # else keep-alives (RFC 5626 section 3.5.1)
                self._not_sip()
            if start:
                self._drop(start)
            self.size, junk = self._measured()
            if not self.size and not junk:
                return 0
            if junk:
                self._not_sip()
                self._drop(junk)
        return self.size if self.size <= len(self.buffer) else 0

    def _measured(self) -> tuple[int, int]:
        """Size of the message that the buffer begins with, 0 when it is not known yet; and how much is to be passed over
        because a message that long is none: what it says of its size is wrong, but its headers were read.
        """
        if self.buffer.startswith((b"HEP3", b"EEP3")):
            size = int.from_bytes(self.buffer[4:6], "big") if len(self.buffer) >= 6 else 0
            return size, 4 if len(self.buffer) >= 6 > size else 0
        head = head_size(self.buffer, self.searched)
        if not head:
            self.searched = max(len(self.buffer) - 3, 0)
            return 0, len(self.buffer) if len(self.buffer) >= LONGEST_MESSAGE else 0
        size = message_size(self.buffer)
        return (size, 0) if size <= LONGEST_MESSAGE else (0, head)

    def _drop(self, size: int) -> None:
        """Take a message, or what is none, from the front of the buffer."""
        del self.buffer[:size]
        self.size = self.searched = 0

    def _framed(self, socket: WebSocket) -> Iterator[bytes]:
        try:
            while (message := socket.next(self.buffer)) is not None:
                if looks_like_sip(message):
                    yield message
                elif message.strip(b"\r\n"):
                    self._not_sip()
        except ValueError:
            self._not_sip()

    def _not_sip(self) -> None:
        """Once for a stream."""
        if not self.junk:
            self.junk = True
            self.losses[NOT_SIP] += 1

    def rest(self) -> Iterator[bytes]:
        """What is there of a message whose end is missing, and what came behind gaps. Nothing is held after it."""
        yield from self.messages()
        while self.waiting:
            self.skip()
            yield from self.messages()
        if self.end is not None and not self.ended:
            self.losses[LOST] += 1
            self.next = self.end
        if self.socket is not None and self.held:  # masked as it may be, a part is no use
            self.losses[LOST] += 1
            self.socket = WebSocket()
        elif looks_like_sip(bytes(self.buffer)):
            yield bytes(self.buffer)
        self._drop(len(self.buffer))
