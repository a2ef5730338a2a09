"""SIP messages in pcapng files, for Wireshark, tshark and sngrep.

    pcap:/var/log/fraud.pcapng
    pcap:/var/log/fraud-%Y%m%d%H.pcapng?keep=48

Options are those of `rotating`. Each message is a frame with the addresses, ports and time at which it was captured. TLS
and WebSocket become plain TCP, and each message on TCP a connection of its own. What came as text and not as packets (RTCP
reports, logs) is refused as "not SIP". A file that is there already is continued with a section of its own, behind its last
whole block; one that is no pcapng is left alone. Not here: frames (`wire.ip`), rotation (`rotating`), queue and retries
(`writer`).
"""

from __future__ import annotations

import errno
import io
import itertools
import os
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hepswitch.destinations.rotating import Location, RotatingFile
from hepswitch.destinations.text import message
from hepswitch.destinations.writer import FLUSH, QUEUE, WriterOutlet, Written
from hepswitch.destinations.writer import Writer as OutletWriter
from hepswitch.wire.hep import Hep
from hepswitch.wire.ip import UDP, LoneFrameBuilder
from hepswitch.wire.pcap import Writer

_SECTION = io.BytesIO()
Writer(_SECTION)
SECTION = _SECTION.getvalue()
"""How a section begins."""


@dataclass(frozen=True, slots=True)
class PcapTarget:
    """`pcap:/path?options`. `str(target)` is its name in the books: two of one name write one file."""

    location: Location

    @classmethod
    def parse(cls, text: str) -> PcapTarget:
        """ValueError with what is wrong."""
        location, _ = Location.parse(text, "pcap")
        return cls(location)

    def __str__(self) -> str:
        return f"pcap:{self.location.path}"

    @property
    def url(self) -> str:
        """The target with its options: `parse` gives it back."""
        return "?".join(filter(None, (str(self), self.location.query)))

    def anchored(self, absolute: Callable[[Path], Path]) -> PcapTarget:
        """The same with an absolute path."""
        return PcapTarget(replace(self.location, path=str(absolute(Path(self.location.path)))))

    def build(self, *, queue: int = QUEUE, flush: float = FLUSH) -> WriterOutlet:
        """The outlet."""
        return WriterOutlet(str(self), PcapWriter(self), queue=queue, flush=flush)


class PcapWriter(OutletWriter):
    """Appends messages to the files of a target."""

    def __init__(self, target: PcapTarget) -> None:
        self._file = RotatingFile(target.location, _begins)
        self._frames = LoneFrameBuilder()

    def refuses(self, packet: Hep) -> str | None:
        """Only what was a packet on the wire can be one again."""
        if packet.sip is None:
            return "not SIP"
        return None if packet.src_ip and packet.dst_ip else "no addresses"

    def open(self) -> None:
        """See that the file of this moment can be written and is a capture."""
        self._file.append(self._file.path_at(time.time_ns() // 1000), b"")

    def write(self, batch: Sequence[Written]) -> int:
        """Append those that belong into one file."""
        path = self._file.path_at(batch[0].packet.time_us)
        run = list(itertools.takewhile(lambda each: self._file.path_at(each.packet.time_us) == path, batch))
        blocks = io.BytesIO()
        writer = Writer(blocks)
        for packet in (written.packet for written in run):
            for frame in self._frames_of(packet):
                writer.write(packet.time_us, frame)
        self._file.append(path, blocks.getvalue()[len(SECTION) :])
        return len(run)

    def close(self) -> None:
        """Nothing is held open."""

    def _frames_of(self, packet: Hep) -> list[bytes]:
        ends = packet.src_ip, packet.src_port or 0, packet.dst_ip, packet.dst_port or 0
        return self._frames.frames(packet.proto_id or UDP, *ends, message(packet))


def _begins(fd: int, size: int) -> bytes:
    """A section's beginning, behind the whole blocks of the file `fd`: what a crash left half written is cut off."""
    if size:
        start = os.pread(fd, 12, 0)
        if (start[:4], start[8:]) != (SECTION[: len(start[:4])], SECTION[8 : 8 + len(start[8:])]):
            raise OSError(errno.EINVAL, "there is a file of this name that is no pcapng capture of ours: move it away")
        end = _whole(fd, size)
        if end < size:
            os.ftruncate(fd, end)
    return SECTION


def _whole(fd: int, size: int) -> int:
    """Where the last whole block ends. A block has its length at both of its ends."""
    last = int.from_bytes(os.pread(fd, 4, max(0, size - 4)), "little")
    if 12 <= last <= size and os.pread(fd, 8, size - last)[4:] == last.to_bytes(4, "little"):
        return size
    at = 0
    while at + 12 <= size:
        (length,) = struct.unpack("<I", os.pread(fd, 4, at + 4))
        if length < 12 or length % 4 or at + length > size:
            break
        at += length
    return at
