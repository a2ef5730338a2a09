"""What the sources that consume a stream share: the options in their URLs, who we are to the servers, a message's way
through the flow, and trying again while a server is away.

A message is acknowledged when all that the stores took of it is written, and not before; what is not acknowledged comes once
more, and stores know it by its mark (`streams.message`, `destinations.marks`). While the default store's disk refuses no
message is taken. Packets of a stream were checked at the edge that took them, key and address, and bear no key any more.
Not here: the servers (`nats`, `kafka`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib.util
import re
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Collection
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import structlog
from pydantic import TypeAdapter, ValidationError

from hepswitch.destinations.outlet import LONGEST_PAUSE, Backoff
from hepswitch.destinations.streams import NatsStore, StreamStore
from hepswitch.logs import Throttle, words
from hepswitch.net.tls import SECRET_OPTIONS, client_context
from hepswitch.sources.inlet import Inlet
from hepswitch.sources.options import choice, told
from hepswitch.streams.address import Login, StreamAddress, parse_address
from hepswitch.streams.message import mark
from hepswitch.streams.packing import unpack
from hepswitch.tables import Secret
from hepswitch.units import Endpoint
from hepswitch.wire.batch import Batch

log = structlog.get_logger("hepswitch.sources")

OPTIONS = ("from", "group", "password", "share", "user")
"""Options of all streams, beside those of TLS."""

TURN = 256 << 10
"""Bytes of messages that go through the flow before others get their turn on the event loop."""
WINDOW = 16 << 20
"""Bytes of messages that are here and not acknowledged; no more are asked for then."""
PATIENCE = 3.0
"""Seconds that `stop` waits for the disk and the server, so that what was handed on is acknowledged."""
COMPLAIN_EVERY = 60.0
"""Seconds between two log lines about messages that hold no packets."""
LONGEST_ID = 200
"""Characters of a message's id that are logged: it may be somebody else's."""

_GROUP = re.compile(r"[A-Za-z0-9_-]{1,100}")
_SHARE = re.compile(r"([1-9][0-9]{0,2})/([1-9][0-9]{0,2})")
_SECRET: TypeAdapter[Secret] = TypeAdapter(Secret)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a listener's URL says. `share`: (K, N), or None: all that the group has."""

    address: StreamAddress
    group: str
    share: tuple[int, int] | None
    from_new: bool

    def takes(self, partition: int) -> bool:
        """Whether this partition is in the share."""
        return self.share is None or partition % self.share[1] == self.share[0] - 1


def parse(url: str, own: Collection[str]) -> Endpoint:
    """See `Way`; `own`: options of this kind of stream. The hosts and the stream's name are the endpoint's host."""
    address, _, query = url.partition("?")
    for key in SECRET_OPTIONS & (options := told(query)).keys():
        if not options[key].startswith(("env:", "file:")):
            # The URL is shown in books and logs; the secret is not repeated here either.
            raise ValueError(f"{key} in the URL of a listener is no secret: write {key}=env:NAME or {key}=file:PATH")
    scheme, _, host = address.partition("://")
    endpoint = Endpoint(scheme, host, 0, options)
    try:
        settings(endpoint, own)
    except ValueError as error:
        raise ValueError(f"{address}: {error}") from None
    return endpoint


def settings(endpoint: Endpoint, own: Collection[str]) -> Settings:
    """What the options mean. ValueError with a hint."""
    options = endpoint.options
    url = f"{endpoint.scheme}://{endpoint.host}" + (f"?{urlencode(options)}" if options else "")
    address = parse_address(url, (*OPTIONS, *own))
    group = options.get("group", "hepswitch")
    if not _GROUP.fullmatch(group):
        raise ValueError(f"group={group}: write up to 100 letters, digits, - and _")
    if ("password" in options) != ("user" in options):
        raise ValueError("user and password in the URL come together")
    return Settings(address, group, _share(options.get("share")), choice(options, "from", ("start", "new")) == "new")


