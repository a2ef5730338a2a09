"""Questions to a lake: search, calls, one call with all its legs, free SQL.

Reads files and the unsealed journal by itself: needs no running switch, writes nothing, locks nothing, and sees each
packet once while the lake is being sealed and merged. Not here: which files count (`snapshot`), what is asked (`query`).
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb

from hepswitch.lake.calls import Part, calls, rate
from hepswitch.lake.conditions import Sql
from hepswitch.lake.query import Query
from hepswitch.lake.reader import LEFT_OUT, TIES, Reader, Row, Tie, prepare, searched, streamed
from hepswitch.lake.rows import MICROSECOND
from hepswitch.lake.snapshot import ATTEMPTS, LakeBusyError, Snapshot, snapshot

if TYPE_CHECKING:
    from hepswitch.lake.remote_part import RemotePart

ASKED_WRONGLY = (duckdb.ProgrammingError, duckdb.DataError, duckdb.OutOfMemoryException)
"""DuckDB's errors that are the question's fault, but for InvalidInputException, which a broken file gives too. There is no
one error for those: a page that cannot be unpacked gives the most general there is."""

BEGINNING, END = (moment.replace(tzinfo=UTC) for moment in (datetime.min, datetime.max))

PORTION = 4_000
"""Packets of a call that are put in order at once. Beyond 5,000 DuckDB sorts all there are, however few are wanted."""

LOOKED_BACK = timedelta(days=1)
"""How far the remote part is looked through by questions that say neither a time nor a call."""

FAR_THREADS = 8
"""Threads of DuckDB where files are remote: most of them wait."""

Answer = TypeVar("Answer")


class QueryError(ValueError):
    """The SQL cannot be run; says why."""


class Lake(Reader):
    """The lake in the folder `path`, and its `remote` part; without `path` that alone. Raises FileNotFoundError when asked
    while there is no such folder.

    `warn` is told, in words, what is missing from an answer: a damaged file, a leg that is too far away.
    """

    def __init__(
        self, path: Path | str | None, warn: Callable[[str], None] | None = None, remote: RemotePart | None = None
    ) -> None:
        super().__init__(warn)
        self.path = None if path is None else Path(path)
        self.place = str(path or remote)
        self._remote = remote
        self._damaged: set[Path] = set()

    def search(self, query: Query, columns: Sequence[str] = ("*",)) -> list[Row]:
        """The packets that `query` means, in the order of time; all columns or the named ones (of docs/lake.md)."""
        return self._ask(
            lambda connection: searched(connection, query, columns), query, query.needles(), self._far(query)
        )

    def calls(self, query: Query) -> list[Row]:
        """The calls in which some message is what `query` means: see `calls.calls`."""
        return self._ask(lambda connection: calls(connection, query), query, query.needles(), self._far(query))

    def rate(self, query: Query, start: datetime, step: int) -> list[Part]:
        """How many of those calls began, and failed, in each `step` µs after `start`: see `calls.rate`."""
        asked = functools.partial(rate, query=query, start=start, step=step)
        return self._ask(asked, query, query.needles(), self._far(query))

    def newest(self, query: Query, count: int) -> Iterator[Row]:
        """At least the `count` latest packets that `query` means, the newest first, with all of the oldest one's moment."""

        def found(connection: duckdb.DuckDBPyConnection) -> Iterator[Row]:
            # First their times alone: a row has many columns, and a payload.
            times = searched(connection, replace(query, limit=count), ("ts",))
            if not times:
                return
            condition, values = replace(query, since=times[0]["ts"]).condition()
            sql = f"select * from messages where {condition} order by ts desc"  # noqa: S608 (values are bound)
            yield from streamed(connection.execute(sql, values))

        return self._stream(found, query, query.needles(), self._far(query))

    def ties(self, ids: Collection[str]) -> set[Tie]:
        """The different values of TIES in the packets of which one is among `ids`."""
        sql, values = _tied(f"select distinct {', '.join(TIES)} from messages", ids, BEGINNING, END)  # noqa: S608 (names)
        return self._ask(lambda connection: set(connection.execute(sql, values).fetchall()), Query(), _needles(ids))

    def tied(self, ids: Collection[str], at: datetime | None = None) -> Iterator[Row]:
        """The packets (of the moment `at`) of which one of TIES is among `ids`, in the order of time."""
        needles = _needles(ids)
        if at is not None:
            return self._stream(lambda connection: _in_order(connection, ids, at, at + MICROSECOND), Query(), needles)

        def found(connection: duckdb.DuckDBPyConnection) -> Iterator[Row]:
            first = list(_in_order(connection, ids, BEGINNING, END, f" limit {PORTION + 1}"))
            if len(first) <= PORTION:
                yield from first
                return
            # To put all packets of a large call in order takes as much memory as their payloads: in portions, then.
            sql, values = _tied("select ts from messages", ids, BEGINNING, END)
            numbered = f"select ts, row_number() over (order by ts) as place from ({sql})"  # noqa: S608 (values are bound)
            sql = f"select distinct ts from ({numbered}) where place % {PORTION} = 1 order by ts"  # noqa: S608
            starts = [moment for (moment,) in connection.execute(sql, values).fetchall()]
            for since, until in itertools.pairwise([*starts, END]):
                yield from _in_order(connection, ids, since, until)

        return self._stream(found, Query(), needles)

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
        with snapshot(self.path, wanted, self._remote) as seen, self._connection(seen, needles) as connection:
            yield connection

    def _ask(
        self,
        question: Callable[[duckdb.DuckDBPyConnection], Answer],
        query: Query,
        needles: Sequence[bytes] | None = None,
        far: Callable[[int], bool] | None = None,
    ) -> Answer:
        (answer,) = self._stream(lambda connection: iter([question(connection)]), query, needles, far)
        return answer

    def _stream(
        self,
        question: Callable[[duckdb.DuckDBPyConnection], Iterator[Answer]],
        query: Query,
        needles: Sequence[bytes] | None = None,
        far: Callable[[int], bool] | None = None,
    ) -> Iterator[Answer]:
        """What `question` gives, piece by piece; the lake is as it was at the beginning until the last one was taken."""
        for _ in range(ATTEMPTS):
            with snapshot(self.path, query.hours, self._remote, far) as whole:
                seen = replace(whole, files=[path for path in whole.files if path not in self._damaged])
                if self._remote is not None:
                    seen = replace(seen, remote=self._remote.holding(seen.remote, needles))
                begun = False
                try:
                    with self._connection(seen, needles) as connection:
                        prepare(connection, query)
                        for piece in question(connection):
                            begun = True
                            yield piece
                        return
                except duckdb.Error as error:
                    if begun:
                        if self._remote is not None:
                            self._remote.break_off(error)
                        raise
                    if isinstance(error, ASKED_WRONGLY) and not isinstance(error, duckdb.InvalidInputException):
                        raise
                    # A file that was merged or deleted between listing and reading is a reason to look again, and so is
                    # one that cannot be read: without it.
                    if not self._moved_on(seen) and not self._leave_out(seen):
                        raise
        raise LakeBusyError(f"{self.place}: files are merged faster than they can be read; try again")

    def _moved_on(self, seen: Snapshot) -> bool:
        remote = self._remote is not None and self._remote.failed()
        return remote or not all(path.exists() for path in seen.files)

    def _far(self, query: Query) -> Callable[[int], bool] | None:
        """Of which hours the remote part is looked through: without a time and a call, the last day alone.

        All that there ever was would take hours, and may cost more than somebody means who gives no time.
        """
        if self._remote is None or query.since is not None or query.needles() is not None:
            return None
        since = (query.until or datetime.now(UTC)) - LOOKED_BACK
        self._remote.say(
            f"{self._remote}: looked through since {since:%Y-%m-%d %H:%M} (UTC) only: give an earlier time (since)"
        )
        return replace(query, since=since).hours

    def _leave_out(self, seen: Snapshot) -> bool:
        """Find the files that cannot be read and do without them from now on; False when all can."""
        from hepswitch.lake.parquet import is_readable, is_whole

        # Most damaged files are cut ones; reading each to its end takes its time.
        damaged = [path for path in seen.files if not is_whole(path)]
        damaged = damaged or [path for path in seen.files if not is_readable(path)]
        for path in damaged:
            self._warn(f"{path}: {LEFT_OUT}")
        self._damaged.update(damaged)
        return bool(damaged) or (self._remote is not None and self._remote.leave_out_damaged(seen.remote))

    @contextlib.contextmanager
    def _connection(self, seen: Snapshot, needles: Sequence[bytes] | None) -> Iterator[duckdb.DuckDBPyConnection]:
        with duckdb.connect() as connection:
            connection.execute("set TimeZone = 'UTC'")
            connection.execute("set enable_progress_bar = false")
            if self._remote is not None:
                connection.register_filesystem(self._remote.opened)
                connection.execute(f"set threads = {FAR_THREADS}")
            files = self._urls(seen)
            if files:
                connection.execute(f"set allowed_paths = [{listed(files)}]")
            fresh = seen.fresh(needles)
            view(connection, files, {} if fresh is None else {"fresh": fresh})
            connection.execute("set enable_external_access = false")
            connection.execute("set lock_configuration = true")
            yield connection

    def _urls(self, seen: Snapshot) -> list[str]:
        """All files as DuckDB is to read them."""
        far = [] if self._remote is None else self._remote.opened.offer(seen.remote)
        return [*map(str, seen.files), *far]


