"""Packets out of NATS JetStream: acknowledged when they are written, stored once, whatever breaks in between."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from nats.js.errors import NotFoundError

from far_ends import until
from hepswitch import journal
from hepswitch.sources import nats, ways
from hepswitch.streams.address import Login, parse_address
from hepswitch.streams.message import BATCH
from hepswitch.streams.nats import ERRORS, connect
from stream_nodes import StoringNode, body, identity
from stream_servers import NatsServer, nats_cluster, nats_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with nats_server(tmp_path_factory.mktemp("nats")) as running:
        yield running


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats, "LOOK", 0.1)


class Stream:
    """A stream that a test has to itself."""

    def __init__(self, server: NatsServer, name: str) -> None:
        self.server, self.name = server, name

    @property
    def url(self) -> str:
        return f"{self.server.url(self.name)}?subject={self.name}"

    async def open(self) -> None:
        self.client = await connect(parse_address(self.server.url(self.name)), Login(), "test")
        self.context = self.client.jetstream()

    async def make(self) -> None:
        await self.open()
        await self.context.add_stream(name=self.name, subjects=[f"{self.name}.>"], duplicate_window=0.2)

    async def publish(self, first: int, last: int, partition: int = 0, **headers: str) -> None:
        """Packets `first` up to `last` as one message."""
        named = {BATCH: identity(first, last)} | headers
        await self.context.publish(f"{self.name}.{partition}", body(*range(first, last)), headers=named)

    async def consumer(self, name: str = "hepswitch") -> Any:
        return await self.context.consumer_info(self.name, name)

    async def acknowledged(self, name: str = "hepswitch") -> None:
        """Until nothing waits any more."""
        while True:
            with contextlib.suppress(NotFoundError):
                info = await self.consumer(name)
                if not info.num_ack_pending and not info.num_pending:
                    return
            await asyncio.sleep(0.01)


@pytest.fixture
async def lone(server: NatsServer, request: pytest.FixtureRequest) -> AsyncIterator[Stream]:
    made = Stream(server, re.sub(r"\W", "-", request.node.name)[5:])
    await made.make()
    yield made
    with contextlib.suppress(Exception):
        await made.context.delete_stream(made.name)
    await made.client.close()


@contextlib.asynccontextmanager
async def running(url: str, folder: Path) -> AsyncIterator[StoringNode]:
    node = StoringNode(url, folder)
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


async def test_packets_are_stored_and_then_acknowledged(lone: Stream, tmp_path: Path) -> None:
    await lone.publish(0, 5)
    async with running(lone.url, tmp_path) as node:
        await lone.publish(5, 6)
        await until(lambda: node.has(*range(6)), "storing")
        await asyncio.wait_for(lone.acknowledged(), 10)
        assert node.listener.snapshot()["state"] == "active"
        assert node.listener.packets == 6
        await until(lambda: not node.listener.waiting, "the books")
    assert (await lone.consumer()).ack_floor.stream_seq == 2


async def test_what_comes_again_is_stored_once(lone: Stream, tmp_path: Path) -> None:
    async with running(lone.url, tmp_path) as node:
        await lone.publish(0, 5)
        await until(lambda: node.store.delivered == 5, "storing")
        await lone.publish(0, 5)  # by a publisher that did not hear the answer
        await until(lambda: node.listener.packets == 10, "the second copy")
        await asyncio.wait_for(lone.acknowledged(), 10)
        assert node.store.refused == {"stored before": 5}
        assert node.has(*range(5))


async def test_a_message_without_an_id_is_known_by_its_place(lone: Stream, tmp_path: Path) -> None:
    async with running(lone.url, tmp_path) as node:
        for _ in range(2):
            await lone.context.publish(f"{lone.name}.x", body(1))
        await until(lambda: node.store.delivered == 2, "storing")
        assert node.stored == {1: 2}


async def test_a_broken_message_is_counted_and_does_not_come_for_ever(lone: Stream, tmp_path: Path) -> None:
    async with running(lone.url, tmp_path) as node:
        await lone.context.publish(f"{lone.name}.0", body(1) + b"no packet")
        await lone.context.publish(f"{lone.name}.0", b"")
        await lone.context.publish(f"{lone.name}.0", body(2)[:-1])
        await asyncio.wait_for(lone.acknowledged(), 10)
        assert node.has(1)
        assert node.listener.malformed_reasons == {"no HEP packet": 2}


def refuse(fd: int, parts: list[bytes], at: int) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


async def silent(self: nats.NatsSource, client: Any) -> None:
    """As if the server did not hear that a message is being worked on."""


@pytest.mark.parametrize("is_heard", [True, False])
async def test_while_the_disk_refuses_nothing_is_acknowledged_or_doubled(
    lone: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_heard: bool
) -> None:
    if not is_heard:
        monkeypatch.setattr(nats.NatsSource, "_extend", silent)
    async with running(lone.url + "&ack_wait=1s", tmp_path) as node:
        with monkeypatch.context() as patch:
            patch.setattr(journal.os, "pwritev", refuse)
            for first in range(0, 3000, 500):
                await lone.publish(first, first + 500)
            await until(lambda: node.store.full, "the queue fills")
            await asyncio.sleep(2.5)  # longer than the server waits
            assert (await lone.consumer()).ack_floor.stream_seq == 0
        await until(lambda: node.store.delivered == 3000, "storing")
        await asyncio.wait_for(lone.acknowledged(), 15)
        assert node.has(*range(3000))
        assert bool(node.listener.redelivered) is not is_heard


async def test_what_has_no_room_in_a_store_that_nobody_waits_for_is_offered_more_and_more_seldom(
    lone: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats, "LATER", 0.1)
    monkeypatch.setattr(nats, "LATEST", 0.4)
    async with running(lone.url, tmp_path) as node:
        node.store.on_pressure = None
        with monkeypatch.context() as patch:
            patch.setattr(journal.os, "pwritev", refuse)
            for first in range(0, 6000, 500):
                await lone.publish(first, first + 500)
            await until(lambda: node.listener.redelivered >= 20, "what has no room comes again")
            assert not (await lone.consumer()).ack_floor.stream_seq
            assert node.store.refused["disk full"] >= 5000
        await until(lambda: node.store.delivered == 6000, "storing")
        await asyncio.wait_for(lone.acknowledged(), 10)
        assert node.has(*range(6000))


async def test_shares_are_disjoint_and_come_back_to_the_same_node(lone: Stream, tmp_path: Path) -> None:
    async with (
        running(lone.url + "&group=lake&share=1/2", tmp_path / "a") as a,
        running(lone.url + "&group=lake&share=2/2", tmp_path / "b") as b,
    ):
        for partition in range(16):
            await lone.publish(partition, partition + 1, partition)
        await lone.publish(1000, 1001, 1023)
        await until(lambda: a.store.delivered + b.store.delivered == 17, "storing")
        assert a.has(*range(0, 16, 2))
        assert b.has(*range(1, 16, 2), 1000)


async def test_a_group_shares_and_takes_over(lone: Stream, tmp_path: Path) -> None:
    async with running(lone.url + "&ack_wait=1s", tmp_path / "a") as a:
        async with running(lone.url + "&ack_wait=1s", tmp_path / "b") as b:
            for each in range(40):
                await lone.publish(each, each + 1)
            await until(lambda: a.store.delivered + b.store.delivered == 40, "storing")
        await lone.publish(40, 41)
        await until(lambda: a.store.delivered + b.store.delivered == 41, "taking over")
        assert sorted((a.stored + b.stored).elements()) == list(range(41))


async def test_a_deleted_consumer_is_made_again_where_it_was(lone: Stream, tmp_path: Path) -> None:
    async with running(lone.url, tmp_path) as node:
        for first in range(3):
            await lone.publish(first, first + 1)
        await until(lambda: node.store.delivered == 3, "storing")
        source = node.source
        assert isinstance(source, nats.NatsSource)
        await until(lambda: source._floor == 3, "a look at the consumer")
        await lone.context.delete_consumer(lone.name, "hepswitch")
        await lone.publish(3, 4)
        await until(lambda: node.store.delivered == 4, "the new consumer")
        assert node.listener.packets == 4, "it began at the start"
        assert node.has(*range(4))


async def test_a_deleted_consumer_of_a_work_queue_is_made_again(lone: Stream, tmp_path: Path) -> None:
    await lone.context.delete_stream(lone.name)
    await lone.context.add_stream(name=lone.name, subjects=[f"{lone.name}.>"], retention="workqueue")
    async with running(lone.url, tmp_path) as node:
        await lone.publish(0, 1)
        await until(lambda: getattr(node.source, "_floor", 0) == 1, "a look at the consumer")
        await lone.context.delete_consumer(lone.name, "hepswitch")
        await lone.publish(1, 2)
        await until(lambda: node.has(0, 1), "the new consumer")


async def test_new_begins_with_what_comes(lone: Stream, tmp_path: Path) -> None:
    await lone.publish(0, 1)
    async with running(lone.url + "&from=new", tmp_path) as node:
        await until(lambda: node.listener.state == "active", "the consumer")
        await lone.publish(1, 2)
        await until(lambda: node.store.delivered, "storing")
        assert node.has(1)
    await lone.publish(2, 3)
    async with running(lone.url + "&from=new", tmp_path) as node:
        await until(lambda: node.has(1, 2), "what came meanwhile")


async def test_a_message_larger_than_all_that_may_be_here(
    lone: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats, "WINDOW", 5_000)
    async with running(lone.url, tmp_path) as node:
        for first in (0, 5, 105, 110):
            await lone.publish(first, first + (100 if first == 5 else 5))
        await until(lambda: node.has(*range(115)), "storing")


async def test_the_server_goes_away_and_comes_back(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats") as server:
        stream = Stream(server, "HEP")
        await stream.make()
        async with running(stream.url + "&ack_wait=1s", tmp_path / "lake") as node:
            await stream.publish(0, 5)
            await until(lambda: node.store.delivered == 5, "storing")
            await stream.client.close()
            server.kill()
            await until(lambda: node.listener.state == "away", "noticing")
            server.start()
            await stream.open()
            await stream.publish(5, 10)
            await until(lambda: node.has(*range(10)), "storing again")
            await asyncio.wait_for(stream.acknowledged(), 10)
            await stream.client.close()


async def test_the_server_is_away_at_the_start_and_at_the_end(tmp_path: Path) -> None:
    async with running("nats://127.0.0.1:1/HEP", tmp_path) as node:
        await until(lambda: node.listener.state == "away", "noticing")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("share=3/2", "write K/N"),
        ("share=0/2", "write K/N"),
        ("group=a.b", "up to 100 letters"),
        ("from=end", "write start or new"),
        ("password=geheim&user=a", "is no secret"),
        ("token=geheim", "is no secret"),
        ("user=a", "come together"),
        ("subject=a.*", "write for example subject=hep"),
        ("ack_wait=0.5s", "out of range"),
        ("token=env:A&credentials=x", "exclude each other"),
        ("ca=x", "is for TLS"),
        ("color=red", "knows no option color"),
        ("share=1/2&share=2/2", "more than once"),
    ],
)
def test_mistakes_are_said(options: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        ways.parse(f"nats://n1/HEP?{options}")
    assert "geheim" not in str(raised.value)


def test_a_listener_is_named_without_secrets() -> None:
    endpoint = ways.parse("nats+tls://n1,n2:1/HEP?token=env:T&group=g&share=1/2&ca=x")
    assert nats.name(endpoint, []) == "nats+tls://n1,n2:1/HEP?group=g&share=1/2"


def test_what_is_missing_is_said_at_the_start(tmp_path: Path) -> None:
    for option, said in (
        ("token=env:HEPSWITCH_TEST_NOT_SET", "HEPSWITCH_TEST_NOT_SET is not set"),
        (f"token=file:{tmp_path}/x", "cannot be read"),
        (f"credentials={tmp_path}/x", "No such file"),
    ):
        with pytest.raises(OSError, match=said):
            nats.bind(ways.parse(f"nats://n1/HEP?{option}"), 1, 0)


async def test_the_leader_of_a_cluster_dies_while_packets_flow(tmp_path: Path) -> None:
    with nats_cluster(tmp_path / "nats") as cluster:
        address = parse_address(cluster.url())
        client = await connect(address, Login(), "test")
        await client.jetstream().add_stream(name="HEP", subjects=["hep.>"], num_replicas=3)
        published = 0

        async def publish(count: int) -> None:
            nonlocal client, published
            end = published + count
            while published < end:
                try:
                    named = {BATCH: identity(published, published + 10), "Nats-Msg-Id": f"m{published}"}
                    message = body(*range(published, published + 10))
                    await client.jetstream(timeout=1).publish("hep.3", message, headers=named)
                    published += 10
                except ERRORS:
                    await client.close()
                    with contextlib.suppress(OSError):
                        client = await connect(address, Login(), "test")

        async with running(cluster.url() + "?ack_wait=2s&share=1/1", tmp_path / "lake") as node:
            await publish(200)
            await until(lambda: node.store.delivered >= 100, "storing")
            cluster.leader().kill()
            await publish(200)
            await until(lambda: node.has(*range(400)), "storing all")
        await client.close()


async def test_what_finds_no_room_in_a_store_comes_again(
    lone: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats, "LATER", 0.2)
    async with running(lone.url, tmp_path) as node:
        node.store.on_pressure = None  # as a store that nobody waits for
        with monkeypatch.context() as patch:
            patch.setattr(journal.os, "pwritev", refuse)
            for first in range(0, 6000, 500):
                await lone.publish(first, first + 500)
            await until(lambda: node.store.refused["disk full"], "a message that finds no room")
        await until(lambda: node.store.delivered == 6000, "storing")
        await asyncio.wait_for(lone.acknowledged(), 10)
        assert node.has(*range(6000))


async def publish_raw(server: NatsServer, subject: str, header: bytes, data: bytes) -> None:
    """Publish with these bytes as the header, whatever they are."""
    reader, writer = await asyncio.open_connection(*server.host.split(":"))
    size = len(header) + len(data)
    writer.write(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n')
    writer.write(b"HPUB %s %d %d\r\n" % (subject.encode(), len(header), size) + header + data + b"\r\nPING\r\n")
    await asyncio.wait_for(reader.readuntil(b"PONG\r\n"), 10)
    writer.close()


HEADERS = [
    b"x",
    b"NATS/1.0",
    b"NATS/1.0\r\n\r\n",
    b"NATS/1.0 \xff\xff\xff\r\n\r\n",
    b"NATS/1.0 100 \xff\xfe\r\n\r\n",
    b"NATS/1.0 404 No Messages\r\n\r\n",
    b"NATS/1.0 409 Consumer Deleted\r\n\r\n",
    b"NATS/1.0\r\nHepswitch-Batch: \xff\xfe\xed\xa0\x80\r\n\r\n",
    b"NATS/1.0\r\nHepswitch-Batch: " + b"x" * 60_000 + b"\r\n\r\n",
]


async def test_headers_that_are_none(lone: Stream, tmp_path: Path) -> None:
    async with running(lone.url + "&ack_wait=1s", tmp_path) as node:
        for number, header in enumerate(HEADERS):
            await publish_raw(lone.server, f"{lone.name}.0", header, body(number))
        await until(lambda: node.has(*range(len(HEADERS))), "storing")
        await asyncio.wait_for(lone.acknowledged(), 10)
        assert not node.listener.redelivered


async def test_an_id_that_is_used_again_costs_no_other_message(lone: Stream, tmp_path: Path) -> None:
    async with running(lone.url, tmp_path) as node:
        for each in (1, 2, 1):
            await asyncio.sleep(0.3)  # longer than the server knows an id
            await lone.context.publish(f"{lone.name}.0", body(each), headers={"Nats-Msg-Id": "1"})
        await until(lambda: node.listener.packets == 3, "all three")
        await asyncio.wait_for(lone.acknowledged(), 10)
        assert node.has(1, 2)


async def test_a_stream_that_is_made_again_is_read_from_its_start(lone: Stream, tmp_path: Path) -> None:
    async with running(lone.url, tmp_path) as node:
        for each in range(5):
            await lone.context.publish(f"{lone.name}.0", body(each))
        await until(lambda: getattr(node.source, "_floor", 0) == 5, "a look at the consumer")
        await lone.context.delete_stream(lone.name)
        await lone.context.add_stream(name=lone.name, subjects=[f"{lone.name}.>"])
        for each in range(10, 13):
            await lone.context.publish(f"{lone.name}.0", body(each))
        await until(lambda: node.has(*range(5), *range(10, 13)), "what is in the new one")


@pytest.mark.parametrize("since", ["start", "new"])
async def test_when_shares_change_nothing_comes_again_and_nothing_is_left_out(
    lone: Stream, tmp_path: Path, since: str
) -> None:
    url = f"{lone.url}&group=lake&from={since}"
    async with running(url + "&share=1/2", tmp_path / "a") as a, running(url + "&share=2/2", tmp_path / "b") as b:
        await until(lambda: a.listener.state == b.listener.state == "active", "consumers")
        for each in range(12):
            await lone.publish(each, each + 1, each)
        await until(lambda: a.store.delivered + b.store.delivered == 12, "storing")
        await asyncio.wait_for(lone.acknowledged("lake-1of2"), 10)
        await asyncio.wait_for(lone.acknowledged("lake-2of2"), 10)
    for each in range(12, 24):
        await lone.publish(each, each + 1, each)
    async with contextlib.AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(running(f"{url}&share={each}/3", tmp_path / f"n{each}"))
            for each in (1, 2, 3)
        ]
        await until(lambda: sum(node.store.delivered for node in nodes) == 12, "storing")
        assert sorted(each for node in nodes for each in node.stored.elements()) == list(range(12, 24))
    async with running(url, tmp_path / "all") as node:
        await lone.publish(24, 25, 7)
        await until(lambda: node.has(24), "the group without shares")


async def test_small_messages_by_the_thousand(lone: Stream, tmp_path: Path) -> None:
    for each in range(2500):
        await lone.client.publish(f"{lone.name}.0", body(each), headers={BATCH: identity(each, each + 1)})
    async with running(lone.url, tmp_path) as node:
        await until(lambda: node.store.delivered == 2500, "storing")
        assert (node.listener.redelivered, node.listener.state) == (0, "active")
        await asyncio.wait_for(lone.acknowledged(), 10)


RIGHTS = """
tls {{ cert_file: "{cert}", key_file: "{key}" }}
authorization {{
  users: [
    {{ user: admin, password: admin }},
    {{ user: lake, password: geheim, permissions: {{
      publish: [
        "$JS.API.STREAM.INFO.HEP", "$JS.API.CONSUMER.LIST.HEP",
        "$JS.API.CONSUMER.CREATE.HEP.>", "$JS.API.CONSUMER.INFO.HEP.>", "$JS.API.CONSUMER.MSG.NEXT.HEP.>", "$JS.ACK.HEP.>"
      ],
      subscribe: "_INBOX.>"
    }} }}
  ]
}}
"""


@pytest.mark.parametrize("share", ["", "&share=1/1"])
async def test_over_tls_with_no_more_rights_than_the_docs_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: str
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server_cert = authority.issue_cert("127.0.0.1")
    server_cert.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    monkeypatch.setenv("HEPSWITCH_TEST_SECRET", "geheim")
    extra = RIGHTS.format(cert=tmp_path / "server.pem", key=tmp_path / "server.pem")
    with nats_server(tmp_path / "nats", extra) as server:
        url = server.url().replace("nats:", "nats+tls:") + f"?ca={tmp_path}/ca.pem"
        client = await connect(parse_address(url), Login(user="admin", password="admin"), "test")
        await client.jetstream().add_stream(name="HEP", subjects=["hep.>"])
        secret = "&user=lake&password=env:HEPSWITCH_TEST_SECRET"
        async with running(url + secret + share, tmp_path / "lake") as node:
            await client.jetstream().publish("hep.3", body(1))
            await until(lambda: node.has(1), "storing")
            await until(lambda: node.listener.state == "active" and not node.listener.waiting, "acknowledging")
        await client.close()


async def test_a_right_that_is_missing_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats, "ANSWER", 0.5)
    extra = 'authorization { users: [{ user: lake, password: x, permissions: { publish: "$JS.API.STREAM.>" } }] }'
    (tmp_path / "secret").write_text("x")
    with nats_server(tmp_path / "nats", extra) as server:
        client = await connect(parse_address(server.url()), Login(user="lake", password="x"), "test")
        await client.jetstream().add_stream(name="HEP", subjects=["hep.>"])
        await client.close()
        async with running(server.url() + f"?user=lake&password=file:{tmp_path}/secret", tmp_path / "lake") as node:
            await until(lambda: node.listener.state == "away", "noticing")
    assert "permissions violation" in capsys.readouterr().out.lower()
