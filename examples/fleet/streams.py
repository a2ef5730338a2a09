"""What stands between edges and storing nodes: NATS servers with JetStream, or a mock of Kafka brokers.

Both are hurt and mended by the same names, and say in the end what they hold. Not here: the switches (`nodes`), how
the servers are started (tests/stream_servers.py).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness import usage
from hepswitch.streams.message import BATCH
from stream_servers import KafkaMock, NatsCluster, NatsServer

STREAM, TOPIC = "HEP", "hep"
"""The stream's name in NATS, and in Kafka."""

PARTITIONS = 32
"""Of the topic. The mock keeps 5 MiB of each: the more there are, the longer may a storing node be away."""

FAILURES = {"produce": (7, 19, 6, -195), "fetch": (6, -195), "commit": (7,)}
"""What requests to the mock get when it is hurt: timed out, not enough replicas, not the leader, connection closed."""

EACH = 8
"""How often each of them."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a stream has taken: messages, their bytes, the packets in them. None: it does not say."""

    messages: int
    bytes: int | None = None
    packets: int | None = None
    twice: int | None = None
    """Messages whose id came before."""


class Stream(Protocol):
    """Servers of a stream."""

    scheme: str
    """The folder with the configurations of the nodes, and what URLs begin with."""

    def url(self) -> str:
        """Where the stream is: what an edge's store has."""

    def listen(self, share: str) -> str:
        """What a storing node listens to for its share of it."""

    def hurt(self) -> str:
        """Do it harm; says what."""

    def mend(self) -> None:
        """Make it whole again."""

    def held(self) -> Held:
        """What it has taken."""

    def cpu(self) -> dict[str, float]:
        """CPU seconds of its servers, if they are real ones."""

    def traffic(self) -> dict[str, int]:
        """Bytes that these servers read and wrote, from and to clients and one another, as far as they say."""

    def stop(self) -> None:
        """End it."""


class Nats:
    """Three NATS servers below `home`; each message is on all of them."""

    scheme = "nats"

    def __init__(self, home: Path) -> None:
        self._cluster = NatsCluster(home)
        self._hurt: NatsServer | None = None
        self._cluster.start()

    def url(self) -> str:
        return self._cluster.url(STREAM)

    def listen(self, share: str) -> str:
        return f"{self.url()}?group=lake&share={share}&ack_wait=5s"

    def hurt(self) -> str:
        """kill -9 of the server that leads the stream."""
        self._hurt = self._cluster.leader(STREAM)
        self._hurt.kill()
        return f"the NATS server {self._hurt.name}, which led the stream, killed"

    def mend(self) -> None:
        assert self._hurt is not None
        self._hurt.start()

    def held(self) -> Held:
        return asyncio.run(_held([f"nats://{server.host}" for server in self._cluster.servers]))

    @property
    def pids(self) -> list[int]:
        """The servers' processes."""
        return [server.pid for server in self._cluster.servers]

    def cpu(self) -> dict[str, float]:
        used = [usage(pid) for pid in self.pids]
        return {"nats-server": sum(each.user + each.sys for each in used)}

    def traffic(self) -> dict[str, int]:
        told = [server.ask("/varz") for server in self._cluster.servers]
        return {key: sum(each[key] for each in told) for key in ("in_bytes", "out_bytes")}

    def stop(self) -> None:
        self._cluster.kill()


async def _held(servers: list[str]) -> Held:
    """Read the whole stream: its messages, and what is in them."""
    import nats
    from nats.js.api import AckPolicy, ConsumerConfig

    packets, ids = 0, Counter[str]()
    client = await nats.connect(servers)
    try:
        stream = client.jetstream()
        state = (await stream.stream_info(STREAM)).state
        reader = await stream.pull_subscribe("", stream=STREAM, config=ConsumerConfig(ack_policy=AckPolicy.NONE))
        while ids.total() < state.messages:
            for message in await reader.fetch(min(state.messages - ids.total(), 64), timeout=20):
                packets += _packets(message.data)
                ids[(message.headers or {})[BATCH]] += 1
    finally:
        await client.close()
    return Held(state.messages, state.bytes, packets, ids.total() - len(ids))


def _packets(body: bytes) -> int:
    """How many HEPv3 packets lie end to end in the body of a message."""
    count = at = 0
    while at < len(body):
        at += int.from_bytes(body[at + 4 : at + 6])
        count += 1
    return count


class Kafka:
    """librdkafka's mock of three brokers, in a process of its own: nothing of it is on disk."""

    scheme = "kafka"

    def __init__(self, home: Path) -> None:
        self._mock = KafkaMock()
        self._mock.do("topic", TOPIC, PARTITIONS)

    def url(self) -> str:
        return self._mock.url(TOPIC)

    def listen(self, share: str) -> str:
        return f"{self.url()}?group=lake&share={share}"

    def hurt(self) -> str:
        """Errors for requests, and one of the brokers away."""
        for request, codes in FAILURES.items():
            for code in codes * EACH:
                self._mock.do("errors", request, code)
        self._mock.do("down", 2)
        failed = ", ".join(f"{len(codes) * EACH} to {request}" for request, codes in FAILURES.items())
        return f"requests fail ({failed}), a broker is away"

    def mend(self) -> None:
        self._mock.do("up", 2)

    def held(self) -> Held:
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self._mock.servers, "group.id": "books"})
        try:
            places = [TopicPartition(TOPIC, number) for number in range(PARTITIONS)]
            return Held(sum(consumer.get_watermark_offsets(place, timeout=20)[1] for place in places))
        finally:
            consumer.close()

    def cpu(self) -> dict[str, float]:
        return {}

    def traffic(self) -> dict[str, int]:
        return {}

    def stop(self) -> None:
        self._mock.stop()


STREAMS: dict[str, Callable[[Path], Stream]] = {"nats": Nats, "kafka": Kafka}
