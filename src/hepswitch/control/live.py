"""The live stream: packets that go by in any worker, as server-sent events, for as long as somebody watches.

    event: packet   data: one packet (`tracing.tap_rows`)
    event: missed   data: {"missed": packets that matched and are not shown, "skipped": packets that the filter was not asked
                          about, since it takes too long}; only when there are such
    event: rate     data: {"seen": packets that went by, "matched": those of them that are wanted, "seconds": since the last}

`rate` comes about once a second and closes the sums: the packets shown since the last one, and those missed, are the
matched ones. Who reads too slowly misses packets, and nobody else does. Not here: which packets match, and what the
workers hold until they are asked (`tracing.taps`).
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Container, Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Protocol

from msgspec import Struct
from msgspec.json import encode
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from hepswitch.control.refusal import RefusedError
from hepswitch.filters import FilterError, compile_filter
from hepswitch.tracing.taps import Found, Watching

MOST = 32
"""Watchers at one time."""

POLL = 0.2
"""Seconds between two questions to the workers."""

RATE = 1.0
"""Seconds between two `rate` events, about."""

MOST_WAITING = 1 << 20
"""Bytes that wait for a watcher who does not read."""

MEDIA = "text/event-stream"


class Missed(Struct, frozen=True):
    """What the stream does not show."""

    missed: int
    skipped: int


class Rate(Struct, frozen=True):
    """What went by."""

    seen: int
    matched: int
    seconds: float


class Workers(Protocol):
    """Who has the packets."""

    async def watch(self, watching: Watching) -> None:
        """Let all workers, and those that will be started, look for what is wanted. Raises RefusedError."""

    async def watched(self, ids: Sequence[int]) -> tuple[list[dict[int, Found]], bool]:
        """What each worker has found for these since the last time, and whether all have answered. Others are forgotten."""

    def list_names(self) -> Iterable[str]:
        """The lists that a filter may name."""


class Watcher:
    """One who watches. `close()` ends it, and tells `left`."""

    def __init__(self, left: Callable[[Watcher], None]) -> None:
        self._left = left
        self._waiting: list[bytes] = []
        self._nbytes = 0
        self._news = asyncio.Event()
        self._ended = False
        self._since = time.monotonic()
        self._found = Found()

    def take(self, frames: Sequence[bytes], found: Found) -> None:
        """More has gone by: `frames` of it to be shown, `found` to be counted."""
        mine = self._found
        for frame in frames:
            if self._nbytes + len(frame) > MOST_WAITING:
                mine.missed += 1
            else:
                self._waiting.append(frame)
                self._nbytes += len(frame)
        for key in ("seen", "matched", "missed", "skipped"):
            setattr(mine, key, getattr(mine, key) + getattr(found, key))
        self._news.set()

    async def frames(self) -> AsyncIterator[bytes]:
        """The stream, as long as it goes on."""
        yield b": watching\n\n"
        ended = False
        while not ended:
            await self._news.wait()
            self._news.clear()
            ended = self._ended
            if frames := self._drained():
                yield frames

    def _drained(self) -> bytes:
        frames, self._waiting, self._nbytes = self._waiting, [], 0
        found, now = self._found, time.monotonic()
        if found.missed or found.skipped:
            frames.append(_frame("missed", encode(Missed(found.missed, found.skipped))))
            found.missed = found.skipped = 0
        if now - self._since >= RATE:
            frames.append(_frame("rate", encode(Rate(found.seen, found.matched, round(now - self._since, 3)))))
            self._found, self._since = Found(), now
        return b"".join(frames)

    def end(self) -> None:
        """Let the stream end when all that waits is sent."""
        self._ended = True
        self._news.set()

    def close(self) -> None:
        """Nobody reads it any more."""
        self._left(self)


class Stream(StreamingResponse):
    """The answer to a watcher. However it ends, the watcher is closed."""

    def __init__(self, watcher: Watcher) -> None:
        # For proxies: not to be kept back until there is more of it.
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(watcher.frames(), media_type=MEDIA, headers=headers)
        self._watcher = watcher

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._watcher.close()


class _Sight:
    """What several watch alike."""

    def __init__(self, watching: Watching) -> None:
        self.watching = watching
        self.watchers: set[Watcher] = set()


class Live:
    """All who watch. `run()` asks the workers while there is somebody."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._sights: dict[tuple[str | None, bool], _Sight] = {}
        self._ids = itertools.count(1)
        self._turn = asyncio.Lock()
        self._wanted = asyncio.Event()

    @property
    def watching(self) -> list[Watching]:
        """What workers have to look for."""
        return [sight.watching for sight in self._sights.values()]

    @property
    def watchers(self) -> int:
        """How many there are."""
        return sum(len(sight.watchers) for sight in self._sights.values())

    async def watch(self, filter: str | None, payload: bool) -> Watcher:
        """Somebody more: what goes by from now on, in any worker. Raises RefusedError: 400 no filter, 503 too many."""
        filter = (filter or "").strip() or None
        _check(filter, dict.fromkeys(self._workers.list_names(), frozenset[str]()))
        async with self._turn:
            if self.watchers >= MOST:
                raise RefusedError(f"{MOST} watch already: try again when one of them has gone", 503)
            watcher = Watcher(self._leave)
            sight = self._sights.get((filter, payload))
            new = sight is None
            if sight is None:
                sight = self._sights[filter, payload] = _Sight(Watching(next(self._ids), filter, payload))
            sight.watchers.add(watcher)
            if new:
                try:
                    await self._workers.watch(sight.watching)
                except BaseException:
                    watcher.close()
                    raise
            self._wanted.set()
            return watcher

    def _leave(self, watcher: Watcher) -> None:
        for key, sight in list(self._sights.items()):
            sight.watchers.discard(watcher)
            if not sight.watchers:
                del self._sights[key]  # the next question to the workers does not name it
        self._wanted.set()

    async def run(self) -> None:
        """Ask the workers and hand on what they have. When this is cancelled, the streams end."""
        try:
            while True:
                await self._wanted.wait()
                await asyncio.sleep(POLL)
                await self._look()
        finally:
            for sight in self._sights.values():
                for watcher in sight.watchers:
                    watcher.end()

    async def _look(self) -> None:
        answers, all_of_them = await self._workers.watched([watching.id for watching in self.watching])
        for sight in self._sights.values():
            parts = [answer[sight.watching.id] for answer in answers if sight.watching.id in answer]
            rows = sorted(chain.from_iterable(part.rows for part in parts), key=itemgetter(0))
            frames = [_frame("packet", row) for _, row in rows]
            for watcher in sight.watchers:
                watcher.take(frames, _sum(parts))
        if not self._sights and all_of_them:
            self._wanted.clear()


def _check(filter: str | None, lists: Mapping[str, Container[str]]) -> None:
    """Raises RefusedError when it is no filter."""
    if filter is not None:
        try:
            compile_filter(filter, lists)
        except FilterError as error:
            raise RefusedError(str(error), 400) from error


def _sum(parts: Iterable[Found]) -> Found:
    total = Found()
    for part in parts:
        total.seen += part.seen
        total.matched += part.matched
        total.missed += part.missed
        total.skipped += part.skipped
    return total


def _frame(event: str, data: bytes | memoryview) -> bytes:
    """JSON has no line ends of its own."""
    return b"event: %b\ndata: %b\n\n" % (event.encode(), bytes(data))
