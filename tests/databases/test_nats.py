"""Publishing to JetStream: real servers that are killed, cut off, full or strange; every packet is in the stream, once."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from far_ends import a_link, number, until
from hepswitch.books import Listener
from hepswitch.databases import nats as publisher
from hepswitch.databases.gauge import Gauge
from hepswitch.databases.nats import NatsPublisher, ddl, matches
from hepswitch.destinations import figures
from hepswitch.destinations.figures import LoaderFigures
from hepswitch.destinations.streams import NatsStore
from hepswitch.streams.address import Login, parse_address
from hepswitch.streams.message import BATCH
from hepswitch.streams.nats import connect
from hepswitch.streams.packing import unpack
from hepswitch.wire.batch import Batch
from hepswitch.wire.hep import Hep
from publishing import loading, row, writing
from stream_servers import NatsServer, nats_cluster, nats_server

_names = count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A server for the tests that leave it alone."""
    with nats_server(tmp_path_factory.mktemp("nats")) as running:
        yield running


def store(url: str, **keys: Any) -> NatsStore:
    return NatsStore.model_validate({"url": url, "flush": "20ms", "partitions": 4} | keys)


def a_store(server: NatsServer, **keys: Any) -> NatsStore:
    """A stream that no other test has."""
    name = f"s{next(_names)}"
    return store(server.url(name), subject=name, **keys)


@contextlib.asynccontextmanager
async def looking(table: NatsStore) -> AsyncIterator[Any]:
    """JetStream, from another connection."""
    client = await connect(table.address, table.login, "test")
    try:
        yield client.jetstream(timeout=10)
    finally:
        await client.close()


async def in_stream(table: NatsStore) -> list[tuple[str, str, bytes]]:
    """(subject, id, body) of every message in the stream."""
    async with looking(table) as stream:
        name = table.address.name
        state = (await stream.stream_info(name)).state
        found = [await stream.get_msg(name, place) for place in range(state.first_seq, state.last_seq + 1)]
    return [(each.subject, each.headers[BATCH], each.data) for each in found]


def packets(bodies: list[bytes]) -> list[bytes]:
    found: list[bytes] = []
    for body in bodies:
        batch = Batch(Listener("nats://n/S"))
        assert unpack(batch, body, 0) == 0
        found += list(batch)
    return found


async def numbers(table: NatsStore) -> list[int]:
    """Those of the packets in the stream."""
    return [number(each) for each in packets([body for _, _, body in await in_stream(table)])]


async def test_a_stream_is_made_and_has_every_packet_with_its_call(tmp_path: Path, server: NatsServer) -> None:
    table = a_store(server, packets=50, keep="2h", max_size="100MiB", batch=300)
    gauge = Gauge(tmp_path / "store:bus", 1 << 20)
    async with writing(tmp_path, table) as put, loading(tmp_path, table):
        for start in range(0, 1000, 10):
            put(*range(start, start + 10), call=f"c{start // 10}")
        await until(lambda: row(gauge)["delivered"] == 1000, "all is acknowledged")
    found = await in_stream(table)
    assert sorted(number(each) for each in packets([body for _, _, body in found])) == list(range(1000))
    assert all(len(packets([body])) <= 50 for _, _, body in found)
    subjects: dict[bytes, set[str]] = {}
    for subject, _, body in found:
        for each in packets([body]):
            call = Hep(each).correlation_id
            assert call is not None
            subjects.setdefault(call, set()).add(subject)
    assert len(subjects) == 100
    assert all(len(each) == 1 for each in subjects.values())
    assert {subject for each in subjects.values() for subject in each} == {
        f"{table.subject}.{partition}" for partition in range(4)
    }
    async with looking(table) as stream:
        config = (await stream.stream_info(table.address.name)).config
    assert (config.max_age, config.max_bytes, config.discard) == (7200, 100 << 20, "new")
    assert (config.duplicate_window, config.compression) == (600, "s2")
    assert figures.read(tmp_path / "store:bus", LoaderFigures).rows == 1000


async def test_one_packet_a_message(tmp_path: Path, server: NatsServer) -> None:
    table = a_store(server, packets=1)
    gauge = Gauge(tmp_path / "store:bus", 1 << 20)
    async with writing(tmp_path, table) as put, loading(tmp_path, table):
        put(*range(200))
        await until(lambda: row(gauge)["delivered"] == 200, "all is acknowledged")
    found = await in_stream(table)
    assert sorted(number(body) for _, _, body in found) == list(range(200))
    assert len({identity for _, identity, _ in found}) == 200


