"""Carries batches into a stream, as messages of many packets (`streams.message`).

The messages of a batch have the same ids whenever they are made, so what is published again is known to be the same: by the
server itself if it comes soon, by those who consume it in any case. Not here: publishing (`nats`, `kafka`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from hepswitch.databases.backlog import Batch
from hepswitch.databases.carrier import RejectedError
from hepswitch.streams.message import Message
from hepswitch.streams.packing import Packer


class TooLargeError(Exception):
    """The servers take no message as large as this one; says so."""

    def __init__(self, text: str, message: Message) -> None:
        super().__init__(text)
        self.message = message


class Publisher(Protocol):
    """A connection to the servers of a stream. Methods are called one at a time."""

    partitions: int
    """Of the stream; known after `open`."""
    most: int
    """Bytes of a body that it takes; known after `open`."""

    async def open(self) -> None:
        """Connect, and make sure of the stream. OSError when the servers are away, refuse or lack something."""

    async def publish(self, messages: Sequence[Message], acknowledged: Callable[[str], None]) -> None:
        """Publish all, many at a time; returns when all are acknowledged, which is told of each by its id.

        OSError: some are not. TooLargeError: one never will be.
        """

    async def close(self) -> None:
        """Let go of the connection, without waiting for servers that do not answer."""


class StreamCarrier:
    """A `Carrier`. `connection` makes a connection, not open yet: a new one for each attempt; `packets`: of a message."""

    def __init__(self, connection: Callable[[], Publisher], packets: int) -> None:
        connection()  # what is wrong with the store is said now
        self._connection = connection
        self._packets = packets
        self._publisher: Publisher | None = None
        self._acknowledged: set[str] = set()
        """Of the batch that is under way: they need not go again."""

    async def carry(self, batch: Batch) -> Counter[str]:
        """Publish the packets. Gives what was left out, by reason."""
        publisher = await self._opened()
        packer = Packer(batch.backlog.journal, publisher.partitions, self._packets, publisher.most)
        for run in batch.runs:
            packer.add(run.first, run.data, run.lengths, batch.left_out)
        if packer.too_large:
            raise RejectedError(f"the servers take no message above {publisher.most} bytes", packer.too_large)
        wanted = [message for message in packer.messages() if message.id not in self._acknowledged]
        try:
            await publisher.publish(wanted, self._acknowledged.add)
        except TooLargeError as error:
            if error.message.packets > 1:
                raise OSError(str(error)) from error
            raise RejectedError(str(error), [error.message.first]) from error
        self._acknowledged.clear()
        gone = Counter(
            damaged=packer.damaged, rejected=sum(batch.first <= each < batch.last for each in batch.left_out)
        )
        return +gone

    async def maintain(self) -> None:
        """Nothing: servers look after their streams themselves."""

    async def _opened(self) -> Publisher:
        if self._publisher is None:
            publisher = self._connection()
            try:
                await publisher.open()
            except BaseException:
                await publisher.close()
                raise
            self._publisher = publisher
        return self._publisher

    async def close(self) -> None:
        """Let go of the connection."""
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            await publisher.close()
