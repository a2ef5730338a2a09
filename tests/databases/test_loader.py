"""The loader against a server that does as the test says: batches, retries, poison, restarts, the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from far_ends import packet, until
from hepswitch.databases import kinds, loader
from hepswitch.databases.gauge import Gauge
from hepswitch.databases.server import ContentError, Mark
from hepswitch.destinations import figures
from hepswitch.destinations.databases import PostgresStore
from hepswitch.destinations.figures import LoaderFigures
from hepswitch.destinations.journaled import JournaledOutlet
from hepswitch.wire.hep import Hep
from publishing import loading, row, writing


class FakeLayout:
    """A layout in which packets of call `odd` have no place."""

    extras = ("direction",)

    def pieces(self, batch: pa.RecordBatch) -> list[Any]:
        raise NotImplementedError

    def unfit(self, batch: pa.RecordBatch) -> pa.StringArray | None:
        reasons = ["odd call" if row == "odd" else None for row in batch.column("correlation_id").to_pylist()]
        return pa.array(reasons, pa.string())


class FakeDatabase:
    """What was committed, and how the server behaves. `poison`: numbers of packets that it never takes; `unusable`: a table
    that takes none."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.marks: set[tuple[str, int, int]] = set()
        self.loads: list[int] = []
        self.away = False
        self.answers = asyncio.Event()
        self.answers.set()
        self.lose_answer = self.bug = False
        self.poison: set[int] = set()
        self.unusable = ""
        self.attempts = 0
        self.opened = self.closed = self.maintained = self.busy = self.most_busy = 0


class FakeServer:
    """One connection to it."""

    layout = FakeLayout()

    def __init__(self, database: FakeDatabase) -> None:
        self._database = database

    async def open(self) -> None:
        if self._database.away:
            raise ConnectionRefusedError("nobody there")
        self._database.opened += 1

    async def load(self, batch: pa.RecordBatch, mark: Mark) -> None:
        database = self._database
        database.busy += 1
        database.most_busy = max(database.most_busy, database.busy)
        try:
            await asyncio.sleep(0)
            await database.answers.wait()
            if database.away:
                raise ConnectionResetError("gone")
            if (mark.journal, mark.first, mark.last) in database.marks:
                return
            numbers = [int(payload.split()[0]) for payload in batch.column("payload").to_pylist()]
            if database.bug:
                raise ZeroDivisionError("a mistake of the program")
            database.attempts += 1
            if database.unusable in batch.column("store_table").to_pylist():
                raise ContentError("it takes nothing", database.unusable)
            if database.poison & set(numbers):
                raise ContentError("it does not fit")
            assert batch.schema.names[-1] == "direction"
            database.rows += numbers
            database.loads.append(len(numbers))
            database.marks.add((mark.journal, mark.first, mark.last))
            if database.lose_answer:
                database.lose_answer = False
                raise ConnectionResetError("committed, but nobody heard it")
        finally:
            database.busy -= 1

    async def maintain(self) -> None:
        self._database.maintained += 1

    async def rows(self, sql: str, values: Any = ()) -> list[dict[str, Any]]:
        raise NotImplementedError

    async def close(self) -> None:
        self._database.closed += 1


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> FakeDatabase:
    made = FakeDatabase()
    monkeypatch.setattr(kinds, "server", lambda store: FakeServer(made))
    monkeypatch.setattr(loader, "TIDY", 0.02)
    return made


def store(**keys: Any) -> PostgresStore:
    return PostgresStore.model_validate({"url": "postgresql://hep@localhost/hep", "flush": "20ms"} | keys)


async def test_all_workers_in_batches(tmp_path: Path, database: FakeDatabase) -> None:
    table = store(batch=100, connections=3)
    gauge = Gauge(tmp_path / "store:bus", 1 << 20)
    async with writing(tmp_path, table, 0) as one, writing(tmp_path, table, 1) as two, loading(tmp_path, table):
        one(*range(1000))
        two(*range(1000, 2000))
        await until(lambda: len(database.rows) == 2000, "all is loaded")
        assert sorted(database.rows) == list(range(2000))
        assert database.most_busy <= 3
        await until(lambda: row(gauge)["delivered"] == 2000, "the books say so")
        assert row(gauge)["spooled"] == 0
        one(5000)
        await until(lambda: database.rows[-1] == 5000, "a lonely packet does not wait for others")
        assert database.maintained


async def test_a_server_that_goes_away(tmp_path: Path, database: FakeDatabase) -> None:
    table = store(batch=50)
    gauge = Gauge(tmp_path / "store:bus", 1 << 20)
    async with writing(tmp_path, table) as put, loading(tmp_path, table):
        database.away = True
        put(*range(500))
        await until(lambda: row(gauge)["state"] != "active", "the trouble shows")
        assert row(gauge)["state"] in ("nobody there", "gone")
        assert row(gauge)["spooled"] == 500
        database.away = False
        await until(lambda: len(database.rows) == 500, "it goes on")
        await until(lambda: row(gauge)["state"] == "active", "the trouble is over")
        assert sorted(database.rows) == list(range(500))


