"""Tables of MySQL and MariaDB: their DDL, what the columns that are really there can hold, and rows made to fit them.

Tables are made as InnoDB with utf8mb4, compared byte by byte (a Call-ID is case-sensitive), and payloads as MEDIUMBLOB,
which keeps any bytes. An operator's own table may be narrower: what its columns cannot hold is changed rather than refused.

| column | what is changed |
| --- | --- |
| text or BLOB that is too short | the end of the value is cut off |
| TEXT for a payload | bytes that are no UTF-8 become U+FFFD |
| character set utf8 (utf8mb3) | characters beyond U+FFFF (emoji) become U+FFFD |
| any other character set but utf8mb4 | characters that are not ASCII become ? |
| NOT NULL | nothing becomes an empty text or 0 |

Not here: the connection (`mysql`), which columns there should be (`layouts`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from hepswitch.databases.layouts.shape import Column, Shape, Type
from hepswitch.databases.layouts.tables import Values
from hepswitch.databases.server import MARKS

OPTIONS = "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin"

CREATE_MARKS = (
    f"CREATE TABLE IF NOT EXISTS `{MARKS}` (\n"
    "  `journal` CHAR(32) NOT NULL,\n"
    "  `first` BIGINT UNSIGNED NOT NULL,\n"
    "  `last` BIGINT UNSIGNED NOT NULL,\n"
    "  `loaded_at` TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,\n"
    "  PRIMARY KEY (`journal`, `last`, `first`)\n"  # last before first: what is done is forgotten by a range
    f") {OPTIONS}"
)

COLUMNS_OF = (
    "SELECT c.column_name, c.character_maximum_length, c.character_octet_length, c.character_set_name, "
    "c.is_nullable, t.engine FROM information_schema.tables t, information_schema.columns c "
    "WHERE t.table_schema = DATABASE() AND t.table_name = %(table)s "
    "AND c.table_schema = DATABASE() AND c.table_name = %(table)s"  # both, or MariaDB looks into every table there is
)
"""A row for each column of a table, as `Existing.of` takes them."""

_WORDS = {
    Type.MOMENT: "DATETIME(6)",
    Type.SECOND: "DATETIME",
    Type.INTEGER: "INT",
    Type.BIG: "BIGINT",
    Type.MESSAGE: "MEDIUMBLOB",
    Type.JSON: "JSON",
}


def create_table(name: str, shape: Shape) -> str:
    """The statement that makes a table, without an end. Indexes are named after their columns, as OpenSIPS' are."""
    lines = ["`id` BIGINT UNSIGNED NOT NULL AUTO_INCREMENT", *map(definition, shape.columns), "PRIMARY KEY (`id`)"]
    lines += [f"KEY `{'_'.join(index)}` ({', '.join(f'`{name}`' for name in index)})" for index in shape.indexes]
    return f"CREATE TABLE IF NOT EXISTS `{name}` (\n  " + ",\n  ".join(lines) + f"\n) {OPTIONS}"


def definition(column: Column) -> str:
    """A column as CREATE TABLE and ALTER TABLE … ADD COLUMN have it."""
    word = f"VARCHAR({column.size})" if column.type is Type.TEXT else _WORDS[column.type]
    if column.default is None:
        return f"`{column.name}` {word} NULL"  # said, because a TIMESTAMP would be NOT NULL otherwise
    default = f" DEFAULT {_literal(column.default)}" if word.startswith(("VARCHAR", "INT", "BIGINT")) else ""
    return f"`{column.name}` {word} NOT NULL{default}"


def _literal(value: str | int) -> str:
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


class Holds(NamedTuple):
    """What a column that is really there can hold."""

    characters: int | None
    octets: int | None
    """None: it is neither text nor BLOB."""
    charset: str | None
    """None: it holds no text."""
    is_nullable: bool


class Existing(NamedTuple):
    """A table that is really there."""

    engine: str
    columns: Mapping[str, Holds]
    """By name in lower case."""

    @classmethod
    def of(cls, rows: list[dict[str, Any]]) -> Existing:
        """From the rows of `COLUMNS_OF`, at least one. MySQL gives the names in capitals."""
        found = [{key.lower(): value for key, value in row.items()} for row in rows]
        columns = {
            row["column_name"].lower(): Holds(
                row["character_maximum_length"],
                row["character_octet_length"],
                row["character_set_name"],
                row["is_nullable"] == "YES",
            )
            for row in found
        }
        return cls(found[0]["engine"] or "a view", columns)

    def lacks(self, shape: Shape) -> list[Column]:
        """The columns of a shape that are not there."""
        return [column for column in shape.columns if column.name.lower() not in self.columns]

    def fitted(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The rows as these columns can hold them: text, bytes and whole numbers only."""
        named = zip(rows.schema.names, rows.columns, strict=True)
        arrays = [_fit(values, self.columns[name.lower()]) for name, values in named]
        return pa.RecordBatch.from_arrays(arrays, names=rows.schema.names)


def nothing_in(values: Values) -> str | None:
    """The literal that is the value of all, if that is NULL, '' or 0: many columns are empty in most batches.

    A column of nulls could not be sent at all: its values have no type that could be told.
    """
    if values.null_count == len(values):
        return "NULL"
    if values.null_count:
        return None
    if pa.types.is_integer(values.type):
        is_said: Values = values.cast(pa.bool_())
        return None if is_said.true_count else "0"
    return "''" if _longest(values) == 0 else None


def _fit(values: Values, holds: Holds) -> Values:
    if pa.types.is_timestamp(values.type):
        return _wall_clock(values)
    if pa.types.is_binary(values.type):
        if holds.charset is None:
            return _filled(_cut_bytes(values, holds.octets), b"", holds)
        values = _text(values)
    if pa.types.is_string(values.type):
        return _filled(_cut_text(_in_charset(values, holds.charset), holds), "", holds)
    return _filled(values, 0, holds)


def _filled(values: Values, nothing: str | bytes | int, holds: Holds) -> Values:
    return values if holds.is_nullable or not values.null_count else values.fill_null(nothing)


def _wall_clock(moments: Values) -> Values:
    """Moments in UTC as literals."""
    return moments.cast(pa.timestamp(moments.type.unit)).cast(pa.string())


def _text(values: Values) -> Values:
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:  # somewhere in there is what is no UTF-8
        return pa.array([each and each.decode("utf-8", "replace") for each in values.to_pylist()], pa.string())


def _in_charset(values: Values, charset: str | None) -> Values:
    match charset:
        case None | "utf8mb4":
            return values
        case "utf8" | "utf8mb3":
            return pc.replace_substring_regex(values, "[\U00010000-\U0010ffff]", "\ufffd")
        case _:
            return pc.replace_substring_regex(values, "[^\\x00-\\x7f]", "?")


def _cut_text(values: Values, holds: Holds) -> Values:
    if holds.characters is None or holds.octets is None:
        return values
    if _longest(values) > holds.characters:  # bytes: no text of fewer has more characters
        values = pc.utf8_slice_codeunits(values, 0, holds.characters)
    if _longest(values) > holds.octets:  # TEXT counts bytes
        values = pa.array([each and _head(each, holds.octets) for each in values.to_pylist()], pa.string())
    return values


def _head(text: str, octets: int) -> str:
    return text.encode()[:octets].decode("utf-8", "ignore")


def _cut_bytes(values: Values, octets: int | None) -> Values:
    return values if octets is None or _longest(values) <= octets else pc.binary_slice(values, 0, octets)


def _longest(values: Values) -> int:
    """Bytes of the longest value."""
    sizes: Values = pc.binary_length(values)
    return pc.max(sizes).as_py() or 0
