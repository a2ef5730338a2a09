"""Questions to a lake: search, calls, one call with all its legs, free SQL.

Reads files and the unsealed journal by itself: needs no running switch, writes nothing, locks nothing, and sees each
packet once while the lake is being sealed and merged. Not here: which files count (`snapshot`), what is asked (`query`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from hepswitch.lake.calls import calls
from hepswitch.lake.query import Query
from hepswitch.lake.reader import TIES, Reader, Row, fetched, prepare, searched
from hepswitch.lake.snapshot import ATTEMPTS, LakeBusyError, Snapshot, snapshot

ASKED_WRONGLY = (duckdb.ProgrammingError, duckdb.DataError)
"""DuckDB's errors that are the question's fault, but for InvalidInputException, which a broken file gives too. There is no
one error for those: a page that cannot be unpacked gives the most general there is."""

Answer = TypeVar("Answer")


class QueryError(ValueError):
    """The SQL cannot be run; says why."""


class Lake(Reader):
    """The lake in the folder `path`. Raises FileNotFoundError when asked while there is none.

    `warn` is told, in words, what is missing from an answer: a damaged file, a leg that is too far away.
    """

    def __init__(self, path: Path | str, warn: Callable[[str], None] | None = None) -> None:
        super().__init__(warn)
        self.path = Path(path)
        self.place = str(path)
        self._damaged: set[Path] = set()

    def search(self, query: Query, columns: Sequence[str] = ("*",)) -> list[Row]:
        """The packets that `query` means, in the order of time; all columns or the named ones (of docs/lake.md)."""
        return self._ask(lambda connection: searched(connection, query, columns), query, query.needles())

    def calls(self, query: Query) -> list[Row]:
        """The calls in which some message is what `query` means: see `calls.calls`."""
        return self._ask(lambda connection: calls(connection, query), query, query.needles())

    def tied(self, ids: Collection[str]) -> list[Row]:
        """The packets of which one of TIES is among `ids`."""
        wanted = sorted(ids)
        marks = ", ".join("?" * len(wanted))
        # Each column by itself, so that files and row groups which do not know the ids are passed over.
        sql = " union ".join(f"select * from messages where {name} in ({marks})" for name in TIES)  # noqa: S608
        needles = [name.encode("utf-8", "surrogateescape") for name in wanted]
        return self._ask(lambda connection: fetched(connection.execute(sql, wanted * len(TIES))), Query(), needles)

    def sql(self, text: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Run one read-only statement over the view `messages`: (names of the columns, rows).

        Files other than the lake's cannot be reached. Raises QueryError with what is wrong.
        """
        try:
            statements = duckdb.extract_statements(text)
        except duckdb.Error as error:
            raise QueryError(str(error)) from error
        kinds = duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN
        if len(statements) != 1 or statements[0].type not in kinds:
            raise QueryError(
                "only one statement that reads is allowed here: select …, with … select, describe, explain"
            )

        def run(connection: duckdb.DuckDBPyConnection) -> tuple[list[str], list[tuple[Any, ...]]]:
            done = connection.execute(statements[0])
            return [column[0] for column in done.description or ()], done.fetchall()

        try:
            return self._ask(run, Query())
        except duckdb.Error as error:
            raise QueryError(str(error)) from error

    def close(self) -> None:
        """Nothing is held open between two questions."""

    @contextlib.contextmanager
    def connect(
        self, wanted: Callable[[int], bool] = lambda _: True, needles: Sequence[bytes] | None = None
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """A DuckDB connection with the view `messages`, which cannot reach anything but the lake's files.

        The files may be gone by the time a query gets to them (then DuckDB raises IOException): ask in a short while, or
        through the other methods, which look again by themselves.
        """
        with snapshot(self.path, wanted) as seen, _connection(seen, needles) as connection:
            yield connection

    def _ask(
        self,
        question: Callable[[duckdb.DuckDBPyConnection], Answer],
        query: Query,
        needles: Sequence[bytes] | None = None,
    ) -> Answer:
        for _ in range(ATTEMPTS):
            with snapshot(self.path, query.hours) as whole:
                seen = replace(whole, files=[path for path in whole.files if path not in self._damaged])
                try:
                    with _connection(seen, needles) as connection:
                        prepare(connection, query)
                        return question(connection)
                except duckdb.Error as error:
                    if isinstance(error, ASKED_WRONGLY) and not isinstance(error, duckdb.InvalidInputException):
                        raise
                    # A file that was merged or deleted between listing and reading is a reason to look again, and so is
                    # one that cannot be read: without it.
                    if all(path.exists() for path in seen.files) and not self._leave_out(seen.files):
                        raise
        raise LakeBusyError(f"{self.path}: files are merged faster than they can be read; try again")

    def _leave_out(self, files: Sequence[Path]) -> bool:
        """Find the files that cannot be read and do without them from now on; False when all can."""
        from hepswitch.lake.parquet import is_readable, is_whole

        # Most damaged files are cut ones; reading each to its end takes its time.
        damaged = [path for path in files if not is_whole(path)] or [path for path in files if not is_readable(path)]
        for path in damaged:
            self._warn(f"{path}: cannot be read and is left out")
        self._damaged.update(damaged)
        return bool(damaged)


@contextlib.contextmanager
def _connection(seen: Snapshot, needles: Sequence[bytes] | None) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute("set enable_progress_bar = false")
        parts = []
        if seen.files:
            files = ", ".join(_text(str(path)) for path in seen.files)
            parts.append(f"select * from read_parquet([{files}], hive_partitioning = false)")  # noqa: S608
            connection.execute(f"set allowed_paths = [{files}]")
        fresh = seen.fresh(needles)
        if fresh is not None:
            connection.register("fresh", fresh)
            parts.append("select * from fresh")
        connection.execute(f"create view messages as {' union all '.join(parts) or _nothing()}")
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")
        yield connection


def _nothing() -> str:
    """A query with the columns of the lake and no rows."""
    from hepswitch.destinations.schema import SCHEMA

    kinds = {"string": "varchar", "binary": "blob", "uint8": "utinyint", "uint16": "usmallint", "uint32": "uinteger"}
    columns = (f"null::{kinds.get(str(field.type), 'timestamptz')} as {field.name}" for field in SCHEMA)
    return f"select {', '.join(columns)} where false"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
