"""Kafka: messages into a topic, each acknowledged by all brokers in sync. librdkafka's producer, in a thread of its own.

The producer is idempotent: what it sends again itself is there once. What is sent again because a loader was killed has the
same id, by which consumers know it. A message goes to the partition of its call; how many there are is asked of the topic.

A topic that is made acknowledges when more than half of its replicas have a message (`min.insync.replicas`).
Not here: what is in a message (`streams.message`), settings of all clients (`streams.kafka`).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._metadata import TopicMetadata
from confluent_kafka.cimpl import NewTopic

from hepswitch.databases.stream_carrier import TooLargeError
from hepswitch.destinations.hand import Hand
from hepswitch.destinations.streams import KafkaStore
from hepswitch.streams.kafka import settings
from hepswitch.streams.message import KAFKA_BATCH, MOST_BYTES, MOST_PARTITIONS, Message

PATIENCE = 15.0
"""Seconds that brokers may take to say which topics they have, and to make one."""

DELIVERY = 30.0
"""Seconds after which a message that is not acknowledged is given up."""

TURN = 0.1
"""Seconds that the thread waits for news of its messages before it looks whether anybody still wants them."""

GOODBYE = 1.0


class KafkaPublisher:
    """A `Publisher` to the topic of a store."""

    def __init__(self, store: KafkaStore) -> None:
        self._store = store
        self._address = store.address
        self.partitions = store.partitions
        self.most = MOST_BYTES
        self._hand = Hand("hepswitch kafka")
        self._producer: Producer | None = None
        self._is_closed = threading.Event()
        self._heard = ""
        """What librdkafka last said about the brokers: more than what becomes of a message says."""

    async def open(self) -> None:
        """Connect, and make sure that the topic is there."""
        await self._hand.do(self._open)

    async def publish(self, messages: Sequence[Message], acknowledged: Callable[[str], None]) -> None:
        """Publish all, and wait until of each is known what became of it."""
        await self._hand.do(self._publish, messages, acknowledged)

    async def close(self) -> None:
        """Let go of the connections. What is not acknowledged yet is given up."""
        self._is_closed.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE):
                await self._hand.do(self._drop)
        self._hand.let_go()

    # ── in the thread of the hand ──────────────────────────────────────────────────────────────────────────────────

    def _open(self) -> None:
        shared = settings(self._address, self._store.login, "hepswitch publisher") | {"error_cb": self._hear}
        own = {
            "enable.idempotence": True,  # and with it acks=all
            "message.timeout.ms": int(DELIVERY * 1000),
            "message.max.bytes": MOST_BYTES + (64 << 10),
            "compression.type": self._store.compression,
        }
        try:
            self._producer = Producer(shared | own)
        except KafkaException as error:  # a file of TLS is none, for example
            raise self._trouble(error.args[0]) from error
        topic = self._topic()
        if topic is None and not self._store.create:
            raise OSError(f"there is no topic {self._address.name}: `hepswitch ddl` says how to make it")
        if topic is None:
            topic = self._made(AdminClient(shared))
        if len(topic.partitions) > MOST_PARTITIONS:
            raise OSError(
                f"{self._address}: {len(topic.partitions)} partitions are too many: {MOST_PARTITIONS} at most"
            )
        self.partitions = len(topic.partitions)

    def _hear(self, error: KafkaError) -> None:
        self._heard = error.str()

    def _topic(self) -> TopicMetadata | None:
        """The topic as the brokers know it; None when they do not."""
        assert self._producer is not None
        try:
            # All topics: a broker may make the one that is asked for, as it likes it.
            topics: dict[str, TopicMetadata] = self._producer.list_topics(timeout=PATIENCE).topics
        except KafkaException as error:
            raise self._trouble(error.args[0]) from error
        found = topics.get(self._address.name)
        if found is None or (found.error is not None and found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART):
            return None
        if found.error is not None:
            raise self._trouble(found.error)
        return found

    def _made(self, admin: AdminClient) -> TopicMetadata:
        """Make the topic; gives it when the brokers know it."""
        store = self._store
        config = {
            "retention.ms": str(int(store.keep * 1000)),
            "min.insync.replicas": str(store.replicas // 2 + 1),
        }
        new = NewTopic(self._address.name, store.partitions, store.replicas, config=config)
        try:
            admin.create_topics([new], request_timeout=PATIENCE)[self._address.name].result(PATIENCE)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise self._trouble(error.args[0]) from error
        until = time.monotonic() + PATIENCE
        while (topic := self._topic()) is None or not topic.partitions:
            if time.monotonic() > until or self._is_closed.wait(TURN):
                raise OSError(f"{self._address}: the topic was made, but the brokers do not show it")
        return topic

    def _publish(self, messages: Sequence[Message], acknowledged: Callable[[str], None]) -> None:
        assert self._producer is not None
        failed: list[tuple[KafkaError, Message]] = []
        settled = 0

        def settle(message: Message, error: KafkaError | None, _: Any) -> None:
            nonlocal settled
            settled += 1
            if error is None:
                acknowledged(message.id)
            else:
                failed.append((error, message))

        for message in messages:
            self._produce(message, partial(settle, message))
        while settled < len(messages):
            self._producer.poll(TURN)
            self._check()
        self._heard = self._heard if failed else ""
        for error, message in sorted(failed, key=lambda each: each[0].code() == KafkaError.MSG_SIZE_TOO_LARGE):
            if error.code() != KafkaError.MSG_SIZE_TOO_LARGE:
                raise self._trouble(error)
            size = len(message.body)
            raise TooLargeError(
                f"{self._address}: the brokers take no message of {size} bytes (max.message.bytes of the topic)",
                message,
            )

    def _produce(self, message: Message, settle: Callable[[KafkaError | None, Any], None]) -> None:
        assert self._producer is not None
        while True:
            try:
                self._producer.produce(
                    self._address.name,
                    message.body,
                    message.key,
                    message.partition,
                    on_delivery=settle,
                    headers=[(KAFKA_BATCH, message.id.encode())],
                )
            except BufferError:  # it holds as much as it may
                self._producer.poll(TURN)
                self._check()
            except KafkaException as error:
                raise self._trouble(error.args[0]) from error
            else:
                self._producer.poll(0)
                return

    def _check(self) -> None:
        if self._is_closed.is_set():
            raise OSError(f"{self._address}: the connection was closed")

    def _trouble(self, error: KafkaError) -> OSError:
        if self._producer is not None:
            self._producer.poll(0)  # what else there is to hear
        text = error.str()
        if self._heard and self._heard != text:
            text = f"{text}: {self._heard}"
        return OSError(f"{self._address}: {text}")

    def _drop(self) -> None:
        """Give up what is under way, and the connections."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge(blocking=False)
            producer.poll(0)


def ddl(store: KafkaStore) -> str:
    """The command of Kafka's own tools that makes the topic."""
    server, port = store.address.servers[0]
    return (
        f"kafka-topics.sh --create --bootstrap-server {server}:{port} --topic {store.address.name} "
        f"--partitions {store.partitions} --replication-factor {store.replicas} "
        f"--config retention.ms={int(store.keep * 1000)} --config min.insync.replicas={store.replicas // 2 + 1}\n"
    )
