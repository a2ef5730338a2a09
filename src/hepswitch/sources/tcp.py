"""Streams: many TCP or TLS connections, each cut into frames by a reader of its own.

What a peer sends wrong costs its own connection and nothing else. When the outlets are full the connections are not
read, so that TCP makes the senders wait. Silent, half-open and half-finished connections end after a while. A connection
takes up its place from the moment that it is accepted, before the TLS handshake, and has a buffer only after it.

Not here: the frames (`wire.stream`; the reader is a parameter), the listening socket (`net.sockets`), TLS settings
(`net.tls`), counting packets (the flow counts those that it gets; the broken one that ends a connection is counted here).
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, cast

import structlog

from hepswitch.books import Listener
from hepswitch.sources.inlet import Places
from hepswitch.wire import receipt
from hepswitch.wire.batch import Batch
from hepswitch.wire.errors import WireError
from hepswitch.wire.stream import FrameReader

log = structlog.get_logger("hepswitch.sources")

ACCEPTS = 64
"""Connections accepted before others get their turn on the event loop."""
ACCEPT_PAUSE = 1.0
"""Seconds before accepting is tried again when the system had no descriptor or memory for it."""
HANDSHAKE_TIMEOUT = 10.0
"""Seconds for the TLS handshake."""
IDLE_TIMEOUT = 600.0
"""Seconds without a byte after which a connection is closed. Agents send keep-alives far more often."""
FRAME_TIMEOUT = 30.0
"""Seconds from the first to the last byte of one frame."""
GATHER = 0.005
"""Seconds that frames of a connection which had nothing more to read may gather before it is read again."""
Address = tuple[str, int]
NEVER = float("inf")
OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
BUSY_PAUSE = 0.02
"""Seconds between two attempts to go on with what another worker is at."""
MOST_SAID = 1 << 16
"""Bytes that wait for a sender that does not read."""
LINGER = 0.5
"""Seconds at most that `stop` goes on reading what has arrived already."""
QUIET = 0.02
"""Seconds without a byte after which `stop` takes it that everything has been read."""


class Ends(NamedTuple):
    """Who is at the other end of a connection, and which of our addresses it came to."""

    peer: Address
    local: Address


class Reader(Protocol):
    """What cuts the stream of one connection; see `wire.stream.FrameReader`."""

    def get_buffer(self) -> memoryview: ...
    def fed(self, size: int) -> None: ...
    def fill(self, batch: Batch) -> bool: ...
    @property
    def pending(self) -> int: ...


class TcpSource:
    """Serves `sock` (listening; owned from now on) and calls `flow(batch)`, which must not raise, with what the `reader`
    that each connection gets finds in its stream.

    With `tls` the same over TLS. `after()` is called within GATHER of a read, once for all connections; `ask(tell)` as
    `Inlet.receipt`. A peer whose address is not `allowed(ip)`, or for whom `places` has none left, is refused before
    anything is read.
    """

    def __init__(
        self,
        sock: socket.socket,
        listener: Listener,
        flow: Callable[[Batch], None],
        *,
        reader: Callable[[Ends], Reader],
        after: Callable[[], None] = lambda: None,
        tls: ssl.SSLContext | None = None,
        allowed: Callable[[str], bool] | None = None,
        places: Places | None = None,
        ask: Callable[[Callable[[int, int], None]], None] = lambda _: None,
        idle_timeout: float = IDLE_TIMEOUT,
        frame_timeout: float = FRAME_TIMEOUT,
    ) -> None:
        self.listener = listener
        self.flow = flow
        self.reader = reader
        self.connections: set[_Connection] = set()
        self._reading = asyncio.Event()
        self._reading.set()
        self._empty = asyncio.Event()
        self._empty.set()
        self.loop: asyncio.AbstractEventLoop
        self._sock = sock
        self._tls: dict[str, Any] = {"ssl": tls, "ssl_handshake_timeout": HANDSHAKE_TIMEOUT} if tls else {}
        self._allowed = allowed
        self._places = places or Places()
        self._greetings: set[asyncio.Task[None]] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._after = after
        self.ask = ask
        self._tick: asyncio.TimerHandle | None = None
        self._resting: list[_Connection] = []
        self._stopping = False
        self._idle_timeout = idle_timeout
        self._frame_timeout = frame_timeout
        self._sweeper: asyncio.TimerHandle

    async def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to accept and read."""
        self.loop = loop
        self._listen()
        self._sweep()

    async def stop(self) -> None:
        """Accept no more, take what has arrived already unless paused, close all connections."""
        if self._retry is not None:
            self._retry.cancel()
        self.loop.remove_reader(self._sock)
        self._sock.close()
        self._sweeper.cancel()
        self._stopping = True
        begun = self.loop.time()
        while not self.paused and (now := self.loop.time()) < begun + LINGER:
            quiet = all(now - max(connection.heard, begun) >= QUIET for connection in self.connections)
            if quiet and not self._greetings:
                break
            await asyncio.sleep(QUIET / 2)
        for greeting in self._greetings:
            greeting.cancel()
        for connection in list(self.connections):
            connection.close()
        await self._empty.wait()
        if self._tick is not None:
            self._tick.cancel()
            self._gathered()

    # ── accepting ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _listen(self) -> None:
        self._retry = None
        self.loop.add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        """Connections wait to be accepted. One that cannot be served is ended at once: it would wait in vain."""
        for _ in range(ACCEPTS):
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno not in OUT_OF_RESOURCES:
                    continue  # that connection was over before it was accepted (accept(2))
                log.error("no connection can be accepted", listener=self.listener.url, error=error.strerror)
                self.loop.remove_reader(self._sock)
                self._retry = self.loop.call_later(ACCEPT_PAUSE, self._listen)
                return
            peer = address_of(address)
            if self._places.free <= 0 or (self._allowed is not None and not self._allowed(peer[0])):
                self.listener.connections_refused += 1
                sock.close()
                continue
            self._places.free -= 1
            self.listener.connections += 1
            self._empty.clear()
            sock.setblocking(False)
            greeting = self.loop.create_task(self._greet(sock, peer))
            self._greetings.add(greeting)
            greeting.add_done_callback(self._greetings.discard)

    async def _greet(self, sock: socket.socket, peer: Address) -> None:
        """Make a connection of an accepted socket, over TLS with the handshake. While nobody is read it waits."""
        connection = _Connection(self, peer)
        try:
            await self._reading.wait()
        except asyncio.CancelledError:
            sock.close()
            self._leave()
            raise
        try:
            await self.loop.connect_accepted_socket(lambda: connection, sock, **self._tls)
        except OSError as error:  # ssl.SSLError and TimeoutError too
            log.debug("TLS handshake failed", listener=self.listener.url, peer=peer, error=str(error))
        finally:
            if not connection.made:
                self._leave()

    def _leave(self) -> None:
        self._places.free += 1
        self.listener.connections -= 1
        if not self.listener.connections:
            self._empty.set()

    def dismiss(self, connection: _Connection) -> None:
        """A connection is over."""
        self.connections.remove(connection)
        self._leave()

    # ── reading ────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def paused(self) -> bool:
        """True between `pause` and `resume`."""
        return not self._reading.is_set()

    def pause(self) -> None:
        """Stop reading; the senders' TCP fills up and makes them wait. What was read already is processed."""
        self._reading.clear()
        for connection in self.connections:
            connection.pause()

    def resume(self) -> None:
        """Go on reading."""
        self._reading.set()
        for connection in self.connections:
            connection.resumed()

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

    ends: Ends
    reader: Reader
    transport: asyncio.Transport

    def __init__(self, source: TcpSource, peer: Address) -> None:
        self.source = source
        self.peer = peer
        self.batch = Batch(source.listener, peer)
        self.made = False
        self.heard = 0.0
        self.frame_since = NEVER
        self.room = 0
        self.waits = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        source = self.source
        self.transport = cast(asyncio.Transport, transport)
        self.made = True
        self.ends = Ends(self.peer, address_of(self.transport.get_extra_info("sockname")))
        self.reader = source.reader(self.ends)
        self.heard = source.loop.time()
        source.connections.add(self)
        # Not at once: uvloop begins to read when this returns, whatever was said before.
        source.loop.call_soon(self.pause_if_due)

    def pause_if_due(self) -> None:
        if self.source.paused:
            self.pause()

    def pause(self) -> None:
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def go_on(self) -> None:
        if not self.transport.is_closing() and not self.waits:
            self.transport.resume_reading()

    def resumed(self) -> None:
        """The peer could not send while it was not read: that was not its silence."""
        self.heard = now = self.source.loop.time()
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
        if not self.waits:
            self.take(nbytes < self.room)

    def take(self, drained: bool) -> None:
        """Hand the complete frames to the flow."""
        try:
            while self.reader.fill(self.batch):
                self.source.flow(self.batch)
                self.source.ask(self.confirm)
                self.frame_since = NEVER
                if self.batch.busy:
                    self.wait()
                    return
        except WireError as error:
            self.broken(error.reason)
            return
        if self.reader.pending and self.frame_since == NEVER:
            self.frame_since = self.heard
        self.source.was_read(self, drained)

    def confirm(self, queue: int, number: int) -> None:
        """Tell the sender what need not come again. One that does not listen is told no more."""
        if not self.transport.is_closing() and self.transport.get_write_buffer_size() < MOST_SAID:
            self.transport.write(receipt.write(queue, number))

    def wait(self) -> None:
        """Read on when the worker that had this sender's packets before is done with them, or gone. However long that takes:
        what was acknowledged and not read would be lost with the connection."""
        assert isinstance(self.reader, FrameReader), "HEP alone is numbered"
        self.reader.unread(self.batch)
        self.waits = True
        self.pause()
        self.source.was_read(self, drained=False)
        self.source.loop.call_later(BUSY_PAUSE, self.try_again)

    def try_again(self) -> None:
        self.waits = False
        if self.transport.is_closing():
            return
        self.heard = self.source.loop.time()
        self.take(drained=False)
        if not self.waits and not self.source.paused:
            self.go_on()

    def broken(self, reason: str) -> None:
        """Count the frame that cannot be read, and close: nothing behind it can be told apart."""
        listener = self.source.listener
        listener.packets += 1
        listener.bytes += self.reader.pending
        listener.malformed += 1
        listener.malformed_reasons[reason] += 1
        log.debug("connection closed", listener=listener.url, peer=self.peer, reason=reason)
        self.close()

    def close(self) -> None:
        """Close at once; an unfinished frame goes uncounted, its end was not waited for."""
        self.frame_since = NEVER
        self.reader = self.source.reader(self.ends)
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.made:
            return
        if self.reader.pending and not self.waits:
            self.broken("truncated")
        self.source.dismiss(self)


def address_of(name: Any) -> Address:
    """The address in the name of a socket; IPv4 in its own form also when it came to an IPv6 socket."""
    return (str(name[0]).removeprefix("::ffff:"), int(name[1]))
