"""Recordings that are being read: by what each is known again, and the note of how far they were read.

Not here: which files there are, and reading them (`sources.pcap`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from hepswitch.wire.errors import WireError
from hepswitch.wire.pcap import Reader

PIECE = 1 << 16
"""Bytes read before others get their turn on the event loop."""
HEAD = 64
"""Bytes by which a file is known again, beside the time of its first frame: names of systems may come before that."""


@dataclass(slots=True)
class Recording:
    """One file, known by its device, inode and beginning, whatever it is called."""

    path: Path
    head: bytes
    reader: Reader
    began_us: int = 0
    """Time of its first frame, 0 while there is none."""
    left_out: int = 0
    """Bytes at its beginning whose frames are not wanted."""
    is_broken: bool = False

    def begins_with(self, beginning: bytes) -> bool:
        """Is a file that begins so the one it was, perhaps with more at its end?"""
        return beginning.startswith(self.head) and self.began_us in (0, first_time(beginning))

    def opened(self) -> BinaryIO | None:
        """Its file, to be read from where it was read to; None when the file of that name is another one."""
        file = self.path.open("rb")
        if self.begins_with(file.read(PIECE)):
            file.seek(self.reader.fed)
            return file
        file.close()
        return None


def first_time(beginning: bytes) -> int:
    """Of the first frame, µs; 0 when there is none yet."""
    reader = Reader()
    reader.feed(beginning)
    try:
        return next((frame.time_us for frame in reader.frames()), 0)
    except WireError:
        return 0  # said when it is read


def note(path: Path, recordings: dict[str, Recording]) -> None:
    """Write down how far they were read: all of it or nothing. Raises OSError."""
    rows = {
        key: {
            "path": str(recording.path), "head": recording.head.hex(), "reader": recording.reader.state(),
            "began_us": recording.began_us, "left_out": recording.left_out, "is_broken": recording.is_broken,
        }
        for key, recording in recordings.items()
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(rows))
    fresh.replace(path)


def recall(path: Path) -> dict[str, Recording]:
    """What `note` wrote. Raises OSError, and ValueError when it cannot be read."""
    try:
        noted = msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, Any]])
        return {
            key: Recording(
                Path(row["path"]), bytes.fromhex(row["head"]), Reader.resumed(row["reader"]), row["began_us"],
                row["left_out"], row["is_broken"],
            )
            for key, row in noted.items()
        }  # fmt: skip
    except (KeyError, TypeError) as error:
        raise ValueError(f"not as it was written: {error!r}") from error
