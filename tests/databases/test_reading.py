"""A store in a database answers as a lake with the same packets does: every question, every kind of server, every layout."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from pydantic import TypeAdapter

import lakes
from batches import batch_of
from cli import recorded
from filters.packets import LISTS, conditions, packets
from hepswitch.databases import kinds
from hepswitch.databases.dialects import PostgresDialect, SqliteDialect
from hepswitch.databases.found import find
from hepswitch.databases.narrowing import Statement
from hepswitch.databases.reading import DatabaseReader, StoreError
from hepswitch.databases.server import Mark
from hepswitch.destinations.databases import DatabaseStore, MysqlStore, PostgresStore, SqliteStore
from hepswitch.destinations.stores import Store
from hepswitch.lake.conditions import Among, Between, Condition, OfCall, Since, Until
from hepswitch.lake.lake import Lake
from hepswitch.lake.query import Query
from hepswitch.wire.hep import Hep
from servers import Postgres, clickhouse, mariadb, postgres
from traffic import START, calls, hep

RECEIVED = {"hep_version", "received_ts", "received_ip", "received_port", "store_table"}
"""No layout but ClickHouse's keeps how a packet came and where it was put."""

OPENSIPS = RECEIVED | {"node_name", "captagent_id", "vlan_id", "chunks"}
HOMER7 = OPENSIPS
UNKNOWN_TO_OPENSIPS = ("node_name", "captagent_id", "vlan_id", "version", "mos", "keep_alive", "chunk(", "received")
"""Fields of conditions that ask for those."""
UNKNOWN_TO_HOMER7 = UNKNOWN_TO_OPENSIPS


def traffic() -> list[bytes]:
    """Calls of several days, with legs, reports and logs; packets of every kind; and hostile ones."""
    day = 86_400.0
    usual = [hep(message) for begin in (0.0, day, 3 * day) for message in calls(3, per_second=2.0, start=START + begin)]
    return [*usual, *recorded.answered(), *recorded.refused(), *all_kinds(), *hostile()]


def all_kinds() -> Iterator[bytes]:
    """Packets of every kind, but for what is there and empty: most layouts do not tell that from what is not there.

    Nor do Homer's layouts tell a correlation id that is the Call-ID from none.
    """
    for packet in packets(60):
        if packet.sip is not None and packet.correlation_id == (packet.sip.call_id or "").encode():
            packet.delete("correlation_id")
        for name in ("correlation_id", "node_name"):
            if not getattr(packet, name):
                packet.delete(name)
        if packet.payload and 0 not in (packet.src_port, packet.dst_port):  # HEPv2 always has ports
            yield bytes(packet)


def hostile() -> list[bytes]:
    """What is a pattern, a quote or an escape somewhere."""
    users = ["%", "_", "a_c", "abc", "a%c", "o'brien", '"x"', "back\\slash", "üñï", "!", "x" * 300, "*", "[a-c]"]
    made = []
    for number, user in enumerate(users):
        line = f"INVITE sip:{user}@example.org SIP/2.0"
        payload = recorded.sip(
            line, f"hostile-{user}-{number}", "1 INVITE", user=user, more=f"User-Agent: {user} ÄGENT\r\n"
        )
        made.append(recorded.hep(20.0 + number, recorded.CALLER, recorded.PROXY, payload))
    return made


@dataclass
class Stored:
    """The same packets in a store and in a lake."""

    reader: DatabaseReader
    lake: Asked
    keeps: Keeps


