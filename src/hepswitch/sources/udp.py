"""Datagrams: reads a UDP socket the way a driver reads a network card.

The first datagram wakes the event loop; from then on the socket is looked at every few milliseconds while traffic
flows, so that one wake-up, which costs as much as tens of packets, serves hundreds. When nothing came for a while the
loop waits for the socket again. The time between two looks follows from the receive buffer, so that waiting never
overflows it; with a small buffer every datagram wakes the loop.

Not here: binding (`net.sockets`), counting packets (the flow does), anything about what is in a datagram.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import structlog

from hepswitch.books import Listener
from hepswitch.net.udp import UdpReceiver
from hepswitch.wire.batch import Batch

log = structlog.get_logger("hepswitch.sources")

BATCHES = 4
"""Batches (of 256) taken in one turn of the loop, before others get theirs."""

MOST_PAUSE = 0.005
"""Seconds between two looks at most: how late a packet may be, and its arrival time wrong."""

LEAST_PAUSE = 0.001
"""Seconds; the timers of the event loops are no finer."""

FASTEST = 1e9
"""Bytes a second at which the kernel may fill a receive buffer, its overhead included: about 400,000 packets."""

PATIENCE = 4
"""Looks in a row that find nothing before the loop waits for the socket again."""


class UdpSource:
    """Reads `sock` (bound, non-blocking; owned from now on) by a `receiver` and calls `flow(batch)`, which must not raise.

    `after()` is called once at the end of each turn that found something.
    """

    def __init__(
        self,
        sock: socket.socket,
        listener: Listener,
        flow: Callable[[Batch], None],
        *,
        receiver: Callable[[socket.socket, Listener], UdpReceiver] = UdpReceiver,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        self._sock = sock
        self._listener = listener
        self._flow = flow
        self._after = after
        self._receiver = receiver(sock, listener)
        buffer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self._pause = min(MOST_PAUSE, buffer / FASTEST)
        self._loop: asyncio.AbstractEventLoop
        self._timer: asyncio.Handle | None = None
        self._misses = 0
        self._complained = False

    async def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to read."""
        self._loop = loop
        loop.add_reader(self._sock, self._wake if self._pause >= LEAST_PAUSE else self._turn)

    async def stop(self) -> None:
        """Take what has arrived already, then close the socket."""
        self._loop.remove_reader(self._sock)
        if self._timer is not None:
            self._timer.cancel()
        # Bounded, as senders may go on for ever, by more than a receive buffer holds.
        for _ in range(64):
            if not self._turn():
                break
        self._sock.close()

    def _wake(self) -> None:
        self._loop.remove_reader(self._sock)
        self._misses = 0
        self._look()

    def _look(self) -> None:
        self._misses = 0 if self._turn() else self._misses + 1
        if self._misses > PATIENCE:
            self._timer = None
            self._loop.add_reader(self._sock, self._wake)
        elif self._receiver.drained:
            self._timer = self._loop.call_later(self._pause, self._look)
        else:
            self._timer = self._loop.call_soon(self._look)

    def _turn(self) -> bool:
        """Take up to BATCHES batches; False when nothing was there."""
        found = False
        try:
            for _ in range(BATCHES):
                batch = self._receiver.receive()
                if batch is None:
                    break
                found = True
                self._flow(batch)
                if self._receiver.drained:
                    break
        except OSError as error:
            if not self._complained:
                self._complained = True
                log.exception("cannot read", listener=self._listener.url, error=str(error))
        self._receiver.count_drops()
        if found:
            self._after()
        return found
