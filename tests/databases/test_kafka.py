"""Publishing to Kafka, against librdkafka's mock of a cluster: brokers that refuse, go away, are slow."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from far_ends import number, until
from hepswitch.books import Listener
from hepswitch.databases import kafka as publisher
from hepswitch.databases.gauge import Gauge
from hepswitch.databases.kafka import KafkaPublisher, ddl
from hepswitch.destinations import figures
from hepswitch.destinations.figures import LoaderFigures
from hepswitch.destinations.streams import KafkaStore
from hepswitch.streams.message import KAFKA_BATCH, mark
from hepswitch.streams.packing import unpack
from hepswitch.wire.batch import Batch
from publishing import loading, row, writing
from stream_servers import KafkaMock, kafka_cluster

PARTITIONS = 4
UNKNOWN_ERROR, NOT_LEADER, TOO_LARGE = -1, 6, 10

_names = count()


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaMock]:
    """Three brokers."""
    with kafka_cluster() as running:
        yield running


def a_store(cluster: KafkaMock, **keys: Any) -> KafkaStore:
    """A topic that no other test has."""
    name = f"t{next(_names)}"
    cluster.do("topic", name, PARTITIONS)
    return KafkaStore.model_validate({"url": cluster.url(name), "flush": "20ms"} | keys)


def in_topic(table: KafkaStore) -> list[Any]:
    """Every message in the topic."""
    name = table.address.name
    settings = {
        "bootstrap.servers": table.url.split("/")[2],
        "group.id": "test",
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 10,
    }
    consumer = Consumer(settings | {"enable.auto.commit": False})
    consumer.assign([TopicPartition(name, partition, 0) for partition in range(PARTITIONS)])
    found, ended = [], set()
    try:
        while len(ended) < PARTITIONS:
            message = consumer.poll(10)
            assert message is not None, "the brokers say nothing"
            error = message.error()
            if error is None:
                found.append(message)
            else:
                assert error.code() == KafkaError._PARTITION_EOF, error
                ended.add(message.partition())
    finally:
        consumer.close()
    return found


def packets(messages: list[Any]) -> list[bytes]:
    found: list[bytes] = []
    for message in messages:
        batch = Batch(Listener("kafka://k/t"))
        assert unpack(batch, message.value(), 0) == 0
        found += list(batch)
    return found


def numbers(messages: list[Any]) -> list[int]:
    return sorted(number(each) for each in packets(messages))


def ids(messages: list[Any]) -> list[str]:
    return [dict(each.headers())[KAFKA_BATCH].decode() for each in messages]


async def test_every_packet_is_in_the_topic_with_its_call(tmp_path: Path, cluster: KafkaMock) -> None:
    table = a_store(cluster, packets=50, batch=300)
    gauge = Gauge(tmp_path / "store:bus", 1 << 20)
    async with writing(tmp_path, table) as put, loading(tmp_path, table):
        for start in range(0, 1000, 10):
            put(*range(start, start + 10), call=f"c{start // 10}")
        await until(lambda: row(gauge)["delivered"] == 1000, "all is acknowledged")
    found = in_topic(table)
    assert numbers(found) == list(range(1000))
    assert {each.partition() for each in found} == set(range(PARTITIONS))
    assert all(each.key() == b"%d" % each.partition() for each in found)
    assert len({mark(dict(each.headers())[KAFKA_BATCH].decode(), each.value()) for each in found}) == len(found)
    places: dict[int, set[int]] = {}
    for each in found:
        for packet in packets([each]):
            places.setdefault(number(packet) // 10, set()).add(each.partition())
    assert all(len(partitions) == 1 for partitions in places.values())


async def test_the_key_of_one_packet_is_its_call(tmp_path: Path, cluster: KafkaMock) -> None:
    table = a_store(cluster, packets=1)
    gauge = Gauge(tmp_path / "store:bus", 1 << 20)
    async with writing(tmp_path, table) as put, loading(tmp_path, table):
        put(*range(20), call="a@b")
        await until(lambda: row(gauge)["delivered"] == 20, "all is acknowledged")
    assert [each.key() for each in in_topic(table)] == [b"a@b"] * 20


async def test_brokers_that_refuse_for_a_while_double_nothing(tmp_path: Path, cluster: KafkaMock) -> None:
    table = a_store(cluster, packets=5, batch=100)
    gauge = Gauge(tmp_path / "store:bus", 1 << 20)
    async with writing(tmp_path, table) as put, loading(tmp_path, table):
        put(0)
        await until(lambda: row(gauge)["delivered"] == 1, "the way is good")
        cluster.do("errors", "produce", NOT_LEADER, 3)
        for start in range(1, 1001, 100):
            put(*range(start, start + 100), call=f"c{start}")
        await until(lambda: row(gauge)["delivered"] == 1001, "all is acknowledged")
    found = in_topic(table)
    assert numbers(found) == list(range(1001))


async def test_a_broker_that_goes_away_and_comes_back(
    tmp_path: Path, cluster: KafkaMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "DELIVERY", 1.0)
    table = a_store(cluster, packets=5, batch=100)
    for partition in range(PARTITIONS):
        cluster.do("leader", table.address.name, partition, 2)
    gauge = Gauge(tmp_path / "store:bus", 1 << 20)
    async with writing(tmp_path, table) as put, loading(tmp_path, table):
        put(0)
        await until(lambda: row(gauge)["delivered"] == 1, "the way is good")
        cluster.do("down", 2)
        put(*range(1, 500))
        await until(lambda: row(gauge)["state"] != "active", "the trouble shows")
        assert row(gauge)["spooled"] == 499
        cluster.do("up", 2)
        await until(lambda: row(gauge)["delivered"] == 500, "all is acknowledged")
        await until(lambda: row(gauge)["state"] == "active", "the trouble is over")
    found = in_topic(table)
    assert sorted(set(numbers(found))) == list(range(500))
    once = dict(zip(ids(found), found, strict=True))
    assert numbers(list(once.values())) == list(range(500)), "what came twice has the id that it had"


async def test_an_acknowledgement_that_is_lost_with_its_loader(
    tmp_path: Path, cluster: KafkaMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = a_store(cluster, packets=5, batch=200, connections=1)
    gauge = Gauge(tmp_path / "store:bus", 1 << 20)
    real = KafkaPublisher.publish

    async def never(self: KafkaPublisher, messages: Any, acknowledged: Any) -> None:
        await real(self, messages, lambda _: None)
        published.set()
        await asyncio.Event().wait()

    published = asyncio.Event()
    async with writing(tmp_path, table) as put:
        put(*range(200))
        monkeypatch.setattr(KafkaPublisher, "publish", never)
        async with loading(tmp_path, table, drain=0.1):
            await until(published.is_set, "all is there")
        assert row(gauge)["delivered"] == 0
        monkeypatch.setattr(KafkaPublisher, "publish", real)
        async with loading(tmp_path, table):
            await until(lambda: row(gauge)["delivered"] == 200, "the next loader goes on")
    found = in_topic(table)
    assert len(found) == 80
    assert len(set(ids(found))) == 40
    assert sorted(set(numbers(found))) == list(range(200))


async def test_a_packet_that_the_brokers_never_take_is_set_aside(tmp_path: Path, cluster: KafkaMock) -> None:
    table = a_store(cluster, packets=1, connections=1)
    gauge = Gauge(tmp_path / "store:bus", 1 << 20)
    cluster.do("errors", "produce", TOO_LARGE)
    async with writing(tmp_path, table) as put, loading(tmp_path, table):
        put(7)
        await until(lambda: row(gauge)["discarded"] == {"rejected": 1}, "it is counted")
        put(8)
        await until(lambda: row(gauge)["delivered"] == 1, "others go on")
    assert numbers(in_topic(table)) == [8]
    assert "max.message.bytes" in (tmp_path / "store:bus" / "rejected.jsonl").read_text()


async def test_many_packets_that_are_too_large_together_wait(tmp_path: Path, cluster: KafkaMock) -> None:
    table = a_store(cluster, connections=1)
    gauge = Gauge(tmp_path / "store:bus", 1 << 20)
    cluster.do("errors", "produce", TOO_LARGE)
    async with writing(tmp_path, table) as put, loading(tmp_path, table):
        put(*range(10))
        await until(lambda: row(gauge)["delivered"] == 10, "it is tried again")
    assert figures.read(tmp_path / "store:bus", LoaderFigures).troubles.errors >= 1
    assert numbers(in_topic(table)) == list(range(10))


async def test_the_end_does_not_wait_for_brokers_that_are_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with kafka_cluster(1) as cluster:
        table = a_store(cluster)
        gauge = Gauge(tmp_path / "store:bus", 1 << 20)
        async with writing(tmp_path, table) as put, loading(tmp_path, table, drain=0.2):
            put(0)
            await until(lambda: row(gauge)["delivered"] == 1, "the way is good")
            cluster.do("down", 1)
            put(*range(1, 10))
            await until(lambda: row(gauge)["spooled"] == 9, "they wait")
        assert row(gauge)["spooled"] == 9


async def fails(table: KafkaStore, words: str) -> None:
    made = KafkaPublisher(table)
    with pytest.raises(OSError, match=words):
        await made.open()
    await made.close()


async def test_what_is_missing_is_said(cluster: KafkaMock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "PATIENCE", 1.0)
    url = cluster.url("missing")
    await fails(KafkaStore(url=url, create=False), "there is no topic missing: `hepswitch ddl` says how")
    await fails(KafkaStore(url="kafka://127.0.0.1:1/hep"), "127.0.0.1:1.*refused")
    (tmp_path / "ca.pem").write_text("no certificate")
    await fails(KafkaStore(url=f"kafka+tls://127.0.0.1:1/hep?ca={tmp_path}/ca.pem"), "ssl.ca.location")


async def test_a_topic_is_made(monkeypatch: pytest.MonkeyPatch, cluster: KafkaMock) -> None:
    """The mock makes none when it is asked to: what is asked for is looked at, and then there is one."""
    asked: list[Any] = []

    class Admin:
        def __init__(self, settings: dict[str, Any]) -> None:
            assert settings["bootstrap.servers"] == cluster.servers

        def create_topics(self, topics: list[Any], request_timeout: float) -> dict[str, Any]:
            (topic,) = topics
            asked.append((topic.topic, topic.num_partitions, topic.replication_factor, topic.config))
            cluster.do("topic", topic.topic, topic.num_partitions)
            return {topic.topic: SimpleNamespace(result=self.result)}

        def result(self, timeout: float) -> None:
            raise KafkaException(KafkaError(KafkaError.TOPIC_ALREADY_EXISTS))

    monkeypatch.setattr(publisher, "AdminClient", Admin)
    made = KafkaPublisher(KafkaStore(url=cluster.url("made"), partitions=3, replicas=3, keep=3600))
    await made.open()
    await made.close()
    assert made.partitions == 3
    assert asked == [("made", 3, 3, {"retention.ms": "3600000", "min.insync.replicas": "2"})]


def test_the_command_that_makes_the_topic() -> None:
    assert ddl(KafkaStore(url="kafka://k1,k2/hep", replicas=3)) == (
        "kafka-topics.sh --create --bootstrap-server k1:9092 --topic hep --partitions 16 --replication-factor 3 "
        "--config retention.ms=86400000 --config min.insync.replicas=2\n"
    )