def view(connection: duckdb.DuckDBPyConnection, files: Sequence[str], rows: Mapping[str, object]) -> None:
    """Let `messages` be the rows of these Parquet files and of these Arrow objects, which are registered by their names."""
    parts = []
    if files:
        parts.append(f"select * from read_parquet([{listed(files)}], hive_partitioning = false)")  # noqa: S608
    for name, some in rows.items():
        connection.register(name, some)
        parts.append(f"select * from {name}")  # noqa: S608 (our own)
    connection.execute(f"create or replace temp view messages as {' union all '.join(parts) or _nothing()}")


def listed(paths: Iterable[Path | str]) -> str:
    """Paths as DuckDB lists them."""
    return ", ".join(_text(str(path)) for path in paths)


def _in_order(
    connection: duckdb.DuckDBPyConnection, ids: Collection[str], since: datetime, until: datetime, more: str = ""
) -> Iterator[Row]:
    sql, values = _tied("select * from messages", ids, since, until)
    return streamed(connection.execute(f"from ({sql}) order by ts, received_ts{more}", values))


def _tied(select: str, ids: Collection[str], since: datetime, until: datetime) -> Sql:
    """The rows of `select` between two moments of which one of TIES is among `ids`; each once."""
    among = f"in ({', '.join('?' * len(ids))})"
    wanted = sorted(ids)
    parts: list[str] = []
    values: list[Any] = []
    # Each column by itself, so that files and row groups which do not know the ids are passed over.
    for place, name in enumerate(TIES):
        others = "".join(f" and ({other} {among}) is not true" for other in TIES[:place])
        parts.append(f"{select} where ts >= ? and ts < ? and {name} {among}{others}")
        values += [since, until, *wanted * (place + 1)]
    return " union all ".join(parts), values


def _needles(ids: Collection[str]) -> list[bytes]:
    """Bytes one of which is in each packet of which one of TIES is among `ids`."""
    return [name.encode("utf-8", "surrogateescape") for name in ids]


def _nothing() -> str:
    """A query with the columns of the lake and no rows."""
    from hepswitch.destinations.schema import SCHEMA

    kinds = {"string": "varchar", "binary": "blob", "uint8": "utinyint", "uint16": "usmallint", "uint32": "uinteger"}
    columns = (f"null::{kinds.get(str(field.type), 'timestamptz')} as {field.name}" for field in SCHEMA)
    return f"select {', '.join(columns)} where false"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