async def test_what_it_did_is_left_for_the_supervisor_and_the_next_loader(
    tmp_path: Path, database: FakeDatabase
) -> None:
    table = store(batch=50, connections=1)
    gauge = Gauge(tmp_path / "store:bus", 1 << 20)
    gauge.look()
    async with writing(tmp_path, table) as put:
        database.away = True
        async with loading(tmp_path, table, drain=0.1):
            put(*range(100))
            await until(lambda: row(gauge)["state"] != "active", "the trouble shows")
            await until(lambda: row(gauge)["lag"] > 0.1, "they have been waiting for a while")
        known = figures.read(tmp_path / "store:bus", LoaderFigures)
        assert (known.rows, known.bytes, sum(known.batches.counts)) == (0, 0, 0)
        assert known.troubles.errors >= 1
        database.away, database.poison = False, {7}
        async with loading(tmp_path, table):
            await until(lambda: len(database.rows) == 99, "it goes on")
            await until(lambda: row(gauge)["lag"] == 0.0, "nothing waits")
    after = figures.read(tmp_path / "store:bus", LoaderFigures)
    assert after.rows == 99
    assert after.bytes > 99 * 100
    assert sum(after.batches.counts) >= 2
    assert after.troubles.errors > known.troubles.errors, "the packet that is never taken"
    assert row(gauge)["spool_bytes"] > 0
    assert row(gauge)["spool_limit"] == 1 << 20


async def test_an_answer_that_got_lost_doubles_nothing(tmp_path: Path, database: FakeDatabase) -> None:
    table = store(batch=50, connections=1)
    async with writing(tmp_path, table) as put, loading(tmp_path, table):
        database.lose_answer = True
        put(*range(200))
        await until(lambda: len(database.rows) == 200, "all is loaded")
    assert sorted(database.rows) == list(range(200))


async def test_poison_is_found_and_set_aside(tmp_path: Path, database: FakeDatabase) -> None:
    table = store(batch=64)
    gauge = Gauge(tmp_path / "store:bus", 1 << 20)
    database.poison = {7, 100, 101, 199}
    async with writing(tmp_path, table) as put, loading(tmp_path, table):
        put(*range(200))
        await until(lambda: row(gauge)["spooled"] == 0 and row(gauge)["accepted"] == 200, "all is dealt with")
    assert sorted(database.rows) == [number for number in range(200) if number not in database.poison]
    assert row(gauge)["discarded"] == {"rejected": 4}
    lines = [json.loads(line) for line in (tmp_path / "store:bus" / "rejected.jsonl").read_text().splitlines()]
    found = {int(Hep(b64decode(line["packet"])).payload.split()[0]) for line in lines}
    assert found == database.poison
    assert {line["error"] for line in lines} == {"it does not fit"}


async def test_what_has_no_row_is_counted(tmp_path: Path, database: FakeDatabase) -> None:
    table = store()
    gauge = Gauge(tmp_path / "store:bus", 1 << 20)
    async with writing(tmp_path, table) as put, loading(tmp_path, table):
        put(*range(10))
        put(*range(10, 15), call="odd")
        await until(lambda: row(gauge)["spooled"] == 0 and row(gauge)["accepted"] == 15, "all is dealt with")
    assert sorted(database.rows) == list(range(10))
    assert row(gauge)["discarded"] == {"odd call": 5}


async def test_the_end_loads_what_is_left(tmp_path: Path, database: FakeDatabase) -> None:
    table = store(flush="60s")
    async with loading(tmp_path, table) as gone:
        async with writing(tmp_path, table) as put:
            put(*range(300))
        gone.set()
    assert sorted(database.rows) == list(range(300))


async def test_the_end_does_not_wait_for_a_server_that_hangs(tmp_path: Path, database: FakeDatabase) -> None:
    table = store(batch=10)
    gauge = Gauge(tmp_path / "store:bus", 1 << 20)
    async with writing(tmp_path, table) as put:
        async with loading(tmp_path, table, drain=0.05):
            database.answers.clear()
            put(*range(100))
            await until(lambda: database.busy == 2, "both connections hang")
        assert (row(gauge)["delivered"], row(gauge)["spooled"]) == (0, 100)
        database.answers.set()
        async with loading(tmp_path, table):
            await until(lambda: len(database.rows) == 100, "the next start goes on")
    assert sorted(database.rows) == list(range(100))
    assert row(gauge)["delivered"] == 100


async def test_memory_holds_a_batch_for_each_connection(tmp_path: Path, database: FakeDatabase) -> None:
    table = store(batch=10, connections=2)
    async with writing(tmp_path, table) as put, loading(tmp_path, table):
        database.answers.clear()
        for start in range(0, 5000, 10):
            put(*range(start, start + 10))
        await until(lambda: database.busy == 2, "both connections hang")
        backlog_open = [path.name for path in (tmp_path / "store:bus").iterdir()]
        assert backlog_open == ["w0"]
        database.answers.set()
        await until(lambda: len(database.rows) == 5000, "all is loaded")
    assert sorted(database.rows) == list(range(5000))


