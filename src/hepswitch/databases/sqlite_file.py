"""One SQLite file: made, looked at, written in whole batches, asked. All functions block.

Not here: which file (`sqlite`), which rows (`layouts`).
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import sqlite3
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

from hepswitch.databases.layouts.shape import Column, Piece, Shape, Type
from hepswitch.databases.layouts.tables import Values
from hepswitch.databases.server import MARKS, ContentError, Mark, unusable
from hepswitch.logs import words

PATIENCE = 5.0
"""Seconds that another writer's lock is waited for."""

SETTINGS = ("page_size = 16384", "journal_mode = WAL", "synchronous = NORMAL", "cache_size = -16384")
"""A row of 1 KiB wants large pages (those of a file that is there already stay as they are); a batch fits the cache."""

CONTENT = {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE}
"""Errors that come from what is written. All others may pass: locked, full, read-only, damaged, a table that is none …"""

WRONG = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE}
"""Errors that come from a query."""

KINDS = {
    Type.SECOND: "DATETIME",
    Type.INTEGER: "INTEGER",
    Type.BIG: "INTEGER",
    Type.TEXT: "VARCHAR({size})",
    Type.MESSAGE: "TEXT",
}

MAKE_MARKS = (
    f'CREATE TABLE IF NOT EXISTS "{MARKS}" (journal TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, '
    "loaded_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (journal, first, last))"
)


def statements(table: str, shape: Shape) -> list[str]:
    """What makes a table and its indexes, unless they are there."""
    columns = "".join(f", {_quoted([column.name])} {_kind(column)}" for column in shape.columns)
    made = [f'CREATE TABLE IF NOT EXISTS "{table}" (id INTEGER PRIMARY KEY NOT NULL{columns})']
    for index in shape.indexes:
        name = f"{table}_{'_'.join(index)}_idx"
        made.append(f'CREATE INDEX IF NOT EXISTS "{name}" ON "{table}" ({_quoted(index)})')
    return made


def _quoted(names: Iterable[str]) -> str:
    """Names of columns: letters, digits and underscores, but maybe a word of SQL."""
    return ", ".join(f'"{name}"' for name in names)


def _kind(column: Column) -> str:
    kind = KINDS[column.type].format(size=column.size)
    if column.default is None:
        return kind
    default = f"'{column.default}'" if isinstance(column.default, str) else column.default
    return f"{kind} NOT NULL DEFAULT {default}"


def look(path: Path, tables: Mapping[str, Shape], *, create: bool) -> None:
    """See that a file has these tables, without a change; with `create` it and they may be missing. OSError in words."""
    if not path.exists():
        if not create:
            raise OSError(errno.ENOENT, "there is no such database, and create = false", str(path))
        nearest = next(parent for parent in path.absolute().parents if parent.exists())
        if not nearest.is_dir():
            raise OSError(errno.ENOTDIR, "this is no folder", str(nearest))
        return
    with _reading(path) as connection, _in_words(path):
        for table, shape in tables.items():
            _missing(connection, path, table, shape, create=create)


def ask(
    path: Path, sql: str, values: Sequence[Any], reading: Mapping[str, Callable[[Any], Any]]
) -> list[dict[str, Any]]:
    """The rows that a query gives; a value of a column in `reading` is made by its function. ValueError: it is wrong."""
    with _reading(path) as connection, _in_words(path, WRONG, ValueError):
        cursor = connection.execute(sql, values)
        found = cursor.fetchall()
    names = [each[0] for each in cursor.description]
    columns = [
        [value if value is None or name not in reading else reading[name](value) for value in column]
        for name, column in zip(names, zip(*found, strict=True), strict=False)
    ]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    with _in_words(path):
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=PATIENCE)
    with contextlib.closing(connection):
        yield connection


def _missing(
    connection: sqlite3.Connection, path: Path, table: str, shape: Shape, *, create: bool
) -> list[Column] | None:
    """The columns that a table lacks and may be given; None when there is no such table. OSError: it cannot be used."""
    # The names of tables are letters, digits and underscores (`destinations.layout_tables.table_name`).
    found = {row[1].lower() for row in connection.execute(f'PRAGMA table_info("{table}")')}
    if not found:
        if not create:
            raise OSError(errno.ENOENT, f"there is no table {table}; `hepswitch ddl` prints what makes it", str(path))
        return None
    missing = [column for column in shape.columns if column.name.lower() not in found]
    names = ", ".join(column.name for column in missing)
    if any(column.type in (Type.SECOND, Type.MESSAGE) for column in missing):
        raise OSError(
            errno.EINVAL, f"the table {table} has no {names}: it is no {shape.role}; name another one", str(path)
        )
    if missing and not create:
        raise OSError(
            errno.EINVAL, f"the table {table} has no {names}; `hepswitch ddl` prints what it should be", str(path)
        )
    return missing


