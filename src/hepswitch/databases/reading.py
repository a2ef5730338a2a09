"""A store in a database that is asked as a lake is: the same questions, the same answers.

A server gives the rows that may be meant (`narrowing`), `rebuilt` makes rows of the lake of them, and DuckDB answers over
those, by the very code that asks a lake. Sessions are read only where the server has such. What the tables do not keep is
null (see `views`). Not here: writing (`loader`), which tables there are (`found`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from hepswitch.databases.found import Found, find
from hepswitch.databases.latest import BEGINNING, MOST, Latest, Page, Table
from hepswitch.databases.narrowing import needed
from hepswitch.databases.rebuilt import messages
from hepswitch.destinations.databases import DatabaseStore
from hepswitch.destinations.schema import SCHEMA, TIME
from hepswitch.lake.calls import LOOKED_AT, Part, calls, rate
from hepswitch.lake.conditions import Among, Condition, Every, Since, Some, Until, in_duckdb, is_pattern
from hepswitch.lake.query import Query
from hepswitch.lake.reader import TIES, Reader, Row, Tie, by_time, fetched, prepare, searched

FIRST = 500
"""Rows of a first page, at least."""

IDS, LETTERS = 200, 20_000
"""Call-IDs in one condition, and characters of all of them: ClickHouse has them in a URL."""

APART = timedelta(minutes=10)
"""Legs of a call that are tied by a column without an index are looked for so long before and after those found by one."""

Answer = TypeVar("Answer")


class StoreError(Exception):
    """The store cannot be asked: its server is away or refuses, or its driver is missing. Says what to do."""


class DatabaseReader(Reader):
    """The store `name` of a configuration. Making it and asking it raise StoreError."""

    def __init__(self, name: str, store: DatabaseStore, warn: Callable[[str], None] | None = None) -> None:
        super().__init__(warn)
        self.place = f"store {name}"
        self._runner = asyncio.Runner()
        self._found = Found([])
        self._duckdb = duckdb.connect()
        try:
            self._duckdb.execute("set TimeZone = 'UTC'")
            self._duckdb.execute("set enable_progress_bar = false")
            self._duckdb.execute("set enable_external_access = false")
            self._found = self._do(find(store))
        except BaseException:
            self.close()
            raise

    def search(self, query: Query, columns: Sequence[str] = ("*",)) -> list[Row]:
        """The packets that `query` means, in the order of time; all columns or the named ones (of docs/lake.md)."""
        query.condition()
        found: list[list[Row]] = []
        left = query.limit
        for page in self._pages(query):
            part = replace(query, limit=left)
            rows = self._ask(self._table(page.rows), part, lambda: searched(self._duckdb, part, columns))  # noqa: B023
            found.append(rows)
            if left is not None:
                left -= len(rows)
                if left <= 0:
                    break
        return [row for rows in reversed(found) for row in rows]

    def newest(self, query: Query, count: int) -> Iterator[Row]:
        """At least the `count` latest packets that `query` means, the newest first, with all of the oldest one's moment."""
        for page in self._pages(replace(query, limit=count)):
            rows = self._ask(self._table(page.rows), query, lambda: searched(self._duckdb, query, ("*",)))
            yield from reversed(rows)
            count -= len(rows)
            if count <= 0:
                break

    def calls(self, query: Query) -> list[Row]:
        """The calls in which some message is what `query` means: see `calls.calls`."""
        window = Query(since=query.since, until=query.until, limit=query.limit, before=query.before)
        return self._ask(self._messages_of_calls(query, window), window, lambda: calls(self._duckdb, window))

    def rate(self, query: Query, start: datetime, step: int) -> list[Part]:
        """How many of those calls began, and failed, in each `step` µs after `start`: see `calls.rate`."""
        window = Query(since=query.since, until=query.until)
        every = replace(query, limit=None, before=None)
        return self._ask(
            self._messages_of_calls(every, window), window, lambda: rate(self._duckdb, window, start, step)
        )

    def _messages_of_calls(self, query: Query, window: Query) -> pa.Table:
        """The messages of the latest calls that `query` means, as far as `calls` looks at them; and perhaps of some more."""
        starts: dict[str, datetime] = {}
        step = max((table.view.clock.step for table in self._found.tables), default=timedelta())
        for page in self._pages(query):
            part = replace(query, limit=None)
            rows = self._ask(self._table(page.rows), part, lambda: searched(self._duckdb, part, ("call_id", "ts")))  # noqa: B023
            hits = {row["call_id"]: row["ts"] for row in reversed(rows) if row["call_id"] is not None}
            new = hits.keys() - starts.keys()
            starts |= {call_id: hits[call_id] for call_id in new}
            if query.limit is None:
                continue
            starts |= self._starts(sorted(new), window)
            # A call that is not known yet has no message that is meant since then: it began before.
            if sum(start >= page.since for start in _surely_before(starts, query, step)) >= query.limit:
                break
        if query.before is not None:
            starts = {call_id: start for call_id, start in starts.items() if start <= query.before[0]}
        sure = sorted(_surely_before(starts, query, step), reverse=True)
        if query.limit is not None and len(sure) > query.limit:
            least = sure[query.limit - 1]
            # What seems to begin before `since` has messages in the step of the clock in which that is.
            since = query.since or BEGINNING
            starts = {call_id: start for call_id, start in starts.items() if start >= least or start < since}
        return pa.concat_tables([SCHEMA.empty_table().select(LOOKED_AT), *self._of_calls(sorted(starts), window)])

    def ties(self, ids: Collection[str]) -> set[Tie]:
        """The different values of TIES in the packets of which one is among `ids`."""
        return {(row["call_id"], row["correlation_id"], row["callid_aleg"]) for row in self.tied(ids)}

    def tied(self, ids: Collection[str], at: datetime | None = None) -> Iterator[Row]:
        """The packets (of the moment `at`) of which one of TIES is among `ids`; far apart, only what an index finds."""
        found: list[Row] = []
        if at is not None:
            for table in self._found.tables:
                found += self._tied(table, TIES, ids, (Since(at), Until(at)))
            return iter([row for row in found if row["ts"] == at])
        for table in self._found.tables:
            found += self._tied(table, table.view.indexed, ids)
        moments = [row["ts"] for row in found]
        window = (Since(min(moments) - APART), Until(max(moments) + APART)) if moments else ()
        for table in self._found.tables:
            indexed = table.view.indexed
            rows = self._tied(table, [name for name in TIES if name not in indexed], ids, window)
            found += [row for row in rows if not _is_tied(row, indexed, ids)]
        return iter(sorted(found, key=by_time))

    def close(self) -> None:
        """Let go of the connection."""
        self._duckdb.close()
        self._do(self._found.close())
        self._runner.close()

    # ── asking ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _pages(self, query: Query) -> Iterator[Page]:
        """What may be meant, the latest first."""
        condition = needed(query)
        if query.call_id is not None and not is_pattern(query.call_id):
            # Few rows, which an index finds: asked for in the order of time, a server might read through that instead.
            rows = [row for table in self._found.tables for row in self._do(table.rows(condition))]
            yield Page(rows, BEGINNING)
            return
        size = MOST if query.limit is None else max(2 * query.limit, FIRST)
        latest = Latest(self._found.tables, condition, size)
        while (page := self._do(latest.more())) is not None:
            yield page

    def _starts(self, call_ids: Sequence[str], window: Query) -> dict[str, datetime]:
        """When these calls began, rounded down to the steps of the tables' clocks."""
        found: dict[str, datetime] = {}
        for some in _portions(call_ids):
            for table in self._found.tables:
                for call_id, start in self._do(table.starts(some, window.said().parts)).items():
                    found[call_id] = min(start, found.get(call_id, start))
        return found

    def _of_calls(self, call_ids: Sequence[str], window: Query) -> Iterator[pa.Table]:
        """The messages of these calls within the time of `window`, as far as `calls` looks at them."""
        for some in _portions(call_ids):
            condition = Every((Among("call_id", some), *window.said().parts))
            rows = [row for table in self._found.tables for row in self._do(table.rows(condition))]
            yield _picked(self._table(rows), some, window)

    def _tied(
        self, table: Table, columns: Sequence[str], ids: Collection[str], window: tuple[Condition, ...] = ()
    ) -> list[Row]:
        """The packets of a table of which one of these columns is among `ids`."""
        found: list[Row] = []
        for some in _portions(sorted(ids)):
            tied = Some(tuple(Among(name, some) for name in columns))
            rows = self._do(table.rows(Every((tied, *window))))
            sql, values = in_duckdb(tied)
            more = self._ask(
                self._table(rows),
                Query(),
                lambda: fetched(self._duckdb.execute(f"select * from messages where {sql}", values)),  # noqa: B023, S608
            )
            found += more
        return found

    def _table(self, rows: Sequence[Row]) -> pa.Table:
        return pa.Table.from_pylist(list(rows), SCHEMA) if self._found.whole else messages(rows, self._warn)

    def _ask(self, table: pa.Table, query: Query, question: Callable[[], Answer]) -> Answer:
        """What DuckDB answers about these rows."""
        self._duckdb.register("messages", table)
        prepare(self._duckdb, query)
        return question()

    def _do(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        try:
            return self._runner.run(work)
        except (OSError, ImportError) as error:
            self._give_up()
            raise StoreError(str(error)) from error
        except ValueError as error:  # the server's word for a query, or a row that is no such row
            raise StoreError(f"cannot be asked that: {error}") from error
        except KeyboardInterrupt:
            self._give_up()
            raise

    def _give_up(self) -> None:
        """Leave no query behind that goes on at the server."""
        with contextlib.suppress(OSError):  # it is given up in any case
            self._runner.run(self._found.cancel())


def _picked(table: pa.Table, call_ids: Sequence[str], window: Query) -> pa.Table:
    """What `calls` looks at of these calls."""
    meant: Any = pc.is_in(table["call_id"], value_set=pa.array(call_ids, pa.string()))
    if window.since is not None:
        meant = pc.and_(meant, pc.greater_equal(table["ts"], pa.scalar(window.since, TIME)))
    if window.until is not None:
        meant = pc.and_(meant, pc.less(table["ts"], pa.scalar(window.until, TIME)))
    return table.select(LOOKED_AT).filter(meant)


def _surely_before(starts: Mapping[str, datetime], query: Query, step: timedelta) -> list[datetime]:
    """When those calls began that come after `query.before`, however their starts were rounded down to a `step`."""
    if query.before is None:
        return list(starts.values())
    return [start for start in starts.values() if start + step <= query.before[0]]


def _is_tied(row: Row, columns: Sequence[str], ids: Collection[str]) -> bool:
    return any(row[name] in ids for name in columns)


def _portions(call_ids: Sequence[str]) -> Iterator[tuple[str, ...]]:
    some: list[str] = []
    letters = 0
    for call_id in call_ids:
        if some and (len(some) == IDS or letters + len(call_id) > LETTERS):
            yield tuple(some)
            some, letters = [], 0
        some.append(call_id)
        letters += len(call_id)
    if some:
        yield tuple(some)
