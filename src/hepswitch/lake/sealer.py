"""The sealer: a closed segment of a journal becomes Parquet files, one for each hour that its packets are of.

All files get their names before the segment goes. Sealing a segment again gives the same files under the same names, so
a crash between any two steps is healed by doing it again. An agent's clock may say 1970 or 2044: such packets go into
the folders of these hours. Not here: when to seal (`keeper`), which columns there are (`destinations.records`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from hepswitch.destinations.records import Records
from hepswitch.journal import HEADER, Segment, read_blocks
from hepswitch.lake import layout, parquet


@dataclass(frozen=True, slots=True)
class Sealed:
    """What became of a segment: it made `files` with so many `rows`; `damaged` records and `unread` bytes could not be used.

    `fault` says what was wrong with the first such record.
    """

    files: int
    rows: int
    damaged: int
    unread: int
    fault: str | None


def seal(root: Path, worker: int, segment: Segment) -> Sealed:
    """Turn a closed segment into Parquet and delete it (or put it aside, when part of it cannot be used). Raises OSError."""
    records, end = Records(), HEADER.size
    for block in read_blocks(segment.path):
        records.add(block.data, block.lengths)
        end = block.end
    unread = segment.size - end
    records.sort()
    written = []
    for hour, start, stop in records.hours():
        path = layout.folder(root, hour) / layout.file_name(worker, segment.number, segment.number)
        written.append((parquet.write(path, _batches(records, start, stop), parquet.QUICK), path))
    for temporary, path in written:
        parquet.publish(temporary, path)
    if unread or records.damaged:
        layout.put_aside(segment.path)
    else:
        segment.path.unlink()
    return Sealed(len(written), len(records), records.damaged, unread, records.fault)


def _batches(records: Records, start: int, stop: int) -> Iterator[pa.RecordBatch]:
    while start < stop:
        batch, start = records.batch(start, min(stop, start + parquet.PORTION))
        yield batch
