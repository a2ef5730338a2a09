"""Packets as text in a file, as OpenSIPS' tracer writes them (`text` has the format).

    file:/var/log/fraud.sip
    file:/var/log/fraud-%Y%m%d.sip?rotate_size=0&keep=31&mode=0640&time=local

Options are those of `rotating`, and `time`: "utc" (default), or "local" for the times of the machine's zone, as OpenSIPS
writes them. A file that is there already is continued; one that does not begin with a packet (somebody's log, keys, a
journal) is left alone. Not here: rotation (`rotating`), queue and retries (`writer`).
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hepswitch.destinations.rotating import Location, RotatingFile
from hepswitch.destinations.text import head, message
from hepswitch.destinations.writer import FLUSH, QUEUE, Writer, WriterOutlet, Written
from hepswitch.wire.hep import Hep

ZONES = {"utc": time.gmtime, "local": time.localtime}

_HEAD = re.compile(rb"(?:in|out) \S+ \d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")
"""How a file begins."""


@dataclass(frozen=True, slots=True)
class FileTarget:
    """`file:/path?options`. `str(target)` is its name in the books: two of one name write one file."""

    location: Location
    zone: str = "utc"

    @classmethod
    def parse(cls, text: str) -> FileTarget:
        """ValueError with what is wrong."""
        location, options = Location.parse(text, "file", "time")
        zone = options.get("time", "utc")
        if zone not in ZONES:
            raise ValueError(f"{text!r}: time: {zone!r} is no choice here: write utc or local")
        return cls(location, zone)

    def __str__(self) -> str:
        return f"file:{self.location.path}"

    @property
    def url(self) -> str:
        """The target with its options: `parse` gives it back."""
        options = [self.location.query, f"time={self.zone}" if self.zone != "utc" else ""]
        return "?".join(filter(None, (str(self), "&".join(filter(None, options)))))

    def anchored(self, absolute: Callable[[Path], Path]) -> FileTarget:
        """The same with an absolute path."""
        return replace(self, location=replace(self.location, path=str(absolute(Path(self.location.path)))))

    def build(self, *, queue: int = QUEUE, flush: float = FLUSH) -> WriterOutlet:
        """The outlet."""
        return WriterOutlet(str(self), FileWriter(self), queue=queue, flush=flush)


class FileWriter(Writer):
    """Appends packets to the files of a target."""

    def __init__(self, target: FileTarget) -> None:
        self._file = RotatingFile(target.location, _begins)
        self._broken_down = ZONES[target.zone]

    def refuses(self, packet: Hep) -> str | None:
        """Nothing: every packet can be text."""
        return None

    def open(self) -> None:
        """See that the file of this moment can be written."""
        self._file.append(self._file.path_at(time.time_ns() // 1000), b"")

    def write(self, batch: Sequence[Written]) -> int:
        """Append those that belong into one file."""
        path = self._file.path_at(batch[0].packet.time_us)
        run = list(itertools.takewhile(lambda each: self._file.path_at(each.packet.time_us) == path, batch))
        self._file.append(path, b"".join(map(self._text, run)))
        return len(run)

    def close(self) -> None:
        """Nothing is held open."""

    def _text(self, written: Written) -> bytes:
        packet = written.packet
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", self._broken_down(packet.time_us // 1_000_000))
        return head(packet, written.direction, stamp).encode() + b"\n" + message(packet) + b"\n\n"


def _begins(fd: int, size: int) -> bytes:
    """Nothing comes before the first packet. OSError for a file that holds something else."""
    if size and not _HEAD.match(os.pread(fd, 64, 0)):
        raise OSError(errno.EINVAL, "there is a file of this name that holds no packets of ours: move it away")
    return b""
