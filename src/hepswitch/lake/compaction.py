"""Compaction: many small files of one hour and one worker become few, still sorted, by merging streams of rows.

The merged file is named after the interval of its segments, which makes the files that went into it superseded the moment
it has its name; then they are deleted. Only segments below the oldest unsealed one are merged, so that no interval
covers rows that are still to come. Not here: retention, and when to do it (`keeper`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hepswitch.destinations.records import SCHEMA
from hepswitch.lake import layout, parquet
from hepswitch.lake.layout import LakeFile

_NO_IDENTITY = pa.scalar("")
_NO_ROWS = SCHEMA.append(pa.field("key", pa.string())).empty_table()

FAN_IN = 8
"""Files merged at once at most: each keeps a piece of this many rows in memory."""

READ_BUFFER = 64 << 10
"""Bytes of each column that are read ahead, in place of the whole column."""

PIECE = 1024
"""Rows that are read at once from each file."""

SMALL = 32 << 20
"""Bytes: files below this are merged while their hour is still filling, as soon as there are FAN_IN of them."""

LOPSIDED = 8
"""A file this many times as big as the others of its group is left alone until there are more of them."""

TARGET = 128 << 20
"""Bytes: files below this are merged when their hour is over."""


def plan(files: Sequence[LakeFile], over: bool, limit: int) -> list[list[LakeFile]]:
    """The groups to merge among one folder's files (as `layout.files` orders them) of one worker.

    `over`: nothing is added to the folder any more. `limit`: the oldest segment that is not sealed yet.
    """
    most, few = (TARGET, 2) if over else (SMALL, FAN_IN)
    groups: list[list[LakeFile]] = [[]]
    total = 0
    for file in files:
        if file.last >= limit:
            break
        size = file.path.stat().st_size
        if size >= most:
            groups.append([])
            total = 0
            continue
        if len(groups[-1]) == FAN_IN or total + size > TARGET:
            groups.append([])
            total = 0
        groups[-1].append(file)
        total += size
    return [group for group in groups if len(group) >= few and _worthwhile(group)]


def _worthwhile(group: Sequence[LakeFile]) -> bool:
    """Not a big file written again for a few packets that came late."""
    sizes = sorted(file.path.stat().st_size for file in group)
    return sizes[-1] <= LOPSIDED * sum(sizes[:-1])


def compact(group: Sequence[LakeFile]) -> LakeFile:
    """Merge consecutive files of one worker and hour into one and delete them. Raises OSError."""
    first, last = group[0], group[-1]
    path = first.path.with_name(layout.file_name(first.worker, first.first, last.last))
    newest = max(file.path.stat().st_mtime_ns for file in group)
    temporary = parquet.write(path, merged([file.path for file in group]), parquet.THOROUGH)
    # Retention goes by the time of writing: merging must not make packets younger.
    os.utime(temporary, ns=(newest, newest))
    parquet.publish(temporary, path)
    for file in group:
        file.path.unlink()
    return LakeFile(path, first.hour, first.worker, first.first, last.last)


def merged(paths: Sequence[Path]) -> Iterator[pa.Table]:
    """The rows of sorted files in one order, in tables of at least a row group. Holds a piece of each file or two."""
    streams = [_pieces(path) for path in paths]
    heads = [next(stream, _NO_ROWS) for stream in streams]
    going = {place for place, head in enumerate(heads) if len(head)}
    ready: list[pa.Table] = []
    rows = 0
    while going:
        # Whatever comes yet is not below the last key of the stream that it comes from.
        last = {place: pc.max(heads[place]["key"]).as_py() for place in going}
        bound = min(last.values())
        for place, head in enumerate(heads):
            # Sorted, so what is below the bound comes first.
            below = pc.less(head["key"], bound).to_pylist().count(True)
            ready.append(head.slice(0, below))
            heads[place] = head.slice(below)
            rows += below
        for place in [place for place in going if last[place] == bound]:
            if (more := next(streams[place], None)) is None:
                going.remove(place)
            else:
                heads[place] = pa.concat_tables([heads[place], more])
        if rows >= parquet.ROW_GROUP:
            yield _in_order(ready)
            ready, rows = [], 0
    ready += heads
    if sum(map(len, ready)):
        yield _in_order(ready)


def _pieces(path: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(path, buffer_size=READ_BUFFER) as file:
        for batch in file.iter_batches(PIECE, use_threads=False):
            table = pa.Table.from_batches([batch])
            if len(table):
                key = pc.coalesce(table["call_id"], table["correlation_id"], _NO_IDENTITY)
                yield table.append_column("key", cast("pa.ChunkedArray[Any]", key))


def _in_order(tables: list[pa.Table]) -> pa.Table:
    table = pa.concat_tables(tables)
    order = pc.sort_indices(table, [("key", "ascending"), ("ts", "ascending")])
    return table.take(order).drop_columns(["key"])
