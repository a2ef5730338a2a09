"""How the lake's Parquet files are written: one place for compression, statistics and the steps that survive a crash.

Not here: which rows go into which file (`sealer`, `compaction`).
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from hepswitch.destinations.schema import SCHEMA
from hepswitch.journal import create, make_folder
from hepswitch.lake.layout import TEMPORARY

MAGIC = b"PAR1"

ROW_GROUP = 8192
"""Rows of a merged file's row group: what a look-up reads at least, and how far compression sees."""

PORTION = ROW_GROUP * 5 // 8
"""Rows of a row group that is sealed: merging has one of each file in memory."""

QUICK, THOROUGH = 1, 9
"""Levels of zstd: for sealing, which must keep up with the traffic, and for merging, which is done once."""

IDENTITIES = ("call_id", "correlation_id", "callid_aleg")
"""Columns with Bloom filters: a look-up passes over files that do not know the call."""

TELLING = ["ts", "call_id", "correlation_id", "callid_aleg", "proto_type", "auth_user", "store_table", "received_ts"]
"""Columns with statistics: row groups are passed over by them. In the others every row group has about the same values."""

SIMILAR = (
    "call_id", "correlation_id", "from_tag", "to_tag", "via_branch", "src_ip", "dst_ip",
    "from_user", "to_user", "ruri_user", "contact_user", "pid_user", "auth_user",
)  # fmt: skip
"""Columns that differ from call to call but hardly within one, whose rows are neighbours: each value is written as what
it does not share with the one before, which takes a third less than a dictionary."""

ENCODINGS = dict.fromkeys(SIMILAR, "DELTA_BYTE_ARRAY") | {
    "ts": "DELTA_BINARY_PACKED",
    "received_ts": "DELTA_BINARY_PACKED",
}

REPEATING = [name for name in SCHEMA.names if name not in ENCODINGS and name not in ("payload", "chunks")]
"""Columns of few different values: a dictionary."""


def write(path: Path, batches: Iterable[pa.RecordBatch | pa.Table], level: int) -> Path:
    """Write the batches to a temporary file beside `path`, each as row groups, down to the disk; its name is returned.

    `level` is QUICK or THOROUGH. Raises OSError.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}{TEMPORARY}")
    with _removed_on_failure(temporary), create(temporary) as stream:
        with pq.ParquetWriter(
            stream,
            SCHEMA,
            compression="zstd",
            compression_level=level,
            use_dictionary=REPEATING,  # type: ignore[arg-type]  # a list is documented, the stubs know bool only
            column_encoding=ENCODINGS,
            bloom_filter_options={name: {"ndv": ROW_GROUP // 4, "fpp": 0.01} for name in IDENTITIES},
            write_statistics=TELLING,
            store_schema=False,
            write_batch_size=ROW_GROUP,
        ) as writer:
            for batch in batches:
                table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
                writer.write_table(table, row_group_size=ROW_GROUP)
        stream.flush()
        os.fsync(stream.fileno())
    return temporary


@contextlib.contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception:
        path.unlink(missing_ok=True)
        raise


def is_whole(path: Path) -> bool:
    """Does the file begin and end as Parquet does? What was cut does not. True also when it is not there any more."""
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            return size > 2 * len(MAGIC) and stream.read(4) == os.pread(stream.fileno(), 4, size - 4) == MAGIC
    except FileNotFoundError:
        return True


def is_readable(source: Path | BinaryIO) -> bool:
    """Can all of the file be read? True also when it is not there any more. Takes as long as reading it."""
    try:
        with pq.ParquetFile(source, pre_buffer=False) as file:
            for number in range(file.num_row_groups):
                file.read_row_group(number, use_threads=False)
            return file.schema_arrow.names == SCHEMA.names
    except FileNotFoundError:
        return True
    except MemoryError:
        raise
    except pa.ArrowException:
        return False
    except OSError as error:
        if error.errno in (None, errno.EIO):  # Arrow's own have no number
            return False
        raise


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
