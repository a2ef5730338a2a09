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

from hepswitch.destinations.schema import SCHEMA
from hepswitch.lake import layout, parquet
from hepswitch.lake.layout import LakeFile

_NO_IDENTITY = pa.scalar("")
_NO_ROWS = SCHEMA.empty_table()

FAN_IN = 8
"""Files merged at once at most: each has a row group in memory."""

PIECE = parquet.ROW_GROUP // 4 // FAN_IN
"""Rows that are taken at once from each file at most, so that together they are not more than a quarter of a row group."""

SMALL = 16 << 20
"""Bytes: files below this are merged, as soon as there are FAN_IN of them or their hour is over. A segment of 32 MiB makes
a file of 3 MiB and eight of these one that is left alone: where there is much traffic, rows are merged once."""

LOPSIDED = 8
"""A file this many times as big as the others of its group is left alone until there are more of them."""


def plan(files: Sequence[LakeFile], over: bool, limit: int, aside: Sequence[LakeFile] = ()) -> list[list[LakeFile]]:
    """The groups to merge among one folder's files (as `layout.files` orders them) of one worker.

    `over`: nothing is added to the folder any more. `limit`: the oldest segment that is not sealed yet. `aside`: its files
    that were put aside. No merged file may cover one of those: a good copy of it may have been uploaded.
    """
    few = 2 if over else FAN_IN
    groups: list[list[LakeFile]] = [[]]
    for file in files:
        if file.last >= limit:
            break
        if groups[-1] and any(groups[-1][-1].last < gone.first < file.first for gone in aside):
            groups.append([])
        size = file.path.stat().st_size
        if size >= SMALL:
            groups.append([])
            continue
        if len(groups[-1]) == FAN_IN:
            groups.append([])
        groups[-1].append(file)
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
    """The rows of sorted files in one order, in tables of a row group. Holds about a row group of each file."""
    streams = [_row_groups(path) for path in paths]
    heads = {number: head for number, stream in enumerate(streams) if (head := next(stream, None)) is not None}
    ready = _NO_ROWS
    while heads:
        # The first of the places that the heads come to by PIECE rows: so a step takes no more of each of them.
        bound = min(_place(head, min(PIECE, len(head)) - 1) for head in heads.values())
        counts = {number: _up_to(head, bound) for number, head in heads.items()}
        ready = pa.concat_tables(
            [
                ready,
                _in_order([heads[number].slice(0, count) for number, count in counts.items()]).drop_columns(["key"]),
            ]
        )
        # All files come to the end of their row groups at about the same time: each lets go of one before it reads another.
        for number, count in counts.items():
            if count < len(heads[number]):
                heads[number] = heads[number].slice(count)
                continue
            del heads[number]
            if (more := next(streams[number], None)) is not None:
                heads[number] = more
        if len(ready) >= parquet.ROW_GROUP:
            yield ready.slice(0, parquet.ROW_GROUP)
            ready = ready.slice(parquet.ROW_GROUP)
    if len(ready):
        yield ready


def _row_groups(path: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(path, pre_buffer=False) as file:
        for number in range(file.num_row_groups):
            if file.metadata.row_group(number).num_rows:
                yield _with_key(file.read_row_group(number, use_threads=False))


def _with_key(table: pa.Table) -> pa.Table:
    key = pc.coalesce(table["call_id"], table["correlation_id"], _NO_IDENTITY)
    table = table.append_column("key", cast("pa.ChunkedArray[Any]", key))
    # Merging looks for places in it: in another order (a file of somebody else's) it would not come to an end.
    return table if _is_in_order(table) else _in_order([table])


def _is_in_order(table: pa.Table) -> bool:
    before, after = table.slice(0, len(table) - 1), table.slice(1)
    later = pc.or_(
        pc.less(before["key"], after["key"]),
        pc.and_(pc.equal(before["key"], after["key"]), pc.less_equal(before["ts"], after["ts"])),
    )
    return pc.all(later).as_py() is not False


def _place(table: pa.Table, row: int) -> tuple[str, int]:
    """What a row is sorted by."""
    return table["key"][row].as_py(), table["ts"][row].value


def _up_to(table: pa.Table, place: tuple[str, int]) -> int:
    """How many rows come before this place in the order, or are at it."""
    first, last = 0, min(PIECE, len(table))
    while first < last:
        middle = (first + last) // 2
        if _place(table, middle) <= place:
            first = middle + 1
        else:
            last = middle
    return first


def _in_order(tables: list[pa.Table]) -> pa.Table:
    table = pa.concat_tables(tables)
    return table.take(pc.sort_indices(table, [("key", "ascending"), ("ts", "ascending")]))
