"""NATS JetStream: messages into a stream, each acknowledged by the servers when as many as the stream wants have it.

A message has the subject SUBJECT.PARTITION and its id in `Nats-Msg-Id`: within `WINDOW` the servers themselves leave out
what is published again because an acknowledgement was lost.

**A stream that is made** keeps messages for `keep`, read or not: there may be several groups that read them, and some may
not have come yet. When it is full (`max_size`) it takes no more: then packets wait in the spools of the edges, where it is
known and counted what becomes of them; a stream that throws the oldest away says nothing to those who lose it.

Not here: what is in a message (`streams.message`), connections (`streams.nats`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StoreCompression, StreamConfig

from hepswitch.databases.stream_carrier import TooLargeError
from hepswitch.destinations.streams import NatsStore
from hepswitch.streams.message import BATCH, MOST_BYTES, Message
from hepswitch.streams.nats import ERRORS, connect, let_go, said

PATIENCE = 5.0
"""Seconds after which a message that is not acknowledged is published again: one that was on its way to a leader that died.
Also for questions."""

IN_FLIGHT = 64
"""Messages that wait for their acknowledgement at the same time."""

WINDOW = 600.0
"""Seconds for which a stream that is made knows a message again."""

HEADERS = 1024
"""Bytes of a message that are not its body, at most."""

TAKEN, TOO_LARGE, FULL, OTHER_STREAM, NO_PEERS = 10058, 10054, 10077, 10060, 10005
"""Codes of JetStream: the name is taken; the message is too large; the stream is full; the subject is of another stream;
there are not as many servers as replicas are wanted."""


class NatsPublisher:
    """A `Publisher` to the stream of a store. Raises OSError when its credentials cannot be read."""

    def __init__(self, store: NatsStore) -> None:
        if store.credentials is not None:
            store.credentials.open("rb").close()
        self._store = store
        self._address = store.address
        self.partitions = store.partitions
        self.most = MOST_BYTES
        self._client: Client | None = None
        self._complaint = ""
        self._stream: JetStreamContext
        self._lost: asyncio.Future[Any]

    async def open(self) -> None:
        """Connect, and make sure that the stream is there and takes our subjects."""
        self._lost = asyncio.get_running_loop().create_future()
        self._client = await connect(
            self._address, self._store.login, "hepswitch publisher", closed=self._lose, heard=self._hear
        )
        self._stream = self._client.jetstream(timeout=PATIENCE)
        try:
            config = await self._found()
        except ERRORS as error:
            raise self._trouble(error) from error
        self._check(config)
        limits = [self._client.max_payload, MOST_BYTES + HEADERS]
        if config.max_msg_size is not None and config.max_msg_size > 0:
            limits.append(config.max_msg_size)
        self.most = max(1, min(limits) - HEADERS)

    def _hear(self, complaint: str) -> None:
        self._complaint = complaint

    def _lose(self) -> None:
        if not self._lost.done():
            self._lost.set_result(None)

    async def _found(self) -> StreamConfig:
        """The stream's configuration; it is made if need be."""
        name = self._address.name
        try:
            return (await self._stream.stream_info(name)).config
        except nats.js.errors.NotFoundError:
            if not self._store.create:
                raise OSError(f"there is no stream {name}: `hepswitch ddl` says how to make it") from None
        try:
            return (await self._stream.add_stream(_config(self._store))).config
        except nats.js.errors.BadRequestError as error:
            if error.err_code != TAKEN:
                raise
            return (await self._stream.stream_info(name)).config  # another edge was faster

    def _check(self, config: StreamConfig) -> None:
        taken = config.subjects or []
        for partition in range(self.partitions):
            subject = f"{self._store.subject}.{partition}"
            if not any(matches(pattern, subject) for pattern in taken):
                raise OSError(
                    f"{self._address}: the stream takes {', '.join(taken) or 'no subjects'}, and not {subject}: "
                    f"add {self._store.subject}.> to its subjects, or change subject"
                )

    async def publish(self, messages: Sequence[Message], acknowledged: Callable[[str], None]) -> None:
        """Publish all; the first that fails ends it."""
        waiting = iter(messages)
        works = [
            asyncio.create_task(self._publish_some(waiting, acknowledged)) for _ in range(min(IN_FLIGHT, len(messages)))
        ]
        all_of_them = asyncio.gather(*works)
        try:
            await asyncio.wait({all_of_them, self._lost}, return_when=asyncio.FIRST_COMPLETED)
            if not all_of_them.done():
                raise OSError(f"{self._address}: the connection broke off")
            await all_of_them
        finally:
            for work in works:
                work.cancel()
            await asyncio.gather(*works, all_of_them, return_exceptions=True)

    async def _publish_some(self, waiting: Iterator[Message], acknowledged: Callable[[str], None]) -> None:
        for message in waiting:
            try:
                await self._stream.publish(
                    f"{self._store.subject}.{message.partition}",
                    message.body,
                    stream=self._address.name,
                    headers={"Nats-Msg-Id": message.id, BATCH: message.id},
                )
            except nats.js.errors.APIError as error:
                if error.err_code == TOO_LARGE:
                    size = len(message.body)
                    raise TooLargeError(f"{self._address}: it takes no message of {size} bytes", message) from error
                raise self._trouble(error) from error
            except ERRORS as error:
                raise self._trouble(error) from error
            acknowledged(message.id)

    def _trouble(self, error: Exception) -> OSError:
        """The error in words, with what to do."""
        code = getattr(error, "err_code", None)
        if code == FULL:
            text = "the stream is full: give it more room (max_bytes), or let it keep messages for a shorter time"
        elif code == OTHER_STREAM:
            text = f"{self._store.subject} is a subject of another stream: change subject, or the streams"
        elif code == NO_PEERS:
            text = f"{said(error)}: there are not {self._store.replicas} servers with JetStream for as many replicas"
        elif isinstance(error, TimeoutError):
            why = self._complaint or "too few of the stream's servers may be there"
            text = f"no answer within {PATIENCE:g} s: {why}"
        elif isinstance(error, (nats.js.errors.NoStreamResponseError, nats.js.errors.ServiceUnavailableError)):
            text = f"{said(error)}: JetStream is off, or too few of its servers are there"
        else:
            text = said(error)
        return OSError(f"{self._address}: {text}")

    async def close(self) -> None:
        """Let go of the connection."""
        client, self._client = self._client, None
        if client is not None:
            await let_go(client)


