"""ClickHouse as a store: what is loaded is there once, as the lake would have it. The engine is ClickHouse's own."""

from __future__ import annotations

import asyncio
import itertools
import re
import signal
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from batches import batch_of
from hepswitch.databases import clickhouse_http
from hepswitch.databases.clickhouse import ClickhouseServer, ddl
from hepswitch.databases.clickhouse_tables import statements
from hepswitch.databases.layouts.messages import as_in_lake
from hepswitch.databases.server import ContentError, Mark
from hepswitch.destinations.databases import ClickhouseStore
from hepswitch.wire.hep import Hep
from servers import ClickHouse, clickhouse
from traffic import calls, hep

JOURNAL = "0123456789abcdef" * 2
NAMES = (f"t{number}" for number in itertools.count())
VECTORS = sorted((Path(__file__).parents[1] / "vectors").glob("*.hep"))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    with clickhouse(tmp_path_factory.mktemp("clickhouse")) as running:
        yield running


@pytest.fixture
def table() -> str:
    return next(NAMES)


def store_in(engine: ClickHouse, table: str, **keys: Any) -> ClickhouseStore:
    return ClickhouseStore.model_validate({"url": engine.url, "password": "secret", "table": table, **keys})


@asynccontextmanager
async def connected(store: ClickhouseStore) -> AsyncIterator[ClickhouseServer]:
    server = ClickhouseServer(store)
    try:
        await server.open()
        yield server
    finally:
        await server.close()


def mark(first: int, last: int, done: int = 0) -> Mark:
    return Mark(JOURNAL, first, last, done)


def change(engine: ClickHouse, sql: str) -> None:
    """Do as somebody else does on this server."""
    other = clickhouse_http.Http(clickhouse_http.Address.parse(engine.url), "secret")
    try:
        other.ask("POST", {"query": sql})
    finally:
        other.close()


async def stored(server: ClickhouseServer, table: str) -> list[dict[str, Any]]:
    rows = await server.rows(f"SELECT * FROM {table} ORDER BY ts, received_ts, call_id, payload, custom_field1")
    return [as_in_lake(row) for row in rows]