async def test_a_server_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    with nats_server(tmp_path / "n") as server:
        table = store(server.url(), packets=5, batch=100)
        gauge = Gauge(tmp_path / "store:bus", 1 << 20)
        async with writing(tmp_path, table) as put, loading(tmp_path, table):
            for start in range(0, 3000, 100):
                put(*range(start, start + 100), call=f"c{start}")
                if start == 1000:
                    server.kill()
            await until(lambda: row(gauge)["state"] != "active", "the trouble shows")
            assert row(gauge)["spooled"] > 0
            await asyncio.to_thread(server.start)
            await until(lambda: row(gauge)["delivered"] == 3000, "all is acknowledged")
            await until(lambda: row(gauge)["state"] == "active", "the trouble is over")
        assert sorted(await numbers(table)) == list(range(3000))


async def test_the_leader_of_a_cluster_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "PATIENCE", 2.0)
    with nats_cluster(tmp_path / "cluster") as cluster:
        table = store(cluster.url(), replicas=3, packets=5, batch=100)
        gauge = Gauge(tmp_path / "store:bus", 1 << 20)
        async with writing(tmp_path, table) as put, loading(tmp_path, table):
            put(*range(100))
            await until(lambda: row(gauge)["delivered"] == 100, "all is acknowledged")
            leader = await asyncio.to_thread(cluster.leader)
            for start in range(100, 2000, 100):
                put(*range(start, start + 100), call=f"c{start}")
                if start == 500:
                    leader.kill()
            await until(lambda: row(gauge)["delivered"] == 2000, "two of three are enough")
        assert sorted(await numbers(table)) == list(range(2000))


async def test_acknowledgements_that_get_lost_double_nothing(
    tmp_path: Path, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "PATIENCE", 0.3)
    direct = a_store(server, connections=1)
    gauge = Gauge(tmp_path / "store:bus", 1 << 20)
    async with a_link(server.port) as link:
        table = direct.model_copy(update={"url": direct.url.replace(server.host, f"127.0.0.1:{link.port}")})
        async with writing(tmp_path, table) as put, loading(tmp_path, table):
            put(0)
            await until(lambda: row(gauge)["delivered"] == 1, "the way is good")
            link.deaf = True
            put(*range(1, 500))
            await until(lambda: row(gauge)["state"] != "active", "nothing is heard of them")
            assert "no answer within 0.3 s: too few of the stream's servers" in row(gauge)["state"]
            assert sorted(await numbers(direct)) == list(range(500))
            assert row(gauge)["delivered"] == 1
            link.deaf = False
            await until(lambda: row(gauge)["delivered"] == 500, "they are acknowledged in the end")
    found = await in_stream(direct)
    assert sorted(number(each) for each in packets([body for _, _, body in found])) == list(range(500))
    assert max(Counter(identity for _, identity, _ in found).values()) == 1


