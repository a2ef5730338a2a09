"""pcap and pcapng files: a reader of both and a writer of both, over binary file objects.

Reads classic pcap in both byte orders with µs and ns times, and pcapng with several sections and interfaces, any
resolution of time and unknown blocks. A file whose tail is cut off gives what is whole. Not here: what the frames hold
(`wire.ip`).

Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, Literal, NamedTuple

from hepswitch.wire.errors import WireError

ETHERNET = 1
LONGEST_FRAME = 1 << 20
LONGEST_BLOCK = 16 << 20
MOST_INTERFACES = 1 << 16

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


def read(file: BinaryIO, head: bytes = b"") -> Iterator[CapturedFrame]:
    """The frames of a pcap or pcapng file in order. Reads forward only, one frame at a time.

    `head`: the first bytes, at most 4, when they were read already to see what the file is.

    Raises WireError where the file contradicts itself; a cut tail ends the iteration quietly.
    """
    head += file.read(4 - len(head))
    if head == _SECTION_MAGIC:
        yield from _read_pcapng(file)
        return
    for order in ("<", ">"):
        (magic,) = struct.unpack(order + "I", head.ljust(4, b"\0"))
        if magic in _CLASSIC:
            yield from _read_pcap(file, order, _CLASSIC[magic])
            return
    raise WireError(0, "neither pcap nor pcapng")


def _read_pcap(file: BinaryIO, order: str, units: int) -> Iterator[CapturedFrame]:
    header = file.read(20)
    if len(header) < 20:
        return
    linktype = struct.unpack(order + "I", header[16:])[0] & 0xFFFF
    record = struct.Struct(order + "IIII")
    divide = units // 1_000_000
    at = 24
    while len(head := file.read(16)) == 16:
        seconds, fraction, size, original = record.unpack(head)
        if size > LONGEST_FRAME:
            raise WireError(at + 8, "frame length out of range")
        data = file.read(size)
        if len(data) < size:
            return
        yield CapturedFrame(seconds * 1_000_000 + fraction // divide, linktype, data, original)
        at += 16 + size


def _read_pcapng(file: BinaryIO) -> Iterator[CapturedFrame]:
    """The file stands behind the type of its first section header."""
    order = "<"
    interfaces: list[_Interface] = []
    kind_bytes = _SECTION_MAGIC
    at = 0
    while len(kind_bytes) == 4:
        length_bytes = file.read(4)
        body = b""
        if kind_bytes == _SECTION_MAGIC:
            body = file.read(4)
            if len(body) < 4:
                return
            order = _order(at, body)
            interfaces = []
        if len(length_bytes) < 4:
            return
        (kind,), (length,) = struct.unpack(order + "I", kind_bytes), struct.unpack(order + "I", length_bytes)
        if length < 12 + len(body) or length % 4 or length > LONGEST_BLOCK:
            raise WireError(at + 4, "block length out of range")
        rest = file.read(length - 8 - len(body))
        if len(rest) < length - 8 - len(body):
            return
        if rest[-4:] != length_bytes:
            raise WireError(at + length - 4, "block lengths differ")
        body = rest[:-4]
        if kind == _INTERFACE:
            if len(interfaces) == MOST_INTERFACES:
                raise WireError(at, "too many interfaces")
            interfaces.append(_interface(at + 8, body, order))
        elif kind in (_PACKET, _OLD_PACKET, _SIMPLE_PACKET):
            yield _packet(at + 8, kind, body, order, interfaces)
        at += length
        kind_bytes = file.read(4)


def _order(at: int, magic: bytes) -> str:
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
        time_us = max((high << 32 | low) * 1_000_000 // interface.units + interface.offset_us, 0)
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
