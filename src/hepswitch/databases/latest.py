"""Rows of several tables, the latest first, in pieces: no more is read than is looked at.

Each table is read along the index of its clock, a page at a time, and the tables step by step together, so that a table of
last month is only touched when all that is younger was not enough. Not here: what becomes of the rows (`reading`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from hepswitch.databases.dialects import Dialect
from hepswitch.databases.narrowing import Statement
from hepswitch.databases.views.view import Held, View
from hepswitch.lake.conditions import Among, Condition, Every
from hepswitch.lake.reader import Row

MOST = 5_000
"""Rows of a page, and of what is in memory of each table."""

BEGINNING = datetime.min.replace(tzinfo=UTC)

Ask = Callable[[str, Sequence[Any]], Awaitable[list[dict[str, Any]]]]
"""What asks a server: SQL and its values → rows."""


class Page(NamedTuple):
    """Rows, and from when on none is missing: `BEGINNING` when there are no more."""

    rows: list[Row]
    since: datetime


class Table:
    """A table that is read. `view` fits it."""

    def __init__(self, name: str, view: View, dialect: Dialect, ask: Ask) -> None:
        self.name = name
        self.view = view
        self._dialect = dialect
        self.ask = ask
        self._from = dialect.quoted(name)
        self._clock = dialect.quoted(view.clock.column)
        picked = [f"{self._clock} as moment"]
        picked += [
            f"{dialect.quoted(column) if column else 'null'} as {dialect.quoted(known)}"
            for known, column in view.picked.items()
        ]
        self._picked = ", ".join(picked)

    async def end(self) -> datetime | None:
        """No row is of this moment or later; None when there are no rows."""
        found = await self.ask(f"select max({self._clock}) as moment from {self._from}", ())  # noqa: S608 (names)
        moment = found[0]["moment"]
        return None if moment is None else self.view.clock.moment(moment) + self.view.clock.step

    async def rows(self, condition: Condition) -> list[Row]:
        """All rows that may be meant, in any order. For conditions that few rows fulfil."""
        statement = Statement(self._dialect)
        where = statement.where(condition, self.view)
        return [] if where is False else list(map(self.view.row, await self._select(statement, where, "")))

    async def starts(self, call_ids: Sequence[str], window: Sequence[Condition]) -> dict[str, datetime]:
        """When the calls began that are in the table, as far as its clock tells."""
        held = self.view.held.get("call_id")
        if not isinstance(held, Held):
            return {}
        wanted = {call_id[: held.size] if held.size else call_id: call_id for call_id in call_ids}
        statement = Statement(self._dialect)
        where = statement.where(Every((Among("call_id", tuple(call_ids)), *window)), self.view)
        sql = f"select {self._clock} as moment, {held.sql} as name from {self._from} where {where}"  # noqa: S608
        found: dict[str, datetime] = {}
        # Not grouped by the server, to which names may be the same that are not.
        for row in await self.ask(sql, statement.values):
            if (call_id := wanted.get(row["name"])) is not None:
                moment = self.view.clock.moment(row["moment"])
                found[call_id] = min(moment, found.get(call_id, moment))
        return found

    async def page(self, condition: Condition, before: datetime, size: int) -> Page:
        """The latest rows before a moment that may be meant, about `size` of them."""
        clock = self.view.clock
        while True:
            statement = Statement(self._dialect)
            where = statement.where(condition, self.view)
            if where is False:
                return Page([], BEGINNING)
            bound = f"{self._clock} < {statement.mark(clock.value(before))}"
            where = bound if where is True else f"{where} and {bound}"
            found = await self._select(statement, where, f" order by {clock.order or self._clock} desc limit {size}")
            if len(found) < size:
                return Page(list(map(self.view.row, found)), BEGINNING)
            first, last = (clock.moment(found[place]["moment"]) for place in (0, -1))
            if first > last:
                # Of the last moment there may be more; it comes with the next page.
                rows = [self.view.row(each) for each in found if clock.moment(each["moment"]) > last]
                return Page(rows, last + clock.step)
            size *= 4

    async def _select(self, statement: Statement, where: str | bool, rest: str) -> Sequence[Mapping[str, Any]]:
        condition = "" if where is True else f" where {where}"
        # Values are bound, names are quoted.
        return await self.ask(f"select {self._picked} from {self._from}{condition}{rest}", statement.values)  # noqa: S608


class _Unread:
    """A table of which everything before `end` is not read yet."""

    def __init__(self, table: Table, end: datetime) -> None:
        self.table = table
        self.end = end


class Latest:
    """The rows of some tables that `condition` may mean. `size`: rows of a first page; later ones are bigger."""

    def __init__(self, tables: Sequence[Table], condition: Condition, size: int) -> None:
        self._tables = tables
        self._condition = condition
        self._size = min(size, MOST)
        self._unread: list[_Unread] | None = None
        self._waiting: list[Row] = []

    async def more(self) -> Page | None:
        """All rows of some time, before those that were given last; None when there are no more."""
        if self._unread is None:
            ends = [(table, await table.end()) for table in self._tables]
            self._unread = [_Unread(table, end) for table, end in ends if end is not None]
        while self._unread:
            unread = max(self._unread, key=lambda each: each.end)
            page = await unread.table.page(self._condition, unread.end, self._size)
            self._size = min(self._size * 2, MOST)
            self._waiting += page.rows
            unread.end = page.since
            if page.since == BEGINNING:
                self._unread.remove(unread)
            since = max((each.end for each in self._unread), default=BEGINNING)
            ready = [row for row in self._waiting if row["ts"] >= since]
            if ready:
                self._waiting = [row for row in self._waiting if row["ts"] < since]
                return Page(ready, since)
        ready, self._waiting = self._waiting, []
        return Page(ready, BEGINNING) if ready else None
