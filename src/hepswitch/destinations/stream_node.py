"""A node over TCP or TLS: delivered means acknowledged by the far end's TCP, and nothing accepted is lost on the way.

    inbox ─┬─ connected and keeping up ──────────▶ flight ──▶ channel ──▶ far end
           └─ away or slow ──▶ spool ──▶ (when back, as room comes) ──┘

- Once anything is in the spool new packets go behind it, so the order is kept.
- When the node goes away its undelivered packets are moved to the spool, as long as that is empty; packets that came
  from the spool are still there. So while it is away what waits for it is on disk.
- A break starts again with the first unacknowledged packet; a break by reset `replay` bytes earlier (see `flight`).
  These packets stay delivered in the books and are counted as `replayed`.
- The next connection begins with a whole packet.

Not here: which packets (`balance`), how bytes get across (`channel`), the format on disk (`spool`, `journal`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl

import structlog

from hepswitch.books import Snapshot
from hepswitch.destinations.channel import Channel, connect
from hepswitch.destinations.flight import Flight
from hepswitch.destinations.hep_node import HepNode, Settings
from hepswitch.destinations.outlet import LONGEST_PAUSE
from hepswitch.destinations.probe import keep_alive
from hepswitch.destinations.spool import Spool
from hepswitch.net.resolve import Resolver
from hepswitch.net.tls import client_context
from hepswitch.units import Endpoint
from hepswitch.wire.frames import Frames

log = structlog.get_logger("hepswitch.destinations")

WRITE = 1 << 20
"""Bytes handed to the kernel at once."""

ROUNDS = 4
"""Writes before others get their turn on the event loop."""

REFILL = 1 << 20
"""Bytes read from the spool at once, when less than that is waiting to be written."""

STAGING = 4 << 20
"""Bytes that wait for the spool before they are written between two flushes."""

POLL = 0.02
"""Seconds between two questions for acknowledgements while something is under way."""

QUIET = 2.0
"""Seconds after which a far end that ends a TLS connection in order is believed to have read what it was sent."""

HIGH, LOW = 0.9, 0.7
"""How full the queue or spool is when sources are asked to stop, and when they may go on."""


class StreamNode(HepNode):
    """One far end over TCP or TLS. `spool` None: nothing waits on disk."""

    def __init__(self, endpoint: Endpoint, settings: Settings, spool: Spool | None, resolver: Resolver) -> None:
        super().__init__(endpoint, settings)
        self._resolver = resolver
        self._tls: ssl.SSLContext | None = client_context(endpoint) if endpoint.scheme == "tls" else None
        self._flight = Flight(settings.replay)
        self.inbox = self._flight.frames
        self._staging = Frames()
        self._spool = spool
        self._spooling = False
        self._closing = False
        self._reason = ""
        self._channel: Channel | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._broke = asyncio.Event()
        self._writing = False
        self._again: asyncio.Handle | None = None
        self._poll: asyncio.TimerHandle | None = None
        self._wrote = 0.0
        self._complained = -LONGEST_PAUSE
        self._replayed = 0

    # ── life ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Adopt the spool and begin to connect. Raises OSError when the spool cannot be used."""
        if self._spool is not None:
            found = self._spool.open()
            if found:
                self.accepted += found
                log.info("spool adopted", node=self.url, packets=found)
                self._start_spooling()
        await super().open()
        self._keeper = asyncio.create_task(self._stay_connected())

    async def _stay_connected(self) -> None:
        while True:
            self._turn("probing")
            try:
                channel = await connect(self._endpoint, self._resolver, self._tls)
            except OSError as error:
                pause = self._backoff.next()
                self._away(str(error), pause)
            else:
                self._broke.clear()
                begun = self._loop.time()
                self._connected(channel)
                await self._broke.wait()
                if self._loop.time() - begun > LONGEST_PAUSE:
                    self._backoff.reset()
                pause = self._backoff.next()
                self._away(self._reason, pause)
            await asyncio.sleep(pause)

    def _connected(self, channel: Channel) -> None:
        self._channel = channel
        self.active = True
        self._turn("active", spooled=self._spool.pending if self._spool else 0)
        self._loop.add_reader(channel.sock, self._readable)
        self._pump()

    def _away(self, reason: str, pause: float) -> None:
        self._turn("inactive", reason=reason, retry_in=round(pause, 1))
        if self._spool is not None and not self._closing:
            self._keep_on_disk(self._spool)

    def configure(self, endpoint: Endpoint, settings: Settings) -> None:
        """See `HepNode`. Certificates of TLS are those of the next connection."""
        if endpoint.options != self._endpoint.options and endpoint.scheme == "tls":
            self._tls = client_context(endpoint)
        if bool(settings.spool) == (self._spool is None):
            log.warning("spool is turned on or off at the next start", node=self.url)
        elif self._spool is not None:
            self._spool.limit = settings.spool
        self._flight.replay = settings.replay
        super().configure(endpoint, settings)
        if not self._spooling:
            self.room = settings.queue + self._flight.settled

    async def close(self, deadline: float, reason: str = "shutdown") -> None:
        """Deliver what waits in memory until `deadline` (of the loop's clock); then spool the rest or discard it."""
        self._closing = True
        self.flush()
        self.room = 0
        while self._flight.undelivered and not self.paused and self._loop.time() < deadline:
            if self._channel is None and self._spool is not None:
                break
            await asyncio.sleep(POLL / 2)
            self._pump()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._channel is not None:
            self._hang_up(self._channel, clean=True)
        self._leave(reason)
        self._end()

    def _leave(self, reason: str) -> None:
        """The last act: what is still in memory goes to disk, or is lost and counted."""
        waiting = self._flight.undelivered
        if self._spool is None:
            if waiting:
                self._discarded[reason] += waiting
            self._flight = Flight(0)
            return
        expected = waiting + self._spool.pending
        frames = [frame for block in self._flight.withdraw(WRITE) for frame in block]
        some = Frames()
        # Those that never were on disk are the last that were under way to a slow node: their place is lost.
        for frame in self._spool.take_back(frames):
            some.push(frame)
        before = sum(self._discarded.values())
        self._store(self._spool, some)
        lost = expected - self._spool.pending - (sum(self._discarded.values()) - before)
        if lost:
            self._discarded["spool full"] += lost
        self._spool.close()

    # ── the flow's side ────────────────────────────────────────────────────────────────────────────────────────────

    def flush(self) -> None:
        """Hand what was offered to the kernel, or to the disk while the node is away or slow."""
        if self._spooling:
            self._store_staging()
        if self._channel is not None and not self._writing:
            self._pump()
        else:
            self._press()

    def overflow(self) -> bool:
        """The inbox is full: go on in the spool. False when there is none."""
        if self._spool is None or self._closing:
            return False
        if self._spooling:
            self._store_staging()
        else:
            self._start_spooling()
        return True

    def _press(self) -> None:
        """Sources should stop before packets have to be refused or fall off the spool."""
        if self._spool is None:
            limit = self._settings.queue
            fill = self._bytes_queued() / limit if limit else 1.0
        else:
            fill = self._spool.fill if self._spooling else 0.0
        self._weigh(fill)
        full = fill >= (LOW if self.full else HIGH)
        if full != self.full:
            self.full = full
            self._changed()

    def _weigh(self, fill: float) -> None:
        """What waits beside the inbox, for the policy least-loaded."""
        if self._spool is None or not self._spooling:
            self.elsewhere = -self._flight.settled
        else:
            self.elsewhere = self._bytes_queued() + int(fill * self._spool.limit)

    def _bytes_queued(self) -> int:
        return self._flight.unsent + self._flight.sent - self._flight.settled

    # ── connected ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _pump(self) -> None:
        """Write as much as the kernel takes, learn what was acknowledged, and see to it that this goes on."""
        channel = self._channel
        if channel is None:
            return
        blocked = busy = False
        try:
            for _ in range(0 if self.paused else ROUNDS):
                self._refill()
                busy = self._flight.unsent > 0 or channel.pending
                if not busy:
                    break
                if not self._write(channel):
                    blocked = True
                    break
            self._settle(channel)
        except OSError as error:
            self._broken(channel, error)
            return
        if blocked != self._writing:
            self._writing = blocked
            if blocked:
                self._loop.add_writer(channel.sock, self._pump)
            else:
                self._loop.remove_writer(channel.sock)
        if busy and not blocked and self._again is None:
            self._again = self._loop.call_soon(self._go_on)
        unsaved = self._spool is not None and self._spool.unsaved
        if self._poll is None and (unsaved or self._flight.sent > self._flight.settled):
            self._poll = self._loop.call_later(POLL, self._ask)
        self._press()

    def _go_on(self) -> None:
        self._again = None
        self._pump()

    def _ask(self) -> None:
        self._poll = None
        self._pump()
        if self._spool is not None:
            self._spool.save()

    def _write(self, channel: Channel) -> bool:
        """One write. True when the kernel took all of it."""
        with memoryview(self._flight.frames) as whole, whole[self._flight.sent :][:WRITE] as part:
            taken = channel.write(part)
            complete = taken == len(part) and not channel.pending
        self._flight.wrote(taken)
        self._wrote = self._loop.time()
        return complete

    def _settle(self, channel: Channel) -> None:
        delivered = self._flight.acknowledged(channel.outstanding())
        if delivered:
            self._delivered += delivered
            self._backoff.reset()
            if self._spool is not None:
                self._spool.delivered(delivered)
        if not self._spooling:
            self.room = 0 if self._closing else self._settings.queue + self._flight.settled

    def _probe(self) -> None:
        """On an idle connection: it keeps the ways between open, and TCP gives up a far end that does not acknowledge."""
        channel = self._channel
        if channel is None or self._flight.unsent or channel.pending:
            return
        packet = keep_alive(channel.sock, self._settings.probe, self._settings.agent)
        try:
            self._settle(channel)
            taken = channel.write(memoryview(packet))
        except OSError as error:
            self._broken(channel, error)
            return
        self._probes += taken == len(packet)
        if 0 < taken < len(packet):  # the stream has lost its framing
            self._broken(channel, OSError("a probe was cut"))

    def _readable(self) -> None:
        channel = self._channel
        if channel is None:
            return
        try:
            if channel.ended():
                self._broken(channel, None)
        except OSError as error:
            self._broken(channel, error)

    def _broken(self, channel: Channel, error: OSError | None) -> None:
        """The far end closed (None), or the connection failed."""
        # EPIPE: we wrote after its orderly end had arrived.
        orderly = error is None or isinstance(error, BrokenPipeError)
        clean = orderly and (channel.end_proves_reading or self._loop.time() - self._wrote > QUIET)
        self._reason = "closed by the far end" if error is None else error.strerror or str(error)
        self._hang_up(channel, clean)
        self._broke.set()

    def _hang_up(self, channel: Channel, clean: bool) -> None:
        with contextlib.suppress(OSError):
            self._settle(channel)
        self._loop.remove_reader(channel.sock)
        if self._writing:
            self._loop.remove_writer(channel.sock)
        for handle in (self._again, self._poll):
            if handle is not None:
                handle.cancel()
        self._again, self._poll, self._writing = None, None, False
        channel.close()
        self._channel = None
        self.active = False
        self._replayed += self._flight.broken(clean)
        if self._spool is not None:
            self._spool.save()

    # ── the spool ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _start_spooling(self) -> None:
        self._spooling = True
        self.inbox = self._staging
        self.room = STAGING
        self._weigh(0.0)

    def _keep_on_disk(self, spool: Spool) -> None:
        """The node is away: what waits in memory goes to the spool, unless it would get behind what is there."""
        if self._spooling:
            return
        if spool.idle:
            for block in self._flight.withdraw(WRITE):
                self._store(spool, block)
        self._start_spooling()

    def _store_staging(self) -> None:
        if self._spool is not None and len(self._staging):
            self._store(self._spool, self._staging)
            self._staging.clear()

    def _store(self, spool: Spool, frames: Frames) -> None:
        if not len(frames):
            return
        try:
            lost = spool.append(frames)
        except OSError as error:
            self._complain("spool failed", error=str(error), packets=len(frames))
            self._discarded["spool failed"] += len(frames)
        else:
            if lost:
                self._discarded["spool full"] += lost

    def _refill(self) -> None:
        """Replay from the spool as room comes; when it is empty, packets go the direct way again."""
        if self._spool is None or not self._spooling or self._closing or self._flight.unsent >= REFILL:
            return
        try:
            lost = self._spool.read(self._flight.frames, self._flight.undelivered, REFILL)
        except OSError as error:
            self._complain("spool cannot be read", error=str(error))
            return
        if lost:
            log.error("spool damaged", node=self.url, packets=lost)
            self._discarded["spool damaged"] += lost
        if not self._spool.pending and not len(self._staging):
            self._spooling = False
            self.inbox = self._flight.frames
            self.room = self._settings.queue + self._flight.settled

    def _complain(self, what: str, **details: object) -> None:
        """Say what is wrong with the disk, every ten seconds at most."""
        now = self._loop.time()
        if now - self._complained >= LONGEST_PAUSE:
            self._complained = now
            log.error(what, node=self.url, **details)

    # ── the books ──────────────────────────────────────────────────────────────────────────────────────────────────

    def account(self) -> Snapshot:
        """This node's row in the books. `replayed`: sent again although delivered, for the far end may have lost them."""
        return super().account() | {"replayed": self._replayed}

    @property
    def queued(self) -> int:
        """Packets in memory that the far end's TCP has not acknowledged."""
        return self._flight.undelivered + len(self._staging)

    @property
    def spooled(self) -> int:
        """Packets on disk."""
        return self._spool.pending if self._spool else 0
