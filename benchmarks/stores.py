"""What a row costs in each store, beside a bare COPY or multi-row INSERT of the same rows: `make bench`, or by itself.

A loader that has begun, and made its tables, gets a journal full of calls. Its CPU time and the server's are told apart.
Bare: the rows that the table then has, ready made, into a second table with the same indexes, over one connection. The
results replace the table in docs/performance.md. Not here: receiving and routing (`run`).
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
from functools import partial
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import asyncmy
import asyncpg
import msgspec

import backends
import harness
import run
import traffic
from backends import Backend
from harness import Usage, wait_for
from hepswitch.destinations import position
from hepswitch.destinations.record_queue import RecordQueue
from hepswitch.journal import Journal
from hepswitch.tables import REVEALED
from hepswitch.wire.hep import Hep

BEGIN, END = "<!-- stores: written by `make bench` -->", "<!-- end of stores -->"
FIRST = 1_000
"""Rows that the loader begins with."""

SEAL = """
import os, pathlib, re, sys, time
from hepswitch.destinations.figures import KeeperFigures
from hepswitch.lake import arrow, keeper
keeper.settle()
arrow.bound()
before, start = os.times(), time.monotonic()
keeper.seal_closed(pathlib.Path(sys.argv[3]), KeeperFigures())
after = os.times()
# Not ru_maxrss: that begins with what the process had that started this one.
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) << 10
print(after.user - before.user, after.system - before.system, time.monotonic() - start, peak)
"""
"""What the keeper does with closed segments, and nothing else; tells its CPU time, how long it took, and its memory."""


@dataclass(frozen=True, slots=True)
class Cost:
    """`rows` in `seconds`; what our process and the server took for them."""

    rows: int
    seconds: float
    ours: Usage
    server: Usage

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds

    @property
    def cpu(self) -> tuple[float, float]:
        """µs a row: ours, the server's."""
        ours, theirs = self.ours, self.server
        return (ours.user + ours.sys) / self.rows * 1e6, (theirs.user + theirs.sys) / self.rows * 1e6


class Watch:
    """Measures what a process of ours and the server take between its making and `cost`."""

    def __init__(self, backend: Backend, pid: int | None = None) -> None:
        self._backend = backend
        self._pid = pid or os.getpid()
        self._server, self._ours, self._start = backend.usage(), harness.usage(self._pid), time.monotonic()

    def cost(self, rows: int) -> Cost:
        """What it took."""
        seconds, ours = time.monotonic() - self._start, harness.usage(self._pid).since(self._ours)
        return Cost(rows, seconds, ours, self._backend.usage().since(self._server))


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


def loaded(backend: Backend, first: Path, journal: Path, rows: int, folder: Path) -> Cost:
    """What a loader at work takes for this journal, and the server meanwhile."""
    spool = folder / "spool"
    shutil.copytree(first, spool / "w0")
    shutil.copytree(journal, spool / "next")
    charge = {
        "name": "bench",
        "store": backend.store.model_copy(update={"flush": 0.05}).model_dump(mode="json", context=REVEALED),
        "folder": str(spool),
        "drain": 60.0,
    }
    command = [sys.executable, "-m", "hepswitch.databases.loader", "warning", "console"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(charge) + b"\n")
        process.stdin.flush()
        wait_for(lambda: _done(spool / "w0") == FIRST, "the first rows", 60.0)
        (spool / "next").rename(spool / "w1")
        wait_for(lambda: _done(spool / "w1") is not None, "a look at the journal")
        watch = Watch(backend, process.pid)
        wait_for(lambda: _done(spool / "w1") == rows, "all rows", 3600.0)
        cost = watch.cost(rows)
        process.stdin.close()
        assert process.wait() == 0, "the loader failed"
    return cost


def _done(journal: Path) -> int | None:
    """How many frames of a journal are loaded; None before the loader has seen it."""
    known = position.read(journal) if journal.exists() else None
    return known.done if known else None


