"""Inlet: what a source is given by the switch, and what a module of a way in offers to it.

Not here: the ways in (`ways` has the table of them).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from hepswitch.books import Listener
from hepswitch.units import Endpoint, parse_endpoint
from hepswitch.wire.batch import Batch

MAX_CONNECTIONS = 8192
"""Connections of one process, over all its listeners, if it may have as many descriptors."""

ACCESS = ("allow", "deny")
"""Options of every listener that has senders: who may send to it."""


class Places:
    """How many connections the sources that share this may still take in."""

    def __init__(self, free: int = MAX_CONNECTIONS) -> None:
        self.free = free


@dataclass(frozen=True, slots=True)
class Inlet:
    """One listener in one worker: what its source reads, and where that leads.

    `flow` must be called with each batch, `after` once at the end of a turn that found something. `written`, called in that
    turn, too, waits until all that the stores took by then is written: True, or False when something of a message was not
    taken for lack of room, or will not be written. `allowed` says whether an address may connect. `folder`: where a source
    may keep what it must know after a restart. `reader`: the worker that reads a listener which only one may read.
    `receipt`, called after each batch of a connection, calls what it is given with queue and number of a packet when that
    and those before it need not come again.
    """

    endpoint: Endpoint
    sockets: list[socket.socket]
    listener: Listener
    flow: Callable[[Batch], None]
    after: Callable[[], None]
    written: Callable[[], Awaitable[bool]]
    allowed: Callable[[str], bool]
    places: Places
    worker: int
    reader: int
    folder: Path
    receipt: Callable[[Callable[[int, int], None]], None] = lambda _: None


class Source(Protocol):
    """Reads what it was made of. `stop` takes what has arrived already, then closes."""

    async def start(self, loop: asyncio.AbstractEventLoop) -> None: ...
    async def stop(self) -> None: ...


class Idle:
    """The source of a listener that another worker reads."""

    async def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """Nothing to do."""


@runtime_checkable
class Patient(Protocol):
    """A source whose senders can be made to wait: between `pause` and `resume` it is not read."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Way(Protocol):
    """What the module of a way in has."""

    KEYLESS: bool
    """True when what comes this way has no place for an authentication key."""

    def parse(self, url: str) -> Endpoint:
        """The listener as it is written in the configuration. ValueError with a hint."""

    def bind(self, endpoint: Endpoint, workers: int, receive_buffer: int) -> list[list[socket.socket]]:
        """The sockets of each worker, bound by the supervisor, who has the privileges and keeps them open. OSError that
        says what to do."""

    def name(self, endpoint: Endpoint, sockets: list[socket.socket]) -> str:
        """What the listener is called in the books."""

    def source(self, inlet: Inlet) -> Source:
        """What reads it in a worker."""


def parse_listener(url: str, scheme: str, options: Collection[str]) -> Endpoint:
    """An endpoint of `scheme` that has no other than these `options`. ValueError with a hint."""
    endpoint = parse_endpoint(url, (scheme,))
    if unknown := sorted(endpoint.options.keys() - set(options)):
        raise ValueError(f"{url!r} has unknown options: {', '.join(unknown)}; known here: {', '.join(sorted(options))}")
    return endpoint


def bound_name(endpoint: Endpoint, sockets: list[socket.socket]) -> str:
    """The name of a listener on a port: with the port that it got."""
    return str(replace(endpoint, port=sockets[0].getsockname()[1]))
