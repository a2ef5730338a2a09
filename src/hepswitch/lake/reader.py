"""What can be asked of stored packets, wherever they are: search, calls, one call with all its legs, packets for replay.

`Reader` is what commands ask. Each store answers by DuckDB over a view or table `messages` with the columns of
docs/lake.md, so that all answer alike: `searched`, `prepare` and `calls.calls` are the one way to ask it.
Not here: where the rows are (`lake`, `databases.reading`), tables on a screen (`cli`).
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Self

import duckdb

from hepswitch.lake.query import Query
from hepswitch.lake.rebuild import packet

Row = dict[str, Any]
"""One packet: the columns of docs/lake.md by name. Times are aware datetimes in UTC."""

TIES = ("call_id", "correlation_id", "callid_aleg")
"""Columns by which packets belong to one call."""

HOPS = 20
"""Steps from leg to leg that belong to one call; each asks the store once."""

FETCHED = 10_000
"""Rows that are looked at together where a filter needs more than SQL."""


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)


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
    def tied(self, ids: Collection[str]) -> list[Row]:
        """The packets of which one of TIES is among `ids`."""

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
            found = self.tied(known)
            new = {row[name] for row in found for name in TIES} - known - {None, ""}
        else:
            self._warn(f"{call_id}: the chain of its legs goes on; legs more than {HOPS} steps away are not shown")
        return sorted(found, key=lambda row: (row["ts"], row["received_ts"]))

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
    names = [column[0] for column in done.description or ()]
    return [
        {
            name: value.astimezone(UTC) if isinstance(value, datetime) else value
            for name, value in zip(names, row, strict=True)
        }
        for row in done.fetchall()
    ]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
