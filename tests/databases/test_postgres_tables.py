"""Tables of PostgreSQL as a store needs them: made, missing, changed by others; rights, and connections that fail."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import Callable
from urllib.parse import quote

import pytest
import structlog
from pydantic import ValidationError

from batches import batch_of
from hepswitch.databases import postgres as module
from hepswitch.databases.layouts.opensips import EXTRAS, Opensips
from hepswitch.databases.postgres import PostgresServer, ddl
from hepswitch.databases.server import MARKS, Mark
from hepswitch.destinations.databases import PostgresStore
from hepswitch.destinations.layout_tables import OpensipsTables
from postgres_stores import ONE, SIP, ask, mark, opened, rows_of, sip, store
from servers import Postgres
from traffic import calls, hep

DEADLINE = 30.0


# ── tables ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_connections_that_make_the_same_tables_at_once_agree(database: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(opened(store(database, table="t_%H_%M"))) for _ in range(6)]
        for minute in range(5):
            batch = batch_of([sip(SIP % b"x", 1_795_000_000 + 60 * minute)], EXTRAS)
            await asyncio.gather(
                *(each.load(batch, Mark(f"{i}", minute, minute + 1, 0)) for i, each in enumerate(servers))
            )
    for minute in range(5):
        assert await ask(database, f"SELECT count(*) FROM t_11_{6 + minute:02}") == [(6,)]


async def test_a_table_that_must_not_be_made_is_missed_in_words(database: str) -> None:
    ours = store(database, create=False)
    async with opened(ours) as server:
        with pytest.raises(OSError, match=r"has no table sip_capture: make it .*hepswitch ddl.*, or set create = true"):
            await server.load(ONE, mark(0, 1))
        await ask(database, ddl(ours))
        await server.open()
        await server.load(ONE, mark(0, 1))
    assert await ask(database, "SELECT callid FROM sip_capture") == [("one",)]


async def test_columns_that_are_missing_are_named_with_what_adds_them(database: str) -> None:
    await ask(
        database, ddl(store(database)) + "ALTER TABLE sip_capture DROP COLUMN ruri_domain, DROP COLUMN custom_field1;"
    )
    async with opened(store(database)) as server:
        with pytest.raises(OSError, match="table sip_capture lacks ruri_domain, custom_field1: ALTER TABLE") as error:
            await server.load(ONE, mark(0, 1))
        await ask(database, "ALTER" + str(error.value).partition("ALTER")[2])
        await server.open()
        await server.load(ONE, mark(0, 1))
    assert await ask(database, "SELECT ruri_domain, custom_field1 FROM sip_capture") == [("example.com", None)]


async def test_a_column_of_another_kind_is_named(database: str) -> None:
    await ask(
        database, ddl(store(database)) + "ALTER TABLE sip_capture DROP COLUMN source_ip, ADD COLUMN source_ip inet;"
    )
    async with opened(store(database)) as server:
        with pytest.raises(
            OSError, match="table sip_capture: column source_ip is of type inet, which cannot be written"
        ):
            await server.load(ONE, mark(0, 1))


async def test_a_partition_that_is_missing_is_like_a_table(database: str) -> None:
    await ask(database, ddl(store(database)) + "ALTER TABLE sip_capture RENAME TO model;")
    await ask(database, "CREATE TABLE sip_capture (LIKE model INCLUDING DEFAULTS) PARTITION BY RANGE (date)")
    async with opened(store(database)) as server:
        with pytest.raises(OSError, match=r"no partition of relation .*2026-11-18 .*: make it, or a DEFAULT one"):
            await server.load(ONE, mark(0, 1))
        await ask(database, "CREATE TABLE later PARTITION OF sip_capture DEFAULT")
        await server.open()
        await server.load(ONE, mark(0, 1))
    assert await ask(database, "SELECT callid FROM later") == [("one",)]


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
async def test_a_table_that_changes_meanwhile_is_looked_at_again(database: str, change: str, said: str) -> None:
    async with opened(store(database)) as server:
        await server.load(ONE, mark(0, 1))
        await ask(database, change)
        with pytest.raises(OSError, match=said):
            await server.load(ONE, mark(1, 2))
        await ask(database, "ALTER TABLE IF EXISTS sip_capture ADD COLUMN IF NOT EXISTS source_port int")
        await server.open()
        await server.load(ONE, mark(1, 2))
        assert (await server.rows("SELECT source_port FROM sip_capture"))[-1] == {"source_port": 5060}


async def test_the_ddl_can_be_run_again_and_makes_what_create_makes(database: str) -> None:
    everything = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
    columns = """SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default
        FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, ordinal_position"""
    indexes = ("date", "callid", "from_user", "via_1_branch")
    statements = ddl(store(database, table="c_%Y", indexes=indexes))
    assert all(each.endswith(");") for each in statements.split("\n") if each.endswith(";"))
    await ask(database, statements)
    await ask(database, statements)
    made = [await ask(database, sql) for sql in (everything, columns)]
    await ask(database, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    async with opened(store(database, table=f"c_{datetime.datetime.now(datetime.UTC):%Y}", indexes=indexes)) as server:
        report = batch_of([sip(b"{}", proto_type=100)], EXTRAS)
        for i, batch in enumerate((ONE, report, rows_of(SIP % b"x", direction="out"))):
            await server.load(batch, mark(i, i + 1))
    assert made == [await ask(database, sql) for sql in (everything, columns)]
    assert len(made[1]) == 1 + 43 + 1 + 13 + 16 + 4


async def test_names_of_indexes_differ_where_names_of_tables_are_long(database: str) -> None:
    async with opened(store(database, table="a" * 53 + "_%Y%m%d")) as server:
        for day in range(2):
            await server.load(batch_of([sip(SIP % b"x", 1_795_000_000 + 86_400 * day)], EXTRAS), mark(day, day + 1))
    found = await ask(database, "SELECT count(*) FROM pg_indexes WHERE tablename LIKE 'aaa%' AND indexname LIKE '%idx'")
    assert found == [(4,)]


async def test_a_name_that_grows_too_long_is_told(database: str) -> None:
    async with opened(store(database, table="a" * 57 + "%Y%m%d")) as server:
        with pytest.raises(
            OSError, match=r"the name of table 'a{57}20261118' is too long: PostgreSQL takes 63 letters"
        ):
            await server.load(ONE, mark(0, 1))


@pytest.mark.parametrize("indexes", [["nothing"], ["msg"], ["date", "date"]])
def test_indexes_must_be_of_columns_that_can_have_one(indexes: list[str]) -> None:
    with pytest.raises((ValueError, ValidationError), match="indexes: "):
        Opensips(OpensipsTables(indexes=tuple(indexes)))


# ── layout homer7 ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_homers_tables_are_made_filled_and_tended(database: str) -> None:
    homer = PostgresStore(url=database, layout="homer7")
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


async def test_the_ddl_of_homers_tables_is_all_that_a_store_needs(database: str) -> None:
    homer = PostgresStore(url=database, layout="homer7", create=False)
    async with opened(homer) as server:
        batch = batch_of([sip(SIP % b"old")], server.layout.extras)
        with pytest.raises(OSError, match="has no table hep_proto_1_call: make it"):
            await server.load(batch, mark(0, 1))
        for _ in range(2):
            await ask(database, ddl(homer))
        await server.open()
        await server.load(batch, mark(0, 1))
        await server.maintain()
    assert await ask(database, "SELECT sid, create_date FROM hep_proto_1_call") == [
        ("old", datetime.datetime(2026, 11, 18, 11, 6, 40, 250_000, tzinfo=datetime.UTC))
    ]


# ── rights and connections ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def as_guest(postgres_server: Postgres, database: str) -> Callable[[str], str]:
    """The URL for a user without rights, who needs the password "right"; its name is new with each test."""
    name = f"guest_{database.rpartition('/')[2]}"
    rules = postgres_server.folder / "data" / "pg_hba.conf"
    rules.write_text(f"host all {name} 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
    await ask(postgres_server.url, f"CREATE ROLE {name} LOGIN PASSWORD 'right'; SELECT pg_reload_conf()")
    return lambda database: database.replace("hep@", f"{name}@")


def guest_store(database: str, password: str | None = "right", create: bool = True) -> PostgresStore:
    return PostgresStore(url=database, password=password, create=create)


async def test_a_wrong_password_is_told(database: str, as_guest: Callable[[str], str]) -> None:
    async with asyncio.timeout(DEADLINE):
        while True:  # until the server has read its rules again
            try:
                async with opened(guest_store(as_guest(database), "wrong")):
                    await asyncio.sleep(0.01)
            except OSError as error:
                said = str(error)
                break
    assert 'password authentication failed for user "guest_' in said
    assert "see `password` and the user in `url` of the store" in said
    async with opened(guest_store(as_guest(database), "right")) as server:
        assert await server.rows("SELECT 1 AS one") == [{"one": 1}]


async def test_rights_that_are_missing_are_told_and_marks_are_done_without(
    database: str, as_guest: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_warned", set())
    guest = as_guest(database).partition("//")[2].partition("@")[0]
    with structlog.testing.capture_logs() as logs:
        async with opened(guest_store(as_guest(database))) as server:
            with pytest.raises(
                OSError, match="permission denied for schema public: grant the right to the user in `url`"
            ):
                await server.load(ONE, mark(0, 1))
            await ask(database, ddl(store(database)) + f"DROP TABLE {MARKS};")
            await server.open()
            with pytest.raises(OSError, match="permission denied for table sip_capture: grant the right"):
                await server.load(ONE, mark(0, 1))
            await ask(database, f"GRANT INSERT ON sip_capture TO {guest}; GRANT USAGE ON sip_capture_id_seq TO {guest}")
            await server.open()
            await server.load(ONE, mark(0, 1))
    assert [each["event"] for each in logs] == [
        f"no marks in table {MARKS}: a batch may be stored twice when the connection breaks"
    ]
    assert logs[0]["reason"] == "permission denied for schema public"
    assert await ask(database, "SELECT count(*) FROM sip_capture") == [(1,)]


async def test_a_database_that_takes_nothing_is_away(database: str) -> None:
    async with opened(store(database)) as server:
        await server.load(ONE, mark(0, 1))
        await ask(database, f"ALTER DATABASE {database.rpartition('/')[2]} SET default_transaction_read_only = on")
        await server.open()
        with pytest.raises(OSError, match="in a read-only transaction: give the URL of the primary"):
            await server.load(ONE, mark(1, 2))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            lambda database: database.rpartition("/")[0] + "/nowhere",
            'database "nowhere" does not exist: make it with CREATE DATABASE',
        ),
        (
            lambda database: database.replace("hep@", "nobody@"),
            'role "nobody" does not exist: see `password` and the user',
        ),
        (lambda database: "postgresql://hep@127.0.0.1:1/hep", "PostgreSQL 127.0.0.1:1/hep cannot be reached: "),
        (lambda database: database + "?sslmode=require", "cannot be reached: .*rejected SSL"),
    ],
)
async def test_a_server_that_cannot_be_had_is_told(database: str, wrong: Callable[[str], str], said: str) -> None:
    with pytest.raises(OSError, match=said):
        await PostgresServer(store(wrong(database))).open()


async def test_a_socket_folder_may_be_the_host(postgres_server: Postgres) -> None:
    database = f"postgresql://hep@{quote(str(postgres_server.folder), safe='')}:{postgres_server.port}/hep"
    async with opened(store(database)) as ours:
        found = await ours.rows(
            "SELECT application_name AS name, client_port FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        )
        assert found == [{"name": "hepswitch", "client_port": -1}]
