"""NATS JetStream: HEP packets that edges have put into a stream (`[stores.NAME] url = "nats://…"`).

    listen = ["nats://n1:4222,n2:4222/HEP?group=lake&share=1/2", "nats+tls://n1/HEP?ca=FILE&credentials=FILE"]

Of several servers any will do. `nats+tls://` is TLS, with `ca=FILE`, `verify=no`, `cert=FILE&key=FILE` as elsewhere.
Options:

    group=hepswitch        who consumes together: a durable consumer of this name holds what is acknowledged
    share=K/N              only every N-th partition, from the K-th on: this listener's own place in the stream
    from=start             or new: where to begin when the group is new there
    subject=hep            packets are in SUBJECT.PARTITION, as the store says that publishes
    ack_wait=30s           what was not acknowledged comes again after this time
    user=NAME&password=…   who we are; password=env:NAME or file:PATH
    token=…                env:NAME or file:PATH
    credentials=FILE       a .creds file

Packets are acknowledged when the stores have written them, so a node that dies loses none; what comes again is known to
the stores, and not stored twice. With `share` what is not acknowledged comes back to the same node: each packet is in its
stores once. Without, all members of a group share all messages, and another member takes over what one leaves: at least
once. One worker reads a listener (the first listener the first worker, and so on): for more, give several shares.
Not here: the stream's other end (`databases.nats`), what a message is (`streams.message`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from collections import deque
from collections.abc import Awaitable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from hepswitch.sources import stream
from hepswitch.sources.inlet import Idle, Inlet, Source
from hepswitch.sources.stream import PATIENCE, TURN, WINDOW, StreamSource, name
from hepswitch.streams.message import BATCH, MOST_PARTITIONS
from hepswitch.units import Endpoint, parse_duration

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription
    from nats.js import JetStreamContext

__all__ = ["KEYLESS", "bind", "name", "parse", "source"]

KEYLESS = True

OPTIONS = ("ack_wait", "credentials", "subject", "token")

MOST_HELD = 1000
"""Messages that are here and not acknowledged."""
MOST_UNACKNOWLEDGED = 20_000
"""Messages that a group may have and not have acknowledged: one member that waits for its disk must not stop the others."""
EXPIRES, HEARTBEAT = 30.0, 2.0
"""Seconds that a request for messages holds, and between two signs of life of the server meanwhile."""
SILENCE = 3 * HEARTBEAT
"""Seconds without a sign of life after which the request is taken to be lost."""
LOOK = 5.0
"""Seconds between two looks at how much waits in the stream."""
LATER, LATEST = 2.0, 60.0
"""Seconds after which a message that found no room in a store comes again: twice as many each time, at most the latter. Each
time all of the route is gone through again."""
ANSWER = 5.0
"""Seconds that the server may take to answer a question."""

_SUBJECT = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")


def parse(url: str) -> Endpoint:
    """See `Way`."""
    endpoint = stream.parse(url, OPTIONS)
    subject(endpoint)
    ack_wait(endpoint)
    if len({"user", "token", "credentials"} & endpoint.options.keys()) > 1:
        raise ValueError(f"{endpoint}: user, token and credentials in the URL exclude each other: keep one")
    return endpoint


def subject(endpoint: Endpoint) -> str:
    """The subject above the partitions. ValueError with a hint."""
    text = endpoint.options.get("subject", "hep")
    if not _SUBJECT.fullmatch(text):
        raise ValueError(f"{endpoint}: subject={text}: write for example subject=hep, letters, digits, -, _ and dots")
    return text


def ack_wait(endpoint: Endpoint) -> float:
    """Seconds after which the server gives a message again. ValueError with a hint."""
    text = endpoint.options.get("ack_wait", "30s")
    seconds = parse_duration(text)
    if not 1 <= seconds <= 3600:
        raise ValueError(f"{endpoint}: ack_wait={text} is out of range: write 1s to 1h")
    return seconds


def bind(endpoint: Endpoint, workers: int, receive_buffer: int) -> list[list[socket.socket]]:  # noqa: ARG001
    """See `Way`. There is nothing to bind, but the driver, files and secrets must be there. The server may be away."""
    stream.check(endpoint, OPTIONS, "nats")
    return [[] for _ in range(workers)]


def source(inlet: Inlet) -> Source:
    """See `Way`. One worker reads."""
    return NatsSource(inlet) if inlet.worker == inlet.reader else Idle()


class NatsSource(StreamSource):
    """Pulls messages through a durable consumer, which is made when it is missing."""

    def __init__(self, inlet: Inlet) -> None:
        super().__init__(inlet)
        self._settings = stream.settings(inlet.endpoint, OPTIONS)
        self._login = stream.login(inlet.endpoint)
        self._ack_wait = ack_wait(inlet.endpoint)
        above, share = subject(inlet.endpoint), self._settings.share
        self._stream = self._settings.address.name
        self._consumer = self._settings.group + ("" if share is None else f"-{share[0]}of{share[1]}")
        self._partitions = [f"{above}.{number}" for number in range(MOST_PARTITIONS) if self._settings.takes(number)]
        self._subjects = [f"{above}.>"] if share is None else self._partitions
        self._former: dict[str, int] = {}  # by subject: up to which number other consumers of the group have read it
        self._woken = asyncio.Event()
        self._arrived: deque[Msg] = deque()
        self._held: dict[str, int] = {}  # where to acknowledge what is not yet, and its bytes
        self._bytes = 0
        self._answers: deque[tuple[str, bytes]] = deque()
        self._turns: set[asyncio.Task[None]] = set()
        self._pending = 0  # messages that the stream has and nobody has got yet
        self._made: datetime | None = None  # when the stream was
        self._floor = 0  # every message up to this number of it was acknowledged
        self._asked = 0  # messages that the server will still send without being asked again
        self._heard = 0.0
        self._trouble = ""
        self._too_large = False  # the next message is larger than all that may be here …
        self._crowded = False  # … or than what is left of it: wait until something is acknowledged

    def _wake(self) -> None:
        self._woken.set()

    async def _consume(self) -> None:
        from hepswitch.streams.nats import ERRORS, connect, let_go, said

        self._trouble = ""
        client = await connect(
            self._settings.address, self._login, "hepswitch", closed=self._wake, heard=self._complained
        )
        try:
            await self._work(client)
        except ERRORS as error:
            raise OSError(self._trouble or said(error)) from error
        finally:
            for message in self._arrived:
                self._release(message.reply)
            self._arrived.clear()
            await let_go(client)

    async def _work(self, client: Client) -> None:
        loop = asyncio.get_running_loop()
        context = client.jetstream(timeout=ANSWER)
        await self._prepare(context)
        inbox = client.new_inbox()
        arriving = await client.subscribe(inbox, cb=self._arrive)
        self._asked, self._heard = 0, loop.time()
        await self._look(context)
        self._active()
        extend_at = loop.time()
        look_at = extend_at + LOOK
        while not self._stopping.is_set():
            self._woken.clear()
            now = loop.time()
            if now >= look_at:
                await self._look(context)
                look_at = now + LOOK
            if now >= extend_at:
                await self._extend(client)
                extend_at = now + self._ack_wait / 3
            await self._answer(client)
            if self._reading.is_set():
                self._take()
                await self._ask(client, inbox)
            self._check(client, now)
            with contextlib.suppress(TimeoutError):
                if not (self._arrived and self._reading.is_set()):
                    await asyncio.wait_for(self._woken.wait(), min(look_at, extend_at, now + HEARTBEAT) - now)
            await asyncio.sleep(0)
        await self._leave(client, arriving)

    def _check(self, client: Client, now: float) -> None:
        """OSError when this connection will bring nothing more."""
        if client.is_closed:
            raise OSError("the connection broke")
        if self._trouble:
            raise OSError(self._trouble)
        if self._asked and now - self._heard > SILENCE:
            raise OSError(f"the server gave no sign of life for {SILENCE:.0f} s")

    async def _prepare(self, context: JetStreamContext) -> None:
        """See to it that the consumer is there, where the group stands in the stream."""
        from nats.js.api import ConsumerConfig, DeliverPolicy, RetentionPolicy
        from nats.js.errors import NotFoundError

        config = ConsumerConfig(
            name=self._consumer,
            durable_name=self._consumer,
            deliver_policy=DeliverPolicy.NEW if self._settings.from_new else DeliverPolicy.ALL,
            ack_wait=self._ack_wait,
            max_ack_pending=MOST_UNACKNOWLEDGED,
        )
        if len(self._subjects) == 1:
            config.filter_subject = self._subjects[0]
        else:
            config.filter_subjects = self._subjects
        stream = await context.stream_info(self._stream)
        if stream.created != self._made:  # another stream of this name: its numbers begin anew
            self._made, self._floor = stream.created, 0
        self._former = await self._acknowledged(context)
        try:
            known = (await context.consumer_info(self._stream, self._consumer)).config
            # Where a consumer began cannot be changed, and does not matter any more.
            config.deliver_policy, config.opt_start_seq = known.deliver_policy, known.opt_start_seq
            config.opt_start_time = known.opt_start_time
        except NotFoundError:
            floor = self._floor or self._beginning()
            # A work queue has nothing left of what was acknowledged, and wants its consumers to begin at its start.
            if floor and stream.config.retention != RetentionPolicy.WORK_QUEUE:
                config.deliver_policy, config.opt_start_seq = DeliverPolicy.BY_START_SEQUENCE, floor + 1
        await context.add_consumer(self._stream, config)

    async def _acknowledged(self, context: JetStreamContext) -> dict[str, int]:
        """By subject: up to which number of the stream other consumers of the group have acknowledged it, who had other
        shares."""
        names = re.compile(rf"{re.escape(self._settings.group)}(-\d+of\d+)?")
        above = subject(self._inlet.endpoint)
        floors: dict[str, int] = {}
        offset = 0
        while others := await context.consumers_info(self._stream, offset):
            offset += len(others)
            for other in others:
                if other.name == self._consumer or other.ack_floor is None or not names.fullmatch(other.name):
                    continue
                theirs = set(other.config.filter_subjects or [other.config.filter_subject or ">"])
                own = self._partitions if theirs & {">", f"{above}.>"} else theirs.intersection(self._partitions)
                floors |= {each: max(floors.get(each, 0), other.ack_floor.stream_seq) for each in own}
        return floors

    def _beginning(self) -> int:
        """Up to which number of the stream there is nothing to read; 0: that is not known."""
        if self._settings.from_new:  # what nobody has read yet nobody wants
            return min(self._former.values(), default=0)
        return min(self._former.get(each, 0) for each in self._partitions)

    # ── what comes ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _ask(self, client: Client, inbox: str) -> None:
        """Ask for messages, when the server owes none and there is room."""
        room = WINDOW - self._bytes
        if self._asked or self._crowded or room <= 0 or len(self._held) >= MOST_HELD:
            return
        request: dict[str, Any] = {"expires": int(EXPIRES * 1e9), "idle_heartbeat": int(HEARTBEAT * 1e9)}
        if self._too_large:  # larger than the window: by itself
            request["batch"] = 1
        else:
            request |= {"batch": MOST_HELD - len(self._held), "max_bytes": room}
        self._asked, self._too_large = request["batch"], False
        self._heard = asyncio.get_running_loop().time()
        asked = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
        await client.publish(asked, json.dumps(request).encode(), inbox)

    async def _arrive(self, message: Msg) -> None:
        """The server sends a message, or says something about the request."""
        self._heard = asyncio.get_running_loop().time()
        if message.reply:
            self._asked = max(0, self._asked - 1)
            self._held[message.reply] = len(message.data)
            self._bytes += len(message.data)
            self._arrived.append(message)
        else:
            headers = message.headers or {}
            self._hear(headers.get("Status", ""), headers.get("Description", ""))
        self._wake()

    def _hear(self, status: str, description: str) -> None:
        if status == "100":  # a sign of life
            return
        if status in ("404", "408") or description == "Batch Completed":  # the request is over
            self._asked = 0
        elif "exceeds maxbytes" in description.lower():
            self._asked = 0
            self._too_large, self._crowded = not self._held, bool(self._held)
        else:
            self._trouble = f"{description or 'the server refuses the request'} ({status})"

    def _complained(self, text: str) -> None:
        """The server complains, of a right that is missing, say: it says no more than that."""
        self._trouble = text
        self._wake()

    def _take(self) -> None:
        """A turn: messages through the flow, to be acknowledged when they are written."""
        turn: list[tuple[str, int]] = []
        size = 0
        while self._arrived and size < TURN:
            message = self._arrived.popleft()
            headers = message.headers or {}
            seen = message.metadata
            identity = headers.get(BATCH) or headers.get("Nats-Msg-Id") or f"nats:{self._stream}:{seen.sequence.stream}"
            is_past = seen.sequence.stream <= self._former.get(message.subject, 0)
            self._listener.redelivered += is_past or seen.num_delivered > 1
            self._pending = seen.num_pending
            if not is_past:
                self._flow(identity, message.data)
            turn.append((message.reply, seen.num_delivered))
            size += len(message.data)
        self._reckon()
        if turn:
            task = asyncio.create_task(self._settle(turn, self._end()))
            self._turns.add(task)
            task.add_done_callback(self._turns.discard)

    # ── what is said of it ─────────────────────────────────────────────────────────────────────────────────────────

    async def _settle(self, turn: list[tuple[str, int]], written: Awaitable[bool]) -> None:
        is_written = await written
        for reply, delivered in turn:
            self._release(reply)
            later = min(LATER * 2 ** min(delivered - 1, 10), LATEST)
            self._answers.append((reply, b"+ACK" if is_written else b'-NAK {"delay": %d}' % int(later * 1e9)))
        self._wake()

    def _release(self, reply: str) -> None:
        self._bytes -= self._held.pop(reply, 0)
        self._crowded = False
        self._reckon()

    def _reckon(self) -> None:
        self._listener.waiting = self._pending + len(self._held)

    async def _answer(self, client: Client) -> None:
        while self._answers:
            await client.publish(*self._answers[0])
            self._answers.popleft()

    async def _extend(self, client: Client) -> None:
        """What is still here is being worked on: nobody else need get it."""
        for reply in list(self._held):
            await client.publish(reply, b"+WPI")

    async def _look(self, context: JetStreamContext) -> None:
        """How much waits. Raises an error of NATS when the consumer is gone."""
        info = await context.consumer_info(self._stream, self._consumer)
        self._pending = info.num_pending or 0
        self._reckon()
        if info.ack_floor is not None:
            self._floor = max(self._floor, info.ack_floor.stream_seq)

    async def _leave(self, client: Client, arriving: Subscription) -> None:
        """Acknowledge what is written soon, and give back what was not handed on."""
        async with asyncio.timeout(PATIENCE):
            await arriving.drain()  # type: ignore[no-untyped-call] # else what comes until the server knows would wait for `ack_wait`
        for message in self._arrived:
            self._release(message.reply)
            self._answers.append((message.reply, b"-NAK"))
        self._arrived.clear()
        if self._turns:
            await asyncio.wait(self._turns, timeout=PATIENCE)
        await self._answer(client)
        await client.flush(int(PATIENCE))