def sealed(journal: Path, rows: int, folder: Path) -> Cost:
    """What a keeper takes to seal this journal."""
    captures = folder / "captures"
    shutil.copytree(journal, captures / "journal" / "w0")
    command = [sys.executable, "-c", SEAL, "warning", "console", str(captures)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    user, system, seconds, peak = map(float, done.stdout.split())
    return Cost(rows, seconds, Usage(user, system, int(peak)), Usage())


# ── the same rows, bare ──────────────────────────────────────────────────────────────────────────────────────────────


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
    return asyncio.run(_bare_insert(backend, rows))


async def _bare_insert(backend: Backend, rows: int) -> Cost:
    url = urlsplit(backend.store.url)
    async with (
        asyncmy.connect(host=url.hostname, port=url.port, user=url.username, database=url.path[1:]) as connection,
        connection.cursor() as cursor,
    ):
        await cursor.execute(f"CREATE TABLE bare LIKE {backend.table}")
        await cursor.execute(f"SELECT * FROM {backend.table}")
        found = await cursor.fetchall()
        form = f"({', '.join(['%s'] * len(found[0]))})"
        statements = [
            "INSERT INTO bare VALUES " + ",".join(cursor.mogrify(form, row) for row in found[start : start + 500])
            for start in range(0, len(found), 500)
        ]
        watch = Watch(backend)
        for number, statement in enumerate(statements, 1):
            await cursor.execute(statement)
            if number % 20 == 0:
                await connection.commit()
        await connection.commit()
        return watch.cost(rows)


def bare_native(backend: Backend, rows: int, _: Path) -> Cost:
    """ClickHouse: one INSERT in its Native format."""

    def ask(sql: str, body: bytes = b"") -> bytes:
        url = urlsplit(backend.store.url)
        options = urlencode({"query": sql, "database": url.path[1:], "async_insert": "0"})
        user = {"X-ClickHouse-User": url.username or "", "X-ClickHouse-Key": "secret"}
        request = urllib.request.Request(f"http://{url.hostname}:{url.port}/?{options}", body, user)
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
    """A row of the table: the store, and the bare way to fill it, if there is one to compare with."""

    start: Callable[[Path], AbstractContextManager[Backend]]
    bare: Callable[[Backend, int, Path], Cost] | None = None


OPENSIPS_INDEXES = (
    "date", "callid", "ruri_user", "from_user", "to_user", "pid_user", "auth_user", "callid_aleg", "contact_user",
    "source_ip", "destination_ip", "method", "correlation_id",
)  # fmt: skip


def opensips_all(_: Path) -> AbstractContextManager[Backend]:
    names = ", ".join(f'"{name}"' for name in OPENSIPS_INDEXES)
    return backends.postgresql("opensips", "sip_capture", f"opensips = {{ indexes = [{names}] }}")


def homer7_homer(_: Path) -> AbstractContextManager[Backend]:
    return backends.postgresql("homer7", "hep_proto_1_call", 'homer7 = { indexes = "homer" }')


LINES: dict[str, Line] = {
    "lake": Line(backends.lake),
    "SQLite": Line(backends.sqlite, bare_sqlite),
    "PostgreSQL opensips, small index set": Line(backends.opensips, bare_copy),
    "PostgreSQL opensips, all indexes": Line(opensips_all, bare_copy),
    "PostgreSQL homer7, small index set": Line(backends.homer7, bare_copy),
    "PostgreSQL homer7, Homer's indexes": Line(homer7_homer, bare_copy),
    "MariaDB opensips": Line(backends.mariadb, bare_insert),
    "ClickHouse (chdb)": Line(backends.clickhouse, bare_native),
    "NATS, 500 packets a message": Line(partial(backends.nats, packets=500)),
    "NATS, 1 packet a message": Line(partial(backends.nats, packets=1)),
    "Kafka (a mock), 500 packets a message": Line(partial(backends.kafka, packets=500)),
    "Kafka (a mock), 1 packet a message": Line(partial(backends.kafka, packets=1)),
}


def measure(line: Line, first: Path, journal: Path, rows: int) -> tuple[Cost, Cost | None]:
    """What a line costs, and the bare way. Raises AssertionError when a row is missing."""
    with harness.workplace() as folder:
        (home := folder / "server").mkdir()
        with line.start(home) as backend:
            if isinstance(backend, backends.LakeFolder):
                return sealed(journal, rows, home), None
            cost = loaded(backend, first, journal, rows, home)
            assert backend.count() == rows + FIRST, "a row is missing or there twice"
            return cost, line.bare(backend, rows + FIRST, home) if line.bare is not None else None


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
        write_journal(journal := folder / "journal", count)
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
