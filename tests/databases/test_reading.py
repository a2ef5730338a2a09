"""A store in a database answers as a lake with the same packets does: every question, every kind of server, every layout."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
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
from hepswitch.databases.reading import DatabaseReader
from hepswitch.databases.server import Mark
from hepswitch.destinations.databases import DatabaseStore
from hepswitch.destinations.stores import Store
from hepswitch.lake.lake import Lake
from hepswitch.lake.query import Query
from hepswitch.wire.hep import Hep
from servers import clickhouse, mariadb, postgres
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
    usual = [
        hep(message) for begin in (0.0, day, 3 * day) for message in calls(15, per_second=2.0, start=START + begin)
    ]
    return [*usual, *recorded.answered(), *recorded.refused(), *all_kinds(), *hostile()]


def all_kinds() -> Iterator[bytes]:
    """Packets of every kind, but for what is there and empty: most layouts do not tell that from what is not there.

    Nor do Homer's layouts tell a correlation id that is the Call-ID from none.
    """
    for packet in packets():
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
    lake: Lake
    keeps: Keeps


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
def lake(folder: Path) -> Lake:
    lakes.store(folder / "captures", traffic())
    lakes.sealed(folder / "captures")
    return Lake(folder / "captures")


@pytest.fixture(scope="module")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server.url


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
    table = {"url": request.getfixturevalue("mariadb_url"), "layout": "homer5"}
    return table, Keeps(OPENSIPS, UNKNOWN_TO_OPENSIPS)


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
def stored(request: pytest.FixtureRequest, lake: Lake) -> Iterator[Stored]:
    table, keeps = request.param(request)
    store: DatabaseStore = TypeAdapter(Store).validate_python(table)
    asyncio.run(load(store, traffic()))
    with DatabaseReader("db", store) as reader:
        yield Stored(reader, lake, keeps)


async def load(store: DatabaseStore, waiting: Sequence[bytes], **said: Any) -> None:
    """Store packets as the loader does."""
    server: Any = kinds.server(store)
    await server.open()
    batch = batch_of([Hep(packet, lakes.ARRIVAL) for packet in waiting], server.layout.extras, **said)
    assert server.layout.unfit(batch) is None
    await server.load(batch, Mark("0" * 32, 0, len(waiting), 0))
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


@pytest.mark.parametrize("query", QUESTIONS, ids=repr)
def test_every_question(stored: Stored, query: Query) -> None:
    same(stored, stored.reader.search(query), stored.lake.search(query))
    assert stored.reader.calls(query) == stored.lake.calls(query)


@pytest.mark.parametrize("limit", [1, 2, 7, 40])
@pytest.mark.parametrize(
    "query",
    [Query(), Query(from_user="+4930*"), Query(status="2xx"), Query(until=datetime.fromtimestamp(START + 90_000, UTC))],
    ids=repr,
)
def test_the_latest(stored: Stored, query: Query, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hepswitch.databases.reading.FIRST", 3)
    some = Query(from_user=query.from_user, status=query.status, until=query.until, limit=limit)
    found, expected = stored.reader.search(some), stored.lake.search(some)
    assert [row["ts"] for row in found] == [row["ts"] for row in expected]
    assert stored.reader.calls(some) == stored.lake.calls(some)


@pytest.mark.parametrize(
    "call_id", ["call-a@example.net", "call-b@example.net", "busy [x]*1@example.net", "call-1", "none"]
)
def test_a_call_with_its_legs(stored: Stored, call_id: str) -> None:
    same(stored, stored.reader.call(call_id), stored.lake.call(call_id))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
