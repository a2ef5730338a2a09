"""The lake as a store: packets go into this worker's journal, from where the keeper seals them into Parquet.

    [stores.lake]
    url = "lake:./captures"
    keep = "7d"

Delivered means written: the packet survives the death of the process. Packets are written in blocks, at the latest
`flush` after they came. When the disk refuses, packets wait in memory (`queue`) and writing is tried again with growing
pauses; what does not fit there is refused and counted. Not here: Parquet (`lake.sealer`), queries (`lake.lake`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import structlog
from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from hepswitch.books import Snapshot
from hepswitch.destinations.lake_queue import LakeQueue
from hepswitch.destinations.outlet import Backoff
from hepswitch.journal import NO_SPACE, Journal
from hepswitch.tables import Duration, Size, Table
from hepswitch.units import parse_duration, parse_size

log = structlog.get_logger("hepswitch.lake")

BLOCK = 256 << 10
"""Bytes that are worth a write of their own without waiting for `flush`."""

SEALED_NAME = re.compile(r"w(\d+)-(?:\d+-)?(\d+)\.parquet")


def _lake_url(text: str) -> str:
    if not text.startswith("lake:") or not text.removeprefix("lake:"):
        raise ValueError(f'{text!r} is no store known here: write url = "lake:./captures" or "sqlite:traces.db"')
    return text


def _keep(text: str | float | None) -> float | None:
    if text in (None, "forever"):
        return None
    seconds = parse_duration(text)
    if not seconds:
        raise ValueError('keep must be above 0, or "forever"')
    return seconds


class LakeStore(Table):
    """`[stores.NAME]`: an embedded store, a folder of Parquet files."""

    url: Annotated[str, AfterValidator(_lake_url)] = Field("lake:./captures", description="lake:FOLDER.")
    keep: Annotated[float | None, BeforeValidator(_keep)] = Field(
        "7d",
        validate_default=True,
        description='How long packets are kept, counted from when they were written ("forever": until max_size).',
    )
    max_size: Annotated[int | None, BeforeValidator(lambda text: None if text is None else parse_size(text))] = Field(
        None, description="The files written first are deleted when the lake has grown beyond this size."
    )
    segment: Annotated[Size, Field(ge=64 << 10, le=1 << 30)] = Field(
        32 << 20, description="A journal segment of this size is closed and sealed into Parquet."
    )
    seal_after: Annotated[Duration, Field(gt=0)] = Field(60.0, description="A segment this old is closed, too.")
    flush: Annotated[Duration, Field(gt=0, le=10)] = Field(
        0.01, description="How long a packet may wait in memory for others to be written with."
    )
    queue: Annotated[Size, Field(ge=1 << 20, le=1 << 30)] = Field(
        64 << 20, description="Bytes that wait in memory, for each worker, while the disk refuses."
    )

    @field_validator("max_size")
    @classmethod
    def _room_for_something(cls, size: int | None) -> int | None:
        if size == 0:
            raise ValueError("max_size must be above 0: leave it away for no limit")
        return size

    @property
    def path(self) -> Path:
        """The lake's folder."""
        return Path(self.url.removeprefix("lake:"))

    def anchored(self, absolute: Callable[[Path], Path]) -> LakeStore:
        """The same with an absolute path."""
        return self.model_copy(update={"url": f"lake:{absolute(self.path)}"})

    def build(self, name: str, worker: int = 0) -> LakeOutlet:
        """The outlet of the store `name` in worker number `worker`."""
        return LakeOutlet(name, self, worker)


class LakeOutlet(LakeQueue):
    """The store `name` in worker number `worker`."""

    def __init__(self, name: str, config: LakeStore, worker: int) -> None:
        super().__init__(config.queue)
        self.name = name
        self.full = False
        self.on_pressure: Callable[[], None] | None = None
        self._config = config
        self._worker = worker
        self._backoff = Backoff()
        self._state = "active"
        self._journal: Journal | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._roll_timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Open the journal. Raises OSError when the folder cannot be written or another switch writes to it."""
        root, worker = self._config.path, self._worker
        loop = asyncio.get_running_loop()
        least = await loop.run_in_executor(None, _after_sealed, root, worker)
        self._journal = Journal(root / "journal" / f"w{worker}", self._config.segment, least)
        self._loop = loop

    def flush(self) -> None:
        """Write what was offered, or see to it that it is written soon."""
        size = self.pending.nbytes
        if not size:
            return
        if self._timer is None:
            if size >= BLOCK:
                self._write()
            else:
                self._timer = self._loop.call_later(self._config.flush, self._write)
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
        count = len(self.pending)
        try:
            self._journal.append(self.pending)
        except OSError as error:
            self._refused(error)
            return
        self.pending.clear()
        self.delivered += count
        if self._state != "active":
            log.info("lake writes again", store=self.name, refused=sum(self.refused.values()))
            self._state = "active"
            self._backoff.reset()
            self._press()
        if self._roll_timer is None:
            self._roll_timer = self._loop.call_later(self._config.seal_after, self._roll)

    def _refused(self, error: OSError) -> None:
        reason = "disk full" if error.errno in NO_SPACE else "journal error"
        pause = self._backoff.next()
        if self._state != reason:
            log.error(
                "lake cannot write", store=self.name, path=str(self._config.path), error=str(error), retry_in=pause
            )
        self._state = self.overflow = reason
        self._timer = self._loop.call_later(pause, self._write)
        self._press()

    def _roll(self) -> None:
        """The segment is old enough to be sealed."""
        assert self._journal is not None
        self._roll_timer = None
        left = self._config.seal_after - self._journal.age
        if self._journal.age and left > 0:
            self._roll_timer = self._loop.call_later(left, self._roll)
            return
        try:
            self._journal.roll()
        except OSError as error:
            log.warning("segment stays open", store=self.name, error=str(error))
            self._roll_timer = self._loop.call_later(self._config.seal_after, self._roll)

    def _press(self) -> None:
        """Streams stop reading while more than half of the queue is taken, so that what they carry is not discarded."""
        full = self._state != "active" and self.pending.nbytes > self._config.queue // 2
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
            self.pending.clear()
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


def _after_sealed(root: Path, worker: int) -> int:
    """One more than the highest segment of `worker` that was ever sealed, should the journal's folder be lost."""
    names = (SEALED_NAME.fullmatch(file.name) for file in root.glob(f"date=*/hour=*/w{worker}-*.parquet"))
    return max((int(name[2]) + 1 for name in names if name), default=0)
