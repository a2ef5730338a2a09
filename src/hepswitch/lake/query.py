"""Questions to a lake: search, one call with all its legs, free SQL, and the packets themselves for replay and export.

Reads files and the unsealed journal by itself: needs no running switch, writes nothing, locks nothing, and sees each
packet once while the lake is being sealed and merged. Not here: which files count (`snapshot`), tables on a screen (`cli`).
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from hepswitch.filters.python import Lists
from hepswitch.filters.sql import Filter, compile_sql
from hepswitch.lake.rebuild import packet
from hepswitch.lake.snapshot import ATTEMPTS, LakeBusyError, Snapshot, snapshot

Row = dict[str, Any]
"""One packet: the columns of docs/lake.md by name. Times are aware datetimes in UTC."""

FETCHED = 10_000
"""Rows that are looked at together where a filter needs more than SQL."""

ASKED_WRONGLY = (duckdb.ProgrammingError, duckdb.DataError)
"""DuckDB's errors that are the question's fault, but for InvalidInputException, which a broken file gives too. There is no
one error for those: a page that cannot be unpacked gives the most general there is."""

HOPS = 20
"""Steps from leg to leg that belong to one call; each looks through the lake once."""

Condition = tuple[str, list[Any]]
Answer = TypeVar("Answer")


class QueryError(ValueError):
    """The SQL cannot be run; says why."""


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for; everything given must hold. Text with `*` or `?` in it is a pattern, otherwise it must be equal.

    `call_id` finds what carries it as Call-ID, and as correlation id what is not SIP. `user` is in From, To, the request
    URI or P-Asserted-Identity. `status` is 486, or "4xx". `ip` is source or destination. `user_agent` is any part of it,
    in upper or lower case. `since` (included) and `until` (excluded) are aware datetimes. `limit` keeps the latest. `filter`
    is a condition in the language of `hepswitch.filters` (docs/reference/filters.md), `lists` are those it may name.
    """

    call_id: str | None = None
    correlation_id: str | None = None
    from_user: str | None = None
    to_user: str | None = None
    user: str | None = None
    method: str | None = None
    status: int | str | None = None
    ip: str | None = None
    user_agent: str | None = None
    proto_type: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int | None = None
    filter: str | None = None
    lists: Lists = field(default_factory=dict)

    def condition(self) -> Condition:
        """The SQL condition, with `?` for every value, and the values. FilterError (a ValueError) when `filter` is wrong.

        It may look in tables that `prepare` makes.
        """
        made = self.filtered()
        return self._and(None if made is None else made.exact)

    def candidates(self) -> Condition:
        """A condition for which no such table is needed, true of all rows that are meant and perhaps of others."""
        made = self.filtered()
        return self._and(None if made is None else made.candidates)

    def filtered(self) -> Filter | None:
        """What `filter` means."""
        return None if self.filter is None else compile_sql(self.filter, self.lists)

    def _and(self, more: Condition | None) -> Condition:
        """All that is wanted, and `more`."""
        parts: list[str] = []
        values: list[Any] = []

        def add(part: str, *more: Any) -> None:
            parts.append(part)
            values.extend(more)

        if self.call_id is not None:
            same = _same("call_id", self.call_id), _same("correlation_id", self.call_id)
            add(f"({same[0]} or (call_id is null and {same[1]}))", self.call_id, self.call_id)
        for name in ("correlation_id", "from_user", "to_user"):
            if (value := getattr(self, name)) is not None:
                add(_same(name, value), value)
        if self.method is not None:
            # With a status the replies to that method are meant.
            add(_same("method" if self.status is None else "cseq_method", self.method), self.method.upper())
        if self.user is not None:
            names = ("from_user", "to_user", "ruri_user", "pid_user")
            add(f"({' or '.join(_same(name, self.user) for name in names)})", *[self.user] * len(names))
        if self.status is not None:
            low, high = _statuses(self.status)
            add("status between ? and ?", low, high)
        if self.ip is not None:
            add(f"({_same('src_ip', self.ip)} or {_same('dst_ip', self.ip)})", self.ip, self.ip)
        if self.user_agent is not None:
            add("contains(lower(user_agent), lower(?))", self.user_agent)
        if self.proto_type is not None:
            add("proto_type = ?", self.proto_type)
        if self.since is not None:
            add("ts >= ?", self.since)
        if self.until is not None:
            add("ts < ?", self.until)
        if more is not None:
            add(more[0], *more[1])
        return " and ".join(parts) or "true", values

    def hours(self, hour: int) -> bool:
        """Can a packet of this hour (since the epoch) be meant?"""
        early = self.since is not None and (hour + 1) * 3600 <= self.since.timestamp()
        late = self.until is not None and hour * 3600 >= self.until.timestamp()
        return not early and not late

    def needles(self) -> list[bytes] | None:
        """Bytes one of which must be in every packet that is meant; None when that cannot be said."""
        for value in (self.call_id, self.correlation_id):
            if value is not None and not _is_pattern(value):
                return [value.encode("utf-8", "surrogateescape")]
        return None


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)


