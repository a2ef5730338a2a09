"""pcap and pcapng files: a reader of both, fed with bytes as they come, and a writer of both over binary file objects.

Reads classic pcap in both byte orders with µs and ns times, and pcapng with several sections and interfaces, any
resolution of time and unknown blocks. A file whose tail is cut off gives what is whole. Not here: what the frames hold
(`wire.ip`).

Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, Literal, NamedTuple

from hepswitch.wire.errors import WireError

ETHERNET = 1
LONGEST_FRAME = 1 << 20
LONGEST_BLOCK = 16 << 20
MOST_INTERFACES = 1 << 16
MOST_TIME_US = (1 << 63) - 1
"""A file may say any resolution: what is later is as good as that."""
PIECE = 1 << 16
"""Bytes read at once."""

State = dict[str, Any]
"""Of a `Reader`; see there."""

_CLASSIC = {0xA1B2C3D4: 1_000_000, 0xA1B23C4D: 1_000_000_000}
_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _PACKET = 0x0A0D0D0A, 1, 2, 3, 6
_SECTION_MAGIC = b"\n\r\r\n"
_ORDER_MAGIC = 0x1A2B3C4D
_TSRESOL, _TSOFFSET = 9, 14


class CapturedFrame(NamedTuple):
    """One frame. `time_us`: µs since 1970 (0 when the file has none); `linktype`: LINKTYPE_ number of `data`."""

    time_us: int
    linktype: int
    data: bytes
    original_length: int


class _Interface(NamedTuple):
    linktype: int
    snaplen: int
    units: int
    """Units of its times in a second."""
    offset_us: int


def is_capture(head: bytes) -> bool:
    """Whether a file that begins with these (at least 4) bytes is a pcap or pcapng file."""
    magic = head[:4]
    return magic == _SECTION_MAGIC or any(int.from_bytes(magic, order) in _CLASSIC for order in ("big", "little"))


class Reader:
    """Frames out of the bytes of a pcap or pcapng file, which come in pieces: `feed` them, take `frames()`.

    A frame that is there in part waits for its rest. `state()` is all that has to be remembered to go on later.
    """

    def __init__(self) -> None:
        self.at = 0
        """Bytes from the beginning of the file whose frames were given out."""
        self._buffer = bytearray()
        self._order = ""
        self._units = 0  # of a classic file, in a second
        self._linktype = 0
        self._interfaces: list[_Interface] = []

    def state(self) -> State:
        """What `resumed` needs, for JSON."""
        interfaces = [list(interface) for interface in self._interfaces]
        return {
            "at": self.at, "order": self._order, "units": self._units, "linktype": self._linktype, "interfaces": interfaces,
        }  # fmt: skip

    @classmethod
    def resumed(cls, state: State) -> Reader:
        """A reader to be fed from byte `state["at"]` of the file on."""
        reader = cls()
        reader.at, reader._order, reader._units = state["at"], state["order"], state["units"]
        reader._linktype = state["linktype"]
        reader._interfaces = [_Interface(*interface) for interface in state["interfaces"]]
        return reader

    @property
    def fed(self) -> int:
        """Bytes from the beginning of the file that were fed: the next piece begins there."""
        return self.at + len(self._buffer)

    @property
    def begun(self) -> bool:
        """Whether the file's header has been read."""
        return bool(self._order)

    def feed(self, data: bytes) -> None:
        """The next bytes of the file."""
        self._buffer += data

    def frames(self) -> Iterator[CapturedFrame]:
        """The frames that are whole. Raises WireError where the file contradicts itself; there it stays."""
        start = 0
        try:
            while (size := self._size(start)) and len(self._buffer) - start >= size:
                frame = self._take(bytes(self._buffer[start : start + size]))
                start += size
                self.at += size
                if frame is not None:
                    yield frame
        finally:
            del self._buffer[:start]

    def _size(self, start: int) -> int:
        """Size of what begins at `start` of the buffer: a header, a record, a block; 0 when that is not known yet."""
        head = self._buffer[start : start + 16]
        if len(head) < 4:
            return 0
        if not self._order or (not self._units and head[:4] == _SECTION_MAGIC):
            if head[:4] != _SECTION_MAGIC:
                self._classic(head[:4])
                return 24
            if len(head) < 12:
                return 0
            self._order = _order(self.at, head[8:12])
        if self._units and self.at:
            if len(head) < 16:
                return 0
            (size,) = struct.unpack_from(self._order + "I", head, 8)
            if size > LONGEST_FRAME:
                raise WireError(self.at + 8, "frame length out of range")
            return 16 + int(size)
        if self._units:
            return 24
        if len(head) < 8:
            return 0
        (size,) = struct.unpack_from(self._order + "I", head, 4)
        if size < (16 if head[:4] == _SECTION_MAGIC else 12) or size % 4 or size > LONGEST_BLOCK:
            raise WireError(self.at + 4, "block length out of range")
        return int(size)

    def _classic(self, magic: bytes | bytearray) -> None:
        for order in ("<", ">"):
            (number,) = struct.unpack(order + "I", magic)
            if number in _CLASSIC:
                self._order, self._units = order, _CLASSIC[number]
                return
        raise WireError(0, "neither pcap nor pcapng")

    def _take(self, piece: bytes) -> CapturedFrame | None:
        """The frame in a whole record or block; None when it holds something else."""
        if not self._units:
            return self._block(piece)
        if not self.at:
            self._linktype = struct.unpack_from(self._order + "I", piece, 20)[0] & 0xFFFF
            return None
        seconds, fraction, _, original = struct.unpack_from(self._order + "IIII", piece)
        time_us = seconds * 1_000_000 + fraction // (self._units // 1_000_000)
        return CapturedFrame(time_us, self._linktype, piece[16:], original)

    def _block(self, piece: bytes) -> CapturedFrame | None:
        if piece[-4:] != piece[4:8]:
            raise WireError(self.at + len(piece) - 4, "block lengths differ")
        (kind,), body = struct.unpack_from(self._order + "I", piece), piece[8:-4]
        if kind == _SECTION:
            self._interfaces = []
        elif kind == _INTERFACE:
            if len(self._interfaces) == MOST_INTERFACES:
                raise WireError(self.at, "too many interfaces")
            self._interfaces.append(_interface(self.at + 8, body, self._order))
        elif kind in (_PACKET, _OLD_PACKET, _SIMPLE_PACKET):
            return _packet(self.at + 8, kind, body, self._order, self._interfaces)
        return None