def matches(pattern: str, subject: str) -> bool:
    """Whether a subject (without wildcards) is one of a pattern's: * stands for a word, > for all that follow."""
    wanted, words = pattern.split("."), subject.split(".")
    if wanted[-1] == ">" and len(words) >= len(wanted):
        wanted, words = wanted[:-1], words[: len(wanted) - 1]
    return len(wanted) == len(words) and all(want in ("*", word) for want, word in zip(wanted, words, strict=True))


def _config(store: NatsStore) -> StreamConfig:
    return StreamConfig(
        name=store.address.name,
        subjects=[f"{store.subject}.>"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        num_replicas=store.replicas,
        max_age=store.keep,
        max_bytes=store.max_size or -1,
        duplicate_window=min(WINDOW, store.keep),
        compression=StoreCompression(store.compression),
    )


def ddl(store: NatsStore) -> str:
    """The command of NATS' own tool that makes the stream."""
    return (
        f"nats stream add {store.address.name} --subjects='{store.subject}.>' --storage=file --retention=limits "
        f"--discard=new --replicas={store.replicas} --max-age={store.keep:.0f}s --max-bytes={store.max_size or -1} "
        f"--dupe-window={min(WINDOW, store.keep):.0f}s --compression={store.compression} --defaults\n"
    )
