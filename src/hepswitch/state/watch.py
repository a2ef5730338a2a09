"""Looks after the lists of a running switch: reads again those whose file changed, beside the event loop, and says so."""

from __future__ import annotations

import asyncio
import contextlib
import time

import structlog

from hepswitch.state.registry import State, refresh

log = structlog.get_logger("hepswitch.state")

EVERY = 10.0
"""Seconds between two looks at the files."""

BREATH = 0.001
"""Seconds for which the reading thread stands back, again and again, so that the event loop has the interpreter."""


class ListWatch:
    """Looks every `every` seconds from `start` to `stop`, and at once when told to (`look`)."""

    def __init__(self, state: State, every: float = EVERY) -> None:
        self._state = state
        self._every = every
        self._now = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin. Needs a running event loop."""
        self._task = asyncio.create_task(self._run())

    def look(self) -> None:
        """Look now: on SIGHUP."""
        self._now.set()

    async def stop(self) -> None:
        """Look no more. A thread that is reading ends by itself."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._now.wait()
            self._now.clear()
            try:
                await self._look()
            except Exception:
                log.exception("looking after the lists failed; it goes on")

    async def _look(self) -> None:
        # The lists are collected here: the thread must not meet the dictionary while a script changes it.
        for one in await asyncio.to_thread(refresh, self._state.lists(), lambda: time.sleep(BREATH)):
            if one.trouble is None:
                log.info("list read again", kind=one.kind, file=str(one.path), entries=len(one))
            else:
                log.error("list not read; its old content goes on", kind=one.kind, reason=one.trouble, entries=len(one))
