"""A lake that one process asks again and again: what was learnt by one question is there for the next.

DuckDB stays, with what it knows of the Parquet files; and so do the rows of the journal, of which only what was written
since the last question is read. Everything else is `lake.Lake`. Not here: which files and segments count (`snapshot`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import duckdb
import pyarrow as pa

from hepswitch import journal
from hepswitch.destinations.records import Records
from hepswitch.destinations.schema import SCHEMA
from hepswitch.lake.lake import FAR_THREADS, Lake, listed, view
from hepswitch.lake.reader import LEFT_OUT
from hepswitch.lake.snapshot import BATCH, Snapshot

if TYPE_CHECKING:
    from hepswitch.lake.remote_part import RemotePart

MOST_THREADS = 4
"""Threads of DuckDB: the machine has something else to do."""

OF_THREAD = 64 << 20
"""Bytes of `memory` for each thread where files are remote: most of these threads wait, but each may have rows in hand."""

SMALL = 2048
"""Rows below which a batch is joined with the next: each question adds one, and DuckDB takes them one by one."""

Identity = tuple[int, int, bytes]
"""A segment's file: device, inode, and its first block, since inodes are used again."""


class WarmLake(Lake):
    """The lake in the folder `path`. DuckDB takes at most half of `memory` (bytes), rows of the journal a quarter."""

    def __init__(
        self, path: Path, memory: int, warn: Callable[[str], None] | None = None, remote: RemotePart | None = None
    ) -> None:
        super().__init__(path, warn, remote)
        self._rows = JournalRows(memory // 4)
        self._asked: duckdb.DuckDBPyConnection | None = None
        self._known: dict[Path, tuple[int, int, int] | None] = {}
        self._duckdb = duckdb.connect(
            config={
                "memory_limit": f"{memory // 2}B",
                "temp_directory": "",
                "threads": min(MOST_THREADS, os.cpu_count() or 1) if remote is None else _far_threads(memory),
            }
        )
        self._duckdb.execute("set global parquet_metadata_cache = true")
        self._duckdb.execute("set global TimeZone = 'UTC'")
        allowed: list[Path | str] = [path]
        if remote is not None:
            self._duckdb.register_filesystem(remote.opened)
            allowed.append(remote.opened.everything)
        self._duckdb.execute(f"set allowed_directories = [{listed(allowed)}]")
        self._duckdb.execute("set enable_external_access = false")
        self._duckdb.execute("set lock_configuration = true")

    def begin(self) -> None:
        """A question begins: it is told of files that earlier ones found damaged. One that was replaced is tried again."""
        self._damaged = {path for path in self._damaged if self._known.get(path) == _version(path)}
        for path in sorted(self._damaged):
            self._warn(f"{path}: {LEFT_OUT}")
        if self._remote is not None:
            self._remote.begin()

    def _leave_out(self, seen: Snapshot) -> bool:
        found = super()._leave_out(seen)
        self._known = {path: _version(path) for path in self._damaged}
        return found

    def interrupt(self) -> None:
        """Let go of what is asked, from another thread: DuckDB, and whoever waits for what is remote."""
        if self._remote is not None:
            self._remote.call_off()
        if (asked := self._asked) is not None:
            asked.interrupt()

    def close(self) -> None:
        """Let go of DuckDB."""
        self._duckdb.close()

    @contextlib.contextmanager
    def _connection(self, seen: Snapshot, needles: Sequence[bytes] | None) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._duckdb.cursor() as connection:
            known, others = self._rows.of(seen.segments)
            fresh = replace(seen, segments=others).fresh(needles)
            rows: dict[str, object] = {} if fresh is None else {"fresh": fresh}
            if known is not None:
                rows["known"] = known
            view(connection, self._urls(seen), rows)
            self._asked = connection
            try:
                yield connection
            finally:
                self._asked = None


@dataclass(frozen=True, slots=True)
class _Segment:
    """The rows of a segment up to `end`."""

    end: int = 0
    batches: list[pa.RecordBatch] = field(default_factory=list)

    def read_on(self, stream: BinaryIO) -> _Segment:
        """With what was written since. A new one: who is interrupted half-way, or has no memory for it, reads it again."""
        records = Records()
        end = self.end
        for block in journal.read_blocks(stream, end):
            records.add(block.data, block.lengths)
            end = block.end
        batches = list(self.batches)
        start = 0
        while start < len(records):
            batch, start = records.batch(start, min(len(records), start + BATCH))
            if batches and len(batches[-1]) < SMALL:
                both = pa.Table.from_batches([batches.pop(), batch], SCHEMA)
                (batch,) = both.combine_chunks().to_batches()
            batches.append(batch)
        return _Segment(end, batches)

    @property
    def size(self) -> int:
        """Bytes of the rows."""
        return sum(batch.nbytes for batch in self.batches)


class JournalRows:
    """The rows of journal segments, `room` bytes of them, each made once."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._segments: dict[Identity, _Segment] = {}

    def of(self, streams: Sequence[BinaryIO]) -> tuple[pa.Table | None, list[BinaryIO]]:
        """The rows of these segments, and the segments for which there is no room. What else was known is forgotten."""
        named = {_identity(stream): stream for stream in streams}
        self._segments = {name: segment for name, segment in self._segments.items() if name in named}
        room = self._room
        others: list[BinaryIO] = []
        for name, stream in named.items():
            segment = self._segments.get(name, _Segment())
            # Rows take about as much as the bytes that they are made of.
            if segment.size + os.fstat(stream.fileno()).st_size - segment.end > room:
                self._segments.pop(name, None)
                others.append(stream)
                continue
            self._segments[name] = segment.read_on(stream)
            room -= self._segments[name].size
        batches = [batch for segment in self._segments.values() for batch in segment.batches]
        return pa.Table.from_batches(batches, SCHEMA) if batches else None, others


def _far_threads(memory: int) -> int:
    return min(FAR_THREADS, memory // OF_THREAD)


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        about = path.stat()
    except FileNotFoundError:
        return None
    return about.st_ino, about.st_size, about.st_mtime_ns


def _identity(stream: BinaryIO) -> Identity:
    about = os.fstat(stream.fileno())
    return about.st_dev, about.st_ino, os.pread(stream.fileno(), journal.HEADER.size, 0)
