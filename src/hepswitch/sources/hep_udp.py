"""HEP over UDP: reads a datagram socket the way a driver reads a network card.

The first datagram wakes the event loop; from then on the socket is looked at every millisecond while traffic flows, so
that one wake-up serves tens of packets. When nothing came for a while the loop waits for the socket again.

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

PAUSE = 0.001
"""Seconds between two looks while traffic flows: the finest timer of the event loops."""

PATIENCE = 4
"""Looks in a row that find nothing before the loop waits for the socket again."""

FULL_ENOUGH = 1 / 8
"""Share of the receive buffer above which the next look does not wait: twice the traffic, and a timer that is
twice late, must still fit."""


class UdpSource:
    """Reads `sock` (bound, non-blocking; owned from now on) and calls `flow(batch)`, which must not raise.

    `after()` is called once at the end of each turn that found something.
    """

    def __init__(
        self,
        sock: socket.socket,
        listener: Listener,
        flow: Callable[[Batch], None],
        *,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        self._sock = sock
        self._listener = listener
        self._flow = flow
        self._after = after
        self._receiver = UdpReceiver(sock, listener)
        self._loop: asyncio.AbstractEventLoop
        self._timer: asyncio.Handle | None = None
        self._misses = 0
        self._complained = False

    async def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to read."""
        self._loop = loop
        loop.add_reader(self._sock, self._wake)

    async def stop(self) -> None:
        """Take what has arrived already, then close the socket."""
        self._loop.remove_reader(self._sock)
        if self._timer is not None:
            self._timer.cancel()
        # Senders may go on for ever; what one socket buffer can hold is all that can have arrived already.
        for _ in range(1024):
            if not self._turn():
                break
        self._receiver.load()
        self._sock.close()

    def _wake(self) -> None:
        self._loop.remove_reader(self._sock)
        self._misses = 0
        self._look()

    def _look(self) -> None:
        load = self._receiver.load()
        self._misses = 0 if self._turn() else self._misses + 1
        if self._misses > PATIENCE:
            self._timer = None
            self._loop.add_reader(self._sock, self._wake)
        elif load > FULL_ENOUGH or not self._receiver.drained:
            self._timer = self._loop.call_soon(self._look)
        else:
            self._timer = self._loop.call_later(PAUSE, self._look)

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
        if found:
            self._after()
        return found