async def test_a_mistake_of_the_program_ends_the_loader_and_loses_nothing(
    tmp_path: Path, database: FakeDatabase
) -> None:
    table = store()
    database.bug = True
    async with writing(tmp_path, table) as put:
        put(*range(10))
        with pytest.raises(ZeroDivisionError):
            async with loading(tmp_path, table):
                await until(lambda: database.closed, "it gives up")
        database.bug = False
        async with loading(tmp_path, table):
            await until(lambda: len(database.rows) == 10, "the next start goes on")
    assert sorted(database.rows) == list(range(10))


async def test_two_loaders_of_a_store_take_turns(tmp_path: Path, database: FakeDatabase) -> None:
    """The supervisor was killed and started again while its loader, which is an orphan now, loads what is left."""
    table = store(batch=10)
    async with writing(tmp_path, table) as put, contextlib.AsyncExitStack() as stack:
        orphan = await stack.enter_async_context(loading(tmp_path, table))
        database.answers.clear()
        put(*range(15))
        await until(lambda: database.busy == 2, "both connections hang")
        async with loading(tmp_path, table):
            put(*range(15, 18))
            await asyncio.sleep(0.2)
            assert database.busy == 2
            database.answers.set()
            orphan.set()
            await until(lambda: len(database.rows) == 18, "the second loads when the first has ended")
            put(18)
            await until(lambda: len(database.rows) == 19, "it goes on")
    assert sorted(database.rows) == list(range(19))


async def test_trouble_of_an_earlier_process_is_over_when_rows_go_in(tmp_path: Path, database: FakeDatabase) -> None:
    table = store(batch=10)
    gauge = Gauge(tmp_path / "store:bus", 1 << 20)
    async with writing(tmp_path, table) as put:
        database.away = True
        async with loading(tmp_path, table, drain=0.05):
            put(*range(10))
            await until(lambda: row(gauge)["state"] != "active", "the trouble shows")
        database.away = False
        async with loading(tmp_path, table):
            await until(lambda: row(gauge)["delivered"] == 10, "the next start goes on")
        assert row(gauge)["state"] == "active"


async def test_a_worker_with_much_does_not_hold_up_another(tmp_path: Path, database: FakeDatabase) -> None:
    table = store(batch=10, connections=1)
    async with writing(tmp_path, table, 0) as one, writing(tmp_path, table, 1) as two:
        one(*range(5000))
        two(*range(5000, 5010))
        async with loading(tmp_path, table):
            await until(lambda: len(database.rows) == 5010, "all is loaded")
    assert database.rows.index(5000) < 100


async def test_a_table_that_takes_nothing_costs_one_attempt(tmp_path: Path, database: FakeDatabase) -> None:
    table = store(batch=300)
    gauge = Gauge(tmp_path / "store:bus", 1 << 20)
    database.unusable = "calls"
    outlet: JournaledOutlet = table.build("bus", 0, tmp_path)
    await outlet.open()
    for number in range(300):
        assert outlet.offer(packet(number), table="calls" if number % 3 else "others")
    outlet.flush()
    async with loading(tmp_path, table):
        await until(lambda: row(gauge)["spooled"] == 0 and row(gauge)["accepted"] == 300, "all is dealt with")
    await outlet.close(1.0)
    assert (sorted(database.rows), database.attempts) == (list(range(0, 300, 3)), 2)
    assert row(gauge)["discarded"] == {"rejected": 200}
    lines = [json.loads(line) for line in (tmp_path / "store:bus" / "rejected.jsonl").read_text().splitlines()]
    found = sorted(int(Hep(b64decode(line["packet"])).payload.split()[0]) for line in lines)
    assert found == [number for number in range(300) if number % 3]


async def test_a_packet_that_was_set_aside_stays_so_when_its_batch_is_halved(
    tmp_path: Path, database: FakeDatabase
) -> None:
    table = store(batch=64)
    gauge = Gauge(tmp_path / "store:bus", 1 << 20)
    database.unusable, database.poison = "calls", {20}
    outlet: JournaledOutlet = table.build("bus", 0, tmp_path)
    await outlet.open()
    for number in range(64):
        assert outlet.offer(packet(number), table=None if number % 3 else "calls")
    outlet.flush()
    async with loading(tmp_path, table):
        await until(lambda: row(gauge)["spooled"] == 0 and row(gauge)["accepted"] == 64, "all is dealt with")
    await outlet.close(1.0)
    assert sorted(database.rows) == [number for number in range(64) if number % 3 and number != 20]
    assert row(gauge)["discarded"] == {"rejected": 23}
    assert len((tmp_path / "store:bus" / "rejected.jsonl").read_text().splitlines()) == 23
