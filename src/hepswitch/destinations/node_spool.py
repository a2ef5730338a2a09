"""NodeSpool: the spool of one node over a disk that may refuse. Nothing here raises OSError but `open`.

What the disk costs is counted in the node's `discarded`, by reason, and said in the log every ten seconds at most.
Not here: the spool itself (`spool`), when it is used (`stream_node`).
"""

from __future__ import annotations

import time
from collections import Counter

import structlog

from hepswitch.destinations.outlet import LONGEST_PAUSE
from hepswitch.destinations.spool import Spool
from hepswitch.logs import Throttle
from hepswitch.wire.frames import Frames

log = structlog.get_logger("hepswitch.destinations")


class NodeSpool:
    """`spool` for the node `url`."""

    def __init__(self, spool: Spool, url: str, discarded: Counter[str]) -> None:
        self._spool = spool
        self._url = url
        self._discarded = discarded
        self._throttle = Throttle(LONGEST_PAUSE, time.monotonic)
        self._fill = 0.0

    def open(self) -> int:
        """`Spool.open`. Raises OSError when the spool cannot be used."""
        found = self._spool.open()
        if found:
            log.info("spool adopted", node=self._url, packets=found)
        return found

    @property
    def limit(self) -> int:
        """Bytes that it may hold."""
        return self._spool.limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._spool.limit = limit

    @property
    def pending(self) -> int:
        """Frames that wait on disk and were not read yet."""
        return self._spool.pending

    @property
    def lent(self) -> int:
        """Frames that were read and are not delivered: they are on disk still."""
        return self._spool.lent

    @property
    def idle(self) -> bool:
        """True when nothing waits on disk and nothing that was read waits for its delivery."""
        return self._spool.idle

    @property
    def unsaved(self) -> bool:
        """True when there is something for `save` to write down."""
        return self._spool.unsaved

    @property
    def fill(self) -> float:
        """How full it is, 0.0 to 1.0 and a little more; as before when the disk does not tell."""
        try:
            self._fill = self._spool.fill
        except OSError as error:
            self._complain("spool cannot be looked at", error)
        return self._fill

    def append(self, frames: Frames) -> None:
        """Store `frames` at the end; what falls off for that, or cannot be stored, is discarded."""
        if not len(frames):
            return
        expected = self.pending + len(frames)
        try:
            lost = self._spool.append(frames)
        except OSError as error:
            # Counted by what is missing: it may have failed when they were on disk already.
            self._discarded["spool failed"] += expected - self.pending
            self._complain("spool failed", error, packets=expected - self.pending)
        else:
            if lost:
                self._discarded["spool full"] += lost

    def read(self, queue: Frames, ahead: int, room: int) -> bool:
        """`Spool.read`; what the disk gave back damaged is discarded. False when it cannot be read now."""
        try:
            lost = self._spool.read(queue, ahead, room)
        except OSError as error:
            self._complain("spool cannot be read", error)
            return False
        if lost:
            log.error("spool damaged", node=self._url, packets=lost)
            self._discarded["spool damaged"] += lost
        return True

    def delivered(self, count: int) -> None:
        """The first `count` undelivered frames of the queue are delivered."""
        self._spool.delivered(count)

    def save(self) -> None:
        """Write down what was delivered. When the disk refuses, more comes twice after a restart."""
        try:
            self._spool.save()
        except OSError as error:
            self._complain("spool position not saved", error)

    def leave(self, frames: list[bytes]) -> None:
        """The queue with the undelivered `frames` is given up: all of them wait here; then let go of the files."""
        expected = len(frames) + self.pending
        some = Frames()
        # Those that never were on disk are the last that were under way to a slow node: their place is lost.
        for frame in self._spool.take_back(frames):
            some.push(frame)
        before = self._discarded.total()
        self.append(some)
        lost = expected - self.pending - (self._discarded.total() - before)
        if lost:
            self._discarded["spool full"] += lost
        try:
            self._spool.close()
        except OSError as error:
            self._complain("spool position not saved", error)

    def _complain(self, what: str, error: OSError, **details: object) -> None:
        unsaid = self._throttle.due(what)
        if unsaid is not None:
            log.error(what, node=self._url, error=str(error), not_logged=unsaid, **details)
