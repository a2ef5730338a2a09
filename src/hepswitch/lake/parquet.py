"""How the lake's Parquet files are written: one place for compression, statistics and the steps that survive a crash.

Not here: which rows go into which file (`sealer`, `compaction`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hepswitch.destinations.records import SCHEMA
from hepswitch.lake.layout import TEMPORARY

ROW_GROUP = 8192
"""Rows of a row group: what a look-up reads at least, and how far compression sees."""

LEVEL = 3
"""Of zstd."""

IDENTITIES = ("call_id", "correlation_id")
"""Columns with Bloom filters: a look-up passes over files that do not know the call."""

PLAIN = {"ts", "received_ts", "payload", "chunks", "call_id", "from_tag", "to_tag", "via_branch", "cseq"}
"""Columns of mostly distinct values: a dictionary would be built for nothing."""


def write(path: Path, batches: Iterable[pa.RecordBatch | pa.Table]) -> Path:
    """Write the batches to a temporary file beside `path`, each as row groups, down to the disk. Returns the temporary file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}{TEMPORARY}")
    with temporary.open("wb") as stream:
        with pq.ParquetWriter(
            stream,
            SCHEMA,
            compression="zstd",
            compression_level=LEVEL,
            use_dictionary=[name for name in SCHEMA.names if name not in PLAIN],
            bloom_filter_options={name: {"ndv": ROW_GROUP // 4, "fpp": 0.01} for name in IDENTITIES},
            store_schema=False,
            write_batch_size=ROW_GROUP,
        ) as writer:
            for batch in batches:
                table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
                writer.write_table(table, row_group_size=ROW_GROUP)
        stream.flush()
        os.fsync(stream.fileno())
    return temporary


def publish(temporary: Path, path: Path) -> None:
    """Give the finished file its name; readers see all of it or nothing."""
    temporary.replace(path)
    sync(path.parent)


def sync(folder: Path) -> None:
    """Make the names in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
