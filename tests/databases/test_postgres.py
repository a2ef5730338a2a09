"""A PostgreSQL server as a store: rows in, whole and once, whatever becomes of the server in between."""

from __future__ import annotations

import asyncio
import datetime
import os
import signal

import asyncpg
import pytest

from batches import batch_of
from hepswitch.databases import postgres as module
from hepswitch.databases.layouts.opensips import EXTRAS, Opensips
from hepswitch.databases.postgres import ddl
from hepswitch.databases.server import MARKS, ContentError, Mark
from hepswitch.destinations.layout_tables import OpensipsTables
from postgres_stores import JOURNAL, ONE, SIP, ask, mark, opened, rows_of, sip, store
from servers import Postgres
from traffic import calls, hep

DEADLINE = 30.0


GIVEN_UP = r"does not answer: given up after 0\.3 s"
BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hepswitch' AND wait_event_type = 'Lock'"


async def until_blocked(database: str) -> None:
    """Wait until our connection waits for a lock."""
    async with asyncio.timeout(DEADLINE):
        while await ask(database, BLOCKED) != [(1,)]:
            pass


# ── rows ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_rows_are_stored_as_the_layout_makes_them(database: str) -> None:
    packets = [hep(message) for message in calls(40)]
    batch = batch_of([*packets, hep(next(calls(1)), proto_type=5).replace(b"SIP/2.0", b"RTP/2.0")], EXTRAS)
    traced = batch_of(packets[:3], EXTRAS, direction="in")
    async with opened(store(database)) as server:
        await server.load(batch, mark(0, 281))
        await server.load(traced, mark(281, 284))
        expected = Opensips(OpensipsTables()).pieces(batch) + Opensips(OpensipsTables()).pieces(traced)
        for piece in expected:
            found = await server.rows(f"SELECT * FROM {piece.table} ORDER BY id")
            ids = [row.pop("id") for row in found]
            texts = [{**row, "msg": row["msg"].decode()} for row in piece.rows.to_pylist()]
            assert (found, ids) == (texts, list(range(1, len(found) + 1)))
        assert {piece.table for piece in expected} >= {"sip_capture", "sip_trace"}


async def test_moments_are_utc_whatever_the_zone_of_the_database(database: str) -> None:
    await ask(database, f"ALTER DATABASE {database.rpartition('/')[2]} SET timezone = 'America/New_York'")
    async with opened(store(database)) as server:
        await server.load(ONE, mark(0, 1))
        assert await server.rows(
            "SELECT date, micro_ts, now() - loaded_at < '1 h' AS near FROM sip_capture, hepswitch_loaded"
        ) == [{"date": datetime.datetime(2026, 11, 18, 11, 6, 40), "micro_ts": 1_795_000_000_250_000, "near": True}]
    assert await ask(database, "SELECT count(*) FROM sip_capture WHERE date = '2026-11-18 11:06:40'") == [(1,)]


HOSTILE = {
    "quotes": b"Robert'); DROP TABLE sip_capture; -- \"\\' $1 %s",
    "backslashes": b"\\ \\n \\N \\. \\x00",
    "emoji": "📞 Grüße 漢".encode(),
    "NUL": b"a\0b\0",
    "no UTF-8": b"\xff\xfe\xed\xa0\x80\xc0\x80 \xf0\x9f",
    "copy": b"PGCOPY\n\xff\r\n\0\xff\xff",
    "60 KB": b"\xc3\xa9'\\" * 15_000,
}


async def test_hostile_text_goes_in_as_it_is_but_for_nul_and_what_is_no_utf8(database: str) -> None:
    payloads = [SIP % (b"%d" % i) + text for i, text in enumerate(HOSTILE.values())]
    payloads += [SIP % text.splitlines()[0][:80] for text in HOSTILE.values()]
    async with opened(store(database)) as server:
        await server.load(rows_of(*payloads), mark(0, len(payloads)))
        found = [row["msg"] for row in await server.rows("SELECT msg FROM sip_capture ORDER BY id")]
        assert found == [payload.decode("utf-8", "replace").replace("\0", "") for payload in payloads]


async def test_a_column_of_bytes_keeps_every_byte(database: str) -> None:
    payloads = [SIP % b"x" + text for text in HOSTILE.values()]
    await ask(database, ddl(store(database)) + "ALTER TABLE sip_capture ALTER COLUMN msg TYPE bytea USING NULL;")
    async with opened(store(database)) as server:
        await server.load(rows_of(*payloads), mark(0, len(payloads)))
        assert [row["msg"] for row in await server.rows("SELECT msg FROM sip_capture ORDER BY id")] == payloads


