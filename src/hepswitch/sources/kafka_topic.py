"""A topic of Kafka as one member of a group reads it. All of it blocks, and is called in one thread.

Not here: what becomes of the messages (`kafka`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from hepswitch.sources.stream import WINDOW, Settings
from hepswitch.streams.address import Login
from hepswitch.streams.kafka import settings as client_settings
from hepswitch.streams.message import KAFKA_BATCH

WAIT = 0.2
"""Seconds that a look for messages may take when there are none."""
AT_ONCE = 500
"""Messages that are taken at once."""
ANSWER = 5.0
"""Seconds that the brokers may take to answer a question."""

SESSION = 15.0
"""Seconds without a sign of life after which the group divides a member's partitions among the others."""

STORED = -1000
"""librdkafka's number for the offset that was committed."""


class Record(NamedTuple):
    """One message. `identity`: its id, or its place."""

    partition: int
    offset: int
    identity: str
    body: bytes


class Topic:
    """`settle` is called while partitions are being taken away: it gives the offsets that may be committed by then."""

    def __init__(self, settings: Settings, login: Login, settle: Callable[[], dict[int, int]]) -> None:
        from confluent_kafka import Consumer

        self._settings = settings
        self._topic = settings.address.name
        self._settle = settle
        self._partitions: set[int] = set()
        self.is_joined = False
        """It is known which partitions are read here."""
        self._resting = False
        self._consumer = Consumer(
            client_settings(settings.address, login, "hepswitch")
            | {
                "group.id": settings.group,
                "session.timeout.ms": int(SESSION * 1000),
                "heartbeat.interval.ms": int(SESSION * 200),
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                # What was never committed begins where `_begin` says; what retention has taken is gone: go on behind it.
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "cooperative-sticky",
                "queued.max.messages.kbytes": WINDOW >> 10,
                "error_cb": lambda _: None,  # what matters comes with answers
            }
        )

    def open(self) -> None:
        """Begin to read. OSError when the brokers are away or have no such topic."""
        partitions = self._asked_partitions()
        if self._settings.share is None:
            self._consumer.subscribe([self._topic], on_assign=self._assigned, on_revoke=self._revoked)
        else:
            self._assign(partitions)
            self.is_joined = True

    def gather(self) -> list[Record]:
        """What has come; waits a little when there is nothing. OSError."""
        self._rest(False)
        messages = [message for message in (self._consumer.poll(WAIT),) if message is not None]
        if messages:
            messages += self._consumer.consume(AT_ONCE, 0)
        # Meanwhile partitions may have been taken away: what came of them is somebody else's.
        own = {each.partition for each in self._consumer.assignment()} if messages else set()
        return [self._record(message) for message in messages if message.error() or message.partition() in own]

    def rest(self) -> None:
        """Take nothing, but stay a member of the group."""
        self._rest(True)
        if (message := self._consumer.poll(WAIT)) is not None:  # it was on its way: it comes again
            self._seek(message)

    def look(self) -> int:
        """How many messages are not acknowledged. Takes on partitions that are new. OSError."""
        partitions = self._asked_partitions()
        if self._settings.share is not None and partitions != self._partitions:
            self._assign(partitions)
        waiting = 0
        for place in self._committed(self._consumer.assignment()):
            low, high = self._known_ends(place)
            waiting += high - max(low, place.offset)
        return waiting

    def commit(self, offsets: dict[int, int], wait: bool = False) -> None:
        """Acknowledge what is below these offsets; `wait`: until the brokers know. OSError."""
        if offsets:
            self._tried(self._consumer.commit, offsets=self._places(offsets.items()), asynchronous=not wait)

    def close(self) -> None:
        """Leave the group."""
        self._tried(self._consumer.close)

    # ── partitions ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _asked_partitions(self) -> set[int]:
        """Those that the topic has by now."""
        found = self._tried(self._consumer.list_topics, self._topic, ANSWER).topics[self._topic]
        if found.error is not None:
            raise OSError(f"topic {self._topic}: {found.error.str()}")
        return set(found.partitions)

    def _assign(self, partitions: set[int]) -> None:
        """Read those of the share that are not read yet."""
        new = [number for number in sorted(partitions - self._partitions) if self._settings.takes(number)]
        if not self._partitions:
            self._begin(new, new)
        self._partitions = partitions
        if new:
            self._tried(self._consumer.incremental_assign, self._places((number, STORED) for number in new))

    def _begin(self, new: Iterable[int], all: Iterable[int]) -> None:
        """When nothing of `all` was ever acknowledged, and only what comes from now on is wanted: begin at their ends."""
        if not self._settings.from_new:
            return
        if any(place.offset >= 0 for place in self._committed(self._places((number, STORED) for number in all))):
            return
        ends = {number: self._ends(place)[1] for number in new for place in self._places([(number, STORED)])}
        self.commit(ends, wait=True)

    def _assigned(self, _: Any, places: list[Any]) -> None:
        self._begin([place.partition for place in places], self._asked_partitions())
        self.is_joined = True

    def _revoked(self, _: Any, places: list[Any]) -> None:
        """They go to another member: what is written of them is acknowledged before. What cannot be comes there again."""
        with contextlib.suppress(OSError):
            self.commit(self._settle(), wait=True)

    def _places(self, offsets: Iterable[tuple[int, int]]) -> list[Any]:
        from confluent_kafka import TopicPartition

        return [TopicPartition(self._topic, *each) for each in offsets]

    def _committed(self, places: list[Any]) -> list[Any]:
        return list(self._tried(self._consumer.committed, places, ANSWER)) if places else []

    def _known_ends(self, place: Any) -> tuple[int, int]:
        """`_ends` as the client knows them from fetching, if it does."""
        known = None if self._resting else self._consumer.get_watermark_offsets(place, ANSWER, cached=True)
        return known if known is not None and known[1] >= 0 else self._ends(place)

    def _ends(self, place: Any) -> tuple[int, int]:
        """The first offset that the partition still has, and the one that comes next."""
        found = self._tried(self._consumer.get_watermark_offsets, place, ANSWER)
        if found is None:
            raise OSError(f"{self._topic}: no answer in time")
        low, high = found
        return int(low), int(high)

    # ── the client ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _rest(self, is_resting: bool) -> None:
        """Have the client fetch nothing, or go on: what was assigned meanwhile, too."""
        if is_resting:
            self._consumer.pause(self._consumer.assignment())
        elif self._resting:
            self._consumer.resume(self._consumer.assignment())
        self._resting = is_resting

    def _seek(self, message: Any) -> None:
        record = self._record(message)
        self._tried(self._consumer.seek, *self._places([(record.partition, record.offset)]))

    def _record(self, message: Any) -> Record:
        if message.error():
            raise OSError(message.error().str())
        partition, offset = message.partition(), message.offset()
        given = dict(message.headers() or ()).get(KAFKA_BATCH)
        identity = given.decode("utf-8", "replace") if given else f"kafka:{self._topic}:{partition}:{offset}"
        return Record(partition, offset, identity, message.value() or b"")

    def _tried(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """What it gives. OSError with words."""
        from confluent_kafka import KafkaException

        try:
            return function(*arguments, **options)
        except KafkaException as error:
            raise OSError(error.args[0].str()) from error
