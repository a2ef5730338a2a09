"""Outlets for what is written by blocking calls: files, syslog. A queue in memory, batches, retries, the books.

    offer() ─▶ queue ─▶ batch (by rows, bytes or age) ─▶ Writer.write in a thread of the outlet's own ─▶ delivered

The event loop never waits: while the disk hangs or the far end is away, packets wait in the queue, and what does not fit
there is refused and counted. One batch is under way at a time. A batch that fails is tried again with growing pauses. A
packet that the far end will never take is found by halving the batch, and counted. Not here: what is written and where
(`file`, `pcap`, `syslog`), the thread (`hand`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

import structlog

from hepswitch.books import Snapshot, label
from hepswitch.destinations.hand import Hand
from hepswitch.destinations.outlet import Backoff
from hepswitch.logs import Throttle, words
from hepswitch.wire.hep import Hep

log = structlog.get_logger("hepswitch.writer")

QUEUE = 16 << 20
"""Bytes that wait in memory, unless a destination says otherwise."""

FLUSH = 0.2
"""Seconds that a packet may wait for others to be written with, unless a destination says otherwise."""

ROWS, BYTES = 1000, 512 << 10
"""So many packets or bytes do not wait for more. A batch has no more packets, and one packet more than these bytes."""

OVERHEAD = 512
"""Bytes of memory that a queued packet takes besides its own; counted like these."""

LAST_PAUSE = 0.1
"""Seconds between two attempts once the outlet is to close."""

PATIENCE = 10.0
"""Seconds after which a call that has not come back counts as hanging."""

GOODBYE = 1.0
"""Seconds that a writer may take to close."""

LOG_EVERY = 10.0

Direction = Literal["in", "out"]


class Written(NamedTuple):
    """A packet that waits to be written, and what was said about it. The packet is a copy: nobody else changes it."""

    packet: Hep
    size: int
    """Bytes that it takes in the queue."""
    attrs: str | None = None
    direction: Direction = "in"


class Writer(Protocol):
    """The far end. All but `refuses` may block: they are called in one thread, one at a time."""

    def refuses(self, packet: Hep, /) -> str | None:
        """Why this packet can never be written, as a reason for the books; None when it can. Called in the event loop."""

    def open(self) -> None:
        """Get hold of the far end, or raise OSError."""

    def write(self, batch: Sequence[Written], /) -> int:
        """Write the first packets of `batch`, whole and in order, and say how many these were: at least one.

        OSError: none was written, they are offered again later. Any other exception: it is the content that cannot be
        written, none was; the outlet finds out which packet it is.
        """

    def close(self) -> None:
        """Let go of the far end."""


class WriterOutlet:
    """The outlet `name` in front of `writer`; `queue` in bytes, `flush` in seconds."""

    full = False
    """Never: what is traced or stored here does not hold up what is received."""

    def __init__(self, name: str, writer: Writer, *, queue: int = QUEUE, flush: float = FLUSH) -> None:
        self.name = name
        self.on_pressure: Callable[[], None] | None = None
        self._writer = writer
        self._room = queue
        self._flush = flush
        self._hand = Hand(f"hepswitch {name}")
        self._queue: deque[Written] = deque()
        self._bytes = 0
        self._due = 0  # so many at the head of the queue have waited for `flush`
        self._most = ROWS
        self._timer: asyncio.TimerHandle | None = None
        self._work: asyncio.Task[None] | None = None
        self._called_at: float | None = None
        self._backoff = Backoff()
        self._throttle = Throttle(LOG_EVERY)
        self._trouble = ""
        self._stopping = asyncio.Event()
        self._open = False
        self._accepted = self._delivered = 0
        self._discarded = Counter[str]()
        self._refused = Counter[str]()

    async def open(self) -> None:
        """Get hold of the far end. OSError when it cannot be had, or does not answer."""
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._hand.do(self._writer.open)
        except BaseException as error:
            self._hand.let_go()
            if isinstance(error, TimeoutError):
                raise OSError(str(error) or f"{self.name} does not answer") from error
            raise
        self._open = True

    def offer(
        self,
        packet: Hep,
        *,
        attrs: str | None = None,
        direction: Direction = "in",
        table: str | None = None,
        custom_field1: str | None = None,
        custom_field2: str | None = None,
        custom_field3: str | None = None,
        correlation_id: str | bytes | None = None,
    ) -> bool:
        """Take the packet as it is now. False when it was refused, and counted by reason; never blocks.

        There is no place for a table, custom fields and a correlation id here.
        """
        reason = self._writer.refuses(packet)
        if not self._open:
            reason = "closed"
        size = len(bytes(packet)) + OVERHEAD
        if reason is None and self._bytes + size > self._room:
            reason = "queue full"
        if reason is not None:
            self._refused[reason] += 1
            return False
        self._queue.append(Written(packet.copy(), size, attrs, direction))
        self._bytes += size
        self._accepted += 1
        return True

    def flush(self) -> None:
        """Write what was offered if it is much, else see to it that it is written soon."""
        if not self._queue or self._stopping.is_set():
            return
        if self._timer is None:
            self._timer = self._loop.call_later(self._flush, self._waited)
        if self._is_much():
            self._begin()

    def account(self) -> Snapshot:
        """The outlet's row in the books."""
        hangs = self._called_at is not None and self._loop.time() - self._called_at > PATIENCE
        return {
            "accepted": self._accepted,
            "delivered": self._delivered,
            "queued": len(self._queue),
            "spooled": 0,
            "discarded": dict(self._discarded),
            "refused": dict(self._refused),
            "state": "does not answer" if hangs else self._trouble or "active",
        }

    async def close(self, drain: float) -> None:
        """Write what waits, trying for `drain` seconds. What is left then is discarded, and counted.

        A call that hangs is left alone; what it was writing counts as discarded, though it may yet be written.
        """
        if not self._open:
            return
        self._open = False
        self._stopping.set()
        if self._timer is not None:
            self._timer.cancel()
        self._due = len(self._queue)
        self._begin()
        if self._work is not None:
            await asyncio.wait({self._work}, timeout=drain)
            self._work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._work
        if left := len(self._queue):
            self._discarded["unwritten at stop"] += left
            self._queue.clear()
            self._bytes = 0
            log.error("packets lost", outlet=self.name, packets=left, reason=self._trouble or "not written in time")
        try:
            async with asyncio.timeout(GOODBYE):
                await self._hand.do(self._writer.close)
        except OSError as error:  # TimeoutError is one
            log.warning("did not close in order", outlet=self.name, error=words(error))
        self._hand.let_go()

    # ── writing ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _is_much(self) -> bool:
        return len(self._queue) >= ROWS or self._bytes >= BYTES

    def _waited(self) -> None:
        """All that is in the queue has waited long enough."""
        self._timer = None
        self._due = len(self._queue)
        self._begin()

    def _begin(self) -> None:
        if (self._work is None or self._work.done()) and self._queue:
            self._work = self._loop.create_task(self._write_all())

    async def _write_all(self) -> None:
        """Write until what is left is neither due nor much."""
        while self._queue and (self._due or self._is_much()):
            try:
                await self._write_some()
            except OSError as error:
                await self._pause(error)

    async def _write_some(self) -> None:
        batch = self._batch()
        try:
            count = await self._call(self._writer.write, batch)
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 (whatever a writer finds wrong with content must not stop the outlet)
            if len(batch) > 1:
                self._most = len(batch) // 2
                return
            self._reject(error)
            self._discarded["rejected"] += 1
            count = 1
        else:
            self._delivered += count
            self._most = min(ROWS, self._most * 2)
        if self._trouble:
            log.info("writes again", outlet=self.name, refused=sum(self._refused.values()))
            self._trouble = ""
            self._backoff.reset()
        for _ in range(count):
            self._bytes -= self._queue.popleft().size
        self._due = max(0, self._due - count)

    def _batch(self) -> list[Written]:
        batch: list[Written] = []
        size = 0
        for each in itertools.islice(self._queue, self._most):
            batch.append(each)
            size += each.size
            if size >= BYTES:
                break
        return batch

    async def _call(self, function: Callable[[Sequence[Written]], int], batch: list[Written]) -> int:
        self._called_at = self._loop.time()
        try:
            return await self._hand.do(function, batch)
        finally:
            self._called_at = None

    def _reject(self, error: Exception) -> None:
        unsaid = self._throttle.due("rejected")
        if unsaid is not None:
            log.error(
                "packet rejected", outlet=self.name, error=words(error), error_type=type(error).__name__,
                not_logged=unsaid,
            )  # fmt: skip

    async def _pause(self, error: OSError) -> None:
        """The far end is away: say so once, and wait before the next attempt."""
        pause = self._backoff.next()
        if not self._trouble:
            log.error("cannot write", outlet=self.name, error=words(error), retry_in=round(pause, 3))
        self._trouble = label(error.strerror or str(error) or type(error).__name__)
        if self._stopping.is_set():
            await asyncio.sleep(LAST_PAUSE)
        else:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