def wanted(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows as the lake has them, as the table says it: nothing and empty are one."""
    rows = [
        {name: None if value in ("", b"") else value for name, value in row.items() if name != "store_table"}
        for row in batch.to_pylist()
    ]
    key = ("ts", "received_ts", "call_id", "payload", "custom_field1")
    return sorted(rows, key=lambda row: [(row[name] is not None, row[name]) for name in key])


def packet_at(second: int, payload: bytes = b"x") -> bytes:
    chunks = [(9, struct.pack(">I", second)), (11, b"\x64"), (15, payload)]
    body = b"".join(struct.pack(">HHH", 0, number, len(value) + 6) + value for number, value in chunks)
    return b"HEP3" + struct.pack(">H", len(body) + 6) + body


async def test_every_field_is_that_of_the_lake(engine: ClickHouse, table: str) -> None:
    packets = [path.read_bytes() for path in VECTORS] + [hep(message) for message in calls(30)]
    batch = batch_of(packets)
    async with connected(store_in(engine, table)) as server:
        await server.load(batch, mark(0, batch.num_rows))
        assert await stored(server, table) == wanted(batch)
    assert batch.num_rows == len(VECTORS) + 210


HOSTILE = [
    b"'; DROP TABLE messages; --", b"\\N", b"\\", b"\\0\\t\\n", b"a\0b\0", b"\xff\xfe\x80 broken", b"\xf0\x9f\x93\x9e emoji",
    b"\"`{p1:String}`\"", b"%s %d {} $1 ?", b"\r\n\t", b"x" * 60_000, bytes(range(256)),
]  # fmt: skip


async def test_hostile_content_comes_back_as_it_was(engine: ClickHouse, table: str) -> None:
    sip = (
        b"INVITE sip:%s@b SIP/2.0\r\nCall-ID: %s\r\nFrom: <sip:%s@a>;tag=%s\r\nCSeq: 1 INVITE\r\nUser-Agent: %s\r\n\r\n"
    )
    packets = [packet_at(1_795_000_000 + number, value) for number, value in enumerate(HOSTILE)]
    for number, value in enumerate(HOSTILE[:-2]):
        word = value.replace(b"\r\n", b"")
        packets.append(packet_at(1_795_000_100 + number, sip % ((word,) * 5)))
    batch = batch_of(packets, custom_field1="it's \0 \\N", custom_field2="\\", custom_field3="\U0001f4de")
    async with connected(store_in(engine, table)) as server:
        await server.load(batch, mark(0, batch.num_rows))
        rows = await stored(server, table)
        assert rows == wanted(batch)
        assert [row["payload"] for row in rows[: len(HOSTILE)]] == HOSTILE
        for row in rows[len(HOSTILE) :]:
            sql = (
                f"SELECT call_id FROM {table} WHERE call_id = {{p1:String}} AND payload = {{p2:String}} "
                "AND ts = {p3:DateTime64(6, 'UTC')}"
            )
            if row["payload"].isascii():  # the engine's own interface takes parameters that are text
                assert await server.rows(sql, (row["call_id"] or "", row["payload"], row["ts"])) == [
                    {"call_id": row["call_id"] or ""}
                ]


async def test_the_same_mark_is_loaded_once(engine: ClickHouse, table: str) -> None:
    batch = batch_of(hep(message) for message in calls(3))
    store = store_in(engine, table)
    async with connected(store) as server:
        await server.load(batch, mark(0, 21))
        await server.load(batch, mark(0, 21))
        await server.load(batch, mark(21, 42, done=21))  # the same rows as other frames
        assert len(await stored(server, table)) == 42
    async with connected(store) as server:
        await server.load(batch, mark(21, 42, done=21))
        assert len(await stored(server, table)) == 42


async def test_the_option_to_gather_inserts(engine: ClickHouse, table: str) -> None:
    batch = batch_of(hep(message) for message in calls(3))
    async with connected(store_in(engine, table, async_insert=True)) as server:
        await asyncio.gather(server.load(batch, mark(0, 21)), server.load(batch, mark(0, 21)))
        assert await stored(server, table) == wanted(batch)


async def test_clocks_of_all_times_go_into_one_part(engine: ClickHouse, table: str) -> None:
    batch = batch_of(packet_at(number * 21_474_836) for number in range(1, 201))
    async with connected(store_in(engine, table)) as server:
        await server.load(batch, mark(0, 200))
        assert await stored(server, table) == wanted(batch)
        (found,) = await server.rows(f"SELECT count() parts FROM system.parts WHERE table = '{table}'")
        assert found == {"parts": 1}


async def test_tables_of_a_route_and_of_a_day(engine: ClickHouse, table: str) -> None:
    packets = [Hep(packet_at(second), 1_795_000_100.5) for second in (1_795_046_399, 1_795_046_400)]  # midnight
    batch = batch_of([*packets, *packets])
    said = pa.array([None, None, f"{table}_route", f"{table}_route"])
    batch = batch.set_column(batch.schema.get_field_index("store_table"), "store_table", said)
    async with connected(store_in(engine, f"{table}_%Y%m%d")) as server:
        await server.load(batch, mark(0, 4))
        await server.load(batch, mark(0, 4))
        counts = [len(await stored(server, f"{table}_{end}")) for end in ("20261118", "20261119", "route")]
        assert counts == [1, 1, 2]


async def test_a_database_with_an_odd_name(engine: ClickHouse, table: str) -> None:
    change(engine, "CREATE DATABASE `it's a \\`\\\\ name`")
    batch = batch_of([packet_at(1_795_000_000)])
    url = engine.url.removesuffix("hep") + quote("it's a `\\ name")
    async with connected(store_in(engine, table, url=url)) as server:
        await server.load(batch, mark(0, 1))
        assert await stored(server, table) == wanted(batch)


# ── servers that are away ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_server_that_hangs(engine: ClickHouse, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = batch_of(hep(message) for message in calls(3))
    async with connected(store_in(engine, table)) as server:
        await server.load(batch, mark(0, 21))
        monkeypatch.setattr(clickhouse_http, "ANSWER_TIMEOUT", 0.3)
        await server.open()
        engine.signal(signal.SIGSTOP)
        try:
            with pytest.raises(OSError, match="does not answer"):
                await server.load(batch, mark(21, 42))
            with pytest.raises(OSError, match="does not answer"):
                await server.open()
        finally:
            engine.signal(signal.SIGCONT)
        monkeypatch.undo()
        await server.open()
        await server.load(batch, mark(21, 42))  # which the server may have done meanwhile
        assert len(await stored(server, table)) == 42


async def test_a_server_that_is_killed(tmp_path: Path) -> None:
    batch = batch_of(hep(message) for message in calls(3))
    with clickhouse(tmp_path) as engine:
        server = ClickhouseServer(store_in(engine, "messages"))
        await server.open()
        await server.load(batch, mark(0, 21))
        engine.stop()
        with pytest.raises(OSError, match="clickhouse://"):
            await server.load(batch, mark(21, 42))
        with pytest.raises(OSError, match=r"is ClickHouse there, with HTTP\?"):
            await server.open()
        engine.start()
        await server.open()
        await server.load(batch, mark(0, 21))  # the answer may have been lost
        await server.load(batch, mark(21, 42))
        assert len(await stored(server, "messages")) == 42
        await server.close()


async def test_closing_ends_a_load(engine: ClickHouse, table: str) -> None:
    batch = batch_of(hep(message) for message in calls(3))
    async with connected(store_in(engine, table)) as server:
        await server.load(batch, mark(0, 21))
        engine.signal(signal.SIGSTOP)
        try:
            load = asyncio.create_task(server.load(batch, mark(21, 42)))
            await asyncio.sleep(0)
            started = time.monotonic()
            await server.close()
            assert time.monotonic() - started < clickhouse_http.ANSWER_TIMEOUT / 2
        finally:
            engine.signal(signal.SIGCONT)
        with pytest.raises(OSError, match="clickhouse://"):
            await load


# ── rows that are refused ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_row_that_is_never_taken(engine: ClickHouse, table: str) -> None:
    batch = batch_of(packet_at(1_795_000_000 + number, b"%d" % number) for number in range(4))
    store = store_in(engine, table)
    async with connected(store) as server:
        await server.load(batch.slice(0, 1), mark(0, 1))
        change(engine, f"ALTER TABLE {table} ADD CONSTRAINT no_two CHECK payload != '2'")
        with pytest.raises(ContentError, match="no_two"):
            await server.load(batch.slice(1), mark(1, 4))
        assert len(await stored(server, table)) == 1
        await server.load(batch.slice(1, 1), mark(1, 2))
        await server.load(batch.slice(3, 1), mark(3, 4))
        assert [row["payload"] for row in await stored(server, table)] == [b"0", b"1", b"3"]


async def test_what_one_of_two_tables_took_is_not_doubled_when_the_other_refuses(
    engine: ClickHouse, table: str
) -> None:
    batch = batch_of(packet_at(1_795_000_000 + number, b"%d" % number) for number in range(4))
    said = pa.array([f"{table}_a", f"{table}_a", f"{table}_b", f"{table}_b"])
    batch = batch.set_column(batch.schema.get_field_index("store_table"), "store_table", said)
    for statement in statements(store_in(engine, "x"), "hep", f"{table}_b"):
        change(engine, statement)
    change(engine, f"ALTER TABLE {table}_b ADD CONSTRAINT no_two CHECK payload != '2'")
    async with connected(store_in(engine, table)) as server:
        with pytest.raises(ContentError):
            await server.load(batch, mark(0, 4))
        await server.load(batch.slice(0, 2), mark(0, 2))
        with pytest.raises(ContentError):
            await server.load(batch.slice(2, 1), mark(2, 3))
        await server.load(batch.slice(3, 1), mark(3, 4))
        rows = await stored(server, f"{table}_a") + await stored(server, f"{table}_b")
        assert [row["payload"] for row in rows] == [b"0", b"1", b"3"]
        # Another batch is none of these, and once all before it is done they are forgotten.
        await server.load(batch.slice(0, 2), mark(4, 6, done=4))
        assert len(await stored(server, f"{table}_a")) == 4


# ── tables and users that are not as they must be ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"password": "wrong"}, "Authentication failed.* check the user in url, and password"),
        ({"url": "{0}x"}, "hepx.* make it: CREATE DATABASE"),
    ],
)
async def test_a_server_that_does_not_let_us_in(
    engine: ClickHouse, table: str, keys: dict[str, str], words: str
) -> None:
    store = store_in(engine, table, **{name: value.format(engine.url) for name, value in keys.items()})
    with pytest.raises(OSError, match=words):
        async with connected(store):
            pass


async def test_a_table_that_is_not_made(engine: ClickHouse, table: str) -> None:
    batch = batch_of([packet_at(1_795_000_000)])
    store = store_in(engine, table, create=False)
    async with connected(store) as server:
        with pytest.raises(OSError, match=rf"table hep\.{table} is missing: make it with what `hepswitch ddl` prints"):
            await server.load(batch, mark(0, 1))
        for statement in ddl(store).removesuffix(";\n").split(";\n"):
            change(engine, statement)
        await server.load(batch, mark(0, 1))
        change(engine, f"DROP TABLE {table}")
        with pytest.raises(OSError, match=table):
            await server.load(batch, mark(1, 2))


async def test_a_view_that_a_route_named_is_content(engine: ClickHouse, table: str) -> None:
    async with connected(store_in(engine, table)) as server:
        await server.load(batch_of([packet_at(1)]), mark(0, 1))
        change(engine, f"CREATE VIEW hep.{table}_seen AS SELECT * FROM hep.{table}")
        with pytest.raises(ContentError, match="View") as caught:
            await server.load(batch_of([packet_at(2)], table=f"{table}_seen"), mark(1, 2))
        assert caught.value.table == f"{table}_seen"
        await server.load(batch_of([packet_at(3)]), mark(1, 2))
        assert len(await stored(server, table)) == 2
    async with connected(store_in(engine, f"{table}_seen")) as server:
        with pytest.raises(OSError, match="View"):
            await server.load(batch_of([packet_at(2)]), mark(2, 3))


async def test_a_table_that_went_away_is_made_again(engine: ClickHouse, table: str) -> None:
    batch = batch_of([packet_at(1_795_000_000)])
    async with connected(store_in(engine, table)) as server:
        await server.load(batch, mark(0, 1))
        change(engine, f"DROP TABLE {table} SYNC")
        with pytest.raises(OSError, match=table):
            await server.load(batch, mark(1, 2))
        await server.load(batch, mark(1, 2))
        assert len(await stored(server, table)) == 1


@pytest.mark.parametrize(
    ("change_to", "words"),
    [
        ("DROP COLUMN user_agent", r"lacks the columns user_agent: ALTER TABLE … ADD COLUMN user_agent LowCardinality"),
        (
            "MODIFY COLUMN src_port String DEFAULT ''",
            r"has a column src_port of type String, which must be Nullable\(UInt16\)",
        ),
        ("MODIFY COLUMN method UInt8", "has a column method of type UInt8, which must be LowCardinality"),
    ],
)
async def test_columns_that_will_not_do(engine: ClickHouse, table: str, change_to: str, words: str) -> None:
    for statement in statements(store_in(engine, table), "hep", table):
        change(engine, statement)
    change(engine, f"ALTER TABLE {table} {change_to}")
    async with connected(store_in(engine, table)) as server:
        with pytest.raises(OSError, match=words):
            await server.load(batch_of([packet_at(1_795_000_000)]), mark(0, 1))


async def test_a_table_that_was_changed_meanwhile_is_not_the_fault_of_rows(engine: ClickHouse, table: str) -> None:
    batch = batch_of([packet_at(1_795_000_000)], custom_field1="no number")
    async with connected(store_in(engine, table)) as server:
        await server.load(batch, mark(0, 1))
        change(engine, f"TRUNCATE TABLE {table}")
        change(engine, f"ALTER TABLE {table} MODIFY COLUMN custom_field1 UInt8")
        with pytest.raises(OSError, match=r"column custom_field1 of type UInt8, which must be String"):
            await server.load(batch, mark(1, 2))


async def test_columns_of_ones_own_and_wider_types_will_do(engine: ClickHouse, table: str) -> None:
    for statement in statements(store_in(engine, table), "hep", table):
        change(engine, statement)
    change(
        engine,
        f"ALTER TABLE {table} ADD COLUMN tenant String DEFAULT from_domain, MODIFY COLUMN status Nullable(Int64)",
    )
    change(engine, f"ALTER TABLE {table} MODIFY COLUMN method String, MODIFY COLUMN node_name Nullable(String)")
    batch = batch_of(hep(message) for message in calls(3))
    async with connected(store_in(engine, table)) as server:
        await server.load(batch, mark(0, 21))
        rows = await stored(server, table)
        assert {row.pop("tenant") for row in rows} == {"voice.example.net"}
        assert rows == wanted(batch)


async def test_a_table_that_forgets_inserts_is_told_of_once(engine: ClickHouse, table: str) -> None:
    for statement in statements(store_in(engine, table), "hep", table):
        change(
            engine,
            statement.replace("non_replicated_deduplication_window = 10000", "non_replicated_deduplication_window = 0"),
        )
    batch = batch_of([packet_at(1_795_000_000)])
    async with connected(store_in(engine, table)) as server:
        with structlog.testing.capture_logs() as said:
            await server.load(batch, mark(0, 1))
            await server.open()
            await server.load(batch, mark(1, 2))
        assert [(each["table"], each["log_level"]) for each in said] == [(f"hep.{table}", "warning")]
        change(engine, said[0]["remedy"])
        await server.load(batch, mark(2, 3))
        await server.load(batch, mark(2, 3))
        assert len(await stored(server, table)) == 3


# ── retention, reading, statements ─────────────────────────────────────────────────────────────────────────────────────


async def test_retention_goes_by_arrival_and_follows_the_configuration(engine: ClickHouse, table: str) -> None:
    now = time.time()
    fresh = batch_of(Hep(packet_at(second), now) for second in (0, 1, 4_000_000_000))
    old = batch_of([Hep(packet_at(int(now)), now - 3 * 86_400)])
    async with connected(store_in(engine, table)) as server:
        await server.load(fresh, mark(0, 3))
        await server.maintain()
    async with connected(store_in(engine, table, keep="2d")) as server:
        await server.maintain()
        await server.maintain()
        await server.load(old, mark(3, 4))
        change(engine, f"OPTIMIZE TABLE {table} FINAL")
        assert len(await stored(server, table)) == 3
        (found,) = await server.rows(f"SELECT engine_full FROM system.tables WHERE name = '{table}'")
        assert "TTL toDateTime(received_ts) + toIntervalSecond(172800)" in found["engine_full"]


async def test_rows(engine: ClickHouse) -> None:
    moment = datetime(2026, 11, 25, 19, 30, 0, 123456, UTC)
    async with connected(store_in(engine, "x")) as server:
        sql = (
            "SELECT {p1:String} text, {p2:Array(String)} texts, {p3:DateTime64(6, 'UTC')} moment, {p4:Nullable(UInt16)} "
            "nothing, {p5:UInt64} number, {p6:Bool} truth, unhex('ff00') bytes, 'x' payload"
        )
        values = ("it's\t\\N\r\n\0é", ["a'b", "\\", "\n"], moment, None, 2**64 - 1, True)
        assert await server.rows(sql, values) == [
            {
                "text": values[0], "texts": values[1], "moment": moment, "nothing": None, "number": 2**64 - 1, "truth": True,
                "bytes": b"\xff\0", "payload": b"x",
            }
        ]  # fmt: skip
        assert await server.rows("SELECT 1 x WHERE 0") == []
        (row,) = await server.rows(
            "SELECT toDateTime64('2026-11-25 20:30:00.5', 9, 'Europe/Berlin') x, toDate('2026-11-25') y"
        )
        assert row == {"x": datetime(2026, 11, 25, 19, 30, 0, 500_000, UTC), "y": date(2026, 11, 25)}
        for wrong in ("SELECT", "SELECT nix", "SELECT {p1:UInt8}", "DROP TABLE x"):
            with pytest.raises(ValueError, match="code"):
                await server.rows(wrong, ("y",) if "p1" in wrong else ())
        with pytest.raises(OSError, match="nix"):
            await server.rows("SELECT * FROM nix")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))), st.text(st.characters(exclude_categories=["Cs"])))
@settings(max_examples=30)
async def test_any_text_is_a_value(engine: ClickHouse, texts: list[str], text: str) -> None:
    async with connected(store_in(engine, "x")) as server:
        rows = await server.rows("SELECT {p1:Array(String)} texts, {p2:String} text", (texts, text))
        assert rows == [{"texts": texts, "text": text}]


async def test_a_call_is_found_by_the_indexes(engine: ClickHouse, table: str) -> None:
    batch = batch_of(hep(message) for message in calls(3000, per_second=0.5))  # 100 minutes
    async with connected(store_in(engine, table)) as server:
        await server.load(batch, mark(0, batch.num_rows))
        for column in ("call_id", "from_user"):
            value = batch.column(column)[1000].as_py()
            plan = await server.rows(
                f"EXPLAIN indexes = 1 SELECT * FROM {table} WHERE {column} = {{p1:String}}", (value,)
            )
            said = " ".join(row["explain"].strip() for row in plan)
            assert f"Name: {column}_bloom" in said
            assert re.search(r"Granules: 1/[23]\b", said.partition(f"Name: {column}_bloom")[2])
        plan = await server.rows(
            f"EXPLAIN indexes = 1 SELECT * FROM {table} WHERE ts < {{p1:DateTime64(6, 'UTC')}}",
            (datetime.fromtimestamp(1_794_999_600 + 3600, UTC),),
        )
        assert "Granules: 2/3" in " ".join(row["explain"].strip() for row in plan)


@pytest.mark.parametrize(
    "keys", [{}, {"keep": "7d"}, {"table": "messages_%Y%m%d"}, {"cluster": "{cluster}", "keep": "7d"}]
)
def test_ddl_is_what_the_engine_understands(engine: ClickHouse, keys: dict[str, str]) -> None:
    text = ddl(store_in(engine, **{"table": "messages", **keys}))
    assert text.endswith(";\n")
    made = text.removesuffix(";\n").split(";\n")
    assert len(made) == (2 if "cluster" in keys else 1)
    for statement in made:
        change(engine, f"EXPLAIN AST {statement}")
    if "cluster" in keys:
        assert "`hep`.`messages_local` ON CLUSTER '{cluster}'" in made[0]
        assert "replicated_deduplication_window = 10000" in made[0]
        assert "Distributed('{cluster}', 'hep', 'messages_local'" in made[1]


# ── configuration ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("clickhouse://h", "names no database"),
        ("clickhouse://u:p@h/d", "the password does not belong into the URL"),
        ("clickhouses://h/d?tls=yes", "the URL knows no option tls: it may have ca, cert, key, verify"),
        ("clickhouse://h/d?ca=x.pem", "ca in the URL is for TLS: write clickhouses://, or leave it away"),
        ("clickhouses://h/d?verify=maybe", "verify=maybe in the URL is neither yes nor no"),
        ("clickhouses://h/d?key=x.pem", "cert and key in the URL come together"),
    ],
)
def test_urls_that_will_not_do(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ClickhouseStore.model_validate({"url": url})


def test_files_are_those_beside_the_configuration() -> None:
    store = ClickhouseStore(url="clickhouses://h/d?ca=ca.pem&verify=yes")
    assert (
        store.anchored(Path("/etc/hepswitch").joinpath).url == "clickhouses://h/d?ca=/etc/hepswitch/ca.pem&verify=yes"
    )


@pytest.mark.parametrize("cluster", ["it's", "a b", "a'; DROP TABLE x"])
def test_names_of_clusters(cluster: str) -> None:
    with pytest.raises(ValueError, match="cluster"):
        ClickhouseStore.model_validate({"url": "clickhouse://h/d", "cluster": cluster})
