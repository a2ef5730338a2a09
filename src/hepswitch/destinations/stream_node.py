"""A node over TCP or TLS: delivered means acknowledged by the far end's TCP, and nothing accepted is lost on the way.

    inbox ─┬─ connected and keeping up ──────────▶ flight ──▶ channel ──▶ far end
           └─ away or slow ──▶ spool ──▶ (when back, as room comes) ──┘

- Once anything is in the spool new packets go behind it, so the order is kept.
- When the node goes away its undelivered packets are moved to the spool, as long as that is empty; packets that came
  from the spool are still there. So while it is away what waits for it is on disk.
- A break starts again with the first unacknowledged packet; a break by reset `replay` bytes earlier (see `flight`).
  These packets stay delivered in the books and are counted as `replayed`.
- What is numbered goes again until the far end has given a receipt for it, and no more than `replay` bytes go without. What
  has none at the end waits in the spool.
- The next connection begins with a whole packet.
- Sources are made to wait for a far end that reads, however slowly, and not for one that is away or stalled: then the
  oldest packets fall off the spool, or new ones are refused without one.
- A disk that refuses costs packets, which are counted, and never the connection.

Not here: which packets (`balance`), how bytes get across (`channel`), the format on disk (`spool`, `journal`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl

import structlog

from hepswitch.books import Snapshot
from hepswitch.destinations.answers import Answers
from hepswitch.destinations.channel import Channel, connect
from hepswitch.destinations.flight import Flight
from hepswitch.destinations.hep_node import HepNode, Settings
from hepswitch.destinations.node_spool import NodeSpool
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

STAGING, LEAST_STAGING = 4 << 20, 128 << 10
"""Bytes that wait for the spool before they are written between two flushes: a sixteenth of the spool, in these bounds."""

POLL = 0.02
"""Seconds between two questions for acknowledgements while something is under way."""

HIGH, LOW = 0.9, 0.7
"""How full the queue or spool is when sources are asked to stop, and when they may go on."""

STALLED = 10.0
"""Seconds without an acknowledgement after which a connected far end is no slow one any more: nobody waits for it."""

NO_RECEIPTS = "it cannot store, or is no hepswitch: then leave out numbered = true"

RETRY = 1.0
"""Seconds before a spool that could not be read is tried again."""


class StreamNode(HepNode):
    """One far end over TCP or TLS. `spool` None: nothing waits on disk."""

    def __init__(self, endpoint: Endpoint, settings: Settings, spool: Spool | None, resolver: Resolver) -> None:
        super().__init__(endpoint, settings)
        self._resolver = resolver
        self._tls: ssl.SSLContext | None = client_context(endpoint) if endpoint.scheme == "tls" else None
        self._flight = Flight(settings.replay)
        self._flight.numbered = self.numbered
        self.inbox = self._flight.frames
        self._staging = Frames()
        self._spool = NodeSpool(spool, self.url, self._discarded) if spool is not None else None
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
        self._moved = 0.0
        self._stalled = False
        self._replayed = 0
        self._answers = Answers()

    # ── life ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Adopt the spool and begin to connect. Raises OSError when the spool cannot be used."""
        if self._spool is not None:
            found = self._spool.open()
            if found:
                self.accepted += found
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
        self._answers = Answers()
        channel.heard = self._hear
        with contextlib.suppress(OSError):  # it is broken already, which shows soon
            self.peer = channel.sock.getpeername()[:2]
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
        self._flight.numbered = self.numbered
        if not self._spooling:
            self.room = settings.queue + self._flight.settled

    async def close(self, deadline: float, reason: str = "shutdown") -> None:
        """Deliver what waits in memory until `deadline` (of the loop's clock); then spool the rest or discard it."""
        self._closing = True
        self.flush()
        self.room = 0
        while self._awaited and not self.paused and self._loop.time() < deadline:
            if self._channel is None and self._spool is not None:
                break
            await asyncio.sleep(POLL / 2)
            self._pump()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._channel is not None:
            self._hang_up(self._channel, clean=not self.numbered)
        self._leave(reason)
        self._end()

    @property
    def _awaited(self) -> int:
        """What has to be delivered yet, or confirmed."""
        return self._flight.undelivered or (self._flight.settled if self.numbered else 0)

    @property
    def _sendable(self) -> int:
        """Bytes that may be written now. Of what is numbered no more than `replay` is on its way without a receipt."""
        unsent = self._flight.unsent
        return max(0, min(unsent, self._settings.replay - self._flight.sent)) if self.numbered else unsent

    def _leave(self, reason: str) -> None:
        """The last act: what is still in memory goes to disk, or is lost and counted."""
        waiting = self._flight.undelivered
        if self._spool is None:
            if waiting:
                self._discarded[reason] += waiting
            self._flight = Flight(0)
            return
        if self.numbered:  # without a receipt it may be nowhere: not delivered after all
            recalled = self._flight.recall()
            self._delivered -= len(recalled)
            self._spool.append(recalled)
        self._spool.leave([frame for block in self._flight.withdraw(WRITE) for frame in block])

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
            self._press()  # in time for the batch after this one
        else:
            self._start_spooling()
        return True

    @property
    def reading(self) -> bool:
        """True while it is connected, not paused, and acknowledges what it is sent."""
        return super().reading and not self._stalled

    def _press(self) -> None:
        """Sources should stop before packets have to be refused or fall off the spool."""
        fill = self._fill()
        self._weigh(fill)
        full = fill >= (LOW if self.full else HIGH)
        closed = self._flight.unsent > self._sendable == 0  # until there is a receipt
        waits = self._flight.sent > self._flight.settled or closed
        stalled = waits and self._loop.time() - self._moved >= STALLED
        if stalled and closed and not self._stalled:
            log.warning("no receipts from a node", node=self.url, hint=NO_RECEIPTS)
        if (full, stalled) != (self.full, self._stalled):
            self.full, self._stalled = full, stalled
            self._changed()

    def _fill(self) -> float:
        """How full the queue or the spool is, 0.0 to 1.0 and a little more."""
        if self._spool is None:
            limit = self._settings.queue
            return self._bytes_queued() / limit if limit else 1.0
        return self._spool.fill if self._spooling else 0.0

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
                busy = self._sendable > 0 or channel.pending
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
        with memoryview(self._flight.frames) as whole, whole[self._flight.sent :][: min(WRITE, self._sendable)] as part:
            taken = channel.write(part)
            complete = taken == len(part) and not channel.pending
        now = self._loop.time()
        if self._flight.sent == self._flight.settled:
            self._moved = now  # from now on something is awaited
        self._flight.wrote(taken)
        self._wrote = now
        return complete

    def _settle(self, channel: Channel) -> None:
        settled = self._flight.settled
        delivered = self._flight.acknowledged(channel.outstanding())
        if delivered or self._flight.settled != settled:
            self._moved = self._loop.time()
        if self._answers.latest:
            found = self._flight.confirmed(self._answers.latest)
            if found or self._flight.sent == self._flight.settled:  # else its frame is about to be acknowledged
                self._answers.latest = b""
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
            elif self._answers.latest:
                self._pump()
        except OSError as error:
            self._broken(channel, error)

    def _hear(self, said: bytes) -> None:
        if self.numbered:
            self._answers.hear(said)
            self._moved = self._loop.time()

    def _broken(self, channel: Channel, error: OSError | None) -> None:
        """The far end closed (None), or the connection failed."""
        # What is numbered can come again at no harm, also to one that had read it and died before it was written.
        clean = not self.numbered and channel.lost_nothing(error, self._loop.time() - self._wrote)
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
        self.room = max(LEAST_STAGING, min(STAGING, self._settings.spool // 16))
        self._weigh(0.0)

    def _keep_on_disk(self, spool: NodeSpool) -> None:
        """The node is away: what waits in memory goes to the spool, unless it would get behind what is there."""
        if self._spooling:
            return
        if spool.idle:
            for block in self._flight.withdraw(WRITE):
                spool.append(block)
        self._start_spooling()

    def _store_staging(self) -> None:
        if self._spool is not None and len(self._staging):
            self._spool.append(self._staging)
            self._staging.clear()

    def _refill(self) -> None:
        """Replay from the spool as room comes; when it is empty, packets go the direct way again."""
        if self._spool is None or not self._spooling or self._closing or self._flight.unsent >= REFILL:
            return
        if not self._spool.read(self._flight.frames, self._flight.undelivered, REFILL):
            if self._poll is None:
                self._poll = self._loop.call_later(RETRY, self._ask)
            return
        if not self._spool.pending and not len(self._staging):
            self._spooling = False
            self.inbox = self._flight.frames
            self.room = self._settings.queue + self._flight.settled

    # ── the books ──────────────────────────────────────────────────────────────────────────────────────────────────

    def account(self) -> Snapshot:
        """This node's row in the books. `replayed`: sent again although delivered, for the far end may have lost them.
        `spool_bytes` of `spool_limit` are taken on disk."""
        row = super().account() | {"replayed": self._replayed}
        if self._spool is not None and self.health != "closed":
            limit = self._spool.limit
            row |= {"spool_bytes": int(self._spool.fill * limit), "spool_limit": limit}
        return row

    @property
    def queued(self) -> int:
        """Packets in memory that the far end's TCP has not acknowledged."""
        return self._flight.undelivered + len(self._staging)

    @property
    def unkept(self) -> int:
        """See `HepNode`. What was read from the spool is there until it is delivered."""
        return self.queued - (self._spool.lent if self._spool else 0)

    @property
    def spooled(self) -> int:
        """Packets on disk."""
        return self._spool.pending if self._spool else 0
