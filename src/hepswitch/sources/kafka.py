"""Kafka: HEP packets that edges have put into a topic (`[stores.NAME] url = "kafka://…"`).

    listen = ["kafka://k1:9092,k2:9092/hep?group=lake&share=1/2", "kafka+tls://k1/hep?ca=FILE&user=NAME&password=env:KAFKA"]

The hosts are where the cluster is asked for its brokers. `kafka+tls://` is TLS, with `ca=FILE`, `verify=no`,
`cert=FILE&key=FILE` as elsewhere. Options:

    group=hepswitch        the consumer group, for which the brokers keep how far each partition is acknowledged
    share=K/N              only every N-th partition, from the K-th on, always by this listener
    from=start             or new: where to begin when the group is new there
    user=NAME&password=…   SASL; password=env:NAME or file:PATH
    sasl=plain             or scram-sha-256, scram-sha-512

Offsets are committed when the stores have written the packets, so a node that dies loses none; what comes again is known to
the stores, and not stored twice. With `share` a partition always comes to the same node: each packet is in its stores once.
Without, the group divides the partitions among its members (cooperative rebalancing), and another member takes over what one
leaves: at least once. One worker reads a listener (the first listener the first worker, and so on).
Not here: the topic's other end (`databases.kafka`), what a message is (`streams.message`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Awaitable

from hepswitch.destinations.hand import Hand
from hepswitch.sources import stream
from hepswitch.sources.inlet import Idle, Inlet, Source
from hepswitch.sources.kafka_topic import Record, Topic
from hepswitch.sources.stream import PATIENCE, TURN, WINDOW, StreamSource, name
from hepswitch.streams import kafka as clients
from hepswitch.units import Endpoint

__all__ = ["KEYLESS", "bind", "name", "parse", "source"]

KEYLESS = True

LOOK = 5.0
"""Seconds between two looks at how much waits in the topic, and whether it has more partitions."""
SOON = 1.0
"""Seconds that the disk may take before it is told to the brokers that nothing is fetched for a while."""

GOODBYE = 2.0
"""Seconds that brokers may take to be left: those that do not answer keep the thread, and nobody else."""


def parse(url: str) -> Endpoint:
    """See `Way`."""
    endpoint = stream.parse(url, clients.OPTIONS)
    clients.check(stream.settings(endpoint, clients.OPTIONS).address)
    return endpoint


def bind(endpoint: Endpoint, workers: int, receive_buffer: int) -> list[list[socket.socket]]:  # noqa: ARG001
    """See `Way`. There is nothing to bind, but the driver, files and secrets must be there. The brokers may be away."""
    stream.check(endpoint, clients.OPTIONS, "confluent_kafka")
    return [[] for _ in range(workers)]


def source(inlet: Inlet) -> Source:
    """See `Way`. One worker reads."""
    return KafkaSource(inlet) if inlet.worker == inlet.reader else Idle()


class Turn:
    """Messages that went through the flow together: how far they lead in each partition, and whether they are written."""

    def __init__(self, records: list[Record], written: Awaitable[bool]) -> None:
        self.size = sum(len(record.body) for record in records)
        self.offsets = {record.partition: record.offset + 1 for record in records}
        self.task = asyncio.ensure_future(written)


class KafkaSource(StreamSource):
    """Reads a topic in a thread, where all calls of the client are made; the messages flow on the event loop."""

    def __init__(self, inlet: Inlet) -> None:
        super().__init__(inlet)
        self._settings = stream.settings(inlet.endpoint, clients.OPTIONS)
        self._login = stream.login(inlet.endpoint)
        self._woken = asyncio.Event()
        self._turns: deque[Turn] = deque()
        self._written: dict[int, int] = {}  # by partition: what may be committed …
        self._is_news = False  # … and was not yet
        self._seen: dict[int, int] = {}  # by partition: the offset behind the last message that was here

    def _wake(self) -> None:
        self._woken.set()

    async def _consume(self) -> None:
        loop = asyncio.get_running_loop()
        hand = Hand("kafka")
        self._turns.clear()  # of a connection that is over: they come again
        self._written.clear()

        def settle() -> dict[int, int]:
            """In the thread, while partitions are taken away: what may still be committed of them."""
            return asyncio.run_coroutine_threadsafe(self._finish(), loop).result()

        topic = Topic(self._settings, self._login, settle)
        try:
            await hand.do(topic.open)
            await self._work(topic, hand)
        finally:
            with contextlib.suppress(OSError):  # TimeoutError is one
                async with asyncio.timeout(GOODBYE):
                    await hand.do(topic.close)
            hand.let_go()

    async def _work(self, topic: Topic, hand: Hand) -> None:
        loop = asyncio.get_running_loop()
        look_at = loop.time()
        while not self._stopping.is_set():
            if topic.is_joined and loop.time() >= look_at:
                self._listener.waiting = await hand.do(topic.look)
                self._active()
                look_at = loop.time() + LOOK
            if self._reading.is_set() and await self._has_room():
                for records in _turns(await hand.do(topic.gather)):
                    self._take(records)
                    await asyncio.sleep(0)
            else:
                await hand.do(topic.rest)
            self._collect()
            if self._is_news:
                self._is_news = False
                await hand.do(topic.commit, dict(self._written))
        await hand.do(topic.commit, await self._finish(), True)

    async def _has_room(self) -> bool:
        """Whether there is room for more; waits a little for it."""
        if sum(turn.size for turn in self._turns) >= WINDOW:
            await asyncio.wait([self._turns[0].task], timeout=SOON)
            self._collect()
        return sum(turn.size for turn in self._turns) < WINDOW

    def _take(self, records: list[Record]) -> None:
        for record in records:
            self._listener.redelivered += record.offset < self._seen.get(record.partition, 0)
            self._seen[record.partition] = max(record.offset + 1, self._seen.get(record.partition, 0))
            self._flow(record.identity, record.body)
        self._turns.append(Turn(records, self._end()))

    def _collect(self) -> None:
        """What is written by now. OSError when something is not: it is read again from what was committed."""
        while self._turns and self._turns[0].task.done():
            if not self._turns[0].task.result():
                raise OSError("a store had no room: messages are read again")
            self._written |= self._turns.popleft().offsets
            self._is_news = True

    async def _finish(self) -> dict[int, int]:
        """What is written, and what is soon, of all that flowed; it will be committed."""
        if self._turns:
            await asyncio.wait([turn.task for turn in self._turns], timeout=PATIENCE)
        self._collect()
        written, self._written, self._is_news = self._written, {}, False
        return written


def _turns(records: list[Record]) -> list[list[Record]]:
    """The messages in turns for the flow."""
    turns: list[list[Record]] = []
    size = TURN
    for record in records:
        if size >= TURN:
            turns.append([])
            size = 0
        turns[-1].append(record)
        size += len(record.body)
    return turns
