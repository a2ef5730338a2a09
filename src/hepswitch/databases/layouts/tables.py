"""Which table each row goes to: the one that the route named, else the layout's, whose name may be dated.

A name with strftime fields is filled in with each packet's own time, so that a batch over midnight goes to two tables; with
its arrival when the two are more than a year apart.
Not here: what the tables are (the layouts), what a dated name may be (`destinations.dated`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hepswitch.destinations.dated import FAR_US, Dated
from hepswitch.destinations.layout_tables import table_name

Values = Any
"""A `pyarrow.Array`. Its stubs tell apart more kinds of arrays than the functions do that take them."""

BAD_NAME = "bad table name"
"""Why a record has no row: the route gave it a table that no server can have."""


def by_table(records: pa.RecordBatch, template: Dated) -> Iterator[tuple[str, bool, pa.RecordBatch]]:
    """The records that go to each table, in their order, and whether it is foreign (`Piece.foreign`).

    Without any records there is no table.
    """
    named: Values = records.column("store_table")
    if named.null_count == len(named):
        parts = by_date(records, template)
    else:
        parts = _parts(records, pc.coalesce(named, _dated(records, template)))
    for name, part in parts:
        is_own = re.fullmatch(template.pattern, name) is not None
        yield name, not is_own or (not template.is_constant and has_strange_times(part)), part


def by_date(records: pa.RecordBatch, template: Dated) -> Iterator[tuple[str, pa.RecordBatch]]:
    """The records that go to what has each name, by their time alone."""
    if not template.is_constant:
        yield from _parts(records, _dated(records, template))
    elif len(records):
        yield template.template, records


def where(records: pa.RecordBatch, belongs: Values) -> pa.RecordBatch:
    """The records that belong, without copying when all do."""
    return records if belongs.true_count == len(records) else records.filter(belongs)


def misnamed(records: pa.RecordBatch) -> pa.StringArray | None:
    """`BAD_NAME` for each record whose route named a table that cannot be; None when there are none."""
    named: Values = records.column("store_table")
    if named.null_count == len(named):
        return None
    bad = [name for name in pc.unique(named).to_pylist() if name is not None and not _is_name(name)]
    if not bad:
        return None
    is_bad = pc.is_in(named, value_set=pa.array(bad, pa.string()))
    reasons: pa.StringArray = pc.if_else(is_bad, BAD_NAME, None)
    return reasons


def _is_name(name: str) -> bool:
    """A table's name whose fields, if it had any, are filled in."""
    try:
        table_name(name)
    except ValueError:
        return False
    return "%" not in name


def _dated(records: pa.RecordBatch, template: Dated) -> Values:
    """The name for each record. Few: they change with the smallest field of the template."""
    step = template.step_us
    is_far: Values = pc.greater(distance_us(records), pa.scalar(FAR_US))
    steps: Values = pc.divide(pc.if_else(is_far, _arrival_us(records), _own_us(records)), step).dictionary_encode()
    names = pa.array([template.at(number * step) for number in steps.dictionary.to_pylist()], pa.string())
    return names.take(steps.indices)


def _own_us(records: pa.RecordBatch) -> Values:
    return records.column("ts").cast(pa.int64())


def _arrival_us(records: pa.RecordBatch) -> Values:
    return pc.multiply(records.column("received_ts").cast(pa.int64()), pa.scalar(1000))


def distance_us(records: pa.RecordBatch) -> Values:
    """µs between each packet's own time and its arrival; 0 where nobody knows when it arrived."""
    arrival = _arrival_us(records)
    distance: Values = pc.abs(pc.subtract(_own_us(records), arrival))
    return pc.if_else(pc.greater(arrival, pa.scalar(0)), distance, pa.scalar(0, pa.int64()))


STRANGE_US = 86_400_000_000
"""µs between a packet's own time and its arrival beyond which nobody need have a partition for it."""


def has_strange_times(records: pa.RecordBatch) -> bool:
    """Is there a record whose own time is a day or more from its arrival?

    A partition that is missing for a time of today somebody will make, and rows wait for it. One agent whose clock says
    2044 must not hold up the others.
    """
    farthest = pc.max(distance_us(records)).as_py()
    return farthest is not None and farthest >= STRANGE_US


def _parts(records: pa.RecordBatch, names: Values) -> Iterator[tuple[str, pa.RecordBatch]]:
    encoded: Values = names.dictionary_encode()
    if len(encoded.dictionary) == 1:
        yield encoded.dictionary[0].as_py(), records
        return
    records = records.take(pc.array_sort_indices(encoded.indices))  # it keeps the order of equals
    counted: Values = pc.value_counts(encoded.indices)
    counts = dict(zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True))
    start = 0
    for number, name in enumerate(encoded.dictionary.to_pylist()):
        yield name, records.slice(start, counts[number])
        start += counts[number]