async def test_a_table_of_somebody_else_is_written_as_it_is(database: str) -> None:
    changes = """ALTER TABLE sip_capture ALTER COLUMN callid TYPE varchar(3), ALTER COLUMN from_user TYPE char(4),
        ALTER COLUMN date TYPE timestamptz, ALTER COLUMN proto TYPE smallint, ALTER COLUMN source_port TYPE bigint,
        ALTER COLUMN ruri TYPE text, ADD COLUMN note text DEFAULT 'theirs'"""
    await ask(database, ddl(store(database)) + changes)
    async with opened(store(database)) as server:
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


async def test_dated_tables_are_made_and_a_batch_is_split_at_midnight(database: str) -> None:
    midnight = 1_795_046_400
    batch = batch_of(
        [sip(SIP % b"%d" % i, second) for i, second in enumerate([midnight, midnight - 1, midnight])], EXTRAS
    )
    named = rows_of(SIP % b"named", table="calls_%Y%m%d")
    async with opened(store(database, table="sip_capture_%Y_%m_%d")) as server:
        await server.load(batch, mark(0, 3))
        await server.load(named, mark(3, 4))
    for table, calls_there in (
        ("sip_capture_2026_11_19", ["0", "2"]),
        ("sip_capture_2026_11_18", ["1"]),
        ("calls_20261118", ["named"]),
    ):
        assert await ask(database, f"SELECT callid FROM {table} ORDER BY id") == [(each,) for each in calls_there]
    assert await ask(database, "SELECT indexname FROM pg_indexes WHERE tablename = 'calls_20261118' ORDER BY 1") == [
        ("calls_20261118_callid_idx",), ("calls_20261118_date_idx",), ("calls_20261118_pkey",)
    ]  # fmt: skip


