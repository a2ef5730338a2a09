"""What can be asked of stored packets, wherever they are: search, calls and how many, one call with all its legs, replay.

`Reader` is what commands ask. Each store answers by DuckDB over a view or table `messages` with the columns of
docs/lake.md, so that all answer alike: `searched`, `prepare`, `calls.calls` and `calls.rate` are the one way to ask it.
Not here: where the rows are (`lake`, `databases.reading`), tables on a screen (`cli`).
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn, Self

import duckdb

from hepswitch.lake.query import Query
from hepswitch.lake.rebuild import packet

if TYPE_CHECKING:
    from hepswitch.lake.calls import Part

Tie = tuple[str | None, str | None, str | None]
"""What a packet says of TIES."""

Row = dict[str, Any]
"""One packet: the columns of docs/lake.md by name. Times are aware datetimes in UTC."""

TIES = ("call_id", "correlation_id", "callid_aleg")
"""Columns by which packets belong to one call."""

HOPS = 20
"""Steps from leg to leg that belong to one call; each asks the store once."""

MOST_LEGS = 500
"""Call-IDs that one id ties together. An id that more of them have in common says nothing: its agent gives it to all."""

TAKEN = 1_000
"""Rows of an answer that become Python's objects together."""

FETCHED = 10_000
"""Rows that are looked at together where a filter needs more than SQL."""

LEFT_OUT = "cannot be read and is left out"


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)


class UnknownCallError(LookupError):
    """There is no such call. Says so to a person."""


class Reader(ABC):
    """A store that is asked. `place` says to a person where that is.

    `warn` is told, in words, what is missing from an answer: a damaged file, a leg that is too far away.
    """

    place: str

    def __init__(self, warn: Callable[[str], None] | None = None) -> None:
        self._warn = warn or _warn

    @abstractmethod
    def search(self, query: Query, columns: Sequence[str] = ("*",)) -> list[Row]:
        """The packets that `query` means, in the order of time; all columns or the named ones (of docs/lake.md)."""

    @abstractmethod
    def calls(self, query: Query) -> list[Row]:
        """The calls in which some message is what `query` means: see `calls.calls`."""

    @abstractmethod
    def rate(self, query: Query, start: datetime, step: int) -> list[Part]:
        """How many of those calls began, and failed, in each `step` µs after `start`: see `calls.rate`."""

    @abstractmethod
    def newest(self, query: Query, count: int) -> Iterator[Row]:
        """At least the `count` latest packets that `query` means, the newest first, with all of the oldest one's moment.

        Nothing is missing that is as new as what was given last.
        """

    @abstractmethod
    def ties(self, ids: Collection[str]) -> set[Tie]:
        """The different values of TIES in the packets of which one is among `ids`."""

    @abstractmethod
    def tied(self, ids: Collection[str], at: datetime | None = None) -> Iterator[Row]:
        """The packets (of the moment `at`) of which one of TIES is among `ids`, in the order of time."""

    def legs(self, call_id: str) -> set[str]:
        """What ties a call together: its Call-ID, and all that packets share with it or with one another.

        HOPS steps are gone from one to the next, none by an id that MOST_LEGS share. Nothing when there is no such call.
        """
        known: set[str] = set()
        passed: set[str] = set()
        new = {call_id}
        for _ in range(HOPS):
            found = self.ties(new)
            if not found and not known:
                return set()
            for name in common(found, new):
                self._warn(f"{name}: more than {MOST_LEGS} calls have this id in common, so it ties none together")
                passed.add(name)
            known |= new - passed | {call_id}
            new = {name for tie in found if passed.isdisjoint(tie) or tie[0] in known for name in tie if name}
            new -= known | passed
            if not new:
                break
        else:
            self._warn(f"{call_id}: the chain of its legs goes on; legs more than {HOPS} steps away are not shown")
        return known

    def call(self, call_id: str) -> list[Row]:
        """All of a call in the order of time: every leg and every RTCP report or log that is tied to it (`legs`)."""
        ids = self.legs(call_id)
        return list(self.tied(ids)) if ids else []

    def whole(self, call_ids: Iterable[str]) -> Iterator[Row]:
        """All of some calls in the order of time, each packet once though calls share legs. UnknownCallError names the first
        call that there is not."""
        ids: set[str] = set()
        for call_id in call_ids:
            if call_id not in ids:
                ids |= self.legs(call_id) or self._unknown(call_id)
        return self.tied(ids)

    def alone(self, call_ids: Collection[str]) -> Iterator[Row]:
        """The packets of these Call-IDs without what is tied to them by another; UnknownCallError as `whole`."""
        for call_id in call_ids:
            if not self.ties({call_id}):
                self._unknown(call_id)
        for row in self.tied(call_ids):
            name = row["correlation_id"] if row["call_id"] is None else row["call_id"]
            if name in call_ids:
                yield row

    def _unknown(self, call_id: str) -> NoReturn:
        raise UnknownCallError(f"no call {call_id!r} in {self.place}")

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

    @abstractmethod
    def close(self) -> None:
        """Let go of what was opened."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def common(ties: Iterable[Tie], ids: Collection[str]) -> set[str]:
    """Those of `ids` that too many Call-IDs have in common to say anything; `ties` are all that there are of them."""
    calls: dict[str, set[str]] = {name: set() for name in ids}
    for call_id, *others in ties:
        for name in others:
            if name in calls and call_id:
                calls[name].add(call_id)
    return {name for name, tied in calls.items() if len(tied) > MOST_LEGS}


def searched(connection: duckdb.DuckDBPyConnection, query: Query, columns: Sequence[str]) -> list[Row]:
    """The rows of `messages` that `query` means, in the order of time. `prepare` comes first."""
    condition, values = query.condition()
    picked = ", ".join(name if name == "*" else _quoted(name) for name in columns)
    sql = f"select {picked} from messages where {condition}"  # noqa: S608 (values are bound, names are quoted)
    if query.limit is not None:
        sql += " order by ts desc limit ?"
        values.append(query.limit)
        sql = f"from ({sql})" if "ts" in columns or "*" in columns else sql
    if "ts" in columns or "*" in columns:
        sql += " order by ts"
    return fetched(connection.execute(sql, values))


def prepare(connection: duckdb.DuckDBPyConnection, query: Query) -> None:
    """Make the tables in which the query's condition looks, for a connection that has `messages`."""
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


def fetched(done: duckdb.DuckDBPyConnection) -> list[Row]:
    """The rows of an answer, by the names of its columns."""
    return list(streamed(done))


def streamed(done: duckdb.DuckDBPyConnection) -> Iterator[Row]:
    """The rows of an answer, some at a time."""
    names = [column[0] for column in done.description or ()]
    while rows := done.fetchmany(TAKEN):
        for row in rows:
            yield {
                name: value.astimezone(UTC) if isinstance(value, datetime) else value
                for name, value in zip(names, row, strict=True)
            }


def by_time(row: Row) -> Any:
    """What packets of a call are ordered by."""
    return row["ts"], row["received_ts"]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
