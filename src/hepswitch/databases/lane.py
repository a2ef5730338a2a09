"""A lane of a loader: a connection, and what a batch goes through on it until it is in the database.

A batch that fails for the server's sake is offered again. One with a row that the server will never take is halved until
that row is found and set aside (`destinations.rejects`); rows for a table that a route named and that takes none, at once.
Not here: which batch comes when (`loader`), rows (`layouts`), servers.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Protocol

import pyarrow as pa
import structlog

from hepswitch.databases import kinds
from hepswitch.databases.backlog import Batch
from hepswitch.databases.server import ContentError, Mark, Server
from hepswitch.destinations.databases import DatabaseStore
from hepswitch.destinations.outlet import Backoff
from hepswitch.destinations.records import Records
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
    """One connection to the server of the store `name`: batches go through it one at a time."""

    def __init__(self, name: str, store: DatabaseStore, rejects: Rejects, trouble: Trouble) -> None:
        self._name = name
        self._store = store
        self._rejects = rejects
        self._trouble = trouble
        self._layout = kinds.server(store).layout
        self._server: Server | None = None
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
                    gone = await self._offer(part)
            except ContentError as error:
                if error.table is not None and (refused := self._named(part, error.table)):
                    await self._set_aside(list(refused.values()), error)
                    parts[0] = part.without(refused)
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

    async def _offer(self, batch: Batch) -> Counter[str]:
        """Let the server have it. Gives what has no row in this layout, by reason."""
        rows, gone = self._rows(batch)
        if self._server is None:
            server = kinds.server(self._store)
            try:
                await server.open()
            except BaseException:
                await server.close()
                raise
            self._server = server
        if rows.num_rows:
            await self._server.load(rows, Mark(batch.backlog.journal, batch.first, batch.last, batch.backlog.done))
        return gone

    async def close(self) -> None:
        """Let go of the connection."""
        server, self._server = self._server, None
        if server is not None:
            await server.close()

    def _rows(self, batch: Batch) -> tuple[pa.RecordBatch, Counter[str]]:
        """The records of the batch that the layout has rows for, and how many it has none for, by reason.

        ContentError: it is too big to be one.
        """
        made, damaged = self._records(batch)
        gone = Counter[str]()
        if damaged:
            gone["damaged"] = damaged
        if batch.left_out:
            count = made.num_rows
            made = made.filter(pa.array([number not in batch.left_out for number, _ in batch.frames()]))
            gone["rejected"] = count - made.num_rows
        unfit = self._layout.unfit(made)
        if unfit is not None:
            gone.update(reason for reason in unfit.to_pylist() if reason is not None)
            made = made.filter(unfit.is_null())
        return made, gone

    def _records(self, batch: Batch) -> tuple[pa.RecordBatch, int]:
        """The records of the batch, and how many frames are none."""
        records = Records(self._layout.extras)
        for run in batch.runs:
            records.add(run.data, run.lengths)
        made, end = records.batch(0, len(records))
        if end < len(records):
            raise ContentError("the payloads inflate to more than fits a batch")
        return made, records.damaged

    def _named(self, batch: Batch, table: str) -> dict[int, memoryview]:
        """The frames of the batch whose route named this table, by number; none when some are damaged, as none is where
        it should be then."""
        made, damaged = self._records(batch)
        if damaged:
            return {}
        names = made.column("store_table").to_pylist()
        found = zip(names, batch.frames(), strict=True)
        return {number: frame for name, (number, frame) in found if name == table and number not in batch.left_out}

    async def _set_aside(self, frames: list[memoryview], error: ContentError) -> None:
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
