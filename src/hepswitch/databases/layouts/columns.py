"""Columns, and what fills them: the table of a layout is a list of both. Rows are made of whole columns at a time.

Not here: the values (`fills`), which columns a table has (the layouts), which table a row goes to (`tables`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from hepswitch.databases.layouts.fills import Fill, of, second
from hepswitch.databases.layouts.shape import Column, Piece, Shape, Type
from hepswitch.databases.layouts.tables import Values, by_table
from hepswitch.destinations.dated import Dated


class Filled(NamedTuple):
    """A column, and what fills it."""

    column: Column
    fill: Fill


def text(name: str, size: int, fill: str | Fill, default: str | None = "") -> Filled:
    """Text of `size` characters, cut if need be, out of a column of the records, or by a function."""
    return Filled(Column(name, Type.TEXT, size, default), of(fill) if isinstance(fill, str) else fill)


def number(name: str, fill: str | Fill, kind: Type = Type.INTEGER) -> Filled:
    """A number, 0 where there is none."""
    return Filled(Column(name, kind, default=0), of(fill) if isinstance(fill, str) else fill)


def moment(name: str) -> Filled:
    """When the packet was captured, in whole seconds."""
    return Filled(Column(name, Type.SECOND), second)


def message(name: str) -> Filled:
    """The payload."""
    return Filled(Column(name, Type.MESSAGE), of("payload"))


class FilledTable:
    """A table of a layout: the template of its name, its shape, and its rows. `names`: other names of columns."""

    def __init__(
        self,
        role: str,
        template: str,
        filled: Sequence[Filled],
        indexes: Sequence[tuple[str, ...]],
        names: Mapping[str, str],
    ) -> None:
        self.template = Dated(template)
        self._fills = [each.fill for each in filled]
        columns = tuple(each.column._replace(name=names.get(each.column.name, each.column.name)) for each in filled)
        self.shape = Shape(role, columns, tuple(tuple(names.get(name, name) for name in index) for index in indexes))
        self._schema = pa.schema([pa.field(column.name, _ARROW[column.type]) for column in columns])

    def pieces(self, records: pa.RecordBatch) -> list[Piece]:
        """The rows of records, all of which belong here or into a table that their route named."""
        return [
            Piece(table, self.shape, self._rows(part), foreign)
            for table, foreign, part in by_table(records, self.template)
        ]

    def _rows(self, records: pa.RecordBatch) -> pa.RecordBatch:
        made = zip(self._fills, self.shape.columns, strict=True)
        arrays = [_fit(fill(records), column) for fill, column in made]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)


_ARROW: dict[Type, pa.DataType] = {
    Type.SECOND: pa.timestamp("s"),
    Type.INTEGER: pa.int32(),
    Type.BIG: pa.int64(),
    Type.TEXT: pa.string(),
    Type.MESSAGE: pa.binary(),
}


def _fit(values: Values, column: Column) -> Values:
    """Values as the column has them: its type, no longer than its size, its default where there is nothing."""
    if column.type is Type.TEXT:
        sizes: Values = pc.binary_length(values)
        if (pc.max(sizes).as_py() or 0) > column.size:  # in bytes: no text has more characters
            values = pc.utf8_slice_codeunits(values, 0, column.size)
    else:
        values = values.cast(_ARROW[column.type])
    if column.default is not None and values.null_count:
        values = values.fill_null(column.default)
    return values