@contextlib.contextmanager
def _in_words(path: Path, codes: Container[int] = CONTENT, fault: type[Exception] = ContentError) -> Iterator[None]:
    """SQLite's errors: those with one of `codes` as `fault`, all others as OSError."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)  # None: sqlite3 itself found the values unfit
        if code is None or code & 0xFF in codes:
            raise fault(f"{path}: {error}") from error
        raise OSError(errno.EIO, str(error), str(path)) from error


class File:
    """An open file that is written. It is made if it is missing and `create` says so, with these permissions."""

    def __init__(self, path: Path, mode: int, *, create: bool) -> None:
        self.used = time.monotonic()
        self._path = path
        self._create = create
        self._tables: set[tuple[str, str]] = set()  # those that are as they should be, with the role of their shape
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
                os.fchmod(fd, mode)  # whatever the umask says; -wal and -shm are made like it
                os.close(fd)
        with _in_words(path):
            self._connection = sqlite3.connect(
                f"file:{quote(str(path))}?mode=rw", uri=True, timeout=PATIENCE, isolation_level=None
            )
            try:
                for setting in SETTINGS:
                    self._connection.execute(f"PRAGMA {setting}")
            except BaseException:
                self._connection.close()
                raise
        self._place = path.stat()

    def is_there(self) -> bool:
        """Is the file still the one of that name? What is written to a deleted one is lost."""
        try:
            return os.path.samestat(self._place, self._path.stat())
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Close it; what was committed stays."""
        self._connection.close()

    def load(self, pieces: Iterable[Piece], mark: Mark) -> None:
        """Insert the rows and the mark, or nothing when a mark says that all frames of this one were loaded."""
        self.used = time.monotonic()
        with self._transaction():
            if not self._is_marked(mark):
                for piece in pieces:
                    with self._usable(piece):
                        self._insert(piece)

    def _is_marked(self, mark: Mark) -> bool:
        """Was it loaded before? If not, from now on."""
        run = self._connection.execute
        run(MAKE_MARKS)
        run(f'DELETE FROM "{MARKS}" WHERE journal = ? AND last <= ?', (mark.journal, mark.done))  # noqa: S608
        frames = (mark.journal, mark.first, mark.last)
        covered = f'SELECT 1 FROM "{MARKS}" WHERE journal = ? AND first <= ? AND last >= ?'  # noqa: S608
        if run(covered, frames).fetchone():
            return True
        run(f'INSERT INTO "{MARKS}" (journal, first, last) VALUES (?, ?, ?)', frames)  # noqa: S608
        return False

    @contextlib.contextmanager
    def _usable(self, piece: Piece) -> Iterator[None]:
        """ContentError when a route named what is no table, but a view."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if piece.foreign and error.sqlite_errorcode == sqlite3.SQLITE_ERROR:
                raise ContentError(f"{self._path}: table {piece.table}: {error}", piece.table) from error
            raise

    def _insert(self, piece: Piece) -> None:
        self._prepare(piece)
        names = _quoted(column.name for column in piece.shape.columns)
        places = ", ".join("?" * len(piece.shape.columns))
        kinds = zip(piece.shape.columns, piece.rows.columns, strict=True)
        rows = zip(*(_objects(column, values) for column, values in kinds), strict=True)
        self._connection.executemany(f'INSERT INTO "{piece.table}" ({names}) VALUES ({places})', rows)  # noqa: S608

    def _prepare(self, piece: Piece) -> None:
        """Make the piece's table, or the columns that it lacks."""
        table, shape = piece.table, piece.shape
        if (table, shape.role) in self._tables:
            return
        try:
            missing = _missing(self._connection, self._path, table, shape, create=self._create)
        except OSError as error:
            raise unusable(piece, words(error)) from error
        for column in missing or ():
            self._connection.execute(f'ALTER TABLE "{table}" ADD COLUMN {_quoted([column.name])} {_kind(column)}')
        if self._create:
            for statement in statements(table, shape):
                self._connection.execute(statement)
        self._tables.add((table, shape.role))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of it or nothing. After an error the tables are looked at again."""
        with _in_words(self._path):
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._tables.clear()
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def _objects(column: Column, values: Values) -> Iterable[Any]:
    """The values of a column, as sqlite3 takes them. Many columns say the same in every row: that is made once."""
    if column.type is Type.MESSAGE:
        return [None if message is None else _text_or_bytes(message) for message in values.to_pylist()]
    bounds: Values = pc.min_max(values)
    if column.type is Type.SECOND:
        values = values.cast(pa.string())
    if bounds["min"] == bounds["max"] and values.null_count in (0, len(values)):
        return itertools.repeat(values[0].as_py(), len(values))
    objects: list[Any] = values.to_pylist()
    return objects


def _text_or_bytes(message: bytes) -> str | bytes:
    try:
        return message if b"\0" in message else message.decode()
    except UnicodeDecodeError:
        return message
