"""MySQL and MariaDB as a store: rows by prepared statements, whole and once, into the tables of a layout.

Values never become SQL: MariaDB takes all rows of a statement that has one row of `?` (COM_STMT_BULK_EXECUTE), MySQL one
with `?` for as many rows as it allows. Sessions are in UTC and strict, whatever the server's defaults. Payloads are kept
byte by byte in the tables that are made here; what an operator's own table cannot hold is changed as `mysql_tables` says.

With tables that are not InnoDB (OpenSIPS' own DDL has MyISAM) there are no transactions: rows may be stored twice after a
failure. Not here: DDL and columns (`mysql_tables`), which rows (`layouts`), when and in what batches (`loader`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import asyncmy
import pyarrow as pa
import structlog
from asyncmy.cursors import DictCursor
from asyncmy.errors import IntegrityError, MySQLError, NotSupportedError

from hepswitch.databases.layouts.homer5 import Homer5
from hepswitch.databases.layouts.opensips import Opensips
from hepswitch.databases.layouts.shape import Piece
from hepswitch.databases.layouts.tables import has_strange_times
from hepswitch.databases.mysql_tables import COLUMNS_OF, CREATE_MARKS, Existing, create_table, definition, nothing_in
from hepswitch.databases.server import MARKS, ContentError, Mark, unusable
from hepswitch.destinations.databases import MysqlStore
from hepswitch.net.tls import client_context
from hepswitch.units import Endpoint

PORT = 3306
CONNECT_PATIENCE = 15.0
"""Seconds that a server has for taking a connection …"""
PATIENCE = 60.0
"""… for a batch …"""
QUERY_PATIENCE = 300.0
"""… and for a query."""

LARGEST = 16 << 20
"""Bytes of a statement, if the server allows more: beyond it they only wait for one another."""

MOST_PLACEHOLDERS = 65_535
FORGET_AFTER = 64
"""Batches after which old marks are deleted."""

MOST_TABLES = 256
"""Tables that are remembered: the names of dated ones come and go."""

SESSION = (
    "SET time_zone = '+00:00', sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION', "
    "innodb_lock_wait_timeout = 10, wait_timeout = 86400"
)

REMEMBER = f"INSERT INTO `{MARKS}` (journal, first, last) VALUES (%s, %s, %s)"  # noqa: S608 (a constant)
FORGET = f"DELETE FROM `{MARKS}` WHERE journal = %s AND last <= %s"  # noqa: S608 (the same)

TRANSACTIONAL = {"innodb", "rocksdb", "ndbcluster"}
"""Storage engines that take a batch back whole."""

DUPLICATE = 1062
DENIED = {1044, 1142}
WRONG_QUERY = {1052, 1054, 1064, 1305}
CONTENT_STATES = {"22", "23", "44", "45"}
"""Classes of SQLSTATE that come from what is stored: data, constraints, checks of views, what a trigger says."""

CONTENT = {1265, 1364, 1366, 3819, 4025}
"""The same where the state does not say so: wrong values, no default, CHECK."""

NO_PARTITION = 1526
OF_TABLE = DENIED | {1143, 1288, 1348, 1356, 1393, 1394, 1471, NO_PARTITION, 1906}
"""A table takes no rows: no right to it, a view, a generated column, no partition …"""

MISSING = "`create = true` makes it, `hepswitch ddl` prints it"
ADVICE = {
    1021: "the disk of the server is full",
    1040: "the server has too many connections: raise max_connections",
    1049: "there is no such database: CREATE DATABASE makes one",
    1114: "the table or the disk of the server is full",
    1146: MISSING,
    1203: "the user has too many connections: raise max_user_connections",
    1205: "another transaction holds a lock",
    1213: "a deadlock with another transaction",
    NO_PARTITION: "make it, or one for VALUES LESS THAN MAXVALUE",
    1226: "the user has used up a limit: see MAX_… of CREATE USER",
    **dict.fromkeys(DENIED, "the user lacks a right: GRANT SELECT, INSERT, DELETE, CREATE ON DATABASE.* TO USER"),
    **dict.fromkeys((1045, 1698), "user and password do not fit, or the server wants TLS: ?tls=yes"),
    **dict.fromkeys((1290, 1792, 1836), "the server is read-only"),
}
"""What to do, by the server's number. Numbers without one are told in the server's words alone."""

log = structlog.get_logger("hepswitch.databases")


def layout_of(store: MysqlStore) -> Opensips | Homer5:
    """The layout of a store. ValueError when its tables cannot be."""
    return Homer5() if store.layout == "homer5" else Opensips(store.opensips)


def ddl(store: MysqlStore) -> str:
    """The statements that make the tables, dated ones for today (UTC)."""
    now = time.time_ns() // 1000
    tables = [create_table(name.at(now), shape) for name, shape in layout_of(store).tables]
    return "".join(f"{statement};\n" for statement in [*tables, CREATE_MARKS])


class MysqlServer:
    """One connection to a store's server: see `databases.server.Server`."""

    def __init__(self, store: MysqlStore) -> None:
        self._store = store
        self.layout = layout_of(store)
        self._connection: Any = None
        self._tables: dict[str, Existing] = {}
        self._warned: set[str] = set()
        self._is_marking: bool | None = None  # None: not known yet
        self._takes_bulk = True
        self._largest = 0
        self._loaded = 0

    async def open(self) -> None:
        """Connect. OSError when the server is away, refuses, or lacks something."""
        parts = urlsplit(self._store.url)
        self._tables.clear()
        self._is_marking = None
        async with self._within(CONNECT_PATIENCE):
            try:
                self._connection = await asyncmy.connect(
                    **_address(self._store.url),
                    user=unquote(parts.username) if parts.username else None,
                    password=self._store.secret.encode(),
                    database=unquote(parts.path[1:]),
                    connect_timeout=CONNECT_PATIENCE,
                    autocommit=True,
                    program_name="hepswitch",
                )
            except RuntimeError as error:  # a package is missing for the way in which the server wants the password
                raise OSError(f"{self._store.url}: {error}") from error
            await self._query(SESSION)
            found = await self._fetch("SELECT @@max_allowed_packet AS room")
            self._largest = min(int(found[0]["room"]), LARGEST) - 4096

    async def load(self, batch: pa.RecordBatch, mark: Mark) -> None:
        """Store the rows of a batch and its mark in one transaction, or nothing when the mark is there already."""
        async with self._within(PATIENCE):
            await self._make_marks()
            pieces = self.layout.pieces(batch)
            rows = [(piece, (await self._table(piece)).fitted(piece.rows)) for piece in pieces]
            await self._connection.begin()  # after CREATE TABLE, which would end a transaction
            try:
                if await self._is_new(mark):
                    for piece, fitted in rows:
                        await self._store_rows(piece, fitted)
                await self._connection.commit()
            except (ContentError, MySQLError) as error:
                if self._connection.connected:
                    await self._connection.rollback()
                if isinstance(error, MySQLError) and _is_content(error):
                    await self._see_no_change(pieces)
                if isinstance(error, MySQLError) and error.args[0] == NO_PARTITION and has_strange_times(batch):
                    raise ContentError(f"{error.args[-1]} ({NO_PARTITION})") from error
                raise
            self._loaded += 1
            if self._is_marking and self._loaded % FORGET_AFTER == 0:
                await self._fetch(FORGET, (mark.journal, mark.done))

    async def maintain(self) -> None:
        """Nothing: dated tables are made with their first row."""

    async def rows(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """What a query gives; `%s` are its placeholders, `%%` is a %. DATETIME and TIMESTAMP are naive, in UTC."""
        async with self._within(QUERY_PATIENCE):
            try:
                return await self._fetch(sql, tuple(values))
            except TypeError as error:  # so many values do not go into it
                raise ValueError(f"{error}: {sql}") from error
            except MySQLError as error:
                if error.args[0] in WRONG_QUERY or _is_content(error):
                    raise ValueError(f"{error.args[1]}: {sql}") from error
                raise

    async def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(TimeoutError, MySQLError):
                async with asyncio.timeout(1):
                    await connection.ensure_closed()
            connection.close()

    @contextlib.asynccontextmanager
    async def _within(self, seconds: float) -> AsyncIterator[None]:
        """Errors of the driver, and a server that takes longer, in the words of the contract."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise OSError(f"{self._store.url}: no answer in {seconds:.0f} s") from None
        except MySQLError as error:
            raise _explained(self._store.url, error) from error

    async def _query(self, sql: str) -> None:
        await self._connection.query(sql)

    async def _fetch(self, sql: str, values: tuple[Any, ...] | dict[str, Any] = ()) -> list[dict[str, Any]]:
        async with self._connection.cursor(DictCursor) as cursor:
            await cursor.execute(sql, values)
            return list(await cursor.fetchall() or ())

    async def _make_marks(self) -> None:
        """See that the table of marks is there, once a connection. Who only reads needs none."""
        if self._is_marking is not None:
            return
        self._is_marking = True
        if await self._fetch(COLUMNS_OF, {"table": MARKS}):
            return
        try:
            await self._query(CREATE_MARKS)
        except MySQLError as error:
            if error.args[0] not in DENIED:
                raise
            self._is_marking = False
            reason = f"{MARKS} cannot be made: {error.args[1]}"
            self._warn_of_doubles(reason, "run what `hepswitch ddl` prints, as a user who may")

    def _warn_of_doubles(self, reason: str, advice: str) -> None:
        """Say once that there is no exactly-once, and why."""
        if reason not in self._warned:
            self._warned.add(reason)
            log.warning("rows may be stored twice after a failure", store=self._store.url, reason=reason, advice=advice)

    async def _is_new(self, mark: Mark) -> bool:
        """Set the mark. False when it is there already."""
        if not self._is_marking:
            return True
        try:
            await self._fetch(REMEMBER, (mark.journal, mark.first, mark.last))
        except IntegrityError as error:
            if error.args[0] == DUPLICATE:
                return False
            raise
        return True

    async def _table(self, piece: Piece) -> Existing:
        """The table of a piece as it really is, made if it is missing. OSError when it is not as it must be."""
        name = piece.table
        if name not in self._tables:
            found = await self._fetch(COLUMNS_OF, {"table": name})
            if not found and self._store.create:
                await self._create(piece)
                found = await self._fetch(COLUMNS_OF, {"table": name})
            if not found:
                raise unusable(piece, f"{self._store.url}: there is no table {name}: {MISSING}")
            if len(self._tables) >= MOST_TABLES:
                self._tables.clear()
            self._tables[name] = Existing.of(found)
            if (engine := self._tables[name].engine).lower() not in TRANSACTIONAL:
                reason = f"tables such as {name} are {engine}, which knows no transactions"
                self._warn_of_doubles(reason, f"ALTER TABLE `{name}` ENGINE=InnoDB")
        table = self._tables[name]
        if lacking := table.lacks(piece.shape):
            del self._tables[name]  # somebody may add them
            added = ", ".join(f"ADD COLUMN {definition(column)}" for column in lacking)
            names = ", ".join(column.name for column in lacking)
            raise unusable(piece, f"{self._store.url}: the table {name} lacks {names}: ALTER TABLE `{name}` {added}")
        return table

    async def _create(self, piece: Piece) -> None:
        """Make the table of a piece."""
        try:
            await self._query(create_table(piece.table, piece.shape))
        except MySQLError as error:
            if error.args[0] not in DENIED:
                raise
            why = f"{self._store.url}: {error.args[-1]} ({error.args[0]}): {ADVICE[error.args[0]]}"
            raise unusable(piece, why) from error

    def _portions(self, rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Rows for one statement each: no larger than the server takes."""
        size = rows.nbytes + 10 * rows.num_rows * rows.num_columns  # of the lengths and marks around values, at most
        if size <= self._largest:
            yield rows
        elif rows.num_rows == 1:
            raise ContentError(f"a row of {size} bytes is larger than the server takes: raise max_allowed_packet")
        else:
            half = rows.num_rows // 2
            yield from self._portions(rows.slice(0, half))
            yield from self._portions(rows.slice(half))

    async def _store_rows(self, piece: Piece, rows: pa.RecordBatch) -> None:
        """Rows into a table that is there. ContentError when a route named it, and it takes none."""
        try:
            for part in self._portions(rows):
                await self._insert(piece.table, part)
        except MySQLError as error:
            if piece.foreign and error.args[0] in OF_TABLE:
                why = f"table {piece.table}: {error.args[-1]} ({error.args[0]})"
                raise ContentError(why, piece.table) from error
            raise

    async def _see_no_change(self, pieces: Sequence[Piece]) -> None:
        """OSError when a table is not any more what rows were made for: other rows may do then."""
        for table in sorted({piece.table for piece in pieces} & self._tables.keys()):
            found = await self._fetch(COLUMNS_OF, {"table": table})
            if not found or Existing.of(found) != self._tables[table]:
                raise OSError(f"{self._store.url}: the columns of table {table} have changed; trying again")

    async def _insert(self, table: str, rows: pa.RecordBatch) -> None:
        """Rows by as few statements as can be."""
        said = [nothing_in(column) or "?" for column in rows.columns]
        values = [column.to_pylist() for column, word in zip(rows.columns, said, strict=True) if word == "?"]
        tuples = list(zip(*values, strict=True))  # never none: every row has its moment
        names = ", ".join(f"`{name}`" for name in rows.schema.names)
        row = f"({', '.join(said)})"
        start = f"INSERT INTO `{table}` ({names}) VALUES "  # noqa: S608 (names of the layout's)
        if self._takes_bulk:
            async with await self._connection.prepare(start + row) as statement:
                try:
                    await statement.execute_bulk(tuples)
                except NotSupportedError:  # MySQL; said before anything is sent
                    self._takes_bulk = False
                else:
                    return
        step = min(1000, MOST_PLACEHOLDERS // len(values))
        for at in range(0, len(tuples), step):
            part = tuples[at : at + step]
            async with await self._connection.prepare(start + ", ".join([row] * len(part))) as statement:
                await statement.execute([value for each in part for value in each])


def _address(url: str) -> dict[str, Any]:
    """Where to connect to. OSError names a wrong file of TLS."""
    parts = urlsplit(url)
    host = unquote(parts.netloc.rpartition("@")[2])  # as written: a path has capitals
    if host.startswith("/"):
        return {"unix_socket": host}
    options = dict(parse_qsl(parts.query))
    endpoint = Endpoint(parts.scheme, parts.hostname or "", parts.port or PORT, options)
    try:
        context = client_context(endpoint) if options.get("tls") == "yes" else None
    except ValueError as error:
        raise OSError(str(error)) from error
    return {"host": endpoint.host, "port": endpoint.port, "ssl": context}


def _explained(url: str, error: MySQLError) -> OSError | ContentError:
    """An error of the driver as the contract has it."""
    number, words = error.args[0], str(error.args[-1])
    if _is_content(error):
        return ContentError(f"{words} ({number})")
    advice = f": {ADVICE[number]}" if number in ADVICE else ""
    return OSError(f"{url}: {words} ({number}){advice}")


def _is_content(error: MySQLError) -> bool:
    return error.args[0] in CONTENT or str(error.sqlstate)[:2] in CONTENT_STATES
