"""What a reader sees of a lake at one moment: Parquet files and journal segments that together hold each packet once.

No locks: the segments are opened first, so what they hold cannot go away; then files are listed, and those of segments
that are open here are left out. When a merged file covers an open segment, the lake has moved on: look again.
Not here: queries (`query`).
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from hepswitch import journal
from hepswitch.lake import layout

if TYPE_CHECKING:
    import pyarrow as pa

    from hepswitch.destinations.records import Records

ATTEMPTS = 20

BATCH = 16384
"""Rows of a batch that has just come from the journal."""

KEPT = 256 << 20
"""Bytes of such batches that are remembered for as long as a question takes."""

DEFLATED = (b"\x00\x00\x00\x10", b"\x1f\x8b")
"""The beginning of a compressed-payload chunk and of a gzip stream: such records are searched after inflating."""


class LakeBusyError(RuntimeError):
    """The lake changed under the reader again and again."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Paths of the Parquet files that count, and the journal segments beside them, open for reading."""

    files: list[Path]
    segments: list[BinaryIO]

    def fresh(self, needles: Sequence[bytes] | None = None) -> Fresh | None:
        """The packets that are still in the journal, as rows; None when there are none.

        With `needles` all rows in whose bytes one of these occurs are given, and maybe some others.
        """
        wanted = (
            None if needles is None else [*needles, *(needle.replace(b"/", b"\\/") for needle in needles), *DEFLATED]
        )
        found = [stream for stream in self.segments if wanted is None or _mentions(stream, wanted)]
        if not found:
            return None
        # Arrow is only loaded when something fresh is there to be seen.
        from hepswitch.destinations.records import Records

        records = Records()
        for stream in found:
            for block in journal.read_blocks(stream):
                records.add(block.data, block.lengths, wanted)
        return Fresh(records) if len(records) else None


class Fresh:
    """Records as a stream of rows for DuckDB (the Arrow PyCapsule interface), which may be read again and again.

    Rows are made while they are read, a batch at a time: what a payload inflates to is never all in memory. The first
    batches, KEPT bytes of them, are remembered, which for most lakes is all there is.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._made: list[tuple[pa.RecordBatch, int]] = []
        self._room = KEPT
        self._lock = threading.Lock()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        import pyarrow as pa

        from hepswitch.destinations.schema import SCHEMA

        reader = pa.RecordBatchReader.from_batches(SCHEMA, self._batches())
        return reader.__arrow_c_stream__(requested_schema)  # type: ignore[no-untyped-call]

    def _batches(self) -> Iterator[pa.RecordBatch]:
        place = start = 0
        while start < len(self._records):
            # DuckDB reads with several threads, and Records looks at one packet at a time.
            with self._lock:
                if place < len(self._made):
                    batch, start = self._made[place]
                else:
                    batch, start = self._records.batch(start, min(len(self._records), start + BATCH))
                    if place == len(self._made) and batch.nbytes <= self._room:
                        self._room -= batch.nbytes
                        self._made.append((batch, start))
            place += 1
            yield batch


@contextlib.contextmanager
def snapshot(root: Path, wanted: Callable[[int], bool] = lambda _: True) -> Iterator[Snapshot]:
    """The lake as it is now; of Parquet only the hours (since the epoch) that are `wanted`.

    Raises FileNotFoundError when there is no lake, LakeBusyError when it does not hold still.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: there is no lake here: nothing was stored yet, or it is another folder")
    for _ in range(ATTEMPTS):
        with contextlib.ExitStack() as stack:
            segments = _open_segments(root, stack)
            files = _files(root, wanted, set(segments))
            if files is not None:
                yield Snapshot(files, list(segments.values()))
                return
    raise LakeBusyError(f"{root}: files moved faster than they could be listed; try again")


def _open_segments(root: Path, stack: contextlib.ExitStack) -> dict[tuple[int, int], BinaryIO]:
    """The segments that hold frames, open, by (worker, number)."""
    found: dict[tuple[int, int], BinaryIO] = {}
    for worker, folder in layout.journals(root):
        for number in _numbers(folder):
            for suffix in (journal.OPEN, journal.CLOSED):
                # Neither there: sealed meanwhile, so its files are.
                with contextlib.suppress(FileNotFoundError):
                    stream = stack.enter_context((folder / f"{number:012d}{suffix}").open("rb"))
                    if os.fstat(stream.fileno()).st_size > journal.HEADER.size:
                        found[worker, number] = stream
                    break
    return found


def _numbers(folder: Path) -> list[int]:
    """The segments of a journal. A file renamed during a listing may be missing from it, so two must agree."""
    before: set[int] | None = None
    while True:
        names = (entry.name.partition(".") for entry in os.scandir(folder))
        now = {
            int(stem)
            for stem, dot, suffix in names
            if dot + suffix in (journal.OPEN, journal.CLOSED) and stem.isdigit()
        }
        if now == before:
            return sorted(now)
        before = now


def _files(root: Path, wanted: Callable[[int], bool], taken: set[tuple[int, int]]) -> list[Path] | None:
    found = []
    for hour, folder in layout.folders(root):
        if not wanted(hour):
            continue
        for file in layout.files(hour, folder):
            if (file.worker, file.first) in taken and file.first == file.last:
                continue
            if any(worker == file.worker and file.first <= number <= file.last for worker, number in taken):
                return None
            found.append(file.path)
    return found


def _mentions(stream: BinaryIO, needles: Sequence[bytes]) -> bool:
    size = os.fstat(stream.fileno()).st_size
    data = os.pread(stream.fileno(), size, 0)
    return any(needle in data for needle in needles)