class Asked:
    """A lake that is asked each question once, for all stores."""

    def __init__(self, lake: Lake) -> None:
        self.packets = lake.packets
        self._lake = lake
        self._answers: dict[str, Any] = {}

    def search(self, query: Query) -> list[dict[str, Any]]:
        return self._once(f"search {query}", lambda: self._lake.search(query))

    def calls(self, query: Query) -> list[dict[str, Any]]:
        return self._once(f"calls {query}", lambda: self._lake.calls(query))

    def call(self, call_id: str) -> list[dict[str, Any]]:
        return self._once(f"call {call_id}", lambda: self._lake.call(call_id))

    def _once(self, question: str, ask: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        if question not in self._answers:
            self._answers[question] = ask()
        return self._answers[question]  # type: ignore[no-any-return]


@dataclass
class Keeps:
    """What a store keeps: not these columns, nor what these fields of conditions ask for; payloads, or just their text."""

    lost: set[str]
    unknown: tuple[str, ...]
    texts_only: bool = False


Made = tuple[dict[str, Any], Keeps]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reading")


@pytest.fixture(scope="module")
def lake(folder: Path) -> Asked:
    lakes.store(folder / "captures", traffic())
    lakes.sealed(folder / "captures")
    return Asked(Lake(folder / "captures"))


@pytest.fixture(scope="module")
def postgres_url(postgres_server: Postgres) -> str:
    return postgres_server.url


@pytest.fixture(scope="module")
def mariadb_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mariadb(tmp_path_factory.mktemp("mariadb")) as server:
        yield server.url


@pytest.fixture(scope="module")
def clickhouse_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with clickhouse(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server.url


def sqlite_file(request: pytest.FixtureRequest) -> Made:
    return {"url": f"sqlite:{request.getfixturevalue('folder')}/one.db"}, Keeps(OPENSIPS, UNKNOWN_TO_OPENSIPS)


def sqlite_dated(request: pytest.FixtureRequest) -> Made:
    tables = {
        "table": "calls_%Y%m%d",
        "report_table": "reports_%d_%H",
        "report": "homer6",
        "columns": {"callid": "call_id"},
    }
    url = f"sqlite:{request.getfixturevalue('folder')}/dated-%Y%m%d.db"
    return {"url": url, "opensips": tables}, Keeps(OPENSIPS, UNKNOWN_TO_OPENSIPS)


def postgres_opensips(request: pytest.FixtureRequest) -> Made:
    tables = {"table": "sip_capture_%Y%m%d"}
    url = request.getfixturevalue("postgres_url")
    return {"url": url, "opensips": tables}, Keeps(OPENSIPS, UNKNOWN_TO_OPENSIPS, texts_only=True)


def postgres_homer7(request: pytest.FixtureRequest) -> Made:
    url = request.getfixturevalue("postgres_url")
    return {"url": url, "layout": "homer7"}, Keeps(HOMER7, UNKNOWN_TO_HOMER7, texts_only=True)


def mariadb_opensips(request: pytest.FixtureRequest) -> Made:
    return {"url": request.getfixturevalue("mariadb_url")}, Keeps(OPENSIPS, UNKNOWN_TO_OPENSIPS)


def mariadb_homer5(request: pytest.FixtureRequest) -> Made:
    url = request.getfixturevalue("mariadb_url")
    asyncio.run(make_database(url, "homer"))  # what has the columns of a layout belongs to it
    return {"url": url.removesuffix("hep") + "homer", "layout": "homer5"}, Keeps(OPENSIPS, UNKNOWN_TO_OPENSIPS)


def clickhouse_messages(request: pytest.FixtureRequest) -> Made:
    return {"url": request.getfixturevalue("clickhouse_url"), "password": "secret"}, Keeps(
        {"store_table", "received_ip", "received_port"}, ("received.",)
    )


STORES: list[Callable[[pytest.FixtureRequest], Made]] = [
    sqlite_file,
    sqlite_dated,
    postgres_opensips,
    postgres_homer7,
    mariadb_opensips,
    mariadb_homer5,
    clickhouse_messages,
]


@pytest.fixture(scope="module", params=STORES, ids=lambda made: made.__name__)
def stored(request: pytest.FixtureRequest, lake: Asked) -> Iterator[Stored]:
    table, keeps = request.param(request)
    store: DatabaseStore = TypeAdapter(Store).validate_python(table)
    asyncio.run(load(store, traffic()))
    with DatabaseReader("db", store) as reader:
        yield Stored(reader, lake, keeps)


async def make_database(url: str, name: str) -> None:
    server = kinds.server(MysqlStore.model_validate({"url": url}))
    await server.open()
    await server.rows(f"create database {name}")
    await server.close()


async def load(store: DatabaseStore, waiting: Sequence[bytes], **said: Any) -> None:
    """Store packets as the loader does."""
    server: Any = kinds.server(store)
    await server.open()
    batch = batch_of([Hep(packet, lakes.ARRIVAL) for packet in waiting], server.layout.extras, **said)
    assert server.layout.unfit(batch) is None
    journal = md5(f"{store.model_dump()} {said}".encode()).hexdigest()  # stores may share a database
    await server.load(batch, Mark(journal, 0, len(waiting), 0))
    await server.close()


def same(stored: Stored, found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """The rows are the same, but for what the store does not keep, and for the order at one moment."""

    def kept(rows: list[dict[str, Any]]) -> Counter[str]:
        return Counter(repr([value(row[name]) for name in row if name not in stored.keeps.lost]) for row in rows)

    def value(said: Any) -> Any:
        is_text = stored.keeps.texts_only and isinstance(said, bytes)
        return said.decode("utf-8", "replace").encode() if is_text else said

    assert (kept(found) - kept(expected), kept(expected) - kept(found)) == (Counter(), Counter())
    assert [row["ts"] for row in found] == [row["ts"] for row in expected]


def told(query: Query) -> str:
    """What is said in a question. Not what is in lists: sets are told in any order, and workers must tell tests alike."""
    said = {each.name: getattr(query, each.name) for each in fields(query) if each.name != "lists"}
    return " ".join(f"{name}={value}" for name, value in said.items() if value) or "everything"


QUESTIONS = [
    Query(),
    Query(call_id="call-a@example.net"),
    Query(call_id="call-1"),
    Query(call_id="call-*"),
    Query(call_id="busy [x]*1@example.net"),
    Query(call_id="busy [[]x]?1*"),
    Query(correlation_id="call-a@example.net"),
    Query(correlation_id="call*"),
    Query(from_user="alice"),
    Query(from_user="+4930*"),
    Query(from_user="*"),
    Query(to_user="bob"),
    Query(to_user="?ob"),
    Query(user="carol"),
    Query(user="+49*7"),
    Query(method="invite"),
    Query(method="*E"),
    Query(status=486),
    Query(status="4xx"),
    Query(status="2xx", method="INVITE"),
    Query(status=200, method="B*"),
    Query(ip="192.0.2.10"),
    Query(ip="2001:db8::20"),
    Query(ip="10.0.*"),
    Query(user_agent="linksys/spa"),
    Query(user_agent="ägent"),
    Query(user_agent="%"),
    Query(proto_type=5),
    Query(proto_type=1, from_user="alice"),
    Query(since=datetime.fromtimestamp(START + 3.5, UTC)),
    Query(until=datetime.fromtimestamp(START + 3.5, UTC)),
    Query(
        since=datetime.fromtimestamp(START + 3.25, UTC), until=datetime.fromtimestamp(START + 3.75, UTC), from_user="*"
    ),
    Query(since=datetime(2100, 1, 1, tzinfo=UTC)),
    Query(until=datetime(1971, 1, 1, tzinfo=UTC)),
    Query(from_user="nobody"),
    Query(filter='sip.header("X-CID") = "call-a@example.net"'),
    Query(filter="sip.from_user = alice and not sip.method = INVITE"),
    Query(filter="src_ip in 10.0.0.0/8 and sip.status >= 200"),
    Query(filter="not (sip.to_user = bob or proto_type = RTCP)"),
    Query(filter='payload ~ "confirmed$"'),
    Query(filter="caller in @fraud", lists=LISTS),
    Query(from_user="back\\slash"),
    Query(from_user="back\\\\*"),
    Query(from_user="[a-c]*"),
    Query(from_user="a_*"),
    Query(from_user="a%*"),
    Query(from_user="x" * 300),
    Query(from_user="x*x"),
    Query(from_user="' or true --"),
    Query(user='"x"'),
    Query(user="o'brien"),
]


@pytest.mark.parametrize("query", QUESTIONS, ids=told)
def test_every_question(stored: Stored, query: Query) -> None:
    same(stored, stored.reader.search(query), stored.lake.search(query))


@pytest.mark.parametrize("query", QUESTIONS[::5], ids=told)
def test_calls(stored: Stored, query: Query) -> None:
    assert stored.reader.calls(query) == stored.lake.calls(query)


@pytest.mark.parametrize("limit", [2, 40])
@pytest.mark.parametrize(
    "query",
    [
        Query(),
        Query(from_user="+4930*"),
        Query(status="2xx", since=datetime.fromtimestamp(START + 1.25, UTC)),
        Query(until=datetime.fromtimestamp(START + 90_000.5, UTC)),
    ],
    ids=told,
)
def test_the_latest(stored: Stored, query: Query, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hepswitch.databases.reading.FIRST", 3)
    some = replace(query, limit=limit)
    found, expected = stored.reader.search(some), stored.lake.search(some)
    assert [row["ts"] for row in found] == [row["ts"] for row in expected]
    assert stored.reader.calls(some) == stored.lake.calls(some)


@pytest.mark.parametrize(
    "call_id", ["call-a@example.net", "call-b@example.net", "busy [x]*1@example.net", "call-1", "none"]
)
def test_a_call_with_its_legs(stored: Stored, call_id: str) -> None:
    same(stored, stored.reader.call(call_id), stored.lake.call(call_id))


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=conditions())
def test_any_condition(stored: Stored, text: str) -> None:
    if any(word in text for word in stored.keeps.unknown):
        return
    query = Query(filter=text, lists=LISTS)
    same(stored, stored.reader.search(query), stored.lake.search(query))


def test_columns_that_are_asked_for(stored: Stored) -> None:
    rows = stored.reader.search(Query(limit=1), ("method", "from_user"))
    assert [row.keys() for row in rows] == [{"method", "from_user"}]


def test_packets_come_back_as_they_were(stored: Stored) -> None:
    query = Query(call_id="call-a@example.net")
    names = ("src_ip", "src_port", "dst_ip", "dst_port", "proto_id", "proto_type", "time_us", "payload")
    found, expected = ([Hep(each) for each in some.packets(query)] for some in (stored.reader, stored.lake))
    assert [[getattr(each, name) for name in names] for each in found] == [
        [getattr(each, name) for name in names] for each in expected
    ]


def test_bad_questions(stored: Stored) -> None:
    for query in (Query(status="busy"), Query(filter="sip.from_user =")):
        with pytest.raises(ValueError, match=r"4xx|value"):
            stored.reader.search(query)


# ── by server ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def sqlite(tmp_path: Path) -> SqliteStore:
    return SqliteStore.model_validate({"url": f"sqlite:{tmp_path}/calls.db"})


def test_tables_that_a_route_named_and_what_it_said(sqlite: SqliteStore) -> None:
    a_day = 86_400.0
    packets_of = [recorded.answered(), [hep(message) for message in calls(2, start=START + a_day)]]
    for table, some in zip(("vip_%Y%m%d", "sip_capture"), packets_of, strict=True):
        asyncio.run(load(sqlite, some, table=table, custom_field1="acme"))
    with DatabaseReader("db", sqlite) as reader:
        rows = reader.search(Query())
        assert len(rows) == sum(map(len, packets_of))
        assert {row["custom_field1"] for row in rows if row["call_id"]} == {"acme"}
        assert [row["ts"] for row in reader.search(Query(limit=20))] == [row["ts"] for row in rows[-20:]]


def test_what_was_traced(sqlite: SqliteStore, tmp_path: Path) -> None:
    asyncio.run(load(sqlite, recorded.answered(), direction="in", attrs="fraud"))
    lakes.store(tmp_path / "lake", recorded.answered())
    lake = Lake(tmp_path / "lake")
    kept = (
        "ts",
        "call_id",
        "method",
        "status",
        "cseq_method",
        "from_user",
        "src_ip",
        "src_port",
        "proto_id",
        "payload",
    )
    with DatabaseReader("db", sqlite) as reader:
        for query in (
            Query(from_user="alice", method="BYE"),
            Query(user="bo?"),
            Query(status="2xx", method="INVITE"),
            Query(call_id="call-a@example.net", filter="sip"),
        ):
            found = [[row[name] for name in kept] for row in reader.search(query)]
            assert found == [[row[name] for name in kept] for row in lake.search(query)] != []
        assert {row["call_id"] for row in reader.call("call-a@example.net")} == {
            "call-a@example.net",
            "call-b@example.net",
            None,
        }
        assert {row["custom_field1"] for row in reader.search(Query(method="INVITE"))} == {"fraud"}


def test_tables_of_others(tmp_path: Path) -> None:
    """OpenSIPS' own DDL lacks columns, and other programs write what is no address."""
    path = tmp_path / "theirs.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute(
            "create table sip_capture (id integer, date datetime, micro_ts bigint, method text, callid text, "
            "source_ip text, source_port int, destination_ip text, destination_port int, node text, msg text)"
        )
        database.execute("create table subscribers (id integer, callid text)")
        message = recorded.sip("INVITE sip:bob@example.net SIP/2.0", "c1", "1 INVITE").decode()
        values = (
            1,
            "2026-11-18 11:06:40",
            0,
            "INVITE",
            "c1",
            "proxy.example.net",
            5060,
            "192.0.2.1",
            0,
            "edge",
            message,
        )
        database.execute(f"insert into sip_capture values ({', '.join('?' * len(values))})", values)
        database.commit()
    with DatabaseReader("db", SqliteStore.model_validate({"url": f"sqlite:{path}"})) as reader:
        [row] = reader.search(Query(from_user="alice", user="bob", method="INVITE"))
        names = ("ts", "src_ip", "src_port", "dst_ip", "dst_port", "node_name", "custom_field1")
        assert [row[name] for name in names] == [
            datetime(2026, 11, 18, 11, 6, 40, tzinfo=UTC), None, 5060, "192.0.2.1", None, "edge", None,
        ]  # fmt: skip
        assert [call["call_id"] for call in reader.calls(Query(limit=5))] == ["c1"]


def test_nothing_there_yet(sqlite: SqliteStore) -> None:
    with DatabaseReader("db", sqlite) as reader:
        assert reader.search(Query()) == reader.calls(Query(limit=1)) == reader.call("x") == []


async def test_nothing_can_be_changed(postgres_url: str) -> None:
    store = PostgresStore.model_validate({"url": postgres_url, "opensips": {"table": "untouched"}})
    await load(store, recorded.answered())
    found = await find(store)
    with pytest.raises(OSError, match="read-only"):
        await found.tables[0].ask("delete from untouched", ())
    await found.close()


LONG = "x" * 60 + "@example.net"


def test_tables_whose_columns_are_shorter_than_the_layouts(postgres_url: str, mariadb_url: str) -> None:
    """What is stored there is cut, and must be found by the whole text all the same."""
    narrow = "create table narrow ({} datetime, micro_ts bigint, callid varchar(40), from_user varchar(10), {} text)"
    narrow = narrow.format("date", "source_ip varchar(50), destination_ip varchar(50), msg")
    message = recorded.sip("INVITE sip:bob@example.net SIP/2.0", LONG, "1 INVITE", user="u" * 30)
    names = {"table": "narrow"}
    for store, sql in (
        (
            PostgresStore.model_validate({"url": postgres_url, "opensips": names}),
            narrow.replace("datetime", "timestamp"),
        ),
        (MysqlStore.model_validate({"url": mariadb_url, "opensips": names}), narrow),
    ):
        asyncio.run(changed(store, sql))
        values = (
            f"('2026-11-18 11:06:40', 0, '{LONG[:40]}', '{'u' * 10}', '192.0.2.1', '192.0.2.2', '{message.decode()}')"
        )
        asyncio.run(changed(store, f"insert into narrow values {values}"))
        with DatabaseReader("db", store) as reader:
            for query in (Query(call_id=LONG), Query(from_user="u" * 30), Query(from_user="*" + "u" * 20)):
                assert [row["call_id"] for row in reader.search(query)] == [LONG]
            assert [row["call_id"] for row in reader.call(LONG)] == [LONG]
        asyncio.run(changed(store, "drop table narrow"))


async def changed(store: DatabaseStore, sql: str) -> None:
    """What an administrator does."""
    server: Any = kinds.server(store)
    await server.open()
    await (server._connection.execute(sql) if isinstance(store, PostgresStore) else server.rows(sql))
    await server.close()


def test_a_view_shows_no_row_twice(mariadb_url: str) -> None:
    asyncio.run(make_database(mariadb_url, "viewed"))
    store = MysqlStore.model_validate({"url": mariadb_url.removesuffix("hep") + "viewed"})
    asyncio.run(load(store, recorded.answered()))
    asyncio.run(changed(store, "create view seen as select * from sip_capture"))
    with DatabaseReader("db", store) as reader:
        assert len(reader.search(Query())) == len(recorded.answered())


def test_a_call_with_many_legs(sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hepswitch.databases.reading.IDS", 3)
    monkeypatch.setattr("hepswitch.databases.reading.LETTERS", 20)
    legs = [f"leg-{number}" + "x" * number for number in range(12)]
    lines = [recorded.sip("INVITE sip:bob@x SIP/2.0", leg, "1 INVITE", more="X-CID: root\r\n") for leg in legs]
    asyncio.run(load(sqlite, [recorded.hep(1.0, recorded.CALLER, recorded.PROXY, line) for line in lines]))
    with DatabaseReader("db", sqlite) as reader:
        assert sorted(row["call_id"] for row in reader.call("root")) == sorted(legs)


def test_a_nul_hides_nothing(sqlite: SqliteStore) -> None:
    message = recorded.sip("INVITE sip:bob@x SIP/2.0", "c1", "1 INVITE", user="a\0bx")
    asyncio.run(load(sqlite, [recorded.hep(1.0, recorded.CALLER, recorded.PROXY, message)]))
    with DatabaseReader("db", sqlite) as reader:
        assert len(reader.search(Query(from_user="a*x"))) == 1


def test_what_a_server_does_not_take_is_said_in_words(sqlite: SqliteStore) -> None:
    asyncio.run(load(sqlite, recorded.answered()))
    with DatabaseReader("db", sqlite) as reader, pytest.raises(StoreError, match="pattern too complex"):
        reader.search(Query(from_user="x" * 60_000 + "*"))


async def test_sqlite_finds_a_call_by_its_index(sqlite: SqliteStore) -> None:
    await load(sqlite, recorded.answered())
    found = await find(sqlite)
    table = next(table for table in found.tables if table.name == "sip_capture")
    statement = Statement(SqliteDialect())
    where = statement.where(OfCall("x"), table.view)
    plan = await table.ask(f"explain query plan select * from sip_capture where {where}", statement.values)
    assert not [line for line in plan if line["detail"].startswith("SCAN")], plan
    await found.close()


async def test_a_session_that_a_pooler_shares_stays_as_it_was(postgres_url: str) -> None:
    """The loader may get it next."""
    store = PostgresStore.model_validate({"url": postgres_url, "opensips": {"table": "pooled"}})
    await load(store, recorded.answered())
    found = await find(store)
    [said] = await found.tables[0].ask(
        "select current_setting('default_transaction_read_only') as later, current_setting('transaction_read_only') as now",
        (),
    )
    assert said == {"later": "off", "now": "on"}
    await found.close()


PLANS: list[tuple[dict[str, Any], Condition, str]] = [
    ({"layout": "homer7"}, Among("call_id", ("x",)), "_sid"),
    ({"layout": "homer7"}, OfCall("x"), "_sid"),
    ({"layout": "homer7"}, Among("from_user", ("x", "y")), "_from_user"),
    ({"layout": "homer7"}, Among("correlation_id", ("x",)), "_correlation_id"),
    ({"layout": "homer7"}, Among("src_ip", ("192.0.2.1",)), "_srcip"),
    ({"layout": "homer7"}, Between("status", 400, 499), "_method"),
    ({"layout": "homer7"}, Since(datetime.fromtimestamp(START + 1.0, UTC)), "_create_date"),
    ({"opensips": {"table": "planned"}}, Among("call_id", ("x",)), "planned_callid_idx"),
    ({"opensips": {"table": "planned"}}, OfCall("x"), "planned_callid_idx"),
    ({"opensips": {"table": "planned"}}, Until(datetime.fromtimestamp(START + 1.0, UTC)), "planned_date_idx"),
]


@pytest.mark.parametrize(("more", "condition", "index"), PLANS, ids=[f"{each[2]}-{each[1]}" for each in PLANS])
async def test_the_indexes_of_a_layout_are_hit(
    postgres_url: str, more: dict[str, Any], condition: Condition, index: str
) -> None:
    store = PostgresStore.model_validate({"url": postgres_url, **more})
    await load(store, recorded.answered())
    found = await find(store)
    table = next(table for table in found.tables if table.name in ("hep_proto_1_call", "planned"))
    await table.ask("set enable_seqscan = off", ())
    statement = Statement(PostgresDialect())
    where = statement.where(condition, table.view)
    plan = await table.ask(f"explain select * from {table.name} where {where}", statement.values)
    assert any(index in line["QUERY PLAN"] and "Index" in line["QUERY PLAN"] for line in plan), plan
    await found.close()


async def test_a_server_that_stops_answering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hepswitch.databases.postgres.QUERY_PATIENCE", 0.2)
    with postgres() as server:
        store = PostgresStore.model_validate({"url": server.url})
        await load(store, recorded.answered())
        found = await find(store)
        server.signal(signal.SIGSTOP)
        with pytest.raises(OSError, match="does not answer"):
            await found.tables[0].rows(OfCall("x"))


async def test_who_goes_away_leaves_no_query_in_postgres(postgres_url: str) -> None:
    store = PostgresStore.model_validate({"url": postgres_url, "opensips": {"table": "slow"}})
    running = "select 1 as one from pg_stat_activity where state = 'active' and query like 'select pg_sleep%'"
    await goes_away(store, "select pg_sleep(600)", running)


async def test_who_goes_away_leaves_no_query_in_mariadb(mariadb_url: str) -> None:
    store = MysqlStore.model_validate({"url": mariadb_url, "opensips": {"table": "slow"}})
    running = "select 1 as one from information_schema.processlist where info like 'select sleep%%'"
    await goes_away(store, "select sleep(600) as one", running)


def test_what_took_too_long_leaves_no_query_in_mariadb(mariadb_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MysqlStore.model_validate({"url": mariadb_url, "opensips": {"table": "slow"}})
    asyncio.run(load(store, recorded.answered()))
    with DatabaseReader("db", store) as reader, DatabaseReader("db", store) as other:
        monkeypatch.setattr("hepswitch.databases.mysql.QUERY_PATIENCE", 0.2)
        with pytest.raises(StoreError, match="no answer in"):
            reader._do(reader._found.tables[0].ask("select sleep(600) as two", ()))
        monkeypatch.undo()
        running = "select 1 as one from information_schema.processlist where info like 'select sleep(600) as two%%'"
        other._do(until(lambda: other._found.tables[0].ask(running, ()), there=False))


async def goes_away(store: DatabaseStore, sql: str, running: str) -> None:
    """Ctrl-C cancels what is asked: the server must not go on with it."""
    await load(store, recorded.answered())
    found, other = await find(store), await find(store)
    asked = asyncio.create_task(found.tables[0].ask(sql, ()))
    await until(lambda: other.tables[0].ask(running, ()), there=True)
    asked.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asked
    await found.cancel()
    await until(lambda: other.tables[0].ask(running, ()), there=False)
    await other.close()


async def until(ask: Callable[[], Awaitable[list[dict[str, Any]]]], there: bool) -> None:
    """Wait until the answer has rows, or has none."""
    async with asyncio.timeout(30):
        while bool(await ask()) is not there:  # noqa: ASYNC110 (it is the server's condition)
            await asyncio.sleep(0.01)
