"""ClickHouse: batches as Arrow streams over plain HTTP, into tables with the columns of the lake (layout "messages").

    POST /?query=INSERT INTO … FORMAT ArrowStream&insert_deduplication_token=JOURNAL-FIRST-LAST

**Once.** There are no transactions and no table of marks: the server itself knows an insert again by its token, for the last
10,000 inserts of a table (`non_replicated_deduplication_window`, which `hepswitch ddl` sets; a table without it is reported
once, and then rows come at least once). A batch that goes to several tables is as many inserts, each known by itself.
With `async_insert` the server gathers the inserts of many clients and answers when they are written; before ClickHouse 26 it
knows such an insert again in replicated tables only.

**Any bytes.** Columns of ClickHouse hold every byte, NUL and broken UTF-8 too: nothing is replaced. What is null in the lake
and how it is here: `layouts.messages`. **Placeholders** of `rows` are `{p1:String}`, `{p2:DateTime64(6, 'UTC')}`,
`{p3:Array(String)}` …: the first value, the second, the third. The server puts them in.

Not here: HTTP (`clickhouse_http`), what the tables are (`clickhouse_tables`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
import structlog

from hepswitch.databases import clickhouse_tables as tables
from hepswitch.databases.clickhouse_http import Address, ClickhouseError, Http
from hepswitch.databases.layouts.messages import Messages
from hepswitch.databases.layouts.shape import Piece
from hepswitch.databases.server import ContentError, Mark, unusable
from hepswitch.destinations.databases import ClickhouseStore
from hepswitch.destinations.dated import Dated
from hepswitch.destinations.hand import Hand

log = structlog.get_logger("hepswitch.clickhouse")

T = TypeVar("T")

# Codes of system.errors. In the rows: text that is no number, date or address, values out of range, constraints …
CONTENT = frozenset(
    {6, 25, 26, 27, 38, 41, 69, 70, 72, 117, 130, 131, 321, 346, 349, 376, 395, 407, 441, 467, 469, 675, 676, 691}
)
# In a query: syntax, unknown names, wrong types, parameters, and what would change something.
QUERY = CONTENT | {35, 36, 42, 43, 44, 46, 47, 48, 50, 53, 62, 63, 153, 164, 179, 184, 207, 215, 386, 456, 457}

# A table takes no rows: a view or another thing that cannot be written, no right.
OF_TABLE = frozenset({48, 497})

BYTES = frozenset({"payload", "chunks"})
"""Columns that hold bytes."""

COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4")
"""A quarter of the bytes for about 1 µs a row."""


class _Part(NamedTuple):
    """A table has the rows of a batch whose other tables do not."""

    table: str
    mark: Mark


class ClickhouseServer:
    """Keeps the contract of `databases.server.Server`."""

    def __init__(self, store: ClickhouseStore) -> None:
        self._store = store
        self._address = Address.parse(store.url)
        self.layout = Messages(store.table)
        self._http = Http(self._address, self._store.secret)
        self._hand = Hand("clickhouse")
        self._good: set[str] = set()
        self._warned: set[str] = set()
        self._parts: list[_Part] = []

    async def open(self) -> None:
        """Connect. OSError when the server is away or refuses the user, or the database is not there."""
        await self.close()
        self._http, self._hand = Http(self._address, self._store.secret), Hand("clickhouse")
        self._good.clear()
        await self._do(self._ask, "SELECT 1", ())

    async def load(self, batch: pa.RecordBatch, mark: Mark) -> None:
        """Store the rows of a batch, once."""
        self._parts = [part for part in self._parts if part.mark.journal != mark.journal or part.mark.last > mark.done]
        pieces = self.layout.pieces(batch)
        for piece in pieces:
            if not self._has(piece.table, mark):
                await self._do(self._insert, piece, mark)
                if len(pieces) > 1:
                    self._parts.append(_Part(piece.table, mark))
        self._parts = [part for part in self._parts if part.mark != mark]

    async def maintain(self) -> None:
        """Give the table of today the retention of the store, when it was changed; the server does the rest itself."""
        if self._store.create:
            await self._do(self._retain)

    async def rows(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """What a query gives. Text is str where all of a column is UTF-8, else bytes, as `payload` and `chunks` always are.

        The query cannot change anything. A DateTime comes as a number: select it as DateTime64.
        """
        try:
            answer: pa.Table = await self._do(self._ask, sql, values)
        except ClickhouseError as error:
            if error.code in QUERY:
                raise ValueError(str(error)) from error
            raise
        columns = map(_read, answer.column_names, answer.columns)
        return [dict(zip(answer.column_names, row, strict=True)) for row in zip(*columns, strict=True)]

    async def close(self) -> None:
        """Let go of the connection; a request that is under way fails."""
        self._http.close()
        self._hand.let_go()

    # ── in the thread of the hand ──────────────────────────────────────────────────────────────────────────────────

    def _insert(self, piece: Piece, mark: Mark) -> None:
        """Store the rows of one table."""
        self._make_sure_of(piece)
        names = ", ".join(piece.rows.schema.names)
        settings = {
            "insert_deduplication_token": f"{mark.journal}-{mark.first}-{mark.last}",
            "async_insert": str(int(self._store.async_insert)),  # newer servers do it unless they are told not to
            "input_format_null_as_default": "1",
        }
        if self._store.async_insert:
            settings |= {"wait_for_async_insert": "1", "async_insert_deduplicate": "1"}
        if self._store.cluster:
            settings["insert_distributed_sync"] = "1"  # answered when the shards have it
        sql = f"INSERT INTO {tables.quoted(piece.table)} ({names}) FORMAT ArrowStream"
        try:
            self._http.ask("POST", {"query": sql, **settings}, _stream(piece.rows))
        except ClickhouseError as error:
            self._good.discard(piece.table)
            if error.code in OF_TABLE:
                raise unusable(piece, str(error)) from error
            if error.code not in CONTENT:
                raise
            self._make_sure_of(piece)  # or somebody changed the table, and no row would do
            raise ContentError(str(error)) from error

    def _make_sure_of(self, piece: Piece) -> None:
        """The piece's table is there, with its columns; makes it when it may."""
        table = piece.table
        if table in self._good:
            return
        name = f"{self._address.database}.{table}"
        columns = self._columns(table)
        if not columns:
            if not self._store.create:
                raise unusable(
                    piece,
                    f"{self._address.endpoint}: table {name} is missing: make it with what `hepswitch ddl` prints, "
                    "or set create = true",
                )
            try:
                for statement in tables.statements(self._store, self._address.database, table):
                    self._http.ask("POST", {"query": statement})
            except ClickhouseError as error:
                if error.code not in OF_TABLE:
                    raise
                raise unusable(piece, str(error)) from error
            columns = self._columns(table)
        if why := tables.lacking(columns):
            raise unusable(piece, f"{self._address.endpoint}: table {name} {why}")
        if table not in self._warned and tables.forgets(self._engine(table)):
            self._warned.add(table)
            log.warning(
                "rows may come twice after a failure: the table does not remember inserts",
                table=name,
                remedy=f"ALTER TABLE {name} MODIFY SETTING non_replicated_deduplication_window = {tables.WINDOW}",
            )
        self._good.add(table)

    def _columns(self, table: str) -> dict[str, str]:
        """Name and type of each column of a table; empty when there is no such table."""
        sql = "SELECT name, type FROM system.columns WHERE database = {p1:String} AND table = {p2:String}"
        found = self._ask(sql, (self._address.database, table))
        return {str(row["name"]): str(row["type"]) for row in found.to_pylist()}

    def _engine(self, table: str) -> str:
        """The engine of a table with its clauses; empty when there is no such table."""
        sql = "SELECT engine_full FROM system.tables WHERE database = {p1:String} AND name = {p2:String}"
        found = self._ask(sql, (self._address.database, table)).to_pylist()
        return str(found[0]["engine_full"]) if found else ""

    def _retain(self) -> None:
        table = Dated(self._store.table).at(time.time_ns() // 1000)
        engine = self._engine(tables.local(self._store, table))
        if engine and (statement := tables.new_ttl(self._store, self._address.database, table, engine)):
            self._http.ask("POST", {"query": statement})

    def _ask(self, sql: str, values: Sequence[Any]) -> pa.Table:
        """What a query gives. It is whole before the server answers, or an error behind the first rows would be lost."""
        parameters = {"query": sql, "default_format": "ArrowStream", "wait_end_of_query": "1"}
        parameters |= {f"param_p{number}": _escaped(value) for number, value in enumerate(values, 1)}
        return pa.ipc.open_stream(self._http.ask("GET", parameters)).read_all()

    # ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _do(self, function: Callable[..., T], *arguments: Any) -> T:
        return await self._hand.do(function, *arguments)

    def _has(self, table: str, mark: Mark) -> bool:
        """Whether a table has these rows from a batch that not all of its tables took: they come again in parts."""
        return any(
            part.table == table
            and part.mark.journal == mark.journal
            and part.mark.first <= mark.first
            and mark.last <= part.mark.last
            for part in self._parts
        )


def ddl(store: ClickhouseStore) -> str:
    """The statements that make the tables of a store (the one of today, when its name has a date)."""
    table = Dated(store.table).at(time.time_ns() // 1000)
    made = tables.statements(store, Address.parse(store.url).database, table)
    return "".join(f"{statement};\n" for statement in made)


def _stream(rows: pa.RecordBatch) -> memoryview:
    """Rows as an Arrow IPC stream."""
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, rows.schema, options=COMPRESSED) as writer:
        writer.write_batch(rows)
    return memoryview(out.getvalue())


def _read(name: str, column: pa.ChunkedArray[Any]) -> list[Any]:
    """The values of a column."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        moments = column.cast(pa.timestamp("us", "UTC"), safe=False).to_pylist()
        return [moment.astimezone(UTC) if isinstance(moment, datetime) else None for moment in moments]
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        # The server calls every String text; whether it is, its bytes say.
        column = pa.chunked_array([chunk.view(pa.binary()) for chunk in column.chunks], pa.binary())
        if name not in BYTES:
            with contextlib.suppress(pa.ArrowInvalid):  # not all of it is UTF-8
                column = column.cast(pa.string())
    return column.to_pylist()


_ESCAPES = {ord("\\"): "\\\\", ord("\t"): "\\t", ord("\n"): "\\n", ord("\r"): "\\r", 0: "\\0"}
_QUOTES = _ESCAPES | {ord("'"): "\\'"}


def _escaped(value: Any, inside: bool = False) -> str:
    """A value as a parameter of the URL has it; `inside` an array."""
    match value:
        case None:
            return "NULL" if inside else "\\N"
        case bool():
            return str(value).lower()
        case bytes():
            return _escaped(value.decode("utf-8", "surrogateescape"), inside)
        case datetime():
            moment = value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
            return f"'{moment}'" if inside else moment
        case str():
            return f"'{value.translate(_QUOTES)}'" if inside else value.translate(_ESCAPES)
        case list() | tuple() | set() | frozenset():
            return f"[{','.join(_escaped(each, inside=True) for each in value)}]"
        case _:
            return str(value)
