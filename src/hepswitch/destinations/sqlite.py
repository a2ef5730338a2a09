"""The sqlite store: SIP messages in a database file, in the table that OpenSIPS' tracer writes.

    [stores.traces]
    url = "sqlite:traces-%Y%m.db"
    table = "sip_trace_%Y%m%d"

The file's name and the table's may hold strftime fields (%Y %y %m %d %j %H %M %S, UTC, the packet's own time); what is
missing is made. Columns are those of OpenSIPS' `sip_trace` (version 5): id, time_stamp (UTC, in seconds), callid,
trace_attrs, msg, method (of a reply that of its CSeq), status (empty for requests), from_proto, from_ip, from_port,
to_proto, to_ip, to_port, fromtag, direction; and one more, time_us (µs since 1970). To a table that OpenSIPS made time_us is
added. `msg` is text, or a BLOB when the message holds a NUL or is not UTF-8: CAST(msg AS BLOB) gives its bytes in any
case. There are no columns for custom fields and correlation ids: these are left away. What is no SIP is refused.

Each batch is one transaction. Written means committed in WAL mode: it survives the death of the process; a loss of power
may cost the last batches, never the file. A row that the database will never take (the table is another one's, say) goes
into NAME.rejected.jsonl beside the database (see `rejects`). Not here: queue and retries (`writer`).
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from hepswitch.destinations.dated import Dated
from hepswitch.destinations.rejects import Rejects
from hepswitch.destinations.writer import Writer, WriterOutlet, Written
from hepswitch.tables import Duration, Size, Table
from hepswitch.wire.hep import Hep

COLUMNS = {
    "time_stamp": "TEXT NOT NULL",
    "callid": "CHAR(255) DEFAULT '' NOT NULL",
    "trace_attrs": "CHAR(255) DEFAULT NULL",
    "msg": "TEXT NOT NULL",
    "method": "CHAR(32) DEFAULT '' NOT NULL",
    "status": "CHAR(255) DEFAULT NULL",
    "from_proto": "CHAR(5) NOT NULL",
    "from_ip": "CHAR(50) DEFAULT '' NOT NULL",
    "from_port": "INTEGER NOT NULL",
    "to_proto": "CHAR(5) NOT NULL",
    "to_ip": "CHAR(50) DEFAULT '' NOT NULL",
    "to_port": "INTEGER NOT NULL",
    "fromtag": "CHAR(64) DEFAULT '' NOT NULL",
    "direction": "CHAR(4) DEFAULT '' NOT NULL",
}
INDEXED = ("trace_attrs", "time_stamp", "from_ip", "callid")
OURS = "time_us"
"""The column that OpenSIPS does not have."""

LONGEST_NAME = 64
MOST_TEMPLATES = 1000
MOST_OPEN = 4
"""Databases that are open at one time: the names of files may change with every packet."""

PATIENCE = 5.0
"""Seconds that another writer's lock is waited for."""

CONTENT = {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_RANGE,
}
"""Errors that come from what is written, or into which table. All others may pass: locked, full, read-only, damaged …"""


def table_name(template: str) -> Dated:
    """The name of a table, with or without date fields. ValueError when it is none that can be used."""
    if not re.fullmatch(r"(?!sqlite_)[A-Za-z_][A-Za-z0-9_%]*", template, re.IGNORECASE | re.ASCII):
        raise ValueError(
            f"{template!r} is no name of a table: letters, digits, _ and fields such as %Y%m%d, not sqlite_ in front"
        )
    if len(template) > LONGEST_NAME or "%%" in template:
        raise ValueError(f"{template!r} is no name of a table: it is too long, or has %%")
    return Dated(template)


def _table(template: str) -> str:
    table_name(template)
    return template


def _url(text: str) -> str:
    path = text.removeprefix("sqlite:")
    if path == text or not path or path.endswith("/") or path.startswith("//") or "?" in path:
        raise ValueError(f'{text!r} is no file: write url = "sqlite:traces.db"')
    folder, name = os.path.split(path)
    if "%" in folder:
        raise ValueError(f"{text!r} has date fields in its folder: only the last part, {name!r}, may have some")
    Dated(name)
    return text


