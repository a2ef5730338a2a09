"""What a row costs in each store, beside a bare COPY or multi-row INSERT of the same rows: `make bench`, or by itself.

The loader gets journals full of calls and ends when all is loaded; a first, small round takes what starting it and making
tables cost. Its CPU time and the server's are told apart. Bare: the rows that the table then has, ready made, into a second
table with the same indexes, over one connection. The results replace the table in docs/performance.md. Not here: receiving
and routing (`run`).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import asyncpg
import msgspec

import backends
import harness
import run
import traffic
from backends import Backend
from harness import Usage
from hepswitch.destinations.record_queue import RecordQueue
from hepswitch.journal import Journal
from hepswitch.tables import REVEALED
from hepswitch.wire.hep import Hep

BEGIN, END = "<!-- stores: written by `make bench` -->", "<!-- end of stores -->"
FIRST = 1_000
"""Rows of the small round."""

SEAL = """
import pathlib, sys
from hepswitch import logs
from hepswitch.lake import keeper
logs.setup("warning", "console")
keeper.settle()
keeper.seal_closed(pathlib.Path(sys.argv[1]))
"""
"""What the keeper does with closed segments, and nothing else."""


@dataclass(frozen=True, slots=True)
class Cost:
    """`rows` in `seconds`; what our process and the server took for them."""

    rows: int
    seconds: float
    ours: Usage
    server: Usage

    def less(self, other: Cost) -> Cost:
        """Without what another round took."""
        return Cost(
            self.rows - other.rows,
            self.seconds - other.seconds,
            self.ours.since(other.ours),
            self.server.since(other.server),
        )

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds

    @property
    def cpu(self) -> tuple[float, float]:
        """µs a row: ours, the server's."""
        ours, theirs = self.ours, self.server
        return (ours.user + ours.sys) / self.rows * 1e6, (theirs.user + theirs.sys) / self.rows * 1e6


