"""A node over UDP: datagrams out of a bounded queue, many with one call of the kernel.

Delivered means taken by the kernel; nobody can know more. A node is active while its name is resolved and no ICMP error
speaks against it. After an error it is inactive for a jittered pause: the destination prefers its other nodes meanwhile.
Then a keep-alive probe finds out whether somebody listens again or, without probes, traffic itself.
Not here: spooling, which would promise what UDP cannot keep.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import Iterable

from hepswitch.destinations.hep_node import Administration, HepNode, Settings
from hepswitch.destinations.probe import keep_alive
from hepswitch.net.resolve import Candidate, Resolver
from hepswitch.net.udp import UdpSender
from hepswitch.units import Endpoint
from hepswitch.wire.frames import Frames

SEND_BUFFER = 4 << 20
"""Bytes asked for with SO_SNDBUF; the kernel may cap it."""

PATIENCE = 1.0
"""Seconds that a slow name server may hold up the start."""

ANSWER = 1.0
"""Seconds in which an ICMP error answers a probe; silence says that somebody listens."""

HEARD = 16
"""Datagrams of the far end thrown away at once."""


class UdpNode(HepNode):
    """One far end that gets datagrams. Never full: datagrams are not worth stopping a source for."""

    def __init__(self, endpoint: Endpoint, settings: Settings, resolver: Resolver) -> None:
        super().__init__(endpoint, settings)
        self._resolver = resolver
        self._queue: Frames = self.inbox
        self._candidates: tuple[Candidate, ...] = ()
        self._sock: socket.socket | None = None
        self._sender: UdpSender | None = None
        self._waiting = False
        self._timer: asyncio.TimerHandle | None = None
        self._follower: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Resolve and connect; when that fails or takes long, go on trying in the background."""
        await super().open()
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
                    self._turn("inactive", reason=str(error), retry_in=round(pause, 1))
            if pause == math.inf:
                return
            await asyncio.sleep(pause)

    async def _connect(self) -> float:
        """Go where the name leads; the seconds for which that holds. Raises OSError when it leads nowhere."""
        answer = await self._resolver.resolve(self._endpoint.host, self._endpoint.port)
        self._candidates = answer.candidates
        if self.peer not in self._candidates:
            self._move(self._candidates)
            self._back()
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
                self.peer, self._sock, self._sender = candidate, sock, UdpSender(sock)
                self._loop.add_reader(sock, self._hear)
                return
        raise trouble

    def _move_on(self) -> None:
        """The candidate that is used has failed: the next one's turn, if there is another."""
        if self.peer in self._candidates and len(self._candidates) > 1:
            at = self._candidates.index(self.peer)
            with contextlib.suppress(OSError):  # no way to any other: this one may come back
                self._move(self._candidates[at + 1 :] + self._candidates[:at])

    def flush(self) -> None:
        """Send what is queued, as far as the kernel takes it now; the rest when it takes more."""
        if not self._waiting and len(self._queue):
            self._send()

    def _send(self) -> None:
        sender = self._sender
        if sender is None or self.paused:
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
        self._wait(self.health == "active" and len(self._queue) > 0)

    def _wait(self, waiting: bool) -> None:
        """Whether to go on when the kernel takes more."""
        if waiting != self._waiting and self._sock is not None:
            self._waiting = waiting
            if waiting:
                self._loop.add_writer(self._sock, self._send)
            else:
                self._loop.remove_writer(self._sock)

    def _hear(self) -> None:
        """An ICMP error, or the far end said something: HEP has no answers, so it does not matter what."""
        assert self._sock is not None
        try:
            for _ in range(HEARD):
                self._sock.recv(65536)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        """What was sent did not arrive. What else was under way says nothing new during the pause."""
        self.active = False
        if self.health == "inactive" and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._move_on()
        pause = self._backoff.next()
        self._timer = self._loop.call_later(pause, self._try_again, pause)
        self._turn("inactive", reason=error.strerror or str(error), retry_in=round(pause, 1))

    def _try_again(self, pause: float) -> None:
        """The pause is over. A probe is sent, or traffic may try: without another error for a while the node is back."""
        probes = self._settings.probe > 0 and not self.paused
        self._timer = self._loop.call_later(ANSWER if probes else pause, self._back)
        self.active = not probes
        self._turn("probing")
        if probes:
            self._probe()
        else:
            self._send()

    def _back(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._backoff.reset()
        self.active = True
        self._turn("active")
        self._send()

    def _probe(self) -> None:
        if self._sock is None:
            return
        try:
            self._sock.send(keep_alive(self._sock, self._settings.probe, self._settings.agent))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._failed(error)
        else:
            self._probes += 1

    def configure(self, endpoint: Endpoint, settings: Settings) -> None:
        """See `HepNode`."""
        self.room = settings.queue
        super().configure(endpoint, settings)

    def administer(self, administration: Administration) -> None:
        """See `HepNode`."""
        if administration == "paused":
            self._wait(False)
        super().administer(administration)

    async def close(self, deadline: float, reason: str = "shutdown") -> None:
        """Send what is queued until `deadline` (of the loop's clock), then discard the rest for `reason`."""
        self._send()
        while len(self._queue) and self._sender is not None and not self.paused and self._loop.time() < deadline:
            await asyncio.sleep(0.01)
            self._send()
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
        if self._timer is not None:
            self._timer.cancel()
        self._disconnect()
        if len(self._queue):
            self._discarded[reason] += len(self._queue)
            self._queue.clear()
        self._end()

    def _disconnect(self) -> None:
        if self._sock is None:
            return
        self._wait(False)
        self._loop.remove_reader(self._sock)
        self._sock.close()
        self.peer = self._sock = self._sender = None

    @property
    def queued(self) -> int:
        """Datagrams in memory."""
        return len(self._queue)
