"""The workers together: started, looked after, told and asked as one.

One that dies is started again, and what it had counted stays in the books. Not here: one worker (`processes`), what is told
and asked (`supervisor`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from hepswitch import books, logs
from hepswitch.config import Config
from hepswitch.control.refusal import RefusedError
from hepswitch.processes import START_TIMEOUT, Worker, WorkerError
from hepswitch.tracing.taps import Found, Watching
from hepswitch.waiting import with_lags

log = structlog.get_logger("hepswitch.supervisor")

POLL = 1.0
"""Seconds between two looks at a worker's books; what a killed worker did after the last look is not counted."""
PROMPT = 2.0
"""Seconds for an answer that somebody waits for: Prometheus, a page. One worker that hangs must not cost all answers."""
RESTART_DELAYS = (0.1, 0.5, 1.0, 2.0, 5.0)

Restart = Callable[[Worker], Awaitable[None]]
"""Starts a worker that died with what holds now. Raises WorkerError."""


class Crew:
    """Workers that are made already; `start` starts them."""

    def __init__(self, workers: Sequence[Worker] = ()) -> None:
        self.workers = workers
        self._past: list[books.Snapshot] = []
        self._ending = False
        self._asked: set[asyncio.Future[dict[str, Any]]] = set()

    async def start(self, config: Config) -> None:
        """Start all of them. Raises WorkerError."""
        for worker in self.workers:
            await worker.start(config)

    async def end(self, drain: float) -> None:
        """Let all of them stop, and drain for so many seconds."""
        self._ending = True
        await asyncio.gather(*(worker.end(drain) for worker in self.workers))

    async def care(self, worker: Worker, restart: Restart) -> None:
        """Look at a worker's books while it lives; start it again when it died."""
        failures = 0
        while not self._ending:
            try:
                await worker.ask(do="stats")
                await self._hear(worker)
                failures = 0
                await asyncio.sleep(POLL)
            except WorkerError:
                if self._ending:
                    return
                status = await worker.kill()  # gone already, or it hangs
                delay = RESTART_DELAYS[min(failures, len(RESTART_DELAYS) - 1)]
                log.error("worker died", worker=worker.number, status=status, restart_in=delay)
                self._past = [books.merge([*self._past, worker.died()])]
                failures += 1
                await asyncio.sleep(delay)
                if self._ending:
                    return
                try:
                    await restart(worker)
                except (WorkerError, OSError) as error:
                    log.error("worker cannot start", worker=worker.number, error=logs.words(error))

    def missing(self) -> list[str]:
        """Those that do not run, in words."""
        return [f"worker {worker.number} is not running" for worker in self.workers if worker.pid is None]

    # ── asked ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def look(self) -> None:
        """Look at the books of all, now."""
        await self.ask(do="stats")

    def book(self) -> books.Snapshot:
        """The books of all as last seen, those of the dead included."""
        return books.merge([*self._past, *(worker.last for worker in self.workers)])

    def with_lags(self, book: books.Snapshot) -> books.Snapshot:
        """The book with how long the oldest packets wait."""
        return with_lags(book, [worker.ages for worker in self.workers])

    async def ask(self, **message: Any) -> list[dict[str, Any]]:
        """The answers of those that answer within PROMPT seconds: one that does not hangs, is about to be replaced, or is
        being started. Its answer is waited for by nobody, and taken all the same: the line must not be cut for that."""
        asked = [asyncio.ensure_future(worker.ask(**message)) for worker in self.workers if worker.listening]
        self._asked.update(asked)
        for each in asked:
            each.add_done_callback(self._answered)
        done, _ = await asyncio.wait(asked, timeout=PROMPT) if asked else (set(), None)
        return [each.result() for each in asked if each in done and each.exception() is None]

    def _answered(self, asked: asyncio.Future[dict[str, Any]]) -> None:
        self._asked.discard(asked)
        if not asked.cancelled():
            asked.exception()  # `care` finds the same and says it

    async def watched(self, ids: Sequence[int]) -> tuple[list[dict[int, Found]], bool]:
        """What each has found since it was asked last, and whether all have answered."""
        answers = await asyncio.gather(*(worker.watched(ids) for worker in self.workers), return_exceptions=True)
        found = [answer for answer in answers if not isinstance(answer, BaseException)]
        return found, len(found) == len(self.workers)

    async def hear(self) -> None:
        """Take over what all have warned of."""
        await asyncio.gather(*map(self._hear, self.workers), return_exceptions=True)

    async def _hear(self, worker: Worker) -> None:
        logs.recent.heard(await worker.events(), f"worker {worker.number}")

    # ── told ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def tell(self, **message: Any) -> list[str]:
        """Tell all. The first goes ahead: what it refuses nobody else is told, and RefusedError is raised.

        One of the others that is gone or hangs is left out: it is started again with what holds then. Gives what those
        said that refused although the first did not.
        """
        late = []
        for worker in self.workers:
            try:
                answer = await worker.ask(timeout=START_TIMEOUT, **message)
            except WorkerError as error:
                answer = {"error": str(error)} if worker is self.workers[0] else {}
            if "error" in answer:
                if worker is self.workers[0]:
                    raise RefusedError(answer["error"])
                late.append(f"worker {worker.number}: {answer['error']}")
        return late

    async def watch(self, watching: Watching) -> None:
        """Let all look for packets. Raises RefusedError."""
        answers = await self.ask(do="watch", watching=watching)
        if refused := [answer["error"] for answer in answers if "error" in answer]:
            raise RefusedError(refused[0], 400)
