"""A PostgreSQL server as a store: rows in, whole and once, whatever becomes of the server in between."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import pyarrow as pa
import pytest
import structlog
from pydantic import ValidationError

from batches import batch_of
from hepswitch.databases import postgres as module
from hepswitch.databases.layouts.opensips import EXTRAS, Opensips
from hepswitch.databases.postgres import PostgresServer, ddl
from hepswitch.databases.server import MARKS, ContentError, Mark
from hepswitch.destinations.databases import OpensipsTables, PostgresStore
from hepswitch.wire.hep import Hep
from servers import Postgres, postgres
from traffic import calls, hep

DEADLINE = 30.0
JOURNAL = "0123456789abcdef" * 2
SIP = b"INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1\r\nCall-ID: %b\r\nCSeq: 1 INVITE\r\n\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    # Not in pytest's folders: another run of pytest makes them unreadable for the server's user.
    with tempfile.TemporaryDirectory() as folder, postgres(Path(folder)) as running:
        yield running


_numbers = count()


@pytest.fixture
async def url(server: Postgres) -> str:
    """An empty database of its own."""
    name = f"d{next(_numbers)}"
    await ask(server.url, f"CREATE DATABASE {name}")
    return server.url.removesuffix("/hep") + f"/{name}"


async def ask(url: str, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """What the database says to somebody else."""
    connection = await asyncpg.connect(url)
    try:
        if values or sql.lstrip().upper().startswith("SELECT"):
            return [tuple(row) for row in await connection.fetch(sql, *values)]
        await connection.execute(sql)
        return []
    finally:
        await connection.close()


async def until_blocked(url: str) -> None:
    """Wait until our connection waits for a lock."""
    async with asyncio.timeout(DEADLINE):
        while await ask(url, BLOCKED) != [(1,)]:
            pass


def store(url: str, create: bool = True, **tables: Any) -> PostgresStore:
    return PostgresStore(url=url, create=create, opensips=OpensipsTables(**tables))


@contextlib.asynccontextmanager
async def opened(store: PostgresStore) -> AsyncIterator[PostgresServer]:
    server = PostgresServer(store)
    await server.open()
    try:
        yield server
    finally:
        await server.close()


def sip(payload: bytes, second: int = 1_795_000_000, **chunks: Any) -> Hep:
    about = {"src_ip": "192.0.2.1", "dst_ip": "192.0.2.2", "src_port": 5060, "dst_port": 40_000, "proto_type": 1}
    return Hep.new(payload, timestamp=second, timestamp_us=250_000, proto_id=17, **(about | chunks))


def rows_of(*payloads: bytes, **said: Any) -> pa.RecordBatch:
    return batch_of([sip(payload) for payload in payloads], EXTRAS, **said)


def mark(first: int, last: int, done: int = 0) -> Mark:
    return Mark(JOURNAL, first, last, done)


ONE = rows_of(SIP % b"one")
GIVEN_UP = r"does not answer: given up after 0\.3 s"
BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hepswitch' AND wait_event_type = 'Lock'"


# ── rows ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_rows_are_stored_as_the_layout_makes_them(url: str) -> None:
    packets = [hep(message) for message in calls(40)]
    batch = batch_of([*packets, hep(next(calls(1)), proto_type=5).replace(b"SIP/2.0", b"RTP/2.0")], EXTRAS)
    traced = batch_of(packets[:3], EXTRAS, direction="in")
    async with opened(store(url)) as server:
        await server.load(batch, mark(0, 281))
        await server.load(traced, mark(281, 284))
        expected = Opensips(OpensipsTables()).pieces(batch) + Opensips(OpensipsTables()).pieces(traced)
        for piece in expected:
            found = await server.rows(f"SELECT * FROM {piece.table} ORDER BY id")
            ids = [row.pop("id") for row in found]
            texts = [{**row, "msg": row["msg"].decode()} for row in piece.rows.to_pylist()]
            assert (found, ids) == (texts, list(range(1, len(found) + 1)))
        assert {piece.table for piece in expected} >= {"sip_capture", "sip_trace"}


async def test_moments_are_utc_whatever_the_zone_of_the_database(url: str) -> None:
    await ask(url, f"ALTER DATABASE {url.rpartition('/')[2]} SET timezone = 'America/New_York'")
    async with opened(store(url)) as server:
        await server.load(ONE, mark(0, 1))
        assert await server.rows(
            "SELECT date, micro_ts, now() - loaded_at < '1 h' AS near FROM sip_capture, hepswitch_loaded"
        ) == [{"date": datetime.datetime(2026, 11, 18, 11, 6, 40), "micro_ts": 1_795_000_000_250_000, "near": True}]
    assert await ask(url, "SELECT count(*) FROM sip_capture WHERE date = '2026-11-18 11:06:40'") == [(1,)]


HOSTILE = {
    "quotes": b"Robert'); DROP TABLE sip_capture; -- \"\\' $1 %s",
    "backslashes": b"\\ \\n \\N \\. \\x00",
    "emoji": "📞 Grüße 漢".encode(),
    "NUL": b"a\0b\0",
    "no UTF-8": b"\xff\xfe\xed\xa0\x80\xc0\x80 \xf0\x9f",
    "copy": b"PGCOPY\n\xff\r\n\0\xff\xff",
    "60 KB": b"\xc3\xa9'\\" * 15_000,
}


async def test_hostile_text_goes_in_as_it_is_but_for_nul_and_what_is_no_utf8(url: str) -> None:
    payloads = [SIP % (b"%d" % i) + text for i, text in enumerate(HOSTILE.values())]
    payloads += [SIP % text.splitlines()[0][:80] for text in HOSTILE.values()]
    async with opened(store(url)) as server:
        await server.load(rows_of(*payloads), mark(0, len(payloads)))
        found = [row["msg"] for row in await server.rows("SELECT msg FROM sip_capture ORDER BY id")]
        assert found == [payload.decode("utf-8", "replace").replace("\0", "") for payload in payloads]


async def test_a_column_of_bytes_keeps_every_byte(url: str) -> None:
    payloads = [SIP % b"x" + text for text in HOSTILE.values()]
    await ask(url, ddl(store(url)) + "ALTER TABLE sip_capture ALTER COLUMN msg TYPE bytea USING NULL;")
    async with opened(store(url)) as server:
        await server.load(rows_of(*payloads), mark(0, len(payloads)))
        assert [row["msg"] for row in await server.rows("SELECT msg FROM sip_capture ORDER BY id")] == payloads


async def test_a_table_of_somebody_else_is_written_as_it_is(url: str) -> None:
    changes = """ALTER TABLE sip_capture ALTER COLUMN callid TYPE varchar(3), ALTER COLUMN from_user TYPE char(4),
        ALTER COLUMN date TYPE timestamptz, ALTER COLUMN proto TYPE smallint, ALTER COLUMN source_port TYPE bigint,
        ALTER COLUMN ruri TYPE text, ADD COLUMN note text DEFAULT 'theirs'"""
    await ask(url, ddl(store(url)) + changes)
    async with opened(store(url)) as server:
        await server.load(rows_of(SIP % b"abcdef", SIP % "äöüß".encode()), mark(0, 2))
        found = await server.rows(
            "SELECT callid, from_user, date, proto, source_port, ruri, note FROM sip_capture ORDER BY id"
        )
        date = datetime.datetime(2026, 11, 18, 11, 6, 40, tzinfo=datetime.UTC)
        same = {
            "from_user": "    ",
            "date": date,
            "proto": 17,
            "source_port": 5060,
            "ruri": "sip:bob@example.com",
            "note": "theirs",
        }
        assert found == [{"callid": "abc", **same}, {"callid": "äöü", **same}]


async def test_dated_tables_are_made_and_a_batch_is_split_at_midnight(url: str) -> None:
    midnight = 1_795_046_400
    batch = batch_of(
        [sip(SIP % b"%d" % i, second) for i, second in enumerate([midnight, midnight - 1, midnight])], EXTRAS
    )
    named = rows_of(SIP % b"named", table="calls_%Y%m%d")
    async with opened(store(url, table="sip_capture_%Y_%m_%d")) as server:
        await server.load(batch, mark(0, 3))
        await server.load(named, mark(3, 4))
    for table, calls_there in (
        ("sip_capture_2026_11_19", ["0", "2"]),
        ("sip_capture_2026_11_18", ["1"]),
        ("calls_20261118", ["named"]),
    ):
        assert await ask(url, f"SELECT callid FROM {table} ORDER BY id") == [(each,) for each in calls_there]
    assert await ask(url, "SELECT indexname FROM pg_indexes WHERE tablename = 'calls_20261118' ORDER BY 1") == [
        ("calls_20261118_callid_idx",), ("calls_20261118_date_idx",), ("calls_20261118_pkey",)
    ]  # fmt: skip


async def test_rows_of_a_query(url: str) -> None:
    async with opened(store(url)) as server:
        sql = "SELECT $1::bytea AS b, $2::timestamptz AS t, $3::text AS s"
        now = datetime.datetime(2026, 11, 25, 19, 30, 0, 5, tzinfo=datetime.UTC)
        assert await server.rows(sql, [b"\0\xff", now, "x'"]) == [{"b": b"\0\xff", "t": now, "s": "x'"}]
        for wrong in ("SELEC 1", "SELECT nothing", "SELECT 1 / 0", "SELECT 'x'::int"):
            with pytest.raises(ValueError, match=r"\w"):
                await server.rows(wrong)
        with pytest.raises(ValueError, match="expected str"):
            await server.rows("SELECT $1::text", [5])
        with pytest.raises(OSError, match='relation "sip_capture" does not exist'):
            await server.rows("SELECT * FROM sip_capture")
    assert await ask(url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [
        (0,)
    ]  # reading makes no tables


# ── once ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_same_mark_twice_is_stored_once(url: str) -> None:
    async with opened(store(url)) as server:
        await server.load(ONE, mark(0, 1))
        await server.load(ONE, mark(0, 1))
        await server.load(ONE, mark(1, 2))
        await server.load(ONE, Mark("f" * 32, 0, 1, 0))
    async with opened(store(url)) as server:
        await server.load(ONE, mark(1, 2))
        assert await server.rows("SELECT count(*) AS rows FROM sip_capture") == [{"rows": 3}]
        assert await server.rows(f"SELECT journal, first, last FROM {MARKS} ORDER BY journal, first") == [
            {"journal": JOURNAL, "first": 0, "last": 1},
            {"journal": JOURNAL, "first": 1, "last": 2},
            {"journal": "f" * 32, "first": 0, "last": 1},
        ]


async def test_old_marks_are_forgotten(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FORGET_EVERY", 4)
    async with opened(store(url)) as server:
        await server.load(ONE, Mark("f" * 32, 0, 1, 0))
        for i in range(7):
            await server.load(ONE, mark(i, i + 1, done=i - 1))
        assert await ask(url, f"SELECT first FROM {MARKS} WHERE journal = $1 ORDER BY 1", JOURNAL) == [(5,), (6,)]
        assert await ask(url, f"SELECT count(*) FROM {MARKS}") == [(3,)]


@pytest.mark.parametrize("size", [100, 60_000])
@pytest.mark.parametrize("death", ["backend", "crash", "shutdown"])
async def test_a_batch_that_was_cut_off_is_stored_once_by_the_next_attempt(
    server: Postgres, url: str, death: str, size: int
) -> None:
    batch = rows_of(*(SIP % b"%d" % i + b"x" * size for i in range(300)))
    async with opened(store(url)) as ours:
        await ours.load(ONE, mark(0, 1))
        other = await asyncpg.connect(url)
        await other.execute("BEGIN; LOCK TABLE sip_capture")
        load = asyncio.create_task(ours.load(batch, mark(1, 301)))
        await until_blocked(url)
        if death == "backend":
            ((pid,),) = await ask(server.url, "SELECT pid FROM pg_stat_activity WHERE application_name = 'hepswitch'")
            os.kill(pid, signal.SIGKILL)
        else:
            server.stop("immediate" if death == "crash" else "fast")
        with pytest.raises(OSError, match=r"^PostgreSQL 127\.0\.0\.1:"):
            await load
        other.terminate()
        if death != "backend":
            with pytest.raises(OSError, match="cannot be reached"):
                await ours.open()
            server.start()
        async with asyncio.timeout(DEADLINE):
            while True:
                try:
                    await ours.open()
                    break
                except OSError:  # it recovers
                    await asyncio.sleep(0.01)
        await ours.load(batch, mark(1, 301))
        await ours.load(batch, mark(1, 301))
    assert await ask(url, "SELECT count(*), count(DISTINCT (callid, micro_ts, msg)) FROM sip_capture") == [(301, 301)]


@pytest.mark.parametrize("size", [100, 60_000])
async def test_a_server_that_hangs_is_given_up(
    server: Postgres, url: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = rows_of(*(SIP % b"%d" % i + b"x" * size for i in range(300)))
    async with opened(store(url)) as ours:
        await ours.load(ONE, mark(0, 1))
        monkeypatch.setattr(module, "PATIENCE", 0.3)
        monkeypatch.setattr(module, "CONNECT_PATIENCE", 0.3)
        server.signal(signal.SIGSTOP)
        try:
            with pytest.raises(OSError, match=GIVEN_UP):
                await ours.load(batch, mark(1, 301))
            with pytest.raises(OSError, match="not connected"):
                await ours.load(batch, mark(1, 301))
            with pytest.raises(OSError, match=GIVEN_UP):
                await ours.open()
        finally:
            server.signal(signal.SIGCONT)
        monkeypatch.undo()
        await ours.open()
        await ours.load(batch, mark(1, 301))
    assert await ask(url, "SELECT count(*), count(DISTINCT callid) FROM sip_capture") == [(301, 301)]


async def test_a_copy_that_hangs_half_way_is_given_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = rows_of(*(SIP % b"%d" % i + b"x" * 60_000 for i in range(300)))
    async with opened(store(url)) as ours:
        await ours.load(ONE, mark(0, 1))
        other = await asyncpg.connect(url)
        await other.execute("BEGIN; LOCK TABLE sip_capture")
        monkeypatch.setattr(module, "PATIENCE", 0.3)
        with pytest.raises(OSError, match=GIVEN_UP):
            await ours.load(batch, mark(1, 301))
        await other.close()
        monkeypatch.undo()
        await ours.open()
        await ours.load(batch, mark(1, 301))
    assert await ask(url, "SELECT count(*) FROM sip_capture") == [(301,)]


async def test_a_load_that_is_cancelled_leaves_nothing(url: str) -> None:
    async with opened(store(url)) as ours:
        await ours.load(ONE, mark(0, 1))
        other = await asyncpg.connect(url)
        await other.execute("BEGIN; LOCK TABLE sip_capture")
        load = asyncio.create_task(ours.load(ONE, mark(1, 2)))
        await until_blocked(url)
        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load
        await other.close()
        await ours.open()
        await ours.load(ONE, mark(2, 3))
    assert await ask(url, f"SELECT first FROM {MARKS} ORDER BY 1") == [(0,), (2,)]


# ── content ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def load_poison(url: str, statements: str, said: str) -> None:
    """A batch with one row that the server refuses, then one without."""
    await ask(url, ddl(store(url)) + statements)
    async with opened(store(url)) as server:
        with pytest.raises(ContentError, match=said):
            await server.load(rows_of(SIP % b"good", SIP % b"poison"), mark(0, 2))
        assert await ask(url, f"SELECT (SELECT count(*) FROM sip_capture), (SELECT count(*) FROM {MARKS})") == [(0, 0)]
        await server.load(rows_of(SIP % b"good"), mark(0, 1))
        with pytest.raises(ContentError, match=said):
            await server.load(rows_of(SIP % b"poison"), mark(1, 2))
        await server.load(rows_of(SIP % b"good"), mark(2, 3))
    assert await ask(url, "SELECT callid FROM sip_capture") == [("good",), ("good",)]


async def test_a_row_that_breaks_a_constraint_is_content(url: str) -> None:
    check = "ALTER TABLE sip_capture ADD CONSTRAINT no_poison CHECK (callid <> 'poison');"
    await load_poison(
        url, check, 'table sip_capture: new row .* violates check constraint "no_poison" DETAIL: .*poison'
    )


async def test_a_row_that_a_trigger_refuses_is_content(url: str) -> None:
    trigger = """CREATE FUNCTION taste() RETURNS trigger AS $$ BEGIN
        IF NEW.callid = 'poison' THEN RAISE 'bitter'; END IF; RETURN NEW; END $$ LANGUAGE plpgsql;
        CREATE TRIGGER taste BEFORE INSERT ON sip_capture FOR EACH ROW EXECUTE FUNCTION taste();"""
    await load_poison(url, trigger, "^table sip_capture: bitter$")


async def test_a_number_beyond_its_column_is_content(url: str) -> None:
    await ask(url, ddl(store(url)) + "ALTER TABLE sip_capture ALTER COLUMN destination_port TYPE smallint;")
    async with opened(store(url)) as server:
        with pytest.raises(
            ContentError, match="table sip_capture: column destination_port: 40000 is too much for int2"
        ):
            await server.load(ONE, mark(0, 1))
        await server.load(batch_of([sip(SIP % b"good", dst_port=5060)], EXTRAS), mark(0, 1))
    assert await ask(url, "SELECT callid FROM sip_capture") == [("good",)]


# ── tables ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_connections_that_make_the_same_tables_at_once_agree(url: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(opened(store(url, table="t_%H_%M"))) for _ in range(6)]
        for minute in range(5):
            batch = batch_of([sip(SIP % b"x", 1_795_000_000 + 60 * minute)], EXTRAS)
            await asyncio.gather(
                *(each.load(batch, Mark(f"{i}", minute, minute + 1, 0)) for i, each in enumerate(servers))
            )
    for minute in range(5):
        assert await ask(url, f"SELECT count(*) FROM t_11_{6 + minute:02}") == [(6,)]


async def test_a_table_that_must_not_be_made_is_missed_in_words(url: str) -> None:
    ours = store(url, create=False)
    async with opened(ours) as server:
        with pytest.raises(OSError, match=r"has no table sip_capture: make it .*hepswitch ddl.*, or set create = true"):
            await server.load(ONE, mark(0, 1))
        await ask(url, ddl(ours))
        await server.open()
        await server.load(ONE, mark(0, 1))
    assert await ask(url, "SELECT callid FROM sip_capture") == [("one",)]


async def test_columns_that_are_missing_are_named_with_what_adds_them(url: str) -> None:
    await ask(url, ddl(store(url)) + "ALTER TABLE sip_capture DROP COLUMN ruri_domain, DROP COLUMN custom_field1;")
    async with opened(store(url)) as server:
        with pytest.raises(OSError, match="table sip_capture lacks ruri_domain, custom_field1: ALTER TABLE") as error:
            await server.load(ONE, mark(0, 1))
        await ask(url, "ALTER" + str(error.value).partition("ALTER")[2])
        await server.open()
        await server.load(ONE, mark(0, 1))
    assert await ask(url, "SELECT ruri_domain, custom_field1 FROM sip_capture") == [("example.com", None)]


async def test_a_column_of_another_kind_is_named(url: str) -> None:
    await ask(url, ddl(store(url)) + "ALTER TABLE sip_capture DROP COLUMN source_ip, ADD COLUMN source_ip inet;")
    async with opened(store(url)) as server:
        with pytest.raises(
            OSError, match="table sip_capture: column source_ip is of type inet, which cannot be written"
        ):
            await server.load(ONE, mark(0, 1))


async def test_a_partition_that_is_missing_is_like_a_table(url: str) -> None:
    await ask(url, ddl(store(url)) + "ALTER TABLE sip_capture RENAME TO model;")
    await ask(url, "CREATE TABLE sip_capture (LIKE model INCLUDING DEFAULTS) PARTITION BY RANGE (date)")
    async with opened(store(url)) as server:
        with pytest.raises(OSError, match=r"no partition of relation .*2026-11-18 .*: make it, or a DEFAULT one"):
            await server.load(ONE, mark(0, 1))
        await ask(url, "CREATE TABLE later PARTITION OF sip_capture DEFAULT")
        await server.open()
        await server.load(ONE, mark(0, 1))
    assert await ask(url, "SELECT callid FROM later") == [("one",)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("ALTER TABLE sip_capture ALTER COLUMN source_port TYPE smallint", "columns of table sip_capture have changed"),
        ("ALTER TABLE sip_capture ALTER COLUMN source_port TYPE bigint", "insufficient data left in message"),
        (
            "ALTER TABLE sip_capture DROP COLUMN source_port",
            'column "source_port" of relation "sip_capture" does not exist',
        ),
        ("DROP TABLE sip_capture", 'relation "sip_capture" does not exist'),
    ],
)
async def test_a_table_that_changes_meanwhile_is_looked_at_again(url: str, change: str, said: str) -> None:
    async with opened(store(url)) as server:
        await server.load(ONE, mark(0, 1))
        await ask(url, change)
        with pytest.raises(OSError, match=said):
            await server.load(ONE, mark(1, 2))
        await ask(url, "ALTER TABLE IF EXISTS sip_capture ADD COLUMN IF NOT EXISTS source_port int")
        await server.open()
        await server.load(ONE, mark(1, 2))
        assert (await server.rows("SELECT source_port FROM sip_capture"))[-1] == {"source_port": 5060}


async def test_the_ddl_can_be_run_again_and_makes_what_create_makes(url: str) -> None:
    everything = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
    columns = """SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default
        FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, ordinal_position"""
    indexes = ("date", "callid", "from_user", "via_1_branch")
    statements = ddl(store(url, table="c_%Y", indexes=indexes))
    assert all(each.endswith(");") for each in statements.split("\n") if each.endswith(";"))
    await ask(url, statements)
    await ask(url, statements)
    made = [await ask(url, sql) for sql in (everything, columns)]
    await ask(url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    async with opened(store(url, table=f"c_{datetime.datetime.now(datetime.UTC):%Y}", indexes=indexes)) as server:
        report = batch_of([sip(b"{}", proto_type=100)], EXTRAS)
        for i, batch in enumerate((ONE, report, rows_of(SIP % b"x", direction="out"))):
            await server.load(batch, mark(i, i + 1))
    assert made == [await ask(url, sql) for sql in (everything, columns)]
    assert len(made[1]) == 1 + 43 + 1 + 13 + 16 + 4


async def test_names_of_indexes_differ_where_names_of_tables_are_long(url: str) -> None:
    async with opened(store(url, table="a" * 53 + "_%Y%m%d")) as server:
        for day in range(2):
            await server.load(batch_of([sip(SIP % b"x", 1_795_000_000 + 86_400 * day)], EXTRAS), mark(day, day + 1))
    found = await ask(url, "SELECT count(*) FROM pg_indexes WHERE tablename LIKE 'aaa%' AND indexname LIKE '%idx'")
    assert found == [(4,)]


@pytest.mark.parametrize("indexes", [["nothing"], ["msg"], ["date", "date"]])
def test_indexes_must_be_of_columns_that_can_have_one(indexes: list[str]) -> None:
    with pytest.raises((ValueError, ValidationError), match="indexes: "):
        Opensips(OpensipsTables(indexes=tuple(indexes)))


# ── layout homer7 ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_homers_tables_are_made_filled_and_tended(url: str) -> None:
    homer = PostgresStore(url=url, layout="homer7")
    now = datetime.datetime.now(datetime.UTC).timestamp()
    packets = [hep(message) for message in calls(40, start=now)]
    packets += [hep(next(calls(1, start=now)), correlation_id=b"one", proto_type=100).replace(b"SIP/2.0", b"SIPS2.0")]
    packets += [bytes(sip(SIP % b"hostile" + b"\0\xff", node_name='a"b\\c'))] * 3
    async with opened(homer) as server:
        batch = batch_of(packets, server.layout.extras)
        for _ in range(2):
            await server.load(batch, mark(0, len(packets)))
        await server.maintain()
        found = await server.rows("SELECT sid, raw FROM hep_proto_1_call WHERE data_header->>'method' = 'INVITE'")
        assert len(found) == 43
        assert {row["raw"][:7] for row in found} == {"INVITE "}
        assert [row["sid"] for row in await server.rows("SELECT sid FROM hep_proto_100_default")] == ["one"]
        sql = "SELECT protocol_header->>'captureId' AS node FROM hep_proto_1_call WHERE sid = 'hostile'"
        assert await server.rows(sql) == [{"node": 'a"b\\c'}] * 3
        partitions = await server.rows(
            "SELECT count(*) AS n FROM pg_inherits WHERE inhparent = 'hep_proto_1_call'::regclass"
        )
        assert partitions[0]["n"] > 12  # a day ahead


async def test_the_ddl_of_homers_tables_is_all_that_a_store_needs(url: str) -> None:
    homer = PostgresStore(url=url, layout="homer7", create=False)
    async with opened(homer) as server:
        batch = batch_of([sip(SIP % b"old")], server.layout.extras)
        with pytest.raises(OSError, match="has no table hep_proto_1_call: make it"):
            await server.load(batch, mark(0, 1))
        for _ in range(2):
            await ask(url, ddl(homer))
        await server.open()
        await server.load(batch, mark(0, 1))
        await server.maintain()
    assert await ask(url, "SELECT sid, create_date FROM hep_proto_1_call") == [
        ("old", datetime.datetime(2026, 11, 18, 11, 6, 40, 250_000, tzinfo=datetime.UTC))
    ]


# ── rights and connections ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def as_guest(server: Postgres, url: str) -> Callable[[str], str]:
    """The URL for a user without rights, who needs the password "right"; its name is new with each test."""
    name = f"guest_{url.rpartition('/')[2]}"
    rules = server.folder / "data" / "pg_hba.conf"
    rules.write_text(f"host all {name} 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
    await ask(server.url, f"CREATE ROLE {name} LOGIN PASSWORD 'right'; SELECT pg_reload_conf()")
    return lambda url: url.replace("hep@", f"{name}@")


def guest_store(url: str, password: str | None = "right", create: bool = True) -> PostgresStore:
    return PostgresStore(url=url, password=password, create=create)


async def test_a_wrong_password_is_told(url: str, as_guest: Callable[[str], str]) -> None:
    async with asyncio.timeout(DEADLINE):
        while True:  # until the server has read its rules again
            try:
                async with opened(guest_store(as_guest(url), "wrong")):
                    await asyncio.sleep(0.01)
            except OSError as error:
                said = str(error)
                break
    assert 'password authentication failed for user "guest_' in said
    assert "see `password` and the user in `url` of the store" in said
    async with opened(guest_store(as_guest(url), "right")) as server:
        assert await server.rows("SELECT 1 AS one") == [{"one": 1}]


async def test_rights_that_are_missing_are_told_and_marks_are_done_without(
    url: str, as_guest: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_warned", set())
    guest = as_guest(url).partition("//")[2].partition("@")[0]
    with structlog.testing.capture_logs() as logs:
        async with opened(guest_store(as_guest(url))) as server:
            with pytest.raises(
                OSError, match="permission denied for schema public: grant the right to the user in `url`"
            ):
                await server.load(ONE, mark(0, 1))
            await ask(url, ddl(store(url)) + f"DROP TABLE {MARKS};")
            await server.open()
            with pytest.raises(OSError, match="permission denied for table sip_capture: grant the right"):
                await server.load(ONE, mark(0, 1))
            await ask(url, f"GRANT INSERT ON sip_capture TO {guest}; GRANT USAGE ON sip_capture_id_seq TO {guest}")
            await server.open()
            await server.load(ONE, mark(0, 1))
    assert [each["event"] for each in logs] == [
        f"no marks in table {MARKS}: a batch may be stored twice when the connection breaks"
    ]
    assert logs[0]["reason"] == "permission denied for schema public"
    assert await ask(url, "SELECT count(*) FROM sip_capture") == [(1,)]


async def test_a_database_that_takes_nothing_is_away(url: str) -> None:
    async with opened(store(url)) as server:
        await server.load(ONE, mark(0, 1))
        await ask(url, f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_read_only = on")
        await server.open()
        with pytest.raises(OSError, match="in a read-only transaction: give the URL of the primary"):
            await server.load(ONE, mark(1, 2))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            lambda url: url.rpartition("/")[0] + "/nowhere",
            'database "nowhere" does not exist: make it with CREATE DATABASE',
        ),
        (lambda url: url.replace("hep@", "nobody@"), 'role "nobody" does not exist: see `password` and the user'),
        (lambda url: "postgresql://hep@127.0.0.1:1/hep", "PostgreSQL 127.0.0.1:1/hep cannot be reached: "),
        (lambda url: url + "?sslmode=require", "cannot be reached: .*rejected SSL"),
        (lambda url: url + "?sslmode=perhaps", "sslmode"),
    ],
)
async def test_a_server_that_cannot_be_had_is_told(url: str, wrong: Callable[[str], str], said: str) -> None:
    with pytest.raises(OSError, match=said):
        await PostgresServer(store(wrong(url))).open()


async def test_a_socket_folder_may_be_the_host(server: Postgres) -> None:
    url = f"postgresql://hep@{quote(str(server.folder), safe='')}:{server.port}/hep"
    async with opened(store(url)) as ours:
        found = await ours.rows(
            "SELECT application_name AS name, client_port FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        )
        assert found == [{"name": "hepswitch", "client_port": -1}]
