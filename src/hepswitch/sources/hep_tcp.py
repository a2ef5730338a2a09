"""HEP over TCP and TLS: many connections, each a stream of HEPv3 frames (specification: the total length frames them).

What a peer sends wrong costs its own connection and nothing else. When the outlets are full the connections are not
read, so that TCP makes the senders wait. Silent, half-open and half-finished connections end after a while.

Not here: the frames (`wire.stream`), the listening socket (`net.sockets`), TLS settings (`net.tls`), counting packets
(the flow counts those that it gets; the broken one that ends a connection is counted here).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import cast

import structlog

from hepswitch.books import Listener
from hepswitch.wire.batch import Batch
from hepswitch.wire.errors import WireError
from hepswitch.wire.stream import FrameReader

log = structlog.get_logger("hepswitch.sources")

MAX_CONNECTIONS = 4096
HANDSHAKE_TIMEOUT = 10.0
"""Seconds for the TLS handshake."""
IDLE_TIMEOUT = 600.0
"""Seconds without a byte after which a connection is closed. Agents send keep-alives far more often."""
FRAME_TIMEOUT = 30.0
"""Seconds from the first to the last byte of one frame."""
GATHER = 0.005
"""Seconds that frames of a connection which had nothing more to read may gather before it is read again."""
NEVER = float("inf")
LINGER = 0.5
"""Seconds at most that `stop` goes on reading what has arrived already."""
QUIET = 0.02
"""Seconds without a byte after which `stop` takes it that everything has been read."""


class TcpSource:
    """Serves `sock` (listening; owned from now on) and calls `flow(batch)`, which must not raise.

    With `tls` the same over TLS. `after()` is called within GATHER of a read, once for all connections.
    A peer whose address is not `allowed(ip)` is refused, over TLS after its handshake.
    """

    def __init__(
        self,
        sock: socket.socket,
        listener: Listener,
        flow: Callable[[Batch], None],
        *,
        after: Callable[[], None] = lambda: None,
        tls: ssl.SSLContext | None = None,
        allowed: Callable[[str], bool] | None = None,
        max_connections: int = MAX_CONNECTIONS,
        idle_timeout: float = IDLE_TIMEOUT,
        frame_timeout: float = FRAME_TIMEOUT,
    ) -> None:
        self.listener = listener
        self.flow = flow
        self.connections: set[_Connection] = set()
        self.max_connections = max_connections
        self.paused = False
        self._empty = asyncio.Event()
        self._empty.set()
        self.loop: asyncio.AbstractEventLoop
        self._sock = sock
        self._tls = tls
        self._allowed = allowed
        self._after = after
        self._tick: asyncio.TimerHandle | None = None
        self._resting: list[_Connection] = []
        self._stopping = False
        self._idle_timeout = idle_timeout
        self._frame_timeout = frame_timeout
        self._server: asyncio.Server
        self._sweeper: asyncio.TimerHandle

    async def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to accept and read."""
        self.loop = loop
        self._server = await loop.create_server(
            lambda: _Connection(self),
            sock=self._sock,
            ssl=self._tls,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT if self._tls else None,
        )
        self._sweep()

    async def stop(self) -> None:
        """Accept no more, take what has arrived already unless paused, close all connections."""
        self._server.close()
        self._sweeper.cancel()
        self._stopping = True
        begun = self.loop.time()
        while not self.paused and (now := self.loop.time()) < begun + LINGER:
            if all(now - max(connection.heard, begun) >= QUIET for connection in self.connections):
                break
            await asyncio.sleep(QUIET / 2)
        for connection in list(self.connections):
            connection.close()
        await self._empty.wait()
        if self._tick is not None:
            self._tick.cancel()
            self._gathered()

    def admit(self, connection: _Connection) -> bool:
        """Take a new connection in, unless there are enough or its peer may not send."""
        forbidden = self._allowed is not None and not self._allowed(connection.peer[0])
        if forbidden or len(self.connections) >= self.max_connections:
            self.listener.connections_refused += 1
            return False
        self.connections.add(connection)
        self._empty.clear()
        self.listener.connections += 1
        return True

    def dismiss(self, connection: _Connection) -> None:
        """A connection that was admitted is over."""
        self.connections.remove(connection)
        self.listener.connections -= 1
        if not self.connections:
            self._empty.set()

    def pause(self) -> None:
        """Stop reading; the senders' TCP fills up and makes them wait. What was read already is processed."""
        self.paused = True
        for connection in self.connections:
            connection.pause()

    def resume(self) -> None:
        """Go on reading."""
        self.paused = False
        now = self.loop.time()
        for connection in self.connections:
            connection.resumed(now)

    def was_read(self, connection: _Connection, drained: bool) -> None:
        """Something was read. When that was all (`drained`) the next read waits a little: a wake-up costs as much as
        many frames, so let them gather. `after()` is due at the same time, for all connections together."""
        if self._tick is None:
            self._tick = self.loop.call_later(GATHER, self._gathered)
        if drained and not self._stopping:
            self._resting.append(connection)
            connection.pause()

    def _gathered(self) -> None:
        self._tick = None
        resting, self._resting = self._resting, []
        self._after()
        if not self.paused:
            for connection in resting:
                connection.go_on()

    def _sweep(self) -> None:
        """Close connections that have been silent, or stuck inside a frame, for too long."""
        now = self.loop.time()
        if not self.paused:
            for connection in list(self.connections):
                if now - connection.frame_since > self._frame_timeout:
                    connection.broken("incomplete frame")
                elif now - connection.heard > self._idle_timeout:
                    connection.close()
        self._sweeper = self.loop.call_later(min(self._idle_timeout, self._frame_timeout) / 4, self._sweep)


