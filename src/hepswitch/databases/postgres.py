"""PostgreSQL: rows by binary COPY, with their mark in one transaction; tables made when they are missing.

The columns of a table are looked up once: rows are written as the types that it really has, and texts are cut to its
widths, so that a table which somebody else made does as well. Text in PostgreSQL has no NUL and is UTF-8: NUL is left out,
other bytes become U+FFFD. A payload that must be kept to the byte needs a column of type `bytea`, which is written as it is.
Moments without a time zone are UTC, as OpenSIPS' own queries compare them with texts, whatever the zone of a session.

Not here: the bytes of COPY (`copy`), DDL (`postgres_tables`), rows (`layouts`), partitions (`partitions`), when (`loader`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg
import pyarrow as pa
import structlog

from hepswitch.databases.copy import copy_rows
from hepswitch.databases.layouts.homer7 import Homer7
from hepswitch.databases.layouts.opensips import Opensips
from hepswitch.databases.layouts.shape import Layout, Piece
from hepswitch.databases.layouts.tables import has_strange_times
from hepswitch.databases.partitions import Connection, Partitions, statements
from hepswitch.databases.postgres_tables import (
    MARKS_DDL,
    MOST_NAME,
    Columns,
    column_ddl,
    columns_of,
    make,
    quoted,
    table_ddl,
)
from hepswitch.databases.server import MARKS, ContentError, Mark, unusable
from hepswitch.destinations.databases import PostgresStore
from hepswitch.logs import words

log = structlog.get_logger("hepswitch.databases")

T = TypeVar("T")

CONNECT_PATIENCE = 15.0
"""Seconds that a server has for taking a connection …"""
PATIENCE = 60.0
"""… for a batch …"""
QUERY_PATIENCE = 300.0
"""… for a query …"""
MAINTAIN_PATIENCE = 3600.0
"""… and for building indexes of partitions."""

GRACE = 0.2
"""Seconds until what is under way has noticed that its connection is lost."""

CHUNK = 1 << 20
"""Bytes of rows in one message to the server: more are not copied while it does not take them."""

FORGET_EVERY = 64
"""Old marks are deleted with one batch in so many."""

_MARK = f"INSERT INTO {MARKS} (journal, first, last) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"  # noqa: S608 (a constant)
_FORGET = f"DELETE FROM {MARKS} WHERE journal = $1 AND last <= $2"  # noqa: S608 (a constant)

_MAY_MARK = """SELECT bool_and(has_table_privilege(c, r)) FROM unnest(ARRAY['SELECT', 'INSERT', 'DELETE']) AS r,
    to_regclass($1) AS c"""

_warned: set[str] = set()
"""Databases of which it was said that no marks can be kept there."""


class PostgresServer:
    """A connection to the database of a store."""

    def __init__(self, store: PostgresStore) -> None:
        self.layout: Layout = Homer7(store.homer7) if store.layout == "homer7" else Opensips(store.opensips)
        self._store = store
        url = urlsplit(store.url)
        self._place = f"PostgreSQL {url.netloc.rpartition('@')[2]}{url.path}"
        self._connection: Connection | None = None
        self._lost: asyncio.Future[None]
        self._tables: dict[str, Columns] = {}
        self._partitions: Partitions | None = None
        self._may_mark: bool | None = None
        self._batches = 0

    async def open(self) -> None:
        """Connect. OSError when the server is away or refuses."""
        await self.close()
        with self._trouble(CONNECT_PATIENCE):
            connection = await self._connect()
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def tell(_: object) -> None:
            if not lost.done():
                lost.set_result(None)

        connection.add_termination_listener(tell)
        self._connection, self._lost = connection, lost
        self._tables.clear()
        self._partitions = Partitions(self._store) if self._store.layout == "homer7" else None
        self._may_mark = None

    async def _connect(self) -> Connection:
        try:
            return await asyncpg.connect(
                self._store.url,
                password=self._store.secret or None,
                timeout=CONNECT_PATIENCE,
                statement_cache_size=0,  # what is prepared would be lost behind a pooler
                server_settings={"application_name": "hepswitch", "timezone": "UTC"},
            )
        except TimeoutError:
            raise
        except OSError as error:
            raise OSError(f"{self._place} cannot be reached: {words(error)}") from None

    async def load(self, batch: pa.RecordBatch, mark: Mark) -> None:
        """Store the rows of a batch and its mark, or nothing when the mark is there already. OSError, ContentError."""
        pieces = self.layout.pieces(batch)
        is_strange = has_strange_times(batch)
        await self._do(lambda connection: self._load(connection, pieces, mark, is_strange), PATIENCE)

    async def maintain(self) -> None:
        """Partitions ahead, old ones away. OSError."""
        partitions = self._partitions
        if partitions is not None:
            await self._do(lambda connection: partitions.tend(connection, datetime.now(UTC)), MAINTAIN_PATIENCE)

    async def rows(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """What a query gives; placeholders are $1, $2 … ValueError when the query is wrong, OSError."""

        async def query(connection: Connection) -> list[dict[str, Any]]:
            try:
                async with connection.transaction(readonly=True):
                    return [dict(row) for row in await connection.fetch(sql, *values)]
            except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError):
                raise
            except (asyncpg.DataError, asyncpg.SyntaxOrAccessError) as error:
                raise ValueError(str(error)) from None

        return await self._do(query, QUERY_PATIENCE)

    async def close(self) -> None:
        """Let go of the connection without waiting. Whatever was under way is rolled back by the server."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _do(self, work: Callable[[Connection], Coroutine[Any, Any, T]], patience: float) -> T:
        """What `work` gives. When anything but content is wrong with it, the connection is given up."""
        if self._connection is None:
            raise OSError(f"{self._place}: not connected")
        task = asyncio.ensure_future(work(self._connection))
        try:
            with self._trouble(patience):
                return await self._outcome(task, patience)
        except (ContentError, ValueError):
            raise
        except BaseException:
            # The connection first: whatever `work` does to end well must not wait for a server that does not answer.
            await self.close()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise

    async def _outcome(self, task: asyncio.Future[T], patience: float) -> T:
        either: set[asyncio.Future[Any]] = {task, self._lost}
        await asyncio.wait(either, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        if self._lost.done():
            await asyncio.wait({task}, timeout=GRACE)  # it knows why, unless it is a COPY that waits until it may send
        if task.done():
            return task.result()
        if self._lost.done():
            raise ConnectionResetError("the server closed it")
        raise TimeoutError

    # ── loading ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _load(self, connection: Connection, pieces: Sequence[Piece], mark: Mark, is_strange: bool) -> None:
        if self._may_mark is None:
            self._may_mark = await self._ready_marks(connection)
        if self._partitions is not None:
            await self._partitions.ensure(connection, pieces)
        streams = [(piece, await self._stream(connection, piece)) for piece in pieces]
        is_foreign, table = False, ""
        await connection.execute("BEGIN")
        try:
            if not self._may_mark or await self._mark(connection, mark):
                for piece, stream in streams:
                    is_foreign, table = piece.foreign, piece.table
                    names = [column.name for column in piece.shape.columns]
                    await connection.copy_to_table(piece.table, source=_chunks(stream), columns=names, format="binary")
            is_foreign = False
            await connection.execute("COMMIT")  # a constraint may be deferred until now
        except asyncpg.PostgresError as error:
            is_unusable = is_foreign and _is_of_table(error)
            if not is_unusable and not _is_content(error, is_strange):
                raise
            await connection.execute("ROLLBACK")
            tables = sorted({piece.table for piece in pieces})
            for each in tables:
                if await columns_of(connection, each) != self._tables.pop(each):
                    raise OSError(f"{self._place}: the columns of table {each} have changed; trying again") from None
            if is_unusable:
                raise ContentError(f"table {table}: {_said(error)}", table) from None
            raise ContentError(f"table {', '.join(tables)}: {_said(error)}") from None

    async def _ready_marks(self, connection: Connection) -> bool:
        """Can marks be kept? The table for them is made if need be."""
        may = await connection.fetchval(_MAY_MARK, MARKS)
        why = "no right to SELECT, INSERT and DELETE there"
        if may is None:
            why = "the table is missing and create = false"
            if self._store.create:
                try:
                    await make(connection, MARKS_DDL)
                    may = True
                except asyncpg.InsufficientPrivilegeError as error:
                    why = str(error)
        if not may and self._place not in _warned:
            _warned.add(self._place)
            log.warning(
                f"no marks in table {MARKS}: a batch may be stored twice when the connection breaks",
                server=self._place, reason=why, remedy="run what `hepswitch ddl` prints, and grant the rights",
            )  # fmt: skip
        return bool(may)

    async def _mark(self, connection: Connection, mark: Mark) -> bool:
        """Set the mark; False when it is there. Another transaction that is about to set it is waited for."""
        done = await connection.execute(_MARK, mark.journal, mark.first, mark.last)
        self._batches += 1
        if self._batches % FORGET_EVERY == 0:
            await connection.execute(_FORGET, mark.journal, mark.done)
        return done == "INSERT 0 1"

    async def _stream(self, connection: Connection, piece: Piece) -> bytearray:
        """The rows as the table takes them. OSError when the table does not fit them."""
        if piece.table not in self._tables:
            self._tables[piece.table] = await self._look_up(connection, piece)
        columns = self._tables[piece.table]
        try:
            return copy_rows(piece.rows, [columns[column.name] for column in piece.shape.columns])
        except TypeError as error:
            raise unusable(piece, f"{self._place}: table {piece.table}: {error}") from None
        except OverflowError as error:
            raise ContentError(f"table {piece.table}: {error}") from None

    async def _look_up(self, connection: Connection, piece: Piece) -> Columns:
        """The columns of a table, which is made when it is missing and may be made."""
        table = piece.table
        if len(table) > MOST_NAME:
            raise unusable(
                piece, f"{self._place}: the name of table {table!r} is too long: PostgreSQL takes {MOST_NAME} letters"
            )
        columns = await columns_of(connection, table)
        if not columns and self._store.create and self._partitions is None:
            try:
                await make(connection, table_ddl(table, piece.shape))
            except asyncpg.InsufficientPrivilegeError as error:
                why = f"{self._place}: table {table} cannot be made: {_said(error)}: {_HINTS[_NO_RIGHT]}"
                raise unusable(piece, why) from None
            columns = await columns_of(connection, table)
        if not columns:
            raise unusable(
                piece,
                f"{self._place} has no table {table}: make it (`hepswitch ddl` prints the statements), or set create = true",
            )
        if missing := [column for column in piece.shape.columns if column.name not in columns]:
            remedy = ", ".join(f"ADD COLUMN {column_ddl(column)}" for column in missing)
            names = ", ".join(column.name for column in missing)
            raise unusable(piece, f"{self._place}: table {table} lacks {names}: ALTER TABLE {quoted(table)} {remedy};")
        return columns

    # ── trouble ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def _trouble(self, patience: float) -> Iterator[None]:
        """What the driver raises, as an OSError in words. OSErrors of our own pass."""
        try:
            yield
        except TimeoutError:
            raise OSError(f"{self._place} does not answer: given up after {patience:g} s") from None
        except asyncpg.PostgresError as error:
            state = error.sqlstate or ""
            hint = _HINTS.get(state) or _HINTS.get(state[:2])
            raise OSError(f"{self._place}: {_said(error)}" + (f": {hint}" if hint else "")) from None
        except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            raise OSError(f"{self._place}: {error}") from None
        except ConnectionError as error:
            raise OSError(f"{self._place}: connection lost: {words(error)}") from None


_NO_RIGHT = "42501"
_NO_PARTITION = "23514"
"""… of a check, when it names no constraint."""

_HINTS = {
    _NO_PARTITION: "make it, or a DEFAULT one for times that have none",
    "25006": "give the URL of the primary",
    "28": "see `password` and the user in `url` of the store, and pg_hba.conf of the server",
    "3D000": "make it with CREATE DATABASE",
    _NO_RIGHT: "grant the right to the user in `url` of the store",
    "53100": "the server's disk is full",
    "53300": "lower `connections` of the store or raise max_connections of the server",
}
"""What to do, by SQLSTATE or its class."""

_CONTENT = ("22", "23", "44", "54000", "P0001")
"""SQLSTATEs, or their classes, that say: these rows never. Data that does not fit, a constraint, a view's check, an entry
that is too long for its index, a trigger that refuses."""


def _is_content(error: asyncpg.PostgresError, is_strange: bool) -> bool:
    """`is_strange`: there are times for which nobody need have a partition."""
    if error.sqlstate == _NO_PARTITION and not error.constraint_name:
        return is_strange
    return (error.sqlstate or "").startswith(_CONTENT)


def _is_of_table(error: asyncpg.PostgresError) -> bool:
    """Is it the table that does not take rows: no right, a view, no partition …? Not the server, nor the connection."""
    return (error.sqlstate or "").startswith(("42", "0A", _NO_PARTITION))


def _said(error: asyncpg.PostgresError) -> str:
    """The server's own words, in one line. Its DETAIL of content quotes the row, and logs are no place for packets."""
    is_content = _is_content(error, is_strange=False)
    said = error.args[0] if is_content and error.args else str(error)
    return " ".join(said.split())


async def _chunks(stream: bytearray) -> AsyncIterator[Any]:
    """Pieces of it, not copied: the driver takes any buffer, though its types speak of bytes."""
    view = memoryview(stream)
    for start in range(0, len(stream), CHUNK):
        yield view[start : start + CHUNK]


def ddl(store: PostgresStore) -> str:
    """The statements that make all tables of a store, those with dates in their names as of now."""
    now = datetime.now(UTC)
    if store.layout == "homer7":
        return statements(store, now) + MARKS_DDL
    moment = int(now.timestamp()) * 1_000_000
    tables = [table_ddl(template.at(moment), shape) for template, shape in Opensips(store.opensips).tables]
    return "".join([*tables, MARKS_DDL])