async def test_a_loader_that_ends_half_way_publishes_the_rest_with_the_same_ids(
    tmp_path: Path, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = a_store(server, packets=2, batch=200, connections=1)
    gauge = Gauge(tmp_path / "store:bus", 1 << 20)
    real = NatsPublisher._publish_some
    published: list[str] = []

    async def some(self: NatsPublisher, waiting: Any, acknowledged: Any) -> None:
        await real(self, (each for each in waiting if not published), published.append)
        await asyncio.Event().wait()

    async with writing(tmp_path, table) as put:
        put(*range(200))
        monkeypatch.setattr(NatsPublisher, "_publish_some", some)
        async with loading(tmp_path, table, drain=0.1):
            await until(lambda: published, "some are acknowledged")
        assert row(gauge)["delivered"] == 0
        monkeypatch.setattr(NatsPublisher, "_publish_some", real)
        before = [identity for _, identity, _ in await in_stream(table)]
        assert 0 < len(before) < 100
        async with loading(tmp_path, table):
            await until(lambda: row(gauge)["delivered"] == 200, "the next loader goes on")
    found = await in_stream(table)
    assert [identity for _, identity, _ in found[: len(before)]] == before
    assert sorted(await numbers(table)) == list(range(200))


async def test_a_full_stream_makes_packets_wait(tmp_path: Path, server: NatsServer) -> None:
    table = a_store(server, packets=5, batch=100, max_size="1MiB", compression="none")
    gauge = Gauge(tmp_path / "store:bus", 1 << 30)
    async with writing(tmp_path, table) as put, loading(tmp_path, table, drain=0.1):
        for start in range(0, 1000, 100):
            put(*range(start, start + 100), size=2000)
        await until(lambda: row(gauge)["state"] != "active", "it is full")
        assert "the stream is full" in row(gauge)["state"]
        async with looking(table) as stream:
            config = (await stream.stream_info(table.address.name)).config
            config.max_bytes = -1
            await stream.update_stream(config)
        await until(lambda: row(gauge)["delivered"] == 1000, "there is room")
    assert sorted(await numbers(table)) == list(range(1000))


async def test_a_packet_that_the_servers_never_take_is_set_aside(tmp_path: Path, server: NatsServer) -> None:
    table = a_store(server)
    async with looking(table) as stream:
        await stream.add_stream(name=table.address.name, subjects=[f"{table.subject}.>"], max_msg_size=3000)
    gauge = Gauge(tmp_path / "store:bus", 1 << 20)
    async with writing(tmp_path, table) as put, loading(tmp_path, table):
        put(*range(50))
        put(50, size=4000)
        put(*range(51, 100))
        await until(lambda: row(gauge)["delivered"] == 99, "the others are acknowledged")
        await until(lambda: row(gauge)["discarded"] == {"rejected": 1}, "it is counted")
    assert sorted(await numbers(table)) == [each for each in range(100) if each != 50]
    assert "no message above 1976 bytes" in (tmp_path / "store:bus" / "rejected.jsonl").read_text()


async def fails(table: NatsStore, words: str) -> None:
    made = NatsPublisher(table)
    with pytest.raises(OSError, match=words):
        await made.open()
    await made.close()


async def test_what_is_missing_is_said(server: NatsServer, tmp_path: Path) -> None:
    await fails(a_store(server, create=False), "there is no stream s[0-9]+: `hepswitch ddl` says how")
    await fails(a_store(server, replicas=3), "not 3 servers with JetStream|replicas > 1 not supported")
    await fails(store("nats://127.0.0.1:1/HEP"), "127.0.0.1:1: Connect call failed")
    await fails(store(server.url().replace("nats:", "nats+tls:")), "the server has no TLS")
    table = a_store(server)
    async with looking(table) as stream:
        await stream.add_stream(name=table.address.name, subjects=[f"{table.subject}.1", "other.>"])
    await fails(
        table, rf"the stream takes {table.subject}.1, other.>, and not {table.subject}.0: add {table.subject}.>"
    )
    await fails(a_store(server).model_copy(update={"subject": table.subject}), "subjects overlap")
    with nats_server(tmp_path, "authorization { user: u, password: p }") as guarded:
        await fails(store(guarded.url()), "not know us")
        made = NatsPublisher(store(guarded.url(), user="u", password="p"))
        await made.open()
        await made.close()


RIGHTS = """authorization {{ users: [
  {{ user: all, password: p }}
  {{ user: edge, password: p, permissions: {{
    publish: [ "hep.>", "$JS.API.STREAM.INFO.HEP"{more} ], subscribe: "_INBOX.>" }} }} ] }}"""


async def test_the_rights_that_an_edge_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gauge = Gauge(tmp_path / "store:bus", 1 << 20)
    with nats_server(tmp_path / "n", RIGHTS.format(more=', "$JS.API.STREAM.CREATE.HEP"')) as server:
        table = store(server.url(), user="edge", password="p")
        async with writing(tmp_path, table) as put, loading(tmp_path, table):
            put(*range(100))
            await until(lambda: row(gauge)["delivered"] == 100, "all is acknowledged")
    monkeypatch.setattr(publisher, "PATIENCE", 0.3)
    with nats_server(tmp_path / "m", RIGHTS.format(more="")) as server:
        await fails(
            store(server.url(), user="edge", password="p"), "(?i)permissions violation for publish to .*CREATE.HEP"
        )


async def test_a_server_without_jetstream(tmp_path: Path) -> None:
    server = NatsServer(tmp_path)
    server.config.write_text(f'listen: "{server.host}"\nhttp: "127.0.0.1:{server.monitor}"\n')
    server.start()
    try:
        await fails(store(server.url()), "JetStream is off")
    finally:
        server.kill()


async def test_two_edges_make_the_same_stream(server: NatsServer) -> None:
    table = a_store(server)
    publishers = [NatsPublisher(table) for _ in range(4)]
    await asyncio.gather(*(each.open() for each in publishers))
    await asyncio.gather(*(each.close() for each in publishers))


async def test_a_connection_that_breaks_ends_what_waits(server: NatsServer) -> None:
    closed = []
    client = await connect(parse_address(server.url()), Login(), "test", closed=lambda: closed.append(1))
    await client.close()
    assert closed == [1]


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("hep.>", "hep.1", True), ("hep.*", "hep.1", True), ("hep.1", "hep.1", True), (">", "hep.1", True),
        ("hep.*.*", "hep.1", False), ("hep", "hep.1", False), ("hep.1.>", "hep.1", False), ("*.1", "hep.1", True),
    ],
)  # fmt: skip
def test_subjects_of_patterns(pattern: str, subject: str, expected: bool) -> None:
    assert matches(pattern, subject) is expected


def test_the_command_that_makes_the_stream() -> None:
    made = ddl(store("nats://n1/HEP", replicas=3, keep="2d", max_size="1GiB"))
    assert made == (
        "nats stream add HEP --subjects='hep.>' --storage=file --retention=limits --discard=new --replicas=3 "
        "--max-age=172800s --max-bytes=1073741824 --dupe-window=600s --compression=s2 --defaults\n"
    )
