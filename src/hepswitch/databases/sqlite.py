"""SQLite: the tables of layout "opensips" in a file, or in a file a day.

    [stores.calls]
    url = "sqlite:calls-%Y%m%d.db"

A packet goes into the file of its own time (UTC); files, tables, and columns that a table of OpenSIPS' lacks are made
(`create = false`: nothing is, but the table of marks). A payload is TEXT, or a BLOB when it holds a NUL or is not UTF-8:
`CAST(msg AS BLOB)` gives its bytes in any case. Other texts are as the layout has them, NULs included. `date` and
`time_stamp` are texts, `2026-11-25 19:30:00`.

The rows of a batch and its mark are one transaction in each file. Loaded means committed in WAL mode: it survives the death
of the process; a loss of power may cost the last batches, never the file. Not here: the file itself (`sqlite_file`).
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from hepswitch.databases import sqlite_file
from hepswitch.databases.layouts.opensips import Opensips
from hepswitch.databases.layouts.shape import Type
from hepswitch.databases.layouts.tables import by_date
from hepswitch.databases.server import Mark
from hepswitch.databases.sqlite_file import File
from hepswitch.destinations.databases import SqliteStore
from hepswitch.destinations.dated import Dated
from hepswitch.destinations.hand import Hand

MOST_OPEN = 4
"""Files that are open at one time: their names may change with every packet."""

IDLE = 60.0
"""Seconds after which a file that nothing came for is closed."""

GOODBYE = 1.0
"""Seconds that files may take to close."""


class SqliteServer:
    """The files of a store, written by one thread. See `server.Server`."""

    def __init__(self, store: SqliteStore) -> None:
        self.layout = Opensips(store.opensips)
        self._store = store
        self._name = Dated(store.path.name)
        self._values = _values(self.layout)

    async def open(self) -> None:
        """See that the file of this moment, should it be there, has the tables. Changes nothing."""
        self._files, self._hand = _Files(self._store, self.layout), Hand("hepswitch sqlite")
        await self._hand.do(self._files.look)

    async def load(self, batch: pa.RecordBatch, mark: Mark) -> None:
        """Store the rows of a batch, in each file at once or not at all.

        After an error some files may have their rows. A file remembers the frames of the whole batch then, so that a batch
        of any of them, offered again, has no rows for it.
        """
        await self._hand.do(self._files.load, batch, mark)

    async def maintain(self) -> None:
        """Nothing: files and tables are made as packets come."""

    async def rows(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """What a query gives in each file that there is, in the order of their names. Payloads are bytes, moments naive UTC.

        ValueError when SQLite finds the query wrong, or a file lacks its table.
        """
        found: list[dict[str, Any]] = []
        for path in self.files():
            found += await self._hand.do(sqlite_file.ask, path, sql, values, self._values)
        return found

    def files(self) -> list[Path]:
        """The files of the store that there are, in the order of their names."""
        return self._name.found(self._store.path.parent)

    async def close(self) -> None:
        """Close the files; what was committed stays. One that hangs is left to itself."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE):
                await self._hand.do(self._files.close)
        self._hand.let_go()


def ddl(store: SqliteStore) -> str:
    """The statements that make the tables of this moment."""
    now = time.time_ns() // 1000
    made = [sqlite_file.MAKE_MARKS]
    for template, shape in Opensips(store.opensips).tables:
        made += sqlite_file.statements(template.at(now), shape)
    return "".join(f"{statement};\n" for statement in made)


def _values(layout: Opensips) -> dict[str, Callable[[Any], Any]]:
    """What becomes of a value that is read, by column."""
    kinds = {column.name: column.type for _, shape in layout.tables for column in shape.columns}
    reading = {Type.MESSAGE: _octets, Type.SECOND: datetime.fromisoformat}
    return {name: reading[kind] for name, kind in kinds.items() if kind in reading}


def _octets(message: str | bytes) -> bytes:
    return message.encode() if isinstance(message, str) else message


class _Files:
    """The open files. All methods block, and are called in one thread."""

    def __init__(self, store: SqliteStore, layout: Opensips) -> None:
        self._store = store
        self._layout = layout
        self._name = Dated(store.path.name)
        self._open: dict[str, File] = {}

    def look(self) -> None:
        now = time.time_ns() // 1000
        path = self._store.path.with_name(self._name.at(now))
        tables = {template.at(now): shape for template, shape in self._layout.tables}
        sqlite_file.look(path, tables, create=self._store.create)

    def load(self, batch: pa.RecordBatch, mark: Mark) -> None:
        for name, records in by_date(batch, self._name):
            file = self._file(name)
            try:
                file.load(self._layout.pieces(records), mark)
            except OSError:
                self._forget(name)  # a new connection sees what has been mended: a database once read-only stays so
                raise
        for name, file in list(self._open.items()):
            if time.monotonic() - file.used > IDLE:
                self._forget(name)

    def close(self) -> None:
        for name in list(self._open):
            self._forget(name)

    def _file(self, name: str) -> File:
        """The file that has this name now, open."""
        if name in self._open and not self._open[name].is_there():
            self._forget(name)
        if name not in self._open:
            while len(self._open) >= MOST_OPEN:
                self._forget(next(iter(self._open)))
            path = self._store.path.with_name(name)
            self._open[name] = File(path, int(self._store.mode, 8), create=self._store.create)
        return self._open[name]

    def _forget(self, name: str) -> None:
        with contextlib.suppress(sqlite3.Error):  # what is committed is safe, and nothing else is lost
            self._open.pop(name).close()
