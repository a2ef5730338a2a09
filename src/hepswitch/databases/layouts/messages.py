"""Layout "messages": one table with the columns of the lake (docs/lake.md), a row a packet. ClickHouse has it.

`store_table` is no column: a route that names a table puts the packet into that one, which has the same columns. Rows keep
the types of the record schema (`destinations.schema`), which are narrower than `Type` can say, and there is no `id`.

Text and bytes are never null in the table, since what is searched by is best without: nothing is '' there, and `as_in_lake`
gives null again. So what the lake knows apart, empty and absent (a payload of no bytes, custom_field1 = ""), is one: null.
Numbers are null where the lake's are, since 0 is a number: a VLAN, a port, a CSeq.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from hepswitch.databases.layouts.shape import Column, Piece, Shape, Type
from hepswitch.databases.layouts.tables import by_table, misnamed
from hepswitch.destinations.dated import Dated
from hepswitch.destinations.schema import SCHEMA

FIELDS = [field for field in SCHEMA if field.name != "store_table"]
"""The columns, as rows have them."""

INDEXED = ("call_id", "correlation_id", "callid_aleg", "from_user", "to_user")
"""Columns by which one value is looked for among many."""


def _column(field: pa.Field[pa.DataType]) -> Column:
    if pa.types.is_string(field.type):
        return Column(field.name, Type.TEXT, default="")
    if pa.types.is_binary(field.type):
        return Column(field.name, Type.MESSAGE, default="")
    if pa.types.is_timestamp(field.type):
        return Column(field.name, Type.MOMENT)
    return Column(field.name, Type.BIG if field.type == pa.uint32() else Type.INTEGER)


SHAPE = Shape("messages", tuple(map(_column, FIELDS)), tuple((name,) for name in INDEXED))

_EMPTIES = frozenset(column.name for column in SHAPE.columns if column.default is not None)


class Messages:
    """Rows out of records; `table`: the name of the table, with or without date fields."""

    extras: Sequence[str] = ()

    def __init__(self, table: str) -> None:
        self._table = Dated(table)

    def pieces(self, batch: pa.RecordBatch) -> list[Piece]:
        """The rows of a batch, by table."""
        return [
            Piece(table, SHAPE, records.select([field.name for field in FIELDS]), foreign)
            for table, foreign, records in by_table(batch, self._table)
        ]

    def unfit(self, batch: pa.RecordBatch) -> pa.StringArray | None:
        """Records whose route named a table that can be none."""
        return misnamed(batch)


def as_in_lake(row: dict[str, Any]) -> dict[str, Any]:
    """A row that was read from the table, with the lake's nulls."""
    return {name: None if name in _EMPTIES and not value else value for name, value in row.items()}
