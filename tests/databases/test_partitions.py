"""Partitions of Homer's tables in a real PostgreSQL: names, on demand, ahead, old ones, several nodes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import asyncpg
import pyarrow as pa
import pytest

from hepswitch.databases import partitions
from hepswitch.databases.layouts.homer7 import PARENTS, SHAPE
from hepswitch.databases.layouts.shape import Piece
from hepswitch.databases.partitions import Partitions, statements
from hepswitch.destinations.databases import PostgresStore
from hepswitch.destinations.layout_tables import Homer7Tables

CALL = "hep_proto_1_call"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOON = datetime(2026, 11, 25, 12, 30, tzinfo=UTC)

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@pytest.fixture
async def connection(database: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(database, server_settings={"timezone": "America/New_York"})
    yield opened
    await opened.close()


def store(create: bool = True, **tables: Any) -> PostgresStore:
    return PostgresStore(url="postgresql://hep@h/d", layout="homer7", create=create, homer7=Homer7Tables(**tables))


FEW: dict[str, Any] = {f"step_{each}": "24h" for each in ("sip", "qos", "log", "isup")} | {
    "ahead": "1h",
    "indexes": "small",
}
"""Partitions of a day, so that there are not many."""


def piece(*moments: datetime, table: str = CALL) -> Piece:
    """A row of a table for each of the times; `sid` is its number."""
    count = len(moments)
    columns = [
        pa.array([str(i) for i in range(count)]),
        pa.array(moments, pa.timestamp("us", "UTC")),
        pa.array(["{}"] * count),
        pa.array(["{}"] * count),
        pa.array([b"raw"] * count, pa.binary()),
    ]
    return Piece(table, SHAPE, pa.RecordBatch.from_arrays(columns, [column.name for column in SHAPE.columns]))


async def insert(connection: Connection, *moments: datetime, table: str = CALL) -> None:
    rows = [(str(i), moment, "{}", "{}", "raw") for i, moment in enumerate(moments)]
    await connection.copy_records_to_table(table, records=rows, columns=[column.name for column in SHAPE.columns])


async def partitions_of(connection: Connection, parent: str = CALL) -> list[str]:
    query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = to_regclass($1) ORDER BY 1"
    return [row[0] for row in await connection.fetch(query, parent)]


async def indexes_of(connection: Connection, table: str) -> dict[str, str]:
    query = "SELECT indexname, regexp_replace(indexdef, '.* USING ', '') FROM pg_indexes WHERE tablename = $1"
    return dict(await connection.fetch(query, table))


async def where(connection: Connection, parent: str = CALL) -> dict[str, int]:
    query = f"SELECT tableoid::regclass::text, count(*) FROM {parent} GROUP BY 1"
    return dict(await connection.fetch(query))


PROTOCOL = ("srcIp", "dstIp", "correlation_id")
SIP = ("ruri_domain", "ruri_user", "from_user", "to_user", "pid_user", "auth_user", "callid", "method")
ISUP = ("called_number", "calling_number", "opc", "dpc", "cic", "msg_name", "callid")


def expected_indexes(partition: str) -> dict[str, str]:
    found = {"create_date": "btree (create_date)", "sid": "btree (sid)"}
    for field in ("correlation_id",) if "_54_" in partition else PROTOCOL:
        found[field] = f"btree (((protocol_header ->> '{field}'::text)))"
    for field in SIP if "_1_" in partition else ISUP if "_54_" in partition else ():
        found[field] = f"btree (((data_header ->> '{field}'::text)))"
    return {f"{partition}_{field}".lower(): text for field, text in found.items()}


async def test_names_are_those_of_heplify_server(connection: Connection) -> None:
    await Partitions(store(ahead="6h")).tend(connection, NOON)
    two_hours = ["20261125_1200", "20261125_1400", "20261125_1600", "20261125_1800"]
    six_hours = ["20261125_1200", "20261125_1800"]
    expected = {
        "hep_proto_1_call": two_hours,
        "hep_proto_1_registration": two_hours,
        "hep_proto_1_default": two_hours,
        "hep_proto_5_default": six_hours,
        "hep_proto_35_default": six_hours,
        "hep_proto_53_default": six_hours,
        "hep_proto_54_default": six_hours,
        "hep_proto_100_default": two_hours,
    }
    assert set(expected) == set(PARENTS)
    for parent, starts in expected.items():
        names = [f"{parent}_{start}" for start in starts]
        assert await partitions_of(connection, parent) == [*names, f"{parent}_other"]
        for name in names:
            assert await indexes_of(connection, name) == expected_indexes(name)
    columns = await connection.fetch(
        "SELECT column_name, data_type, is_nullable, column_default FROM information_schema.columns "
        "WHERE table_name = 'hep_proto_1_call_20261125_1200' ORDER BY ordinal_position"
    )
    assert [tuple(row) for row in columns] == [
        ("id", "bigint", "NO", "nextval('hep_proto_1_call_id_seq'::regclass)"),
        ("sid", "character varying", "NO", None),
        ("create_date", "timestamp with time zone", "NO", "CURRENT_TIMESTAMP"),
        ("protocol_header", "jsonb", "NO", None),
        ("data_header", "jsonb", "NO", None),
        ("raw", "character varying", "NO", None),
    ]


async def test_the_statements_make_the_same(connection: Connection, database: str) -> None:
    await connection.execute(statements(store(ahead="3h"), NOON))
    await connection.execute(statements(store(ahead="3h"), NOON))
    printed = {parent: await partitions_of(connection, parent) for parent in PARENTS}
    indexes = await indexes_of(connection, "hep_proto_1_registration_20261125_1400")
    assert indexes == expected_indexes("hep_proto_1_registration_20261125_1400")
    await Partitions(store(ahead="3h")).tend(connection, NOON)
    assert {parent: await partitions_of(connection, parent) for parent in PARENTS} == printed


async def test_on_demand(connection: Connection) -> None:
    """Late, early, and times that get no partition; a usual batch asks the server nothing."""
    made = Partitions(store())
    now = datetime.now(UTC)
    moments = [now, now - 3 * DAY, now + HOUR, now - 20 * DAY, datetime(2044, 1, 1, tzinfo=UTC), now + 3 * DAY]
    moments.append(datetime(9999, 12, 31, 23, 59, tzinfo=UTC))
    await made.ensure(connection, [piece(*moments), piece(now, table="hep_proto_5_default")])
    await insert(connection, *moments)
    found = await where(connection)
    assert found.pop("hep_proto_1_call_other") == 4
    assert sum(found.values()) == 3
    assert set(found) <= set(await partitions_of(connection))
    assert f"hep_proto_1_call_{now - 3 * DAY:%Y%m%d}" in {name.rpartition("_")[0] for name in found}
    await connection.close()
    await made.ensure(connection, [piece(now, now - 3 * DAY, now + HOUR)])


async def test_a_broken_clock_makes_no_thousands(connection: Connection) -> None:
    made = Partitions(store(keep="1d", ahead="4h"))
    now = datetime.now(UTC)
    moments = [now + i * HOUR for i in range(-2000, 2000, 7)]
    await made.ensure(connection, [piece(*moments)])
    assert 1 < len(await partitions_of(connection)) <= 24 // 2 + 4 // 2 + 3
    await insert(connection, *moments)
    assert sum((await where(connection)).values()) == len(moments)


async def test_what_came_early_moves_into_its_partition(connection: Connection) -> None:
    made = Partitions(store())
    now = datetime.now(UTC)
    await made.ensure(connection, [piece(now + 2 * DAY)])
    await insert(connection, now + 2 * DAY, now + 200 * DAY)
    assert await where(connection) == {"hep_proto_1_call_other": 2}
    await Partitions(store(ahead="1h")).tend(connection, now + 2 * DAY)
    found = await where(connection)
    assert found.pop("hep_proto_1_call_other") == 1
    assert list(found.values()) == [1]
    assert await connection.fetchval("SELECT count(DISTINCT id) FROM hep_proto_1_call") == 2


async def test_retention_by_name(connection: Connection) -> None:
    made = Partitions(store(keep="2d", keep_call="1d", keep_log="0", **FEW))
    names: dict[str, list[str]] = {}
    for day in range(5):
        await made.tend(connection, NOON + day * DAY)
        names = {parent: await partitions_of(connection, parent) for parent in PARENTS}
    assert names[CALL][0] == "hep_proto_1_call_20261128_0000"
    assert names["hep_proto_1_default"][0] == "hep_proto_1_default_20261127_0000"
    assert names["hep_proto_5_default"][0] == "hep_proto_5_default_20261127_0000"
    assert names["hep_proto_100_default"][0] == "hep_proto_100_default_20261125_0000"


async def test_rows_without_a_partition_are_kept_as_long_as_others(connection: Connection) -> None:
    made = Partitions(store(keep="2d", **FEW))
    far = datetime(2044, 1, 1, tzinfo=UTC)
    await made.tend(connection, NOON)
    for day in range(4):
        await insert(connection, far + day * DAY, far + day * DAY)
        await made.tend(connection, NOON + (day + 1) * DAY)
    kept = await connection.fetch("SELECT create_date, count(*) FROM hep_proto_1_call_other GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in kept] == [(far + 2 * DAY, 2), (far + 3 * DAY, 2)]


async def test_retention_of_them_is_done_in_parts(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "DELETED_AT_ONCE", 2)
    made = Partitions(store(keep="1d", **FEW))
    await made.tend(connection, NOON)
    await insert(connection, *[datetime(2044, 1, 1, tzinfo=UTC)] * 5)
    await made.tend(connection, NOON + DAY)
    left = []
    for _ in range(4):
        await made.tend(connection, NOON + 2 * DAY)
        left.append(await connection.fetchval("SELECT count(*) FROM hep_proto_1_call_other"))
    assert left == [3, 1, 0, 0]


async def test_a_partition_in_use_is_dropped_the_next_time(
    connection: Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "LOCK_PATIENCE", "50ms")
    made = Partitions(store(keep="1d", **FEW))
    await made.tend(connection, NOON)
    reader = await asyncpg.connect(database)
    transaction = reader.transaction()
    await transaction.start()
    await reader.fetch("SELECT 1 FROM hep_proto_1_call_20261125_0000")
    await made.tend(connection, NOON + 2 * DAY)
    assert "hep_proto_1_call_20261125_0000" in await partitions_of(connection)
    await transaction.rollback()
    await reader.close()
    await made.tend(connection, NOON + 2 * DAY)
    assert "hep_proto_1_call_20261125_0000" not in await partitions_of(connection)


async def test_a_partition_that_cannot_be_made_leaves_its_rows_to_the_default(
    connection: Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "LOCK_PATIENCE", "50ms")
    made = Partitions(store())
    now = datetime.now(UTC)
    await made.ensure(connection, [piece(now)])
    other = await asyncpg.connect(database)
    transaction = other.transaction()
    await transaction.start()
    await other.execute("LOCK TABLE hep_proto_1_call_other IN ACCESS SHARE MODE")
    await made.ensure(connection, [piece(now - DAY)])
    await insert(connection, now - DAY)
    assert await where(connection) == {"hep_proto_1_call_other": 1}
    await transaction.rollback()
    await other.close()
    again = Partitions(store())
    await again.ensure(connection, [piece(now - DAY)])
    (name,) = await where(connection)
    assert name.startswith(f"hep_proto_1_call_{now - DAY:%Y%m%d}_")


async def test_nodes_that_rotate_at_once(database: str) -> None:
    nodes = [await asyncpg.connect(database) for _ in range(4)]
    now = datetime.now(UTC)
    try:
        tending = [Partitions(store(ahead="6h")).tend(node, now) for node in nodes[:2]]
        loading = [Partitions(store()).ensure(node, [piece(now, now - DAY), piece(now)]) for node in nodes[2:]]
        await asyncio.gather(*tending, *loading)
        made = await partitions_of(nodes[0])
        assert len(made) == len(set(made)) == len([name for name in made if not name.endswith("_other")]) + 1
        await nodes[0].execute("SELECT pg_advisory_lock($1)", partitions.TENDING)
        await Partitions(store(ahead="48h")).tend(nodes[1], now)
        assert await partitions_of(nodes[0]) == made
    finally:
        for node in nodes:
            await node.close()
    left = await asyncpg.connect(database)
    assert await left.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") in (0, 1)
    await left.close()


async def test_indexes_when_closed(connection: Connection) -> None:
    made = Partitions(store(indexes_when_closed=True, ahead="1h"))
    open_now = "hep_proto_1_call_20261125_1200"
    await made.tend(connection, NOON)
    assert set(await indexes_of(connection, open_now)) == {f"{open_now}_create_date", f"{open_now}_sid"}
    await connection.execute(f"CREATE INDEX {open_now}_srcip ON {open_now} (raw)")
    await connection.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = $1::text::regclass", f"{open_now}_srcip"
    )
    await made.tend(connection, NOON + 2 * HOUR)
    assert await indexes_of(connection, open_now) == expected_indexes(open_now)
    default = "hep_proto_1_default_20261125_1200"
    assert len(await indexes_of(connection, default)) == 2
    await made.tend(connection, NOON + 2 * HOUR)
    await made.tend(connection, NOON + 2 * HOUR)
    assert await indexes_of(connection, default) == expected_indexes(default)


async def test_other_sets_of_indexes(connection: Connection) -> None:
    chosen = store(
        indexes=["sid", "create_date", "callid", "x_cid", "captureId"], custom_headers={"X-CID": "x_cid"}, brin=True
    )
    await Partitions(chosen).tend(connection, NOON)
    name = "hep_proto_1_call_20261125_1200"
    assert await indexes_of(connection, name) == {
        f"{name}_sid": "btree (sid)",
        f"{name}_create_date": "brin (create_date)",
        f"{name}_callid": "btree (((data_header ->> 'callid'::text)))",
        f"{name}_x_cid": "btree (((data_header ->> 'x_cid'::text)))",
        f"{name}_captureid": "btree (((protocol_header ->> 'captureId'::text)))",
    }
    rtcp = "hep_proto_5_default_20261125_1200"
    assert set(await indexes_of(connection, rtcp)) == {f"{rtcp}_{each}" for each in ("sid", "create_date", "captureid")}
    assert statements(store(indexes="small"), NOON).count("hep_proto_1_call_20261125_1200_") == 2


async def test_create_false_leaves_everything_alone(connection: Connection) -> None:
    idle = Partitions(store(create=False))
    await idle.ensure(connection, [piece(NOON)])
    await idle.tend(connection, NOON)
    assert await connection.fetchval("SELECT count(*) FROM pg_class WHERE relname LIKE 'hep_%'") == 0


async def test_beside_tables_of_heplify_server(connection: Connection) -> None:
    """Its tables have no default partition; somebody else's default partition is taken as it is."""
    await connection.execute(
        "CREATE TABLE hep_proto_1_call (id BIGSERIAL NOT NULL, sid varchar NOT NULL, create_date timestamptz NOT NULL "
        "DEFAULT CURRENT_TIMESTAMP, protocol_header jsonb NOT NULL, data_header jsonb NOT NULL, raw varchar NOT NULL) "
        "PARTITION BY RANGE (create_date);"
        "CREATE TABLE hep_proto_1_call_20261125_1200 PARTITION OF hep_proto_1_call "
        "FOR VALUES FROM ('2026-11-25 12:00+00') TO ('2026-11-25 14:00+00');"
        "CREATE TABLE hep_proto_5_default (LIKE hep_proto_1_call INCLUDING DEFAULTS) PARTITION BY RANGE (create_date);"
        "CREATE TABLE mine PARTITION OF hep_proto_5_default DEFAULT;"
    )
    await Partitions(store(ahead="2h")).tend(connection, NOON)
    assert await partitions_of(connection) == [
        "hep_proto_1_call_20261125_1200", "hep_proto_1_call_20261125_1400", "hep_proto_1_call_other",
    ]  # fmt: skip
    assert await partitions_of(connection, "hep_proto_5_default") == ["hep_proto_5_default_20261125_1200", "mine"]


def test_partition_bounds_cover_the_day() -> None:
    for step in ("5m", "45m", "24h"):
        tables = store(step_sip=step, ahead="48h")
        text = statements(tables, NOON)
        bounds = [line for line in text.splitlines() if "PARTITION OF hep_proto_1_call FOR" in line]
        edges = [line.split("'")[1::2] for line in bounds]
        assert all(high == low for (_, high), (low, _) in itertools.pairwise(edges))
        assert any(low.endswith("00:00+00") for low, _ in edges)