def _share(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = _SHARE.fullmatch(text)
    if match is None or int(match[1]) > int(match[2]):
        raise ValueError(f"share={text}: write K/N, the K-th of N shares, for example share=1/2")
    return int(match[1]), int(match[2])


def login(endpoint: Endpoint) -> Login:
    """Who the URL says we are. ValueError when a secret cannot be had."""
    options = endpoint.options
    secrets = {}
    for key in SECRET_OPTIONS & options.keys():
        try:
            secrets[key] = _SECRET.validate_python(options[key]).get_secret_value()
        except ValidationError as error:
            raise ValueError(f"{key}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
    return Login(user=options.get("user", ""), credentials=options.get("credentials", ""), **secrets)


def check(endpoint: Endpoint, own: Collection[str], driver: str) -> None:
    """OSError with words for what the first connection would stumble over: files, secrets, a `driver` that is missing."""
    kind = settings(endpoint, own).address.kind
    try:
        login(endpoint)
        for each in settings(endpoint, own).address.endpoints if endpoint.scheme.endswith("+tls") else ():
            client_context(each)
        if credentials := endpoint.options.get("credentials"):
            Path(credentials).open("rb").close()
        if importlib.util.find_spec(driver) is None:
            raise ValueError(f"{driver.replace('_', '-')} is not installed: pip install 'hepswitch[{kind}]'")  # noqa: TRY301
    except (OSError, ValueError) as error:
        code = error.errno if isinstance(error, OSError) else errno.EINVAL
        raise OSError(code, f"{endpoint}: {words(error)}") from error


def read_from(store: StreamStore, endpoints: Collection[Endpoint]) -> Endpoint | None:
    """The listener that reads what this store publishes, if there is one."""
    address = store.address
    for endpoint in endpoints:
        if endpoint.scheme.partition("+")[0] != address.kind:
            continue
        read = parse_address(f"{endpoint.scheme}://{endpoint.host}")
        if read.name != address.name or not set(read.servers).intersection(address.servers):
            continue
        if not isinstance(store, NatsStore) or f"{store.subject}.".startswith(
            f"{endpoint.options.get('subject', 'hep')}."
        ):
            return endpoint
    return None


def name(endpoint: Endpoint, sockets: list[socket.socket]) -> str:  # noqa: ARG001
    """See `Way`."""
    return str(endpoint)


class StreamSource(ABC):
    """Consumes a stream: one connection after the other (`_consume`), with pauses while there is none to be had."""

    def __init__(self, inlet: Inlet) -> None:
        self._inlet = inlet
        self._listener = inlet.listener
        self._listener.state = "starting"
        self._batch = Batch(inlet.listener)
        self._reading = asyncio.Event()
        self._reading.set()
        self._stopping = asyncio.Event()
        self._backoff = Backoff()
        self._complaints = Throttle(COMPLAIN_EVERY)
        self._task: asyncio.Task[None]

    async def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to consume; the server may be away."""
        self._task = loop.create_task(self._run())

    async def stop(self) -> None:
        """Ask for no more; what was handed on is written and acknowledged, if disk and server let it within PATIENCE."""
        self._stopping.set()
        self._wake()
        # Without a connection nothing can be acknowledged any more.
        limit = 2 * PATIENCE if self._listener.state == "active" else 0
        _, unfinished = await asyncio.wait([self._task], timeout=limit)
        if unfinished:
            self._task.cancel()
            await asyncio.wait([self._task])

    def pause(self) -> None:
        """Take nothing more: the stream keeps it."""
        self._reading.clear()

    def resume(self) -> None:
        """Go on."""
        self._reading.set()
        self._wake()

    @abstractmethod
    def _wake(self) -> None:
        """Something has changed: look at it."""

    @abstractmethod
    async def _consume(self) -> None:
        """Connect, and consume until told to stop. OSError when the server is away or refuses."""

    async def _run(self) -> None:
        while not self._stopping.is_set():
            begun = time.monotonic()
            try:
                await self._consume()
            except Exception as error:  # noqa: BLE001 (whatever a driver raises: the stream must be read again)
                self._away(error)
                if time.monotonic() - begun > LONGEST_PAUSE:
                    self._backoff.reset()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), self._backoff.next())

    def _active(self) -> None:
        """There is a connection, and messages come."""
        if self._listener.state != "active":
            log.info("stream is read", listener=self._listener.url)
            self._listener.state = "active"

    def _away(self, error: Exception) -> None:
        if self._listener.state != "away":
            trace = None if isinstance(error, OSError) else error
            log.error("stream is away", listener=self._listener.url, error=words(error), exc_info=trace)
            self._listener.state = "away"

    def _flow(self, identity: str, body: bytes) -> None:
        """A message through the flow; `identity`: what it is known by. What is no packet in it is counted as malformed."""
        listener, batch = self._listener, self._batch
        rest = unpack(batch, body, time.time_ns() // 1000)
        batch.mark = mark(identity, body)
        if len(batch):
            self._inlet.flow(batch)
        if not rest:
            return
        listener.packets += 1
        listener.bytes += rest
        listener.malformed += 1
        listener.malformed_reasons["no HEP packet"] += 1
        if (unsaid := self._complaints.due("malformed")) is not None:
            shown = identity[:LONGEST_ID]
            log.warning(
                "message is no HEP packets", listener=listener.url, message=shown, bytes=rest, not_logged=unsaid
            )

    def _end(self) -> Awaitable[bool]:
        """The end of a turn: waits until what flowed is written; see `Inlet`."""
        self._inlet.after()
        return self._inlet.written()
