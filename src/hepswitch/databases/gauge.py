"""What the journals of a database store say about it: how many packets came, wait, were loaded or discarded.

The books of the supervisor read it from disk, so they are right whichever process was killed: a worker that writes, or the
loader. Not here: what waits in the workers' memory (their own books).
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from pathlib import Path

from hepswitch import books, journal
from hepswitch.books import Snapshot
from hepswitch.destinations import position
from hepswitch.destinations.position import Position
from hepswitch.waiting import Waiting


class _Journal:
    """One journal since the switch started, with the position and the number of frames that it had by then."""

    def __init__(self, folder: Path, before: Position) -> None:
        self._folder = folder
        self._number = self._offset = 0
        self._before = Counter(before.discarded)
        self.begin = self.end = before.done
        self.position = before
        self.size = 0
        self.lag = 0.0
        self._waiting = Waiting()

    def look(self, now: float) -> None:
        """See how far it has come, and for how long what is left has been waiting at the time `now`."""
        self.position = _read(self._folder) or self.position
        found = journal.segments(self._folder)
        self._find_end(found)
        self.size = sum(segment.size for segment in found)
        self.lag = self._waiting.look(self.end - self.begin, self.position.done - self.begin, now)

    def _find_end(self, found: list[journal.Segment]) -> None:
        if not found:
            return
        if found[-1].number != self._number:
            self._number, self._offset = found[-1].number, 0
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile: the next look finds it
            after, self._offset = journal.last_frame(found[-1].path, self._offset)
            self.end = max(self.end, after)

    @property
    def discarded(self) -> Counter[str]:
        """By reason, since the switch started."""
        return Counter(self.position.discarded) - self._before


class Gauge:
    """The journals below `folder`, which have `limit` bytes each. Made before the switch starts; what waits by then counts
    as accepted now."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._journals = {path.name: _Journal(path, _before(path)) for path in folder.glob("w*")}

    def look(self) -> None:
        """See how far all of them have come."""
        now = time.monotonic()
        for path in self._folder.glob("w*"):
            if path.name not in self._journals:
                self._journals[path.name] = _Journal(path, Position())
        for each in self._journals.values():
            each.look(now)

    def complete(self, row: Snapshot) -> Snapshot:
        """The store's row of the books, out of the sum of the workers' rows."""
        self.look()
        written = sum(max(0, each.end - each.begin) for each in self._journals.values())
        done = sum(max(0, each.position.done - each.begin) for each in self._journals.values())
        lost = sum((each.discarded for each in self._journals.values()), Counter[str]())
        delivered = max(0, done - lost.total())  # what was discarded may lie above what is done without a gap
        states = {each.position.state for each in self._journals.values()} - {"active"} or {"active"}
        return row | {
            "accepted": written + row["queued"] + sum(row["discarded"].values()),
            "delivered": delivered,
            "spooled": written - delivered - lost.total(),
            "discarded": books.add(row["discarded"], dict(lost)),
            "lag": round(max((each.lag for each in self._journals.values()), default=0.0), 3),
            "spool_bytes": sum(each.size for each in self._journals.values()),
            "spool_limit": self._limit * len(self._journals),
            "state": row["state"] if row["state"] not in ("", "active") else ",".join(sorted(states)),
        }


def _before(folder: Path) -> Position:
    """The position of a journal that there was already; at its oldest frame when nobody wrote down where."""
    oldest = next((segment.first for segment in journal.segments(folder)), 0)
    return _read(folder) or Position(done=oldest)


def _read(folder: Path) -> Position | None:
    """The position, where it can be read now: that it cannot is for the loader to say."""
    with contextlib.suppress(OSError):
        return position.read(folder)
    return None