class Lake:
    """The lake in the folder `path`. Raises FileNotFoundError when asked while there is none.

    `warn` is told, in words, what is missing from an answer: a damaged file, a leg that is too far away.
    """

    def __init__(self, path: Path | str, warn: Callable[[str], None] = _warn) -> None:
        self.path = Path(path)
        self._warn = warn
        self._damaged: set[Path] = set()

    def search(self, query: Query, columns: Sequence[str] = ("*",)) -> list[Row]:
        """The packets that `query` means, in the order of time; all columns or the named ones (of docs/lake.md)."""
        condition, values = query.condition()
        picked = ", ".join(name if name == "*" else _quoted(name) for name in columns)
        sql = f"select {picked} from messages where {condition}"  # noqa: S608 (values are bound, names are quoted)
        if query.limit is not None:
            sql += " order by ts desc limit ?"
            values.append(query.limit)
            sql = f"from ({sql})" if "ts" in columns or "*" in columns else sql
        if "ts" in columns or "*" in columns:
            sql += " order by ts"
        return self.rows(sql, values, query)

    def call(self, call_id: str) -> list[Row]:
        """All of a call in the order of time: every leg and every RTCP report or log that is tied to it.

        Tied are packets that share a Call-ID, a correlation id or an X-CID with `call_id` or with one another; HOPS steps
        are gone from one to the next.
        """
        known: set[str] = set()
        found: list[Row] = []
        new = {call_id}
        for _ in range(HOPS):
            if not new:
                break
            known |= new
            ids = sorted(known)
            marks = ", ".join("?" * len(ids))
            sql = " union ".join(
                f"select * from messages where {name} in ({marks})"  # noqa: S608
                for name in ("call_id", "correlation_id", "callid_aleg")
            )
            needles = [name.encode("utf-8", "surrogateescape") for name in ids]
            found = self._ask(lambda connection: _rows(connection.execute(sql, ids * 3)), Query(), needles)  # noqa: B023
            seen = {row[name] for row in found for name in ("call_id", "correlation_id", "callid_aleg")}
            new = seen - known - {None, ""}
        else:
            self._warn(f"{call_id}: the chain of its legs goes on; legs more than {HOPS} steps away are not shown")
        return sorted(found, key=lambda row: (row["ts"], row["received_ts"]))

    def rows(self, sql: str, values: Sequence[Any], query: Query) -> list[Row]:
        """What our own `sql` over `messages` gives, its `?` filled with `values`. `query`: the packets it can concern."""
        return self._ask(lambda connection: _rows(connection.execute(sql, values)), query, query.needles())

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

    def packets(self, query: Query, unfit: Callable[[ValueError], object] | None = None) -> Iterator[bytes]:
        """The packets that `query` means as HEPv3, in the order of time, for replay.

        What cannot be a packet again is left out: `unfit` is told why, or else a warning is given.
        """
        for row in self.search(query):
            try:
                yield packet(row)
            except ValueError as error:
                if unfit is None:
                    self._warn(f"a packet of {row['ts']} is left out: {error}")
                else:
                    unfit(error)

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


def prepare(connection: duckdb.DuckDBPyConnection, query: Query) -> None:
    """Make the tables in which the query's condition looks, for a connection of `Lake.connect`."""
    made = query.filtered()
    if made is None or not made.asks:
        return
    import pyarrow as pa

    condition, values = query.candidates()
    for ask in made.asks:
        some = "distinct " if ask.distinct else ""
        done = connection.execute(
            f"select {some}{ask.key}, {ask.value} from messages where {ask.value} is not null and {condition}",  # noqa: S608
            values,
        )
        keys: set[str] = set()
        while rows := done.fetchmany(FETCHED):
            keys.update(key for key, value in rows if ask.test(value))
        connection.register(ask.table, pa.table({"key": pa.array(keys, pa.string())}))


def _nothing() -> str:
    """A query with the columns of the lake and no rows."""
    from hepswitch.destinations.schema import SCHEMA

    kinds = {"string": "varchar", "binary": "blob", "uint8": "utinyint", "uint16": "usmallint", "uint32": "uinteger"}
    columns = (f"null::{kinds.get(str(field.type), 'timestamptz')} as {field.name}" for field in SCHEMA)
    return f"select {', '.join(columns)} where false"


def _rows(done: duckdb.DuckDBPyConnection) -> list[Row]:
    names = [column[0] for column in done.description or ()]
    return [
        {
            name: value.astimezone(UTC) if isinstance(value, datetime) else value
            for name, value in zip(names, row, strict=True)
        }
        for row in done.fetchall()
    ]


def _is_pattern(value: str) -> bool:
    return "*" in value or "?" in value


def _same(column: str, value: str) -> str:
    return f"{column} glob ?" if _is_pattern(value) else f"{column} = ?"


def _statuses(status: int | str) -> tuple[int, int]:
    text = str(status).lower()
    if len(text) == 3 and text.isascii() and text.isdigit():
        return int(text), int(text)
    if len(text) == 3 and text.isascii() and text[0].isdigit() and text[1:] == "xx":
        return int(text[0]) * 100, int(text[0]) * 100 + 99
    raise ValueError(f"{status!r} is no SIP status: write for example 486 or 4xx")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
