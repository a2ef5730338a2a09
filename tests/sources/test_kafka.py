"""Packets out of Kafka (librdkafka's mock): offsets are committed when they are written, and each is stored once."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from far_ends import until
from hepswitch import journal
from hepswitch.sources import kafka, kafka_topic, stream, ways
from hepswitch.streams.message import KAFKA_BATCH
from stream_nodes import StoringNode, body, identity
from stream_servers import KafkaMock, kafka_cluster

PARTITIONS = 4


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaMock]:
    with kafka_cluster() as running:
        yield running


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "LOOK", 0.5)
    # The mock does not hear that a member leaves.
    monkeypatch.setattr(kafka_topic, "SESSION", 1.0)
    monkeypatch.setattr(kafka_topic, "ANSWER", 1.0)


class Topic:
    """A topic that a test has to itself."""

    def __init__(self, mock: KafkaMock, name: str) -> None:
        self.mock, self.name = mock, name
        mock.do("topic", name, PARTITIONS)
        self.producer = Producer({"bootstrap.servers": mock.servers, "log_level": 0, "linger.ms": 1})

    @property
    def url(self) -> str:
        return self.mock.url(self.name) + "?group=" + self.name

    def publish(self, first: int, last: int, partition: int = 0) -> None:
        """Packets `first` up to `last` as one message."""
        self.put(body(*range(first, last)), partition, {KAFKA_BATCH: identity(first, last)})

    def put(self, value: bytes, partition: int = 0, headers: dict[str, str] | None = None) -> None:
        self.producer.produce(self.name, value, partition=partition, headers=headers)
        assert self.producer.flush(10) == 0

    def committed(self) -> dict[int, int]:
        """The offsets that the group has committed, by partition."""
        reader = Consumer({"bootstrap.servers": self.mock.servers, "group.id": self.name, "log_level": 0})
        try:
            places = reader.committed([TopicPartition(self.name, number) for number in range(PARTITIONS)], timeout=10)
            return {place.partition: place.offset for place in places if place.offset >= 0}
        finally:
            reader.close()


@pytest.fixture
def topic(cluster: KafkaMock, request: pytest.FixtureRequest) -> Topic:
    return Topic(cluster, re.sub(r"\W", "-", request.node.name)[5:])


@contextlib.asynccontextmanager
async def running(url: str, folder: Path) -> AsyncIterator[StoringNode]:
    node = StoringNode(url, folder)
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


@pytest.mark.parametrize("share", ["", "&share=1/1"])
async def test_packets_are_stored_and_then_committed(topic: Topic, tmp_path: Path, share: str) -> None:
    topic.publish(0, 5)
    async with running(topic.url + share, tmp_path) as node:
        topic.publish(5, 6, 1)
        await until(lambda: node.has(*range(6)), "storing")
        await until(lambda: node.listener.state == "active" and not node.listener.waiting, "the books")
        assert node.listener.packets == 6
    assert topic.committed() == {0: 1, 1: 1}
    async with running(topic.url + share, tmp_path) as node:
        topic.publish(6, 7)
        await until(lambda: node.has(*range(7)), "storing after a restart")
        assert node.listener.packets == 1


async def test_what_comes_again_is_stored_once(topic: Topic, tmp_path: Path) -> None:
    async with running(topic.url + "&share=1/1", tmp_path) as node:
        for _ in range(2):  # by a publisher that did not hear the answer
            topic.publish(0, 5)
        topic.put(body(7))
        topic.put(body(7))
        await until(lambda: node.listener.packets == 12, "storing")
        await until(lambda: node.store.delivered == 7, "writing")
        assert node.store.refused == {"stored before": 5}
        assert node.stored == dict.fromkeys(range(5), 1) | {7: 2}


async def test_what_was_written_and_not_committed_comes_again_and_is_stored_once(
    topic: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic.publish(0, 5)
    with monkeypatch.context() as patch:
        patch.setattr(kafka_topic.Topic, "commit", lambda *_, **__: None)  # as if it died before it could
        async with running(topic.url + "&share=1/1", tmp_path) as node:
            await until(lambda: node.store.delivered == 5, "storing")
    async with running(topic.url + "&share=1/1", tmp_path) as node:
        topic.publish(5, 6)
        await until(lambda: node.has(*range(6)), "storing after a restart")
        assert node.store.refused == {"stored before": 5}


async def test_a_broken_message_is_counted_and_passed_over(topic: Topic, tmp_path: Path) -> None:
    async with running(topic.url + "&share=1/1", tmp_path) as node:
        topic.put(body(1) + b"no packet")
        topic.put(b"")
        topic.put(body(2)[:-1])
        await until(lambda: node.listener.malformed == 2 and node.has(1), "reading")
    assert topic.committed() == {0: 3}


def refuse(fd: int, parts: list[bytes], at: int) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_while_the_disk_refuses_nothing_is_committed_or_doubled(
    topic: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(topic.url + "&share=1/1", tmp_path) as node:
        with monkeypatch.context() as patch:
            patch.setattr(journal.os, "pwritev", refuse)
            for first in range(0, 5000, 500):
                topic.publish(first, first + 500)
            await until(lambda: node.store.full, "the queue fills")
            assert topic.committed() == {}
        await until(lambda: node.has(*range(5000)), "storing")
    assert topic.committed() == {0: 10}


async def test_what_finds_no_room_in_a_store_comes_again(
    topic: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(topic.url + "&share=1/1", tmp_path) as node:
        node.store.on_pressure = None  # as a store that nobody waits for
        with monkeypatch.context() as patch:
            patch.setattr(journal.os, "pwritev", refuse)
            for first in range(0, 6000, 500):
                topic.publish(first, first + 500)
            await until(lambda: node.store.refused["disk full"], "a message that finds no room")
        await until(lambda: node.has(*range(6000)), "storing")
    assert topic.committed() == {0: 12}


async def test_shares_are_disjoint(topic: Topic, tmp_path: Path) -> None:
    async with (
        running(topic.url + "&share=1/2", tmp_path / "a") as a,
        running(topic.url + "&share=2/2", tmp_path / "b") as b,
    ):
        for partition in range(PARTITIONS):
            topic.publish(partition, partition + 1, partition)
        await until(lambda: a.store.delivered + b.store.delivered == PARTITIONS, "storing")
        assert (a.has(0, 2), b.has(1, 3)) == (True, True)


async def test_a_group_divides_the_partitions_and_takes_over(topic: Topic, tmp_path: Path) -> None:
    async with running(topic.url, tmp_path / "a") as a:
        topic.publish(0, 1)
        await until(lambda: a.store.delivered == 1, "the first member")
        async with running(topic.url, tmp_path / "b") as b:
            sent = 1
            while not b.store.delivered:
                for partition in range(PARTITIONS):
                    topic.publish(sent, sent + 1, partition)
                    sent += 1
                await asyncio.sleep(0.05)
            await until(lambda: a.store.delivered + b.store.delivered == sent, "storing")
        for partition in range(PARTITIONS):
            topic.publish(sent, sent + 1, partition)
            sent += 1
        await until(lambda: a.store.delivered + b.store.delivered == sent, "taking over")
        assert sorted((a.stored + b.stored).elements()) == list(range(sent))


async def test_new_begins_with_what_comes(topic: Topic, tmp_path: Path) -> None:
    topic.publish(0, 1)
    async with running(topic.url + "&share=1/1&from=new", tmp_path) as node:
        await until(lambda: node.listener.state == "active", "the beginning")
        topic.publish(1, 2)
        topic.publish(2, 3, 1)
        await until(lambda: node.store.delivered == 2, "storing")
        assert node.has(1, 2)
    topic.publish(3, 4, 2)
    async with running(topic.url + "&share=1/1&from=new", tmp_path) as node:
        await until(lambda: node.has(1, 2, 3), "what came meanwhile")


async def test_brokers_go_away_and_answer_with_errors(topic: Topic, cluster: KafkaMock, tmp_path: Path) -> None:
    async with running(topic.url + "&share=1/1", tmp_path) as node:
        topic.publish(0, 5)
        await until(lambda: node.store.delivered == 5, "storing")
        for broker in (1, 2, 3):
            cluster.do("down", broker)
        await until(lambda: node.listener.state == "away", "noticing")
        for broker in (1, 2, 3):
            cluster.do("up", broker)
        cluster.do("errors", "fetch", 6, 3)  # not the leader any more
        cluster.do("errors", "commit", 16, 2)  # not the coordinator
        for first in range(5, 25, 5):
            topic.publish(first, first + 5, first % PARTITIONS)
        await until(lambda: node.has(*range(25)), "storing again")
        await until(lambda: not node.listener.waiting, "the books")


@pytest.mark.parametrize("share", ["", "&share=1/1"])
async def test_brokers_that_hang_do_not_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: str) -> None:
    monkeypatch.setattr(stream, "PATIENCE", 0.1)
    monkeypatch.setattr(kafka, "GOODBYE", 0.1)
    with kafka_cluster(1) as cluster:
        topic = Topic(cluster, "hep")
        async with running(topic.url + share, tmp_path) as node:
            topic.publish(0, 5)
            await until(lambda: node.store.delivered == 5, "storing")
            cluster.signal(signal.SIGSTOP)
            await asyncio.wait_for(node.source.stop(), 20)


async def test_a_topic_that_is_missing_is_waited_for(cluster: KafkaMock, tmp_path: Path) -> None:
    async with running("kafka://127.0.0.1:1/hep", tmp_path) as node:
        await until(lambda: node.listener.state == "away", "noticing")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("share=3/2", "write K/N"),
        ("sasl=none", "none of plain"),
        ("password=geheim&user=a", "is no secret"),
        ("token=env:A", "knows no option token"),
        ("subject=a", "knows no option subject"),
    ],
)
def test_mistakes_are_said(options: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        ways.parse(f"kafka://n1/hep?{options}")
    assert "geheim" not in str(raised.value)
