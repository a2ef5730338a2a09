from collections.abc import Sequence

import pyarrow as pa

FORMS: dict[str, tuple[int, int]]
"""The types of PostgreSQL that can be written, by `pg_type.typname`."""

def copy_rows(batch: pa.RecordBatch, columns: Sequence[tuple[str, int]]) -> bytearray:
    """The rows of a batch as the data of `COPY … FROM STDIN (FORMAT binary)`.

    `columns`: for each column of the batch the type that it has in the table, as `pg_type.typname` says it, and how
    many characters it holds (0: no limit). TypeError: a column cannot be written as that type. OverflowError: a number
    or a time is beyond it. Both name the column.
    """