def read(file: BinaryIO, head: bytes = b"") -> Iterator[CapturedFrame]:
    """The frames of a pcap or pcapng file in order. Reads forward only, a piece at a time.

    `head`: the first bytes, when they were read already to see what the file is.

    Raises WireError where the file contradicts itself; a cut tail ends the iteration quietly.
    """
    reader = Reader()
    some = getattr(file, "read1", file.read)  # what is there: a pipe may be slow
    while data := head or some(PIECE):
        head = b""
        reader.feed(data)
        yield from reader.frames()
    if not reader.begun and reader.fed < 4:
        raise WireError(0, "neither pcap nor pcapng")


def _order(at: int, magic: bytes | bytearray) -> str:
    for order in ("<", ">"):
        if struct.unpack(order + "I", magic)[0] == _ORDER_MAGIC:
            return order
    raise WireError(at + 8, "bad byte-order magic")


def _interface(at: int, body: bytes, order: str) -> _Interface:
    if len(body) < 8:
        raise WireError(at, "interface block too short")
    linktype, _, snaplen = struct.unpack_from(order + "HHI", body)
    units, offset = 1_000_000, 0
    option = 8
    while option + 4 <= len(body):
        code, size = struct.unpack_from(order + "HH", body, option)
        value = body[option + 4 : option + 4 + size]
        if code == 0:
            break
        if code == _TSRESOL and len(value) == 1:
            units = 1 << (value[0] & 127) if value[0] & 128 else 10 ** value[0]
        elif code == _TSOFFSET and len(value) == 8:
            (offset,) = struct.unpack(order + "q", value)
        option += 4 + size + -size % 4
    return _Interface(linktype, snaplen, units, offset * 1_000_000)


def _packet(at: int, kind: int, body: bytes, order: str, interfaces: list[_Interface]) -> CapturedFrame:
    start = 4 if kind == _SIMPLE_PACKET else 20
    if len(body) < start:
        raise WireError(at, "packet block too short")
    high = low = number = 0
    if kind == _SIMPLE_PACKET:
        (original,) = struct.unpack_from(order + "I", body)
        size = min(original, len(body) - start)
    elif kind == _PACKET:
        number, high, low, size, original = struct.unpack_from(order + "5I", body)
    else:
        number, _, high, low, size, original = struct.unpack_from(order + "HHIIII", body)
    if number >= len(interfaces):
        raise WireError(at, "packet of an unknown interface")
    interface = interfaces[number]
    if kind == _SIMPLE_PACKET and interface.snaplen:
        size = min(size, interface.snaplen)
    if size > len(body) - start:
        raise WireError(at + 12, "frame length out of range")
    time_us = 0
    if kind != _SIMPLE_PACKET:
        time_us = (high << 32 | low) * 1_000_000 // interface.units + interface.offset_us
        time_us = min(max(time_us, 0), MOST_TIME_US)
    return CapturedFrame(time_us, interface.linktype, body[start : start + size], original)


class Writer:
    """Writes frames of one link type to a binary file, as pcapng or classic pcap, times in µs."""

    def __init__(self, file: BinaryIO, format: Literal["pcapng", "pcap"] = "pcapng", linktype: int = ETHERNET) -> None:
        """Writes the file's header at once. ValueError for a format that does not exist."""
        if format not in ("pcapng", "pcap"):
            raise ValueError(f"{format!r} is not a capture format: pcapng or pcap")
        self._file = file
        self._pcapng = format == "pcapng"
        if self._pcapng:
            file.write(struct.pack("<IIIHHqI", _SECTION, 28, _ORDER_MAGIC, 1, 0, -1, 28))
            file.write(struct.pack("<IIHHII", _INTERFACE, 20, linktype, 0, 0, 20))
        else:
            file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, linktype))

    def write(self, time_us: int, frame: bytes) -> None:
        """One frame at `time_us` (µs since 1970)."""
        size = len(frame)
        if self._pcapng:
            total = 32 + size + -size % 4
            head = struct.pack("<7I", _PACKET, total, 0, time_us >> 32 & 0xFFFFFFFF, time_us & 0xFFFFFFFF, size, size)
            self._file.write(head + frame + bytes(-size % 4) + struct.pack("<I", total))
        else:
            seconds, fraction = divmod(time_us, 1_000_000)
            self._file.write(struct.pack("<IIII", seconds & 0xFFFFFFFF, fraction, size, size) + frame)
