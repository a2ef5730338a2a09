"""A node over UDP: datagrams out of a bounded queue, many with one call of the kernel.

Delivered means taken by the kernel; nobody can know more. A node is active while its name is resolved and no ICMP error
speaks against it. After an error it is inactive for a jittered pause: the destination prefers its other nodes meanwhile,
and then traffic itself finds out. Not here: spooling, which would promise what UDP cannot keep.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections import Counter
from collections.abc import Callable, Iterable

import structlog

from hepswitch.books import Snapshot
from hepswitch.destinations.balance import Node
from hepswitch.destinations.outlet import Backoff
from hepswitch.net.resolve import Candidate, Resolver
from hepswitch.net.udp import UdpSender
from hepswitch.units import Endpoint
from hepswitch.wire.frames import Frames

log = structlog.get_logger("hepswitch.destinations")

SEND_BUFFER = 4 << 20
"""Bytes asked for with SO_SNDBUF; the kernel may cap it."""

PATIENCE = 1.0
"""Seconds that a slow name server may hold up the start."""


class UdpNode(Node):
    """One far end that gets datagrams. `version` 0 sends each packet in the version that it has; `queue` in bytes."""

    full = False
    """Datagrams are never worth stopping a source for."""

    on_press: Callable[[], None] | None = None

    def __init__(self, endpoint: Endpoint, weight: float, version: int, queue: int, resolver: Resolver) -> None:
        super().__init__(str(endpoint), weight, version, queue)
        self._endpoint = endpoint
        self._resolver = resolver
        self._queue: Frames = self.inbox
        self._discarded = Counter[str]()
        self._delivered = 0
        self._state = "connecting"
        self._backoff = Backoff()
        self._candidates: tuple[Candidate, ...] = ()
        self._peer: Candidate | None = None
        self._sock: socket.socket | None = None
        self._sender: UdpSender | None = None
        self._waiting = False
        self._timer: asyncio.TimerHandle | None = None
        self._follower: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Resolve and connect; when that fails or takes long, go on trying in the background."""
        self._loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            async with asyncio.timeout(PATIENCE):
                await self._connect()
        self._follower = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        """Look the name up again when its answer ends: the far end may have moved."""
        while True:
            try:
                pause = await self._connect()
            except OSError as error:
                pause = self._backoff.next()
                if self._sender is None:
                    self._turn("unreachable", reason=str(error), retry_in=round(pause, 1))
            if pause == math.inf:
                return
            await asyncio.sleep(pause)

    async def _connect(self) -> float:
        """Go where the name leads; the seconds for which that holds. Raises OSError when it leads nowhere."""
        answer = await self._resolver.resolve(self._endpoint.host, self._endpoint.port)
        self._candidates = answer.candidates
        if self._peer not in self._candidates:
            self._move(self._candidates)
            self._backoff.reset()
            self._turn("active")
            self.flush()
        return answer.seconds

    def _move(self, candidates: Iterable[Candidate]) -> None:
        """A socket to the first of `candidates` that there is a way to. The queue stays. Raises OSError."""
        trouble = OSError(f"{self._endpoint.host} has no address")
        for candidate in candidates:
            family = socket.AF_INET6 if ":" in candidate[0] else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
                sock.connect(candidate)
            except OSError as error:
                sock.close()
                trouble = error
            else:
                self._disconnect()
                self._peer, self._sock, self._sender = candidate, sock, UdpSender(sock)
                return
        raise trouble

    def _move_on(self) -> None:
        """The candidate that is used has failed: the next one's turn, if there is another."""
        if self._peer in self._candidates and len(self._candidates) > 1:
            at = self._candidates.index(self._peer)
            with contextlib.suppress(OSError):  # no way to any other: this one may come back
                self._move(self._candidates[at + 1 :] + self._candidates[:at])

    def flush(self) -> None:
        """Send what is queued, as far as the kernel takes it now; the rest when it takes more."""
        if not self._waiting and len(self._queue):
            self._send()

    def _send(self) -> None:
        sender = self._sender
        if sender is None or self._sock is None:
            return
        oversized = sender.oversized
        sent = sender.sent
        try:
            sender.send(self._queue)
        except OSError as error:
            self._failed(error)
        self._delivered += sender.sent - sent
        if oversized != sender.oversized:
            self._discarded["too large for UDP"] += sender.oversized - oversized
        waiting = self._state == "active" and len(self._queue) > 0
        if waiting != self._waiting:
            self._waiting = waiting
            if waiting:
                self._loop.add_writer(self._sock, self._send)
            else:
                self._loop.remove_writer(self._sock)

    def _failed(self, error: OSError) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._move_on()
        pause = self._backoff.next()
        self._turn("inactive", reason=error.strerror or str(error), retry_in=round(pause, 1))
        self._timer = self._loop.call_later(pause, self._probe, pause)

    def _probe(self, pause: float) -> None:
        """The pause is over: traffic may try again. Without another error for as long, the node is back."""
        self.active = True
        self._timer = self._loop.call_later(pause, self._back)
        self._send()

    def _back(self) -> None:
        self._backoff.reset()
        self._turn("active")
        self._send()

    def _turn(self, state: str, **details: object) -> None:
        self.active = state == "active"
        if state == self._state:
            return
        say = log.info if state == "active" else log.warning
        say(f"node {state}", node=self.url, **details)
        self._state = state

    async def close(self, deadline: float) -> None:
        """Send what is queued until `deadline` (of the loop's clock), then discard the rest."""
        self._send()
        while len(self._queue) and self._sender is not None and self._loop.time() < deadline:
            await asyncio.sleep(0.01)
            self._send()
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
        if self._timer is not None:
            self._timer.cancel()
        self._disconnect()
        if len(self._queue):
            self._discarded["shutdown"] += len(self._queue)
            self._queue.clear()
        self.room = 0

    def _disconnect(self) -> None:
        if self._sock is None:
            return
        if self._waiting:
            self._loop.remove_writer(self._sock)
            self._waiting = False
        self._sock.close()
        self._peer = self._sock = self._sender = None

    def account(self) -> Snapshot:
        """This node's row in the books."""
        return {
            "state": self._state,
            "accepted": self.accepted,
            "delivered": self._delivered,
            "queued": len(self._queue),
            "spooled": 0,
            "discarded": dict(self._discarded),
            "refused": dict(self.refused),
        }