async def test_rows_of_a_query(database: str) -> None:
    async with opened(store(database)) as server:
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
    assert await ask(database, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [
        (0,)
    ]  # reading makes no tables


# ── once ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_same_mark_twice_is_stored_once(database: str) -> None:
    async with opened(store(database)) as server:
        await server.load(ONE, mark(0, 1))
        await server.load(ONE, mark(0, 1))
        await server.load(ONE, mark(1, 2))
        await server.load(ONE, Mark("f" * 32, 0, 1, 0))
    async with opened(store(database)) as server:
        await server.load(ONE, mark(1, 2))
        assert await server.rows("SELECT count(*) AS rows FROM sip_capture") == [{"rows": 3}]
        assert await server.rows(f"SELECT journal, first, last FROM {MARKS} ORDER BY journal, first") == [
            {"journal": JOURNAL, "first": 0, "last": 1},
            {"journal": JOURNAL, "first": 1, "last": 2},
            {"journal": "f" * 32, "first": 0, "last": 1},
        ]


async def test_old_marks_are_forgotten(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FORGET_EVERY", 4)
    async with opened(store(database)) as server:
        await server.load(ONE, Mark("f" * 32, 0, 1, 0))
        for i in range(7):
            await server.load(ONE, mark(i, i + 1, done=i - 1))
        assert await ask(database, f"SELECT first FROM {MARKS} WHERE journal = $1 ORDER BY 1", JOURNAL) == [(5,), (6,)]
        assert await ask(database, f"SELECT count(*) FROM {MARKS}") == [(3,)]


@pytest.mark.parametrize("size", [100, 60_000])
@pytest.mark.parametrize("death", ["backend", "crash", "shutdown"])
async def test_a_batch_that_was_cut_off_is_stored_once_by_the_next_attempt(
    postgres_server: Postgres, database: str, death: str, size: int
) -> None:
    batch = rows_of(*(SIP % b"%d" % i + b"x" * size for i in range(300)))
    async with opened(store(database)) as ours:
        await ours.load(ONE, mark(0, 1))
        other = await asyncpg.connect(database)
        await other.execute("BEGIN; LOCK TABLE sip_capture")
        load = asyncio.create_task(ours.load(batch, mark(1, 301)))
        await until_blocked(database)
        if death == "backend":
            ((pid,),) = await ask(database, "SELECT pid FROM pg_stat_activity WHERE application_name = 'hepswitch'")
            os.kill(pid, signal.SIGKILL)
        else:
            postgres_server.stop("immediate" if death == "crash" else "fast")
        with pytest.raises(OSError, match=r"^PostgreSQL 127\.0\.0\.1:"):
            await load
        other.terminate()
        if death != "backend":
            with pytest.raises(OSError, match="cannot be reached"):
                await ours.open()
            postgres_server.start()
        async with asyncio.timeout(DEADLINE):
            while True:
                try:
                    await ours.open()
                    break
                except OSError:  # it recovers
                    await asyncio.sleep(0.01)
        await ours.load(batch, mark(1, 301))
        await ours.load(batch, mark(1, 301))
    assert await ask(database, "SELECT count(*), count(DISTINCT (callid, micro_ts, msg)) FROM sip_capture") == [
        (301, 301)
    ]


@pytest.mark.parametrize("size", [100, 60_000])
async def test_a_server_that_hangs_is_given_up(
    postgres_server: Postgres, database: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = rows_of(*(SIP % b"%d" % i + b"x" * size for i in range(300)))
    async with opened(store(database)) as ours:
        await ours.load(ONE, mark(0, 1))
        monkeypatch.setattr(module, "PATIENCE", 0.3)
        monkeypatch.setattr(module, "CONNECT_PATIENCE", 0.3)
        postgres_server.signal(signal.SIGSTOP)
        try:
            with pytest.raises(OSError, match=GIVEN_UP):
                await ours.load(batch, mark(1, 301))
            with pytest.raises(OSError, match="not connected"):
                await ours.load(batch, mark(1, 301))
            with pytest.raises(OSError, match=GIVEN_UP):
                await ours.open()
        finally:
            postgres_server.signal(signal.SIGCONT)
        monkeypatch.undo()
        await ours.open()
        await ours.load(batch, mark(1, 301))
    assert await ask(database, "SELECT count(*), count(DISTINCT callid) FROM sip_capture") == [(301, 301)]


async def test_a_copy_that_hangs_half_way_is_given_up(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = rows_of(*(SIP % b"%d" % i + b"x" * 60_000 for i in range(300)))
    async with opened(store(database)) as ours:
        await ours.load(ONE, mark(0, 1))
        other = await asyncpg.connect(database)
        await other.execute("BEGIN; LOCK TABLE sip_capture")
        monkeypatch.setattr(module, "PATIENCE", 0.3)
        with pytest.raises(OSError, match=GIVEN_UP):
            await ours.load(batch, mark(1, 301))
        await other.close()
        monkeypatch.undo()
        await ours.open()
        await ours.load(batch, mark(1, 301))
    assert await ask(database, "SELECT count(*) FROM sip_capture") == [(301,)]


async def test_a_load_that_is_cancelled_leaves_nothing(database: str) -> None:
    async with opened(store(database)) as ours:
        await ours.load(ONE, mark(0, 1))
        other = await asyncpg.connect(database)
        await other.execute("BEGIN; LOCK TABLE sip_capture")
        load = asyncio.create_task(ours.load(ONE, mark(1, 2)))
        await until_blocked(database)
        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load
        await other.close()
        await ours.open()
        await ours.load(ONE, mark(2, 3))
    assert await ask(database, f"SELECT first FROM {MARKS} ORDER BY 1") == [(0,), (2,)]


# ── content ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def load_poison(database: str, statements: str, said: str) -> None:
    """A batch with one row that the server refuses, then one without."""
    await ask(database, ddl(store(database)) + statements)
    async with opened(store(database)) as server:
        with pytest.raises(ContentError, match=said):
            await server.load(rows_of(SIP % b"good", SIP % b"poison"), mark(0, 2))
        assert await ask(database, f"SELECT (SELECT count(*) FROM sip_capture), (SELECT count(*) FROM {MARKS})") == [
            (0, 0)
        ]
        await server.load(rows_of(SIP % b"good"), mark(0, 1))
        with pytest.raises(ContentError, match=said):
            await server.load(rows_of(SIP % b"poison"), mark(1, 2))
        await server.load(rows_of(SIP % b"good"), mark(2, 3))
    assert await ask(database, "SELECT callid FROM sip_capture") == [("good",), ("good",)]


async def test_a_row_that_breaks_a_constraint_is_content(database: str) -> None:
    check = "ALTER TABLE sip_capture ADD CONSTRAINT no_poison CHECK (callid <> 'poison');"
    await load_poison(database, check, 'table sip_capture: new row .* violates check constraint "no_poison"$')


@pytest.mark.parametrize(
    ("when", "deferred"),
    [("TRIGGER taste BEFORE INSERT", ""), ("CONSTRAINT TRIGGER taste AFTER INSERT", "DEFERRABLE INITIALLY DEFERRED")],
    ids=["at once", "at the end of the transaction"],
)
async def test_a_row_that_a_trigger_refuses_is_content(database: str, when: str, deferred: str) -> None:
    trigger = f"""CREATE FUNCTION taste() RETURNS trigger AS $$ BEGIN
        IF NEW.callid = 'poison' THEN RAISE 'bitter'; END IF; RETURN NEW; END $$ LANGUAGE plpgsql;
        CREATE {when} ON sip_capture {deferred} FOR EACH ROW EXECUTE FUNCTION taste();"""
    await load_poison(database, trigger, "^table sip_capture: bitter$")


async def test_a_number_beyond_its_column_is_content(database: str) -> None:
    await ask(database, ddl(store(database)) + "ALTER TABLE sip_capture ALTER COLUMN destination_port TYPE smallint;")
    async with opened(store(database)) as server:
        with pytest.raises(
            ContentError, match="table sip_capture: column destination_port: 40000 is too much for int2"
        ):
            await server.load(ONE, mark(0, 1))
        await server.load(batch_of([sip(SIP % b"good", dst_port=5060)], EXTRAS), mark(0, 1))
    assert await ask(database, "SELECT callid FROM sip_capture") == [("good",)]


async def test_a_table_of_a_route_that_takes_no_rows_is_content(database: str) -> None:
    """Else the rows of all other tables would wait behind it."""
    await ask(database, ddl(store(database)) + "CREATE VIEW seen AS SELECT DISTINCT * FROM sip_capture;")
    await ask(database, "CREATE TABLE parts (LIKE sip_capture INCLUDING DEFAULTS) PARTITION BY RANGE (date)")
    await ask(database, "CREATE TABLE secret (LIKE sip_capture INCLUDING ALL); CREATE ROLE reader LOGIN")
    await ask(database, f"GRANT ALL ON sip_capture, {MARKS} TO reader; GRANT ALL ON sip_capture_id_seq TO reader")
    for table, said in {"seen": "cannot copy to view", "parts": "no partition of relation"}.items():
        async with opened(store(database)) as server:
            with pytest.raises(ContentError, match=f"table {table}: {said}"):
                await server.load(rows_of(SIP % b"x", table=table), mark(0, 1))
            await server.load(ONE, mark(0, 1))
            await ask(database, f"DELETE FROM {MARKS}")
    reader = database.replace("hep@", "reader@")
    async with opened(store(reader)) as server:
        for table, said in {
            "secret": "permission denied for table",
            "new": "cannot be made: permission denied",
        }.items():
            with pytest.raises(ContentError, match=f"table {table}.*{said}"):
                await server.load(rows_of(SIP % b"x", table=table), mark(0, 1))
        await server.load(ONE, mark(0, 1))
    async with opened(store(reader, table="secret")) as server:
        with pytest.raises(OSError, match="permission denied for table secret: grant the right"):
            await server.load(ONE, mark(1, 2))


async def test_a_missing_partition_is_content_for_a_clock_that_is_wrong_alone(database: str) -> None:
    await ask(database, "CREATE TABLE parts (id bigserial, date timestamp) PARTITION BY RANGE (date)")
    async with opened(store(database, table="parts")) as server:
        with pytest.raises(OSError, match="lacks micro_ts"):
            await server.load(ONE, mark(0, 1))
    await ask(database, "DROP TABLE parts;" + ddl(store(database)))
    await ask(database, "CREATE TABLE parts (LIKE sip_capture INCLUDING DEFAULTS) PARTITION BY RANGE (date)")
    near, far = bytes(sip(SIP % b"near")), bytes(sip(SIP % b"far", 2_335_219_200))
    async with opened(store(database, table="parts")) as server:
        with pytest.raises(OSError, match=r"no partition .* or a DEFAULT one"):
            await server.load(batch_of([near], EXTRAS), mark(0, 1))
        await server.open()
        for packets in ([near, far], [far]):
            with pytest.raises(ContentError, match="no partition"):
                await server.load(batch_of(packets, EXTRAS), mark(0, len(packets)))


async def test_what_is_said_of_a_row_does_not_quote_it(database: str) -> None:
    await ask(database, ddl(store(database)) + "ALTER TABLE sip_capture ADD COLUMN more int NOT NULL")
    async with opened(store(database)) as server:
        with pytest.raises(ContentError) as caught:
            await server.load(rows_of(SIP % b"whose-call"), mark(0, 1))
    assert 'null value in column "more"' in str(caught.value)
    assert "whose-call" not in str(caught.value)