def _mode(text: object) -> object:
    if isinstance(text, str) and re.fullmatch(r"0?[0-7]{3}", text):
        return text
    raise ValueError(f'{text!r} is no file mode: write for example mode = "0640"')


class SqliteStore(Table):
    """`[stores.NAME]`: a database file."""

    url: Annotated[str, AfterValidator(_url)] = Field(
        description="sqlite:FILE. The file's name may hold strftime fields (%Y%m%d…; UTC, the packet's own time)."
    )
    layout: Literal["sip_trace"] = Field("sip_trace", description="The table of OpenSIPS' tracer.")
    table: Annotated[str, AfterValidator(_table)] = Field(
        "sip_trace", description="The table's name, with strftime fields if need be; a route may name another one."
    )
    mode: Annotated[str, BeforeValidator(_mode)] = Field("0600", description="Permissions of a file that is made.")
    flush: Annotated[Duration, Field(gt=0, le=60)] = Field(
        0.5, description="How long a packet may wait in memory for others to be written with."
    )
    queue: Annotated[Size, Field(ge=1 << 20, le=1 << 30)] = Field(
        64 << 20, description="Bytes that wait in memory, for each worker, while the database cannot be written."
    )

    @property
    def path(self) -> Path:
        """The file, or the template of its name."""
        return Path(self.url.removeprefix("sqlite:"))

    def anchored(self, absolute: Callable[[Path], Path]) -> SqliteStore:
        """The same with an absolute path."""
        return self.model_copy(update={"url": f"sqlite:{absolute(self.path)}"})

    def build(self, name: str, worker: int, spool: Path) -> WriterOutlet:
        """The outlet of the store `name`; every worker writes the same file."""
        rejects = Rejects(self.path.parent / f"{name}.rejected.jsonl")
        return WriterOutlet(name, SqliteWriter(self), queue=self.queue, flush=self.flush, rejects=rejects)


class SqliteWriter(Writer):
    """Writes packets into the databases of a store."""

    def __init__(self, store: SqliteStore) -> None:
        self._folder = store.path.parent
        self._file = Dated(store.path.name)
        self._mode = int(store.mode, 8)
        self._table = table_name(store.table)
        self._tables: dict[str, Dated | None] = {}  # by what routes call them; None: no name of a table
        self._open: dict[str, _Database] = {}

    def refuses(self, packet: Hep, table: str | None) -> str | None:
        """Only SIP has a row in this table."""
        if table is not None and self._named(table) is None:
            return "bad table name"
        return "not SIP" if packet.sip is None else None

    def open(self) -> None:
        """See that the database of this moment is there and has the table."""
        now = time.time_ns() // 1000
        try:
            self._database(now).prepare(self._table.at(now))
        except (ValueError, sqlite3.Error) as error:
            raise OSError(str(error)) from error

    def write(self, batch: Sequence[Written]) -> int:
        """Write those that belong into one file, in one transaction."""
        name = self._file.at(batch[0].packet.time_us)
        run = list(itertools.takewhile(lambda each: self._file.at(each.packet.time_us) == name, batch))
        rows: dict[str, list[tuple[Any, ...]]] = {}
        for each in run:
            template = self._table if each.table is None else self._named(each.table)
            assert template is not None  # else it was refused
            rows.setdefault(template.at(each.packet.time_us), []).append(_row(each))
        database = self._database(batch[0].packet.time_us)
        try:
            database.write(rows)
        except OSError:
            self._forget(database)  # a new connection sees what has been mended: a database once read-only stays so
            raise
        return len(run)

    def close(self) -> None:
        """Close all databases."""
        for database in list(self._open.values()):
            self._forget(database)

    def _named(self, table: str) -> Dated | None:
        """Called in the event loop and in the thread: another one may clear the dict between any two steps."""
        try:
            return self._tables[table]
        except KeyError:
            named = None
            with contextlib.suppress(ValueError):  # remembered as None, and counted for every packet
                named = table_name(table)
            if len(self._tables) >= MOST_TEMPLATES:
                self._tables.clear()
            self._tables[table] = named
            return named

    def _database(self, time_us: int) -> _Database:
        """The database for a packet of that time: the file that has this name now."""
        path = str(self._folder / self._file.at(time_us))
        database = self._open.get(path)
        if database is not None and not database.is_there():
            self._forget(database)
            database = None
        if database is None:
            while len(self._open) >= MOST_OPEN:
                self._forget(next(iter(self._open.values())))
            database = self._open[path] = _Database(path, self._mode)
        return database

    def _forget(self, database: _Database) -> None:
        del self._open[database.path]
        database.close()


