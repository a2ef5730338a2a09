"""What a lake has here, and what the storage has of it: two views of the same files, by hour.

Not here: what is done about the difference (`uploader`).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hepswitch.lake import layout
from hepswitch.lake.layout import Interval, LakeFile
from hepswitch.lake.remote import Remote, RemoteFile

RELIST = 6 * 3600.0
"""Seconds after which an hour is listed again: somebody may have deleted files there."""


@dataclass(frozen=True, slots=True)
class Local:
    """One file of the lake's folder that counts: bytes, and when (Unix time) it was written."""

    file: LakeFile
    size: int
    mtime: float

    @property
    def name(self) -> str:
        """Its path below the folder."""
        return "/".join(self.file.path.parts[-3:])


def local_files(root: Path) -> dict[int, list[Local]]:
    """The files that count, by hour, each hour's in the order of workers and segments. Raises OSError."""
    return {hour: found for hour, folder in layout.folders(root) if (found := local_hour(hour, folder))}


def local_hour(hour: int, folder: Path) -> list[Local]:
    """Those of one hour's folder."""
    found = []
    for file in layout.files(hour, folder):
        try:
            about = file.path.stat()
        except FileNotFoundError:
            continue  # merged or deleted just now
        found.append(Local(file, about.st_size, about.st_mtime))
    return found


def last_segments(here: Mapping[int, Iterable[Local]]) -> dict[int, int]:
    """The highest segment of each worker that is in a file."""
    found: dict[int, int] = {}
    for each in (each for files in here.values() for each in files):
        found[each.file.worker] = max(found.get(each.file.worker, 0), each.file.last)
    return found


def covers(one: Interval, other: Interval) -> bool:
    """True when all segments of `other` are in `one`."""
    return one.worker == other.worker and one.first <= other.first and other.last <= one.last


class Stock:
    """What the storage has of `node`, as it was listed last, and changed since."""

    def __init__(self, remote: Remote, node: str) -> None:
        self._remote = remote
        self._node = node
        self._hours: dict[int, list[RemoteFile]] = {}
        self._listed: dict[int, float] = {}

    def knows(self, hour: int) -> bool:
        """True when the hour was listed."""
        return hour in self._hours

    def stale(self, hours: Iterable[int]) -> list[int]:
        """Which of these hours are to be listed (again), the newest first. What is known of all others is forgotten."""
        wanted = set(hours)
        for hour in self._hours.keys() - wanted:
            del self._hours[hour], self._listed[hour]
        due = time.monotonic() - RELIST
        return sorted((hour for hour in wanted if self._listed.get(hour, due) <= due), reverse=True)

    def learn(self, hour: int) -> None:
        """List an hour. Raises RemoteError; what was known stands then."""
        self._hours[hour] = [file for file in self._remote.listing(hour) if file.node == self._node]
        self._listed[hour] = time.monotonic()

    def has(self, file: Interval, hour: int, size: int) -> bool:
        """True when this file is there as a whole, or a wider one that covers it."""
        for there in self._hours.get(hour, ()):
            if covers(there, file) and ((there.first, there.last) != (file.first, file.last) or there.size == size):
                return True
        return False

    def releasable(self, hour: int, files: Iterable[Local], before: float, last: Mapping[int, int]) -> list[Local]:
        """Those of an hour's files that need not be here: written before that time, and there.

        Of each worker the first ones only: a merged file must never cover one that is there and not here. And never that of
        a worker's `last` segment: should the journal be lost, its name says which numbers are taken.
        """
        found: list[Local] = []
        stopped: set[int] = set()
        for each in files:
            worker = each.file.worker
            is_old = each.mtime < before and each.file.last < last[worker]
            if worker not in stopped and is_old and self.has(each.file, hour, each.size):
                found.append(each)
            else:
                stopped.add(worker)
        return found

    def superseded(self, hour: int) -> list[RemoteFile]:
        """The files of an hour that another one covers."""
        ordered = sorted(self._hours.get(hour, ()), key=lambda file: (file.worker, file.first, -file.last))
        return layout.superseded(ordered)

    def add(self, local: Local, path: str) -> None:
        """This file was uploaded, into an hour that was listed."""
        of = local.file
        there = RemoteFile(path, of.hour, self._node, of.worker, of.first, of.last, local.size, time.time())
        self.remove([path], of.hour)
        self._hours[of.hour].append(there)

    def remove(self, paths: Collection[str], hour: int) -> None:
        """These files were deleted."""
        if hour in self._hours:
            self._hours[hour] = [each for each in self._hours[hour] if each.path not in paths]
