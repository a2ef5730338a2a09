"""Tables of PostgreSQL: which columns they have, and the statements that make them.

Not here: rows (`postgres`), the partitioned tables of layout "homer7" (`partitions`).
"""

from __future__ import annotations

import asyncpg

from hepswitch.databases.layouts.shape import Column, Shape, Type
from hepswitch.databases.partitions import Connection
from hepswitch.databases.server import MARKS

MOST_NAME = 63
"""Bytes of a name; PostgreSQL cuts longer ones."""

Columns = dict[str, tuple[str, int]]
"""Of a table: the type of each column (`pg_type.typname`), and how many characters it holds (0: no limit)."""

MARKS_DDL = f"""CREATE TABLE IF NOT EXISTS {MARKS} (
    journal text NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (journal, first, last)
);
"""

_COLUMNS = """SELECT a.attname AS name, t.typname AS type,
    CASE WHEN t.typname IN ('varchar', 'bpchar') AND a.atttypmod > 4 THEN a.atttypmod - 4 ELSE 0 END AS most
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped"""


async def columns_of(connection: Connection, table: str) -> Columns:
    """The columns of a table; none when there is no such table."""
    return {row["name"]: (row["type"], row["most"]) for row in await connection.fetch(_COLUMNS, quoted(table))}


async def make(connection: Connection, statements: str) -> None:
    """Run statements that make what is missing, all or none of them."""
    for patient in (True, True, False):
        try:
            await connection.execute(statements)
        except (asyncpg.UniqueViolationError, asyncpg.DuplicateTableError, asyncpg.DuplicateObjectError):
            # Another connection made it at the same time: IF NOT EXISTS does not see what is not committed.
            if not patient:
                raise
        else:
            return


def table_ddl(table: str, shape: Shape) -> str:
    """The statements that make a table and its indexes, where they are missing."""
    columns = ["id bigserial PRIMARY KEY", *map(column_ddl, shape.columns)]
    lines = ",\n    ".join(columns)
    statements = [f"CREATE TABLE IF NOT EXISTS {quoted(table)} (\n    {lines}\n);\n"]
    for index in shape.indexes:
        # As PostgreSQL names them. Of a name that is too long the end is kept: it has the date and the column.
        name = "_".join([table, *index, "idx"])[-MOST_NAME:]
        keys = ", ".join(map(quoted, index))
        statements.append(f"CREATE INDEX IF NOT EXISTS {quoted(name)} ON {quoted(table)} ({keys});\n")
    return "".join(statements)


_TYPES = {
    Type.MOMENT: "timestamptz",
    Type.SECOND: "timestamp",
    Type.INTEGER: "integer",
    Type.BIG: "bigint",
    Type.MESSAGE: "text",
    Type.JSON: "jsonb",
}


def column_ddl(column: Column) -> str:
    """A column as CREATE TABLE and ADD COLUMN have it."""
    kind = _TYPES.get(column.type) or (f"varchar({column.size})" if column.size else "text")
    default = column.default
    if isinstance(default, str):
        default = "'" + default.replace("'", "''") + "'"
    return f"{quoted(column.name)} {kind}" + ("" if default is None else f" NOT NULL DEFAULT {default}")


def quoted(name: str) -> str:
    """A name as SQL has it, with its upper and lower case."""
    return '"' + name.replace('"', '""') + '"'