# ── ours ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_journal(folder: Path, count: int) -> None:
    """What a worker writes for `count` messages of calls of the last minutes."""
    log, queue = Journal(folder, 32 << 20), RecordQueue(1 << 30)
    now = time.time()
    calls = -(-count // traffic.MESSAGES)
    for number, message in enumerate(traffic.calls(calls, start=now - 60 - calls / 100)):
        if number == count:
            break
        queue.offer(Hep(traffic.hep(message), now))
        if len(queue.pending) == 300:
            log.append(queue.pending)
            queue.pending.clear()
    log.append(queue.pending)
    log.roll()
    log.close()


def loaded(backend: Backend, journal: Path, rows: int, folder: Path) -> Cost:
    """A loader that finds this journal, loads it and ends."""
    spool = folder / f"spool-{rows}"
    shutil.copytree(journal, spool / "w0")
    charge = {
        "name": "bench",
        "store": backend.store.model_dump(mode="json", context=REVEALED),
        "folder": str(spool),
        "drain": 3600.0,
    }
    return of_process(
        ["-m", "hepswitch.databases.loader", "warning", "console"], msgspec.json.encode(charge), backend, rows
    )


def sealed(backend: Backend, journal: Path, rows: int, folder: Path) -> Cost:
    """A keeper that finds this journal in the lake, seals it and ends."""
    shutil.copytree(journal, folder / "captures" / "journal" / "w0", dirs_exist_ok=True)
    return of_process(["-c", SEAL, str(folder / "captures")], b"", backend, rows)


def of_process(arguments: list[str], charge: bytes, backend: Backend, rows: int) -> Cost:
    """What a process of ours takes that gets `charge` on standard input, and the server meanwhile."""
    before, start = backend.usage(), time.monotonic()
    process = subprocess.Popen([sys.executable, *arguments], stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(charge + b"\n")
    process.stdin.close()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - start
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}")
    ours = Usage(used.ru_utime, used.ru_stime, used.ru_maxrss << 10)
    return Cost(rows, seconds, ours, backend.usage().since(before))


# ── the same rows, bare ──────────────────────────────────────────────────────────────────────────────────────────────


class Watch:
    """Measures what this process and the server take between its making and `cost`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._server, self._ours, self._start = backend.usage(), os.times(), time.monotonic()

    def cost(self, rows: int) -> Cost:
        """What it took."""
        seconds, now = time.monotonic() - self._start, os.times()
        ours = Usage(now.user - self._ours.user, now.system - self._ours.system)
        return Cost(rows, seconds, ours, self._backend.usage().since(self._server))


def bare_copy(backend: Backend, rows: int, folder: Path) -> Cost:
    """PostgreSQL: one binary COPY out of a file."""
    return asyncio.run(_bare_copy(backend, rows, folder / "rows.copy"))


async def _bare_copy(backend: Backend, rows: int, file: Path) -> Cost:
    connection = await asyncpg.connect(backend.store.url)
    try:
        like = await connection.fetchval(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::regclass LIMIT 1", backend.table
        )
        await connection.execute(f"CREATE TABLE bare (LIKE {like or backend.table} INCLUDING ALL)")
        columns = await connection.fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'bare'::regclass AND attnum > 0 AND attname <> 'id' "
            "ORDER BY attnum"
        )
        names = [row["attname"] for row in columns]
        query = f"SELECT {', '.join(names)} FROM {backend.table}"
        await connection.copy_from_query(query, output=file, format="binary")
        await connection.execute("CHECKPOINT")
        watch = Watch(backend)
        await connection.copy_to_table("bare", source=file, columns=names, format="binary")
        return watch.cost(rows)
    finally:
        await connection.close()


def bare_sqlite(backend: Backend, rows: int, folder: Path) -> Cost:
    """SQLite: executemany of tuples, 10,000 a transaction."""
    with sqlite3.connect(folder / "captures.db") as there, sqlite3.connect(folder / "bare.db") as bare:
        schema = there.execute("SELECT sql FROM sqlite_master WHERE tbl_name = ? AND sql IS NOT NULL", (backend.table,))
        bare.execute("PRAGMA journal_mode = WAL")
        bare.executescript(";\n".join(sql for (sql,) in schema))
        found = there.execute(f"SELECT * FROM {backend.table}").fetchall()
        insert = f"INSERT INTO {backend.table} VALUES ({', '.join('?' * len(found[0]))})"
        watch = Watch(backend)
        for start in range(0, len(found), 10_000):
            with bare:
                bare.executemany(insert, found[start : start + 10_000])
        return watch.cost(rows)


def bare_insert(backend: Backend, rows: int, _: Path) -> Cost:
    """MariaDB: INSERTs of 500 rows each, ready made as text, 10,000 rows a transaction."""
    import pymysql

    url = urlsplit(backend.store.url)
    connection = pymysql.connect(
        host=url.hostname, port=url.port or 3306, user=url.username, database=url.path[1:], charset="utf8mb4"
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE bare LIKE {backend.table}")
        cursor.execute(f"SELECT * FROM {backend.table}")
        found = cursor.fetchall()
        form = f"({', '.join(['%s'] * len(found[0]))})"
        statements = [
            "INSERT INTO bare VALUES " + ",".join(cursor.mogrify(form, row) for row in found[start : start + 500])
            for start in range(0, len(found), 500)
        ]
        watch = Watch(backend)
        for number, statement in enumerate(statements, 1):
            cursor.execute(statement)
            if number % 20 == 0:
                connection.commit()
        connection.commit()
        return watch.cost(rows)


def bare_native(backend: Backend, rows: int, _: Path) -> Cost:
    """ClickHouse: one INSERT in its Native format."""

    def ask(sql: str, body: bytes = b"") -> bytes:
        url = urlsplit(backend.store.url)
        options = urlencode({"query": sql, "database": url.path[1:], "user": url.username, "password": "secret"})
        request = urllib.request.Request(f"http://{url.hostname}:{url.port}/?{options}", body)
        with urllib.request.urlopen(request) as answer:
            data: bytes = answer.read()
        return data

    ask(f"CREATE TABLE bare AS {backend.table}")
    data = ask(f"SELECT * FROM {backend.table} FORMAT Native")
    watch = Watch(backend)
    ask("INSERT INTO bare FORMAT Native", data)
    return watch.cost(rows)


# ── the lines ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table: the store, how it is filled, and the bare way to fill it."""

    start: Callable[[Path], AbstractContextManager[Backend]]
    bare: Callable[[Backend, int, Path], Cost] | None = None
    fill: Callable[[Backend, Path, int, Path], Cost] = loaded


OPENSIPS_INDEXES = (
    "date", "callid", "ruri_user", "from_user", "to_user", "pid_user", "auth_user", "callid_aleg", "contact_user",
    "source_ip", "destination_ip", "method", "correlation_id",
)  # fmt: skip


def opensips_all(folder: Path) -> AbstractContextManager[Backend]:
    names = ", ".join(f'"{name}"' for name in OPENSIPS_INDEXES)
    return backends.postgresql(folder, "opensips", "sip_capture", f"opensips = {{ indexes = [{names}] }}")


def homer7_homer(folder: Path) -> AbstractContextManager[Backend]:
    return backends.postgresql(folder, "homer7", "hep_proto_1_call", 'homer7 = { indexes = "homer" }')


LINES: dict[str, Line] = {
    "lake": Line(backends.lake, fill=sealed),
    "SQLite": Line(backends.sqlite, bare_sqlite),
    "PostgreSQL opensips, small index set": Line(backends.opensips, bare_copy),
    "PostgreSQL opensips, all indexes": Line(opensips_all, bare_copy),
    "PostgreSQL homer7, small index set": Line(backends.homer7, bare_copy),
    "PostgreSQL homer7, Homer's indexes": Line(homer7_homer, bare_copy),
    "MariaDB opensips": Line(backends.mariadb, bare_insert),
    "ClickHouse (chdb)": Line(backends.clickhouse, bare_native),
}


def measure(line: Line, first: Path, journal: Path, rows: int) -> tuple[Cost, Cost | None]:
    """What a line costs, and the bare way. Raises AssertionError when a row is missing."""
    with harness.workplace() as folder:
        (home := folder / "server").mkdir()
        with line.start(home) as backend:
            start = line.fill(backend, first, FIRST, home)
            cost = line.fill(backend, journal, rows + FIRST, home)
            bare = None
            if line.bare is not None:
                assert backend.count() == rows + 2 * FIRST, "a row is missing or there twice"
                bare = line.bare(backend, rows + 2 * FIRST, home)
            return cost.less(start), bare


def table(costs: dict[str, list[tuple[Cost, Cost | None]]]) -> Iterator[str]:
    """The results as a Markdown table: of each line the median round by rows a second."""
    yield "| store | rows/s | our CPU µs/row | server's µs/row | peak MiB | bare rows/s | bare server's µs/row |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, rounds in costs.items():
        cost, bare = sorted(rounds, key=lambda both: both[0].rate)[len(rounds) // 2]
        ours, server = cost.cpu
        peak = max(one.ours.peak for one, _ in rounds) >> 20
        cells = [name, f"{cost.rate:,.0f}", f"{ours:.1f}", f"{server:.1f}" if server else "", str(peak)]
        cells += [f"{bare.rate:,.0f}", f"{bare.cpu[1]:.1f}" if bare.cpu[1] else ""] if bare else ["", ""]
        yield "| " + " | ".join(cells) + " |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rows, one round, nothing written")
    parser.add_argument("--count", type=int, default=200_000, help="rows a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="only lines whose name contains this; nothing written")
    options = parser.parse_args()
    count, rounds = (5_000, 1) if options.quick else (options.count, options.rounds)
    costs: dict[str, list[tuple[Cost, Cost | None]]] = {name: [] for name in LINES if options.only in name}
    with harness.workplace() as folder:
        write_journal(first := folder / "first", FIRST)
        write_journal(journal := folder / "journal", count + FIRST)
        for turn in range(rounds):
            for name, done in costs.items():
                done.append(measure(LINES[name], first, journal, count))
                cost, bare = done[-1]
                ours, server = cost.cpu
                beside = f", bare {bare.rate:,.0f} rows/s" if bare else ""
                print(
                    f"{turn + 1}/{rounds} {name:38} {cost.rate:9,.0f} rows/s {ours:6.1f} + {server:6.1f} µs{beside}",
                    flush=True,
                )
    said = (
        f"{count:,} SIP messages of calls, 780 bytes on average, out of a journal into each store, median of {rounds}; "
        f"servers on the same machine: {run.machine()}."
    )
    results = "\n".join(table(costs))
    print(f"\n{results}\n\n{said}")
    if not options.quick and not options.only:
        run.write(run.PAGE, f"{said}\n\n{results}", BEGIN, END)
    return 0


if __name__ == "__main__":
    sys.exit(main())
