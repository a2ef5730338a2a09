"""Stores that write a journal: packets go into this worker's own, from where another process takes them on.

Written means safe: the packet survives the death of the process. Packets are written in blocks, at the latest `flush`
seconds after they came. When the disk refuses, packets wait in memory and writing is tried again with growing pauses; what
does not fit there is refused and counted. Messages of a stream that may come again are written once (`marks`).
Not here: what becomes of a journal: the lake (`lake.keeper`), databases (`databases.loader`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from hepswitch.books import Snapshot
from hepswitch.destinations.marks import Marks, keep_marks
from hepswitch.destinations.outlet import Backoff
from hepswitch.destinations.record_queue import RecordQueue
from hepswitch.journal import NO_SPACE, Journal

log = structlog.get_logger("hepswitch.store")

BLOCK = 256 << 10
"""Bytes that are worth a write of their own without waiting for `flush`."""

FLUSH = 0.01
"""Seconds that a packet may wait in memory, unless a store says otherwise."""

ROLL_AFTER = 60.0
"""Seconds after which a segment is closed, unless a store says otherwise."""


class JournaledOutlet(RecordQueue):
    """The store `name` in one worker; it writes the journal in the folder `path`.

    `queue`: bytes that wait in memory while the disk refuses. A segment is closed when it has grown to `segment` bytes or
    is `roll_after` seconds old. `flush`: seconds a packet may wait to be written. `least_segment` and `least_frame` say
    where the numbers of segments and frames start at the earliest.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        queue: int,
        segment: int,
        roll_after: float = ROLL_AFTER,
        flush: float = FLUSH,
        least_segment: Callable[[], int] = lambda: 0,
        least_frame: Callable[[], int] = lambda: 0,
    ) -> None:
        super().__init__(queue)
        self.name = name
        self._path = path
        self._queue = queue
        self._segment = segment
        self._roll_after = roll_after
        self._flush = flush
        self._least_segment, self._least_frame = least_segment, least_frame
        self.full = False
        self.on_pressure: Callable[[], None] | None = None
        self.before_write: Callable[[], None] | None = None
        """Called when what is pending is about to be written."""
        self._backoff = Backoff()
        self._state = "active"
        self._journal: Journal | None = None
        self._begun = 0
        self._marks: Marks | None = None
        self._settled: asyncio.Future[bool] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._roll_timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Open the journal. Raises OSError when the folder cannot be written or another switch writes to it."""
        self._loop = asyncio.get_running_loop()
        segment = await self._loop.run_in_executor(None, self._least_segment)
        frame = await self._loop.run_in_executor(None, self._least_frame)
        self._journal = Journal(self._path, self._segment, segment, frame, self._closing)
        self._begun = self._journal.next_frame
        self.marks = self._marks = await self._loop.run_in_executor(None, Marks, self._path)

    def _closing(self, segment: Path) -> None:
        """A segment is about to be closed: that of this process, or at `open` what a killed one left."""
        if self._marks is None:
            keep_marks(segment)
        else:
            self._marks.save()

    def flush(self) -> None:
        """Write what was offered, or see to it that it is written soon."""
        size = self.pending.nbytes
        if not size:
            return
        if self._timer is None:
            if size >= BLOCK:
                self._write()
            else:
                self._timer = self._loop.call_later(self._flush, self._write)
        elif size >= BLOCK and self._state == "active":
            self._write()
        if self._state != "active":
            self._press()

    def _write(self) -> None:
        """Write all that is pending as one block; on failure try again after a pause."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        assert self._journal is not None
        assert self._marks is not None
        if self.before_write is not None:
            self.before_write()
        count = len(self.pending)
        try:
            self._journal.append(self.pending)
        except OSError as error:
            self._refused(error)
            return
        self._marks.add(self.waiting)
        self._settle(True)
        self.delivered += count
        if self._state != "active":
            log.info("store writes again", store=self.name, refused=sum(self.refused.values()))
            self._state = "active"
            self._backoff.reset()
            self._press()
        if self._roll_timer is None:
            self._roll_timer = self._loop.call_later(self._roll_after, self._roll)

    @property
    def taken_to(self) -> int:
        """The journal's next frame when all is written that was taken so far. Never falls, also over restarts."""
        return self._begun + self.accepted

    @property
    def written_to(self) -> int:
        """The journal's next frame."""
        return self._begun + self.delivered

    def written(self) -> asyncio.Future[bool] | None:
        """Waits until all that was taken so far is written: True; False when it will not be, or when there was no room for a
        message since this was asked the last time. None: it is written. Do not cancel it: others wait, too."""
        if self.short:
            self.short = False
            refused = self._loop.create_future()
            refused.set_result(False)
            return refused
        if not len(self.pending):
            return None
        if self._settled is None:
            self._settled = self._loop.create_future()
        return self._settled

    def _settle(self, is_written: bool) -> None:
        """It is known what became of all that was pending."""
        self.pending.clear()
        self.waiting.clear()
        if self._settled is not None:
            self._settled.set_result(is_written)
            self._settled = None

    def _refused(self, error: OSError) -> None:
        reason = "disk full" if error.errno in NO_SPACE else "journal error"
        pause = self._backoff.next()
        if self._state != reason:
            log.error("store cannot write", store=self.name, path=str(self._path), error=str(error), retry_in=pause)
        self._state = self.overflow = reason
        self._timer = self._loop.call_later(pause, self._write)
        self._press()

    def _roll(self) -> None:
        """The segment is old enough to be closed."""
        assert self._journal is not None
        self._roll_timer = None
        left = self._roll_after - self._journal.age
        if self._journal.age and left > 0:
            self._roll_timer = self._loop.call_later(left, self._roll)
            return
        try:
            self._journal.roll()
        except OSError as error:
            log.warning("segment stays open", store=self.name, error=str(error))
            self._roll_timer = self._loop.call_later(self._roll_after, self._roll)

    def _press(self) -> None:
        """Streams stop reading while more than half of the queue is taken, so that what they carry is not discarded."""
        full = self._state != "active" and self.pending.nbytes > self._queue // 2
        if full != self.full:
            self.full = full
            if self.on_pressure is not None:
                self.on_pressure()

    async def close(self, drain: float) -> None:
        """Write what is pending, trying for `drain` seconds if the disk refuses; what is left then is discarded."""
        if self._journal is None:
            return
        deadline = self._loop.time() + drain
        self._write()
        while len(self.pending) and self._loop.time() < deadline:
            await asyncio.sleep(min(0.1, max(0.0, deadline - self._loop.time())))
            self._write()
        for timer in (self._timer, self._roll_timer):
            if timer is not None:
                timer.cancel()
        if left := len(self.pending):
            self.discarded[self.overflow] += left
            self._settle(False)
            log.error("packets lost", store=self.name, packets=left, reason=self.overflow)
        self._roll()
        if self._roll_timer is not None:
            self._roll_timer.cancel()
        self._journal.close()
        self._journal = None

    def account(self) -> Snapshot:
        """The store's row in the books."""
        return {
            "accepted": self.accepted,
            "delivered": self.delivered,
            "queued": len(self.pending),
            "spooled": 0,
            "discarded": dict(self.discarded),
            "refused": dict(self.refused),
            "state": self._state,
        }
