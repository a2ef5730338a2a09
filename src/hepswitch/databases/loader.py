"""The loader of a store: a process that brings the packets of its journals into the database, or into the stream.

    journals of the workers ─▶ batches (by number, bytes or age) ─▶ lanes, each a connection with one batch ─▶ far end

Batches that fail for the far end's sake are offered again with growing pauses; meanwhile packets wait in the journals.

Started as `python -m hepswitch.databases.loader [LEVEL FORMAT]` (of its log) with a `Charge` as one JSON line on standard
input; when that ends it loads what is left, for `drain` seconds at most, and ends. What it warns of goes to standard output,
too, as JSON lines (`logs.Event`). Not here: journals (`backlog`), what
a batch goes through (`lane`), the books (`gauge`).
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import structlog
import uvloop

from hepswitch import journal
from hepswitch.books import label
from hepswitch.databases import kinds
from hepswitch.databases.backlog import Backlog, Batch
from hepswitch.databases.lane import LOG_EVERY, Lane
from hepswitch.destinations.databases import DatabaseStore
from hepswitch.destinations.figures import Ledger, LoaderFigures
from hepswitch.destinations.loaded import LoadedStore
from hepswitch.destinations.outlet import Backoff
from hepswitch.destinations.rejects import Rejects
from hepswitch.destinations.stores import store_of
from hepswitch.lake.process import settle
from hepswitch.logs import Throttle, words

log = structlog.get_logger("hepswitch.loader")

POLL = 0.02
"""Seconds between two looks at the journals."""

TIDY = 1.0
"""Seconds between two rounds of deleting what is loaded, and of looking for journals."""

MAINTAIN = 60.0
"""Seconds between two rounds of what the far end needs."""


ACTIVE = "active"
WAY = POLL + 0.03
"""Seconds of `flush` that go by on the way: written by the worker, found here, made into rows."""


class Charge(msgspec.Struct):
    """What a loader is to do: `store` is the table of the store `name`, secrets included; `folder` holds the journals."""

    name: str
    store: dict[str, Any]
    folder: str
    drain: float


class Loader:
    """Brings the journals below `folder` to the far end of `store`, which is called `name`."""

    def __init__(self, name: str, store: LoadedStore, folder: Path) -> None:
        self.name = name
        self.store = store
        self.folder = folder
        rejects = Rejects(folder / "rejected.jsonl")
        self._backlogs: dict[Path, Backlog] = {}
        self._lanes = [Lane(name, store, rejects, self) for _ in range(store.connections)]
        self._loads: set[asyncio.Task[None]] = set()
        self._broken: asyncio.Future[None]
        self._state = ACTIVE
        self._ledger: Ledger[LoaderFigures]
        self._throttle = Throttle(LOG_EVERY)

    async def run(self, gone: asyncio.Event, drain: float) -> None:
        """Load until `gone` is set, then what is left, for `drain` seconds."""
        with await self._alone():
            self._ledger = Ledger(self.folder, LoaderFigures)
            await self._run(gone, drain)

    async def _alone(self) -> contextlib.ExitStack:
        """What holds the folder's lock: of two loaders each would cut batches of its own, and load all twice.

        There is another one for a while when the supervisor was killed and started again.
        """
        journal.make_folder(self.folder)
        while not (held := contextlib.ExitStack()).enter_context(journal.unheld(self.folder)):
            held.close()
            if self._throttle.due("alone") is not None:
                log.warning("another loader is at work on these packets: waiting for its end", folder=str(self.folder))
            await asyncio.sleep(POLL)
        return held

    async def _run(self, gone: asyncio.Event, drain: float) -> None:
        free = asyncio.Queue[Lane]()
        for lane in self._lanes:
            free.put_nowait(lane)
        chores = [asyncio.create_task(self._tidy()), asyncio.create_task(self._maintain())]
        feed = asyncio.create_task(self._feed(free, gone))
        self._broken = asyncio.get_running_loop().create_future()
        works: list[asyncio.Future[None]] = [feed, *chores, self._broken]
        try:
            waits: asyncio.Future[Any] = asyncio.create_task(gone.wait())
            await asyncio.wait([waits, *works], return_when=asyncio.FIRST_COMPLETED)
            waits.cancel()
            await asyncio.wait(works, timeout=drain, return_when=asyncio.FIRST_COMPLETED)
            for done in works:
                if done.done():
                    done.result()  # it failed: say so, and be started again
        finally:
            self._broken.cancel()
            tasks = [feed, *chores, *self._loads]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for lane in self._lanes:
                await lane.close()
            for backlog in self._backlogs.values():
                backlog.save()
                backlog.close()
            self._ledger.save()

    async def _feed(self, free: asyncio.Queue[Lane], gone: asyncio.Event) -> None:
        """Hand out batches to lanes that are free; returns when all is loaded after `gone` was set."""
        age = max(0.0, self.store.flush - WAY)
        self._look()
        while True:
            last = gone.is_set()
            found = False
            for backlog in list(self._backlogs.values()):
                if (batch := await self._taken(backlog, age, last)) is not None:  # one each: none waits for another
                    found = True
                    lane = await free.get()
                    self._start(lane, batch, free)
            if found:
                continue
            if last and not self._loads:
                return
            await asyncio.sleep(POLL)

    async def _taken(self, backlog: Backlog, age: float, all: bool) -> Batch | None:
        try:
            return backlog.take(self.store.batch, age, all=all)
        except OSError as error:
            self._unreadable(error)
            await asyncio.sleep(TIDY)
            return None

    def _unreadable(self, error: OSError) -> None:
        if (unsaid := self._throttle.due("read")) is not None:
            log.error("journal cannot be read", store=self.name, error=words(error), not_logged=unsaid)

    def _start(self, lane: Lane, batch: Batch, free: asyncio.Queue[Lane]) -> None:
        task = asyncio.create_task(lane.load(batch))
        self._loads.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._loads.discard(task)
            free.put_nowait(lane)
            if not task.cancelled() and (error := task.exception()) is not None and not self._broken.done():
                self._broken.set_exception(error)  # a mistake of ours: the batch stays for the next start

        task.add_done_callback(done)

    async def pause(self, error: OSError, backoff: Backoff) -> None:
        """The server is away: say so once, and wait before the next attempt."""
        pause = backoff.next()
        self._ledger.figures.troubles.note()
        if self._state == ACTIVE:
            log.error("cannot load", store=self.name, error=words(error), retry_in=round(pause, 3))
        self._say(label(words(error)) or type(error).__name__)
        await asyncio.sleep(pause)

    def works(self, rows: int, nbytes: int, seconds: float) -> None:
        """The server took a batch."""
        done = self._ledger.figures
        done.rows += rows
        done.bytes += nbytes
        done.batches.add(seconds)
        if self._state != ACTIVE:
            log.info("loads again", store=self.name)
            self._say(ACTIVE)

    def rejected(self) -> None:
        """The server will never take some packets."""
        self._ledger.figures.troubles.note()

    def _say(self, state: str) -> None:
        self._state = state
        for backlog in self._backlogs.values():
            backlog.state = state

    def _look(self) -> None:
        """Find the journals that there are: a worker makes its own when it starts."""
        for folder in sorted(self.folder.glob("w*")):
            if folder not in self._backlogs and folder.name[1:].isdigit() and folder.is_dir():
                try:
                    backlog = Backlog(folder, self.store.spool)
                except OSError as error:
                    self._unreadable(error)
                    continue
                backlog.state = self._state  # it may tell of the trouble of an earlier process
                self._backlogs[folder] = backlog

    async def _tidy(self) -> None:
        """Delete what is loaded, and what is too much."""
        recovered = 0.0
        while True:
            await asyncio.sleep(TIDY)
            due = time.monotonic() >= recovered
            self._ledger.save()
            try:
                self._look()
                for backlog in self._backlogs.values():
                    if due:
                        backlog.recover()
                    backlog.tidy()
            except OSError as error:
                if (unsaid := self._throttle.due("tidy")) is not None:
                    log.error("journals cannot be tidied", store=self.name, error=words(error), not_logged=unsaid)
            if due:
                recovered = time.monotonic() + MAINTAIN

    async def _maintain(self) -> None:
        """Have done what is to be done at the far end from time to time."""
        backoff = Backoff(first=1.0, longest=MAINTAIN)
        carrier = kinds.carrier(self.store)
        while True:
            try:
                await carrier.maintain()
                backoff.reset()
                pause = MAINTAIN
            except OSError as error:
                pause = backoff.next()
                if (unsaid := self._throttle.due("maintain")) is not None:
                    log.error("far end cannot be tended", store=self.name, error=words(error), not_logged=unsaid)
            finally:
                await carrier.close()
            await asyncio.sleep(pause)


async def serve(charge: Charge) -> None:
    """Do what is to be done until standard input ends."""
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def wait_for_the_end() -> None:
        while await reader.read(4096):
            pass
        gone.set()

    waiting = asyncio.create_task(wait_for_the_end())
    try:
        store = store_of(charge.store)
        if isinstance(store, DatabaseStore):  # rows are made by Arrow, messages are not: an edge does without it
            from hepswitch.lake import arrow

            arrow.bound()
        await Loader(charge.name, store, Path(charge.folder)).run(gone, charge.drain)
    finally:
        waiting.cancel()


def main() -> None:
    """Entry point of the process."""
    settle()
    charge = msgspec.json.decode(sys.stdin.buffer.readline(), type=Charge)
    uvloop.run(serve(charge))


if __name__ == "__main__":
    main()
