"""Ways: one connected socket to the far end of a `HepSender`, and the packets that are on their way through it.

    DatagramWay   UDP: delivered means taken by the kernel
    StreamWay     TCP and TLS: delivered means acknowledged by the far end's TCP (see `destinations.flight`)

A way belongs to the sender's thread. It blocks while it connects and looks up a name, never while it carries. A break
costs no packet of a stream: what was not acknowledged goes first on the next connection.
Not here: threads, when to connect again, how much may wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import select
import socket
import ssl
import time
from abc import ABC, abstractmethod
from collections import Counter
from typing import Any, NamedTuple

from hepswitch.destinations.channel import Channel, connect
from hepswitch.destinations.flight import Flight
from hepswitch.destinations.probe import keep_alive
from hepswitch.net.udp import UdpSender
from hepswitch.units import Endpoint
from hepswitch.wire.frames import Frames

WRITE = 1 << 20
"""Bytes handed to a connection at once."""

POLL = 0.02
"""Seconds between two questions for acknowledgements while something is under way."""

ANSWER = 0.5
"""Seconds in which an ICMP error answers a probe; silence says that somebody listens."""

NAME_HOLDS = 60.0
"""Seconds after which a name is looked up again: the system does not tell the TTL, and UDP not that its host has moved."""

HEARD = 16
"""Datagrams of the far end thrown away at once."""


class EndedError(OSError):
    """The far end has ended the connection in order."""


class Addresses(NamedTuple):
    """What the system knows of a name, in its order of preference."""

    candidates: list[tuple[str, int]]


def look_up(host: str, port: int) -> Addresses:
    """Ask the system; this may take seconds. Raises OSError that names the host."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"{host!r} cannot be resolved: {reason}; check the name and the DNS") from error
    return Addresses(list(dict.fromkeys((str(address[0]), port) for _, _, _, _, address in found)))


class System:
    """The resolver of `destinations.channel.connect`. It blocks its loop, which has nothing else to do."""

    async def resolve(self, host: str, port: int) -> Addresses:
        """See `look_up`."""
        return look_up(host, port)


class Loop(asyncio.SelectorEventLoop):
    """Runs one `destinations.channel.connect`, and knows the socket that is being connected."""

    connecting: socket.socket | None = None

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """See `asyncio`."""
        self.connecting = sock
        await super().sock_connect(sock, address)


class Way(ABC):
    """`delivered`, `discarded` (by reason) and `replayed` (sent again although delivered) never step back."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.delivered = 0
        self.replayed = 0
        self.discarded = Counter[str]()

    @property
    @abstractmethod
    def frames(self) -> Frames:
        """Where packets are pushed."""

    @property
    @abstractmethod
    def queued(self) -> int:
        """Packets that are not delivered."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Their bytes."""

    @property
    @abstractmethod
    def sock(self) -> socket.socket:
        """The connected socket."""

    @property
    @abstractmethod
    def patience(self) -> float:
        """Seconds after which `carry` should be called although the socket says nothing."""

    @abstractmethod
    def connect(self) -> None:
        """Go to the first address of the far end that answers. Raises OSError saying why none did."""

    @abstractmethod
    def carry(self) -> bool:
        """Send what the kernel takes, learn what was delivered; True when the rest waits for the socket to be writable.

        Raises OSError when the far end is away.
        """

    @abstractmethod
    def broken(self, error: OSError) -> None:
        """The socket is of no use any more, for `error`. What is not delivered waits for the next `connect`."""

    @abstractmethod
    def close(self) -> None:
        """End the connection in order."""

    @abstractmethod
    def abandon(self) -> None:
        """In a forked child: the connection is the parent's. Let go of it without a word to the far end."""


