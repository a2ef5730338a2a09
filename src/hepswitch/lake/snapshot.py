"""What a reader sees of a lake at one moment: Parquet files and journal segments that together hold each packet once.

No locks: the segments are opened first, so what they hold cannot go away; then files are listed, and those of segments
that are open here are left out. When a merged file covers an open segment, the lake has moved on: look again. What is
remote is listed last: what goes from here was there before. Not here: queries (`query`), reaching what is remote
(`remote_part`).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from hepswitch import journal
from hepswitch.lake import layout

if TYPE_CHECKING:
    import pyarrow as pa

    from hepswitch.destinations.records import Records
    from hepswitch.lake.layout import LakeFile
    from hepswitch.lake.remote import RemoteFile
    from hepswitch.lake.remote_part import RemotePart

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
    """Paths of the Parquet files that count, the journal segments beside them, open for reading, and the remote files."""

    files: list[Path]
    segments: list[BinaryIO]
    remote: list[RemoteFile] = field(default_factory=list)

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
def snapshot(
    root: Path | None,
    wanted: Callable[[int], bool] = lambda _: True,
    remote: RemotePart | None = None,
    remote_wanted: Callable[[int], bool] | None = None,
) -> Iterator[Snapshot]:
    """The lake as it is now; of Parquet only the hours (since the epoch) that are `wanted`, of its remote part those that
    are `remote_wanted`. Without `root` there is nothing but the remote part.

    Raises FileNotFoundError when there is no lake, LakeBusyError when it does not hold still.
    """
    if root is not None and not root.is_dir():
        raise FileNotFoundError(f"{root}: there is no lake here: nothing was stored yet, or it is another folder")
    for _ in range(ATTEMPTS):
        with contextlib.ExitStack() as stack:
            segments = {} if root is None else _open_segments(root, stack)
            near = [] if root is None else _files(root, wanted)
            far = [] if remote is None else remote.files(remote_wanted or wanted, near)
            found = _counting(near, far, None if remote is None else remote.node, set(segments))
            if found is not None and (remote is None or remote.is_ready(found[1])):
                yield Snapshot([file.path for file in found[0]], list(segments.values()), found[1])
                return
    raise LakeBusyError(f"{root or remote}: files moved faster than they could be listed; try again")


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


def _files(root: Path, wanted: Callable[[int], bool]) -> list[LakeFile]:
    return [file for hour, folder in layout.folders(root) if wanted(hour) for file in layout.files(hour, folder)]


def _counting(
    near: Sequence[LakeFile], far: Sequence[RemoteFile], node: str | None, taken: set[tuple[int, int]]
) -> tuple[list[LakeFile], list[RemoteFile]] | None:
    """Those of the files here and of the remote ones, of which those of `node` may be here, too, that count beside the
    segments that are `taken`; None when the lake has moved on."""
    here: list[LakeFile] = []
    there = [file for file in far if file.node != node]
    own: list[LakeFile | RemoteFile] = [*near, *(file for file in far if file.node == node)]
    # Of two that are alike the one that is here comes first, so the other one is covered.
    own.sort(key=lambda file: (file.hour, file.worker, file.first, -file.last, not isinstance(file, layout.LakeFile)))
    for _, group in itertools.groupby(own, key=lambda file: file.hour):
        alike = list(group)
        gone = set(layout.superseded(alike))
        for file in alike:
            if file in gone or ((file.worker, file.first) in taken and file.first == file.last):
                continue
            if any(worker == file.worker and file.first <= number <= file.last for worker, number in taken):
                return None
            if isinstance(file, layout.LakeFile):
                here.append(file)
            else:
                there.append(file)
    return here, there


def _mentions(stream: BinaryIO, needles: Sequence[bytes]) -> bool:
    size = os.fstat(stream.fileno()).st_size
    data = os.pread(stream.fileno(), size, 0)
    return any(needle in data for needle in needles)
