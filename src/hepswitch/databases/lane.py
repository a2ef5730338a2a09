"""A lane of a loader: a connection, and what a batch goes through on it until it is at the far end.

A batch that fails for the far end's sake is offered again. One with a packet that the far end will never take is halved
until that packet is found and set aside (`destinations.rejects`); where the far end says which packets these are, at once.
Not here: which batch comes when (`loader`), how it gets there (`carrier`).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Protocol

import structlog

from hepswitch.databases import kinds
from hepswitch.databases.backlog import Batch
from hepswitch.databases.carrier import RejectedError
from hepswitch.destinations.loaded import LoadedStore
from hepswitch.destinations.outlet import Backoff
from hepswitch.destinations.rejects import Rejects
from hepswitch.logs import Throttle, words
from hepswitch.wire import record
from hepswitch.wire.errors import WireError

log = structlog.get_logger("hepswitch.loader")

PATIENCE = 120.0
"""Seconds after which a batch that has neither been taken nor refused is given up, and offered again."""

LOG_EVERY = 10.0


class Trouble(Protocol):
    """Who is told how the server behaves."""

    async def pause(self, error: OSError, backoff: Backoff) -> None:
        """It is away: wait before the next attempt."""

    def works(self, rows: int, nbytes: int, seconds: float) -> None:
        """It took so many rows, of so many bytes of journal, in that time."""

    def rejected(self) -> None:
        """It will never take some packets."""


class Lane:
    """One connection to the far end of the store `name`: batches go through it one at a time."""

    def __init__(self, name: str, store: LoadedStore, rejects: Rejects, trouble: Trouble) -> None:
        self._name = name
        self._rejects = rejects
        self._trouble = trouble
        self._carrier = kinds.carrier(store)
        self._throttle = Throttle(LOG_EVERY)

    async def load(self, batch: Batch) -> None:
        """See `batch` through, however long it takes. Cancelled, it goes on after the next start."""
        backoff = Backoff()
        parts = [batch]
        while parts:
            part = parts[0]
            begun = time.monotonic()
            try:
                async with asyncio.timeout(PATIENCE):
                    gone = await self._carrier.carry(part)
            except RejectedError as error:
                if error.frames:
                    refused = [frame for number, frame in part.frames() if number in error.frames]
                    await self._set_aside(refused, error)
                    parts[0] = part.without(error.frames)
                    continue
                if part.count > 1:
                    halves = part.halves()
                    part.backlog.split(part, halves)
                    parts[:1] = halves
                    continue
                await self._set_aside([frame for _, frame in part.frames()], error)
                gone = Counter(rejected=1)
            except OSError as error:
                await self.close()
                await self._trouble.pause(error, backoff)
                continue
            size = sum(run.data.nbytes for run in part.runs)
            self._trouble.works(part.count - gone.total(), size, time.monotonic() - begun)
            backoff.reset()
            part.backlog.finish(part, gone)
            del parts[0]

    async def close(self) -> None:
        """Let go of the connection."""
        await self._carrier.close()

    async def _set_aside(self, frames: list[memoryview], error: RejectedError) -> None:
        """Put packets into the reject file."""
        self._trouble.rejected()
        kept = False
        try:
            kept = await asyncio.to_thread(self._keep, frames, words(error))
        except (OSError, WireError) as trouble:
            log.error("rejected packet cannot be kept", store=self._name, error=words(trouble))
        if (unsaid := self._throttle.due("rejected")) is not None:
            log.error(
                "packets rejected", store=self._name, error=words(error), packets=len(frames),
                set_aside=str(self._rejects.path) if kept else "no", not_logged=unsaid,
            )  # fmt: skip

    def _keep(self, frames: list[memoryview], why: str) -> bool:
        """False when not all were kept."""
        kept = True
        for frame in frames:
            stored = record.read(frame)
            table = stored.meta.get("table") if stored.meta else None
            kept = self._rejects.add(stored.hep, table, why) and kept
        return kept