class _Database:
    """One open file."""

    def __init__(self, path: str, mode: int) -> None:
        self.path = path
        self._tables: set[str] = set()
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            os.fchmod(fd, mode)  # whatever the umask says; -wal and -shm are made like it
            os.close(fd)
        with self._in_words():
            self._connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = NORMAL")
            except BaseException:
                self._connection.close()
                raise
        self._place = os.stat(path)  # noqa: PTH116 (as below)

    def is_there(self) -> bool:
        """Is the file still the one of that name? What is written to a deleted one is lost."""
        try:
            return os.path.samestat(self._place, os.stat(self.path))  # noqa: PTH116 (once a batch)
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Close it; what was committed stays."""
        with self._in_words():
            self._connection.close()

    def prepare(self, table: str) -> None:
        """Make a table unless it is there."""
        with self._transaction():
            self._make(table)

    def write(self, rows: dict[str, list[tuple[Any, ...]]]) -> None:
        """Insert all rows, by table, or none."""
        columns = ", ".join((*COLUMNS, OURS))
        places = ", ".join("?" * (len(COLUMNS) + 1))
        with self._transaction():
            for table, values in rows.items():
                self._make(table)
                # The table's name is letters, digits and underscores (`table_name`).
                self._connection.executemany(f'INSERT INTO "{table}" ({columns}) VALUES ({places})', values)  # noqa: S608

    def _make(self, table: str) -> None:
        if table in self._tables:
            return
        columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        run = self._connection.execute
        run(f'CREATE TABLE IF NOT EXISTS "{table}" (id INTEGER PRIMARY KEY NOT NULL, {columns}, {OURS} INTEGER)')
        found = {row[1] for row in run(f'PRAGMA table_info("{table}")')}
        if missing := COLUMNS.keys() - found:
            raise ValueError(
                f"{self.path}: the table {table} has no {', '.join(sorted(missing))}: it is no sip_trace table; "
                "name another one"
            )
        if OURS not in found:
            run(f'ALTER TABLE "{table}" ADD COLUMN {OURS} INTEGER')
        for column in INDEXED:
            run(f'CREATE INDEX IF NOT EXISTS "{table}_{column}_idx" ON "{table}" ({column})')
        self._tables.add(table)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of it or nothing. After an error the tables are looked at again."""
        with self._in_words():
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._tables.clear()
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        """SQLite's errors as OSError, but for those that come from the content."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)  # None: sqlite3 itself found the values unfit
            if code is None or code & 0xFF in CONTENT:
                raise
            raise OSError(errno.EIO, str(error), self.path) from error


def _row(written: Written) -> tuple[Any, ...]:
    packet, sip = written.packet, written.packet.sip
    assert sip is not None  # else it was refused
    transport = "any" if packet.proto_id is None else str(packet.proto_id).lower()
    return (
        time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(packet.time_us // 1_000_000)),
        _clean(sip.call_id),
        None if written.attrs is None else _clean(written.attrs),
        _text_or_bytes(sip.raw),
        _clean(sip.method or sip.cseq_method),
        "" if sip.status is None else str(sip.status),
        transport,
        packet.src_ip or "",
        packet.src_port or 0,
        transport,
        packet.dst_ip or "",
        packet.dst_port or 0,
        _clean(sip.from_tag),
        written.direction,
        packet.time_us,
    )


def _clean(text: str | None) -> str:
    """Captured text may hold any byte; a column holds UTF-8."""
    return "" if text is None else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _text_or_bytes(message: bytes) -> str | bytes:
    try:
        return message if b"\0" in message else message.decode()
    except UnicodeDecodeError:
        return message