class _Connection(asyncio.BufferedProtocol):
    """One connection; lives in `source.connections` while it is open."""

    def __init__(self, source: TcpSource) -> None:
        self.source = source
        self.reader = FrameReader()
        self.batch: Batch
        self.peer: tuple[str, int]
        self.transport: asyncio.Transport
        self.heard = 0.0
        self.frame_since = NEVER
        self.room = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        source = self.source
        self.transport = cast(asyncio.Transport, transport)
        self.peer = _peer(self.transport)
        self.batch = Batch(source.listener, self.peer)
        self.heard = source.loop.time()
        if not source.admit(self):
            self.transport.abort()
            return
        # Not at once: uvloop begins to read when this returns, whatever was said before.
        source.loop.call_soon(self.pause_if_due)

    def pause_if_due(self) -> None:
        if self.source.paused:
            self.pause()

    def pause(self) -> None:
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def go_on(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def resumed(self, now: float) -> None:
        """The peer could not send while it was not read: that was not its silence."""
        self.heard = now
        if self.frame_since != NEVER:
            self.frame_since = now
        self.go_on()

    def get_buffer(self, sizehint: int) -> memoryview:
        buffer = self.reader.get_buffer()
        self.room = len(buffer)
        return buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.heard = self.source.loop.time()
        self.reader.fed(nbytes)
        try:
            while self.reader.fill(self.batch):
                self.source.flow(self.batch)
                self.frame_since = NEVER
        except WireError as error:
            self.broken(error.reason)
            return
        if self.reader.pending and self.frame_since == NEVER:
            self.frame_since = self.heard
        self.source.was_read(self, nbytes < self.room)

    def broken(self, reason: str) -> None:
        """Count the frame that cannot be read, and close: nothing behind it can be told apart."""
        listener = self.source.listener
        listener.packets += 1
        listener.bytes += self.reader.pending
        listener.malformed += 1
        listener.malformed_reasons[reason] += 1
        log.debug("connection closed", listener=listener.url, peer=self.batch.peer, reason=reason)
        self.close()

    def close(self) -> None:
        """Close at once; an unfinished frame goes uncounted, its end was not waited for."""
        self.frame_since = NEVER
        self.reader = FrameReader()
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self not in self.source.connections:
            return
        if self.reader.pending:
            self.broken("truncated")
        self.source.dismiss(self)


def _peer(transport: asyncio.Transport) -> tuple[str, int]:
    """Who is at the other end; IPv4 in its own form also when it came to an IPv6 socket."""
    address = transport.get_extra_info("peername")
    if address is None:  # it has gone already
        return ("", 0)
    return (str(address[0]).removeprefix("::ffff:"), int(address[1]))
