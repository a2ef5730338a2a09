"""Rows of a layout as rows of the lake: each becomes the packet that it was, and is read by the code that fills the lake.

So a field that the table has no column for is there all the same, and none is read in two ways. What neither the table nor
the payload says is null. Not here: which columns a table has (`views`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from hepswitch.destinations.records import Records
from hepswitch.destinations.schema import SCHEMA
from hepswitch.lake.reader import Row
from hepswitch.lake.rebuild import packet
from hepswitch.wire import record
from hepswitch.wire.frames import Frames
from hepswitch.wire.hep import Hep

SAID = ("custom_field1", "custom_field2", "custom_field3")
"""What a route says beside the packet."""

_NOTHING: Row = dict.fromkeys(SCHEMA.names)


def messages(rows: Iterable[Row], warn: Callable[[str], None]) -> pa.Table:
    """The rows, which have `ts` and whatever else of the lake's columns is known, as a table of the lake's schema.

    `warn` is told of a row that is too big to be a packet, and left out.
    """
    frames = Frames()
    for row in rows:
        whole = _NOTHING | row
        try:
            hep = Hep(packet(whole))
        except (ValueError, struct.error) as error:
            warn(f"a packet of {whole['ts']} is left out: {error}")
            continue
        said = {name: text for name in SAID if (text := whole[name]) is not None}
        record.write(frames, hep, meta=said or None)
    records = Records()
    records.add(memoryview(frames), memoryview(frames.lengths()).cast("I"))
    batches = list(_batches(records))
    return pa.Table.from_batches(batches, SCHEMA)


def _batches(records: Records) -> Iterable[pa.RecordBatch]:
    start = 0
    while start < len(records):
        batch, start = records.batch(start, len(records))
        yield _without_what_is_made_up(batch)


def _without_what_is_made_up(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Every packet is version 3 now, and has just arrived: neither was so."""
    columns: list[Any] = list(batch.columns)
    columns[SCHEMA.get_field_index("hep_version")] = pa.nulls(len(batch), pa.uint8())
    received = SCHEMA.get_field_index("received_ts")
    columns[received] = pc.cast(batch.column("ts"), SCHEMA.field(received).type, safe=False)
    return pa.RecordBatch.from_arrays(cast("Sequence[pa.Array[Any]]", columns), schema=SCHEMA)