class DatagramWay(Way):
    """Datagrams, many with one call of the kernel. `agent` is the capture id of its probes.

    A probe comes first where there is reason for doubt: after an error, and when the name has several addresses.
    """

    def __init__(self, endpoint: Endpoint, agent: int) -> None:
        super().__init__(endpoint)
        self._agent = agent
        self._queue = Frames()
        self._sock: socket.socket | None = None
        self._sender: UdpSender | None = None
        self._doubtful = False
        self._expires = math.inf

    @property
    def frames(self) -> Frames:
        """See `Way`."""
        return self._queue

    @property
    def queued(self) -> int:
        """See `Way`."""
        return len(self._queue)

    @property
    def nbytes(self) -> int:
        """See `Way`."""
        return self._queue.nbytes

    @property
    def sock(self) -> socket.socket:
        """See `Way`."""
        assert self._sock is not None
        return self._sock

    @property
    def patience(self) -> float:
        """See `Way`."""
        return math.inf

    def connect(self) -> None:
        """See `Way`."""
        candidates = look_up(self._endpoint.host, self._endpoint.port).candidates
        self._expires = time.monotonic() + NAME_HOLDS
        trouble = OSError(f"{self._endpoint.host} has no address")
        for candidate in candidates:
            family = socket.AF_INET6 if ":" in candidate[0] else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            try:
                sock.connect(candidate)
                if self._doubtful or len(candidates) > 1:
                    self._probe(sock)
            except OSError as error:
                sock.close()
                trouble = error
            else:
                self._sock, self._sender, self._doubtful = sock, UdpSender(sock), False
                return
        raise trouble

    def _probe(self, sock: socket.socket) -> None:
        """Raises OSError when the far end's machine, or one on the way, answers that nobody listens."""
        sock.send(keep_alive(sock, ANSWER, self._agent))
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        poll.poll(ANSWER * 1000)
        _hear(sock)

    def carry(self) -> bool:
        """See `Way`."""
        assert self._sender is not None
        _hear(self.sock)  # what waits must not follow the packet that an ICMP error is about
        if len(self._queue) and time.monotonic() >= self._expires:
            self._look_again()
        sent, oversized = self._sender.sent, self._sender.oversized
        try:
            self._sender.send(self._queue)
        finally:
            self.delivered += self._sender.sent - sent
            if self._sender.oversized > oversized:
                self.discarded["too large for UDP"] += self._sender.oversized - oversized
        return len(self._queue) > 0

    def _look_again(self) -> None:
        """Raises OSError when the name leads elsewhere; a name that cannot be looked up leads where it led."""
        self._expires = time.monotonic() + NAME_HOLDS
        with contextlib.suppress(OSError):
            candidates = look_up(self._endpoint.host, self._endpoint.port).candidates
            if self.sock.getpeername()[:2] not in candidates:
                self._expires = -math.inf
        if self._expires < 0:
            raise EndedError(f"{self._endpoint.host} is at another address now")

    def broken(self, error: OSError) -> None:
        """See `Way`."""
        self._doubtful = True
        self.close()

    def close(self) -> None:
        """See `Way`."""
        if self._sock is not None:
            self._sock.close()
        self._sock = self._sender = None

    def abandon(self) -> None:
        """See `Way`."""
        self.close()


class StreamWay(Way):
    """A TCP or TLS connection. After a reset at most `replay` bytes go again that the far end may not have read."""

    def __init__(self, endpoint: Endpoint, tls: ssl.SSLContext | None, replay: int) -> None:
        super().__init__(endpoint)
        self._tls = tls
        self._flight = Flight(replay)
        self._channel: Channel | None = None
        self._loop: Loop | None = None
        self._wrote = -math.inf
        self._again = 0

    @property
    def frames(self) -> Frames:
        """See `Way`."""
        return self._flight.frames

    @property
    def queued(self) -> int:
        """See `Way`."""
        return self._flight.undelivered

    @property
    def nbytes(self) -> int:
        """See `Way`."""
        return self._flight.frames.nbytes - max(self._flight.settled, self._again)

    @property
    def sock(self) -> socket.socket:
        """See `Way`."""
        assert self._channel is not None
        return self._channel.sock

    @property
    def patience(self) -> float:
        """See `Way`."""
        return POLL if self._flight.sent > self._flight.settled else math.inf

    def connect(self) -> None:
        """See `Way`."""
        loop = self._loop = Loop()
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            self._channel = runner.run(connect(self._endpoint, System(), self._tls))
        self._loop = None

    def carry(self) -> bool:
        """See `Way`."""
        channel, flight = self._channel, self._flight
        assert channel is not None
        if channel.ended():
            raise EndedError("closed by the far end")
        blocked = False
        while not blocked and (flight.unsent or channel.pending):
            with memoryview(flight.frames) as whole, whole[flight.sent :][:WRITE] as part:
                taken = channel.write(part)
                blocked = taken < len(part) or channel.pending
            flight.wrote(taken)
            self._wrote = time.monotonic()
        self._settle(channel)
        return blocked

    def _settle(self, channel: Channel) -> None:
        self.delivered += self._flight.acknowledged(channel.outstanding())
        if self._flight.settled >= self._again:
            self._again = 0

    def broken(self, error: OSError) -> None:
        """See `Way`."""
        channel, flight = self._channel, self._flight
        if channel is None:
            return
        with contextlib.suppress(OSError):  # it is broken: what it cannot tell was not acknowledged
            self._settle(channel)
        clean = channel.lost_nothing(None if isinstance(error, EndedError) else error, time.monotonic() - self._wrote)
        self.close()
        self.replayed += flight.broken(clean)
        self._again = sum(len(flight.frames[i]) for i in range(flight.counted))

    def close(self) -> None:
        """See `Way`."""
        if self._channel is not None:
            self._channel.close()
        self._channel = None

    def abandon(self) -> None:
        """See `Way`."""
        if self._loop is not None and self._loop.connecting is not None:
            self._loop.connecting.close()
        if self._channel is not None:
            self._channel.sock.close()
        self._channel = self._loop = None


def _hear(sock: socket.socket) -> None:
    """Throw away what the far end said: HEP has no answers. Raises OSError when it is an ICMP error."""
    with contextlib.suppress(BlockingIOError, InterruptedError):
        for _ in range(HEARD):
            sock.recv(65536)
