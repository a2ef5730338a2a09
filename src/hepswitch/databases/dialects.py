"""How each kind of server says what a question needs of SQL: quoting, placeholders, patterns, the catalogue of tables.

Conditions that go to a server may hold for more rows than are meant, never for fewer: upper and lower case, trailing blanks
and the like may be taken for the same. Not here: what is asked (`narrowing`, `reading`).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any


class Dialect(ABC):
    """A server's SQL. `session`: statements that make a session read only, in UTC. `tables`: a query for all columns of all
    tables (`table`, `column`), and perhaps how many characters they hold (`size`) and whether text cannot be looked for in
    them (`opaque`). `kill`: what ends the query of the session `session_id`, where a server goes on with it when nobody
    waits any more.
    """

    session: Sequence[str] = ()
    session_id = kill = ""
    tables: str
    length = "char_length"
    escape = "!"

    def quoted(self, name: str) -> str:
        """A name as an identifier."""
        return '"' + name.replace('"', '""') + '"'

    @abstractmethod
    def mark(self, place: int, value: Any) -> str:
        """The placeholder of the value at `place`, which counts from 1."""

    def bound(self, value: Any) -> Any:
        """A value as its driver takes it."""
        return value

    def second(self, moment: datetime) -> Any:
        """A moment as a column of whole seconds has it, rounded down."""
        return moment.astimezone(UTC).replace(microsecond=0)

    def like(self, text: str, pattern: str) -> str:
        """Does `text` match `pattern` (a placeholder)? Perhaps in either case."""
        return f"{text} like {pattern} escape '{self.escape}'"

    def like_any_case(self, text: str, pattern: str) -> str:
        """The same, surely in either case."""
        return self.like(f"lower({text})", f"lower({pattern})")

    def plain(self, text: str) -> str:
        """A text as the part of a pattern that stands for nothing else."""
        return re.sub(rf"[{re.escape(self.escape)}%_]", lambda found: self.escape + found[0], text)

    def absent(self, text: str) -> str:
        """Is `text` null?"""
        return f"{text} is null"

    def found_in(self, part: str, text: str) -> str:
        """Does `text` contain `part`?"""
        return f"position({part} in {text}) > 0"


class PostgresDialect(Dialect):
    """PostgreSQL; its text holds no NUL."""

    # Behind a pooler a session is shared with the loader's: that it is read only is said with each query (`postgres`).
    session = (
        # Who goes away leaves no query behind. Servers before 14 do not have it.
        "select set_config(name, '1000', false) from pg_settings where name = 'client_connection_check_interval'",
    )
    # Partitions are read through their tables.
    tables = """
        select c.relname as "table", a.attname as "column", a.atttypid = 'bytea'::regtype as opaque,
               case when a.atttypid in ('varchar'::regtype, 'bpchar'::regtype) then a.atttypmod - 4 end as size
        from pg_class c join pg_attribute a on a.attrelid = c.oid
        where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
              and a.attnum > 0 and not a.attisdropped and has_table_privilege(c.oid, 'select')
    """

    def mark(self, place: int, value: Any) -> str:
        kind = {str: "text", int: "bigint", datetime: "timestamptz"}[type(value)]
        return f"${place}::{kind}"

    def bound(self, value: Any) -> Any:
        return value.replace("\0", "") if isinstance(value, str) else value

    def like_any_case(self, text: str, pattern: str) -> str:
        return f"{text} ilike {pattern} escape '{self.escape}'"


class MysqlDialect(Dialect):
    """MySQL and MariaDB."""

    session = ("set time_zone = '+00:00'", "set session transaction read only")
    session_id = "select connection_id() as id"
    kill = "kill query {id:d}"
    tables = """
        select c.table_name as `table`, c.column_name as `column`,
               if(c.data_type in ('char', 'varchar'), c.character_maximum_length, null) as size
        from information_schema.columns c join information_schema.tables t using (table_schema, table_name)
        where c.table_schema = database() and t.table_type = 'BASE TABLE'
    """

    def quoted(self, name: str) -> str:
        return "`" + name.replace("`", "``") + "`"

    def mark(self, place: int, value: Any) -> str:
        return "%s"

    def second(self, moment: datetime) -> Any:
        return super().second(moment).replace(tzinfo=None)


class SqliteDialect(Dialect):
    """SQLite: moments are text."""

    session = ("pragma query_only = on",)
    tables = """
        select m.name as "table", c.name as "column" from sqlite_master m join pragma_table_info(m.name) c
        where m.type = 'table'
    """
    length = "length"

    def mark(self, place: int, value: Any) -> str:
        return "?"

    def second(self, moment: datetime) -> Any:
        return super().second(moment).replace(tzinfo=None).isoformat(" ")

    def like(self, text: str, pattern: str) -> str:
        # It looks at what is before a NUL.
        return f"({super().like(text, pattern)} or instr({text}, char(0)) > 0)"

    def absent(self, text: str) -> str:
        # Said plainly of a column that is never null, it keeps SQLite from the index for what stands beside it.
        return f"{text} is nullif(1, 1)"

    def found_in(self, part: str, text: str) -> str:
        return f"instr({text}, {part}) > 0"


class ClickhouseDialect(Dialect):
    """ClickHouse. Its requests are read only."""

    # Views and the like show the rows of tables once more.
    tables = (
        'select table as "table", name as "column" from system.columns where database = currentDatabase() and table in '
        "(select name from system.tables where database = currentDatabase()"
        " and (engine like '%MergeTree' or engine = 'Distributed'))"
    )
    length = "lengthUTF8"
    escape = "\\"

    def mark(self, place: int, value: Any) -> str:
        kind = {str: "String", int: "Int64", datetime: "DateTime64(6, 'UTC')"}[type(value)]
        return f"{{p{place}:{kind}}}"

    def like(self, text: str, pattern: str) -> str:
        return f"{text} like {pattern}"

    def like_any_case(self, text: str, pattern: str) -> str:
        return f"{text} ilike {pattern}"

    def found_in(self, part: str, text: str) -> str:
        return f"position({text}, {part}) > 0"
