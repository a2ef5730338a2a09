"""The uploader of a lake: a process that brings its files to the storage, as they are, and keeps order there.

    sealed file ─▶ `upload_after` old ─▶ uploaded ─▶ `keep_local` old: deleted here ─▶ `keep` old: deleted there

The oldest go first: they are the next that the keeper deletes, while what is fresh is found here. A merged file replaces
those that went into it. All is decided by what is here and what is there, so whatever was interrupted is done again.

Started as `python -m hepswitch.lake.uploader [LEVEL FORMAT]` (of its log) with a `Charge` as one JSON line on standard
input; when that ends it finishes the file under way, for `drain` seconds at most, and ends. What it warns of goes to
standard output, too, as JSON lines (`logs.Event`). Not here: the storage (`remote`), the name that files get (`writer`).
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec
import structlog

from hepswitch import journal
from hepswitch.books import label
from hepswitch.destinations import whole_file
from hepswitch.destinations.figures import ACTIVE, UPLOADS, Ledger, UploaderFigures
from hepswitch.destinations.outlet import Backoff
from hepswitch.lake import arrow, layout, locks, parquet
from hepswitch.lake.layout import LakeFile
from hepswitch.lake.process import settle, told_to_end
from hepswitch.lake.remote import Remote, RemoteError, UnreadableError
from hepswitch.lake.stock import Local, Stock, covers, last_segments, local_files, local_hour
from hepswitch.lake.writer import claim, writer
from hepswitch.logs import words

log = structlog.get_logger("hepswitch.uploader")

POLL = 1.0
"""Seconds between two looks at the folder …"""

SHARE = 100
"""… or so many times as long as a look takes: of a big lake it may cost a hundredth of the time."""

TURN = 30.0
"""Seconds of listing, or of uploading, until the folder is looked at again."""

TIDY = 60.0
"""Seconds between two rounds of deleting what was uploaded long enough ago."""

CLAIM = 600.0
"""Seconds between two looks whether the name is still ours."""

EXPIRE = 6 * 3600.0
"""Seconds between two rounds through all dates of the storage for what is older than `keep`."""

LONGEST_PAUSE = 60.0
"""Seconds between two attempts while the storage is away."""

SAVE = 10.0
"""Seconds between two writings of what waits."""

WAITING = "waiting"
"""The file that has it."""


class Charge(msgspec.Struct):
    """What an uploader is to do: `name` is the store's, `path` its folder; the others as in its table
    (`destinations.lake.LakeStore`, whose checks take 10 MiB of modules), secrets revealed."""

    name: str
    path: str
    keep: float | None
    remote: str
    access_key: str
    secret_key: str
    node: str | None
    upload_after: float
    keep_local: float | None
    drain: float


class Waiting(msgspec.Struct):
    """The files that were not there at the time `at` (Unix time): bytes by path below the folder."""

    at: float = 0.0
    files: dict[str, int] = msgspec.field(default_factory=dict)


class Uploader:
    """Brings the files of the lake in `charge.path` to the storage."""

    def __init__(self, charge: Charge) -> None:
        self._charge = charge
        self._root = Path(charge.path)
        self._writer = writer(self._root, charge.node)
        self._remote = Remote.parse(charge.remote, charge.access_key, charge.secret_key)
        self._stock = Stock(self._remote, self._writer.node)
        self._ledger = Ledger(self._root, UploaderFigures, UPLOADS)
        self._figures = self._ledger.figures
        self._waiting = self._recalled()
        self._saved = 0.0
        self._complained = False
        self._due = deque[Local]()
        self._failed: set[Path] = set()
        self._unreadable: set[tuple[Path, float]] = set()
        self._dates = deque[int]()
        self._expired = 0.0
        self._backoff = Backoff(first=POLL, longest=LONGEST_PAUSE)
        self._next = dict.fromkeys(("claim", "tidy", "expire"), 0.0)

    def _recalled(self) -> Waiting:
        try:
            return whole_file.read(self._root / WAITING, Waiting) or Waiting()
        except msgspec.DecodeError as error:
            log.warning("what waits for its upload is reckoned anew", file=str(self._root / WAITING), error=str(error))
            return Waiting()

    def run(self, gone: threading.Event) -> None:
        """Upload until `gone` is set."""
        while not gone.is_set():
            try:
                pause = self.once(gone)
                self._works()
            except OSError as error:
                pause = self._backoff.next()
                self._fails(error, pause)
            self.save()
            gone.wait(pause)
        self._saved = 0.0
        self.save()

    def once(self, gone: threading.Event) -> float:
        """Everything once; how long nothing is to be done. Raises OSError."""
        begun = time.monotonic()
        here = local_files(self._root)
        pause = max(POLL, SHARE * (time.monotonic() - begun))
        try:
            self._every(CLAIM, "claim", lambda: self._hold_the_name(here))
            self._learn(here, gone)
        finally:
            self._reckon(here)
        self._send(gone)
        if self._charge.keep_local is not None:
            before = time.time() - self._charge.keep_local
            self._every(TIDY, "tidy", lambda: self._let_go(here, before))
        if self._charge.keep is not None:
            self._expire(self._charge.keep)
        return 0.0 if self._due or self._dates else pause

    def save(self) -> None:
        """Write down the figures, and now and then what waits."""
        self._ledger.save()
        if time.monotonic() >= self._saved + SAVE:
            self._saved = time.monotonic()
            try:
                whole_file.write(self._root / WAITING, self._waiting)
            except OSError as error:
                log.warning("what waits for its upload cannot be written down", error=words(error))

    def _works(self) -> None:
        self._backoff.reset()
        self._failed.clear()
        self._figures.state = ACTIVE
        if self._complained:
            self._complained = False
            log.info("uploads again", store=self._charge.name)

    def _fails(self, error: OSError, pause: float) -> None:
        self._figures.troubles.note()
        self._figures.state = label(words(error)) or type(error).__name__
        if not self._complained:
            self._complained = True
            log.error("cannot upload", store=self._charge.name, error=words(error), retry_in=round(pause, 1))

    def _every(self, seconds: float, what: str, do: Callable[[], None]) -> None:
        """Do it once in so many seconds, and again as soon as may be when it failed."""
        if time.monotonic() >= self._next[what]:
            do()
            self._next[what] = time.monotonic() + seconds

    def _hold_the_name(self, here: dict[int, list[Local]]) -> None:
        claim(self._remote, self._root, self._charge.node, last_segments(here))

    # ── what is to be uploaded ─────────────────────────────────────────────────────────────────────────────────────

    def _learn(self, here: dict[int, list[Local]], gone: threading.Event) -> None:
        """List the hours of which it is not known, or not any more, what is there."""
        until = time.monotonic() + TURN
        named = (layout.file_of(self._root / name) for name in self._waiting.files)
        waiting = {file.hour for file in named if file is not None}
        for hour in self._stock.stale([*here, *waiting]):
            if gone.is_set() or time.monotonic() > until:
                return
            self._stock.learn(hour)
            self._sweep(hour)

    def _reckon(self, here: dict[int, list[Local]]) -> None:
        """Find out what waits, what of it is due, and what went away before it was uploaded."""
        now = time.time()
        after, keep = self._charge.upload_after, self._charge.keep
        waits = [each for hour, files in here.items() for each in files if not self._is_there(hour, each)]
        due = [
            each for each in waits
            if each.mtime + after <= now and (keep is None or each.mtime + keep > now)
            and (each.file.path, each.mtime) not in self._unreadable
        ]  # fmt: skip
        due.sort(key=lambda each: (each.file.path in self._failed, each.mtime))
        left = self._left({each.name: each.size for each in waits})
        self._waiting = Waiting(now, left)
        self._figures.waiting_files = len(due)
        self._figures.waiting_bytes = sum(each.size for each in due)
        self._figures.due_since = min((each.mtime + after for each in due), default=None)
        # Where it is not known what is there, nothing is sent.
        self._due = deque(each for each in due if self._stock.knows(each.file.hour))

    def _is_there(self, hour: int, each: Local) -> bool:
        if self._stock.knows(hour):
            return self._stock.has(each.file, hour, each.size)
        return each.name not in self._waiting.files and each.mtime < self._waiting.at

    def _left(self, waits: dict[str, int]) -> dict[str, int]:
        """`waits` and those of the last time of which it cannot be said yet what became of them. What is lost is counted."""
        gone = {name: size for name, size in self._waiting.files.items() if name not in waits}
        if not gone:
            return waits
        with journal.unheld(self._root) as alone:
            for name, size in gone.items():
                file = layout.file_of(self._root / name)
                if file is None or (self._stock.knows(file.hour) and self._stock.has(file, file.hour, size)):
                    continue
                if not alone or not self._stock.knows(file.hour):
                    waits[name] = size
                elif not _is_merged(file):
                    self._figures.lost_files += 1
                    self._figures.lost_bytes += size
                    log.error("file deleted before it was uploaded", store=self._charge.name, file=name, bytes=size)
        return waits

    # ── what is done about it ──────────────────────────────────────────────────────────────────────────────────────

    def _send(self, gone: threading.Event) -> None:
        until = time.monotonic() + TURN
        self.save()  # what waits, before what may take its time
        while self._due and not gone.is_set() and time.monotonic() < until:
            each = self._due[0]
            try:
                self._upload(each)
            except RemoteError:
                self._failed.add(each.file.path)
                raise
            self._due.popleft()
            self._figures.waiting_files -= 1
            self._figures.waiting_bytes -= each.size
            self._figures.due_since = self._due[0].mtime + self._charge.upload_after if self._due else None
            self.save()

    def _upload(self, local: Local) -> None:
        """Upload one file, and delete there what it covers."""
        begun = time.monotonic()
        file = local.file
        try:
            # Open, it stays as it is, whatever the keeper does.
            with _opened(file.path) as stream:
                path = self._remote.path_of(self._writer.node, file)
                self._remote.put(stream, local.size, path, self._writer.node)
        except FileNotFoundError:
            return  # merged or deleted meanwhile
        except UnreadableError as error:
            self._unreadable.add((file.path, local.mtime))
            self._figures.troubles.note()
            log.error("file damaged: not uploaded", file=str(file.path), error=words(error))
            return
        self._stock.add(local, path)
        self._waiting.files.pop(local.name, None)
        self._figures.uploads.add(time.monotonic() - begun)
        self._figures.bytes += local.size
        self._sweep(file.hour)

    def _sweep(self, hour: int) -> None:
        """Delete there what a merged file covers."""
        for file in self._stock.superseded(hour):
            self._remote.delete(file.path)
            self._stock.remove([file.path], hour)

    def _let_go(self, here: dict[int, list[Local]], before: float) -> None:
        """Delete here what was written before that time and is there, as the storage says now."""
        last = last_segments(here)
        for hour, files in here.items():
            if not (old := self._stock.releasable(hour, files, before, last)):
                continue
            self._stock.learn(hour)
            with journal.unheld(self._root) as alone:
                if not alone:
                    return  # the keeper is merging; the next time
                still = local_hour(hour, old[0].file.path.parent)
                for each in self._stock.releasable(hour, still, before, last):
                    each.file.path.unlink()
                    self._figures.released_files += 1
                    self._figures.released_bytes += each.size

    def _expire(self, keep: float) -> None:
        """Delete there what we uploaded more than `keep` seconds ago, of one date."""
        if not self._dates:
            self._every(EXPIRE, "expire", lambda: self._begin_to_expire(keep))
        if not self._dates:
            return
        date = self._dates[0]
        for file in self._remote.of_date(range(date, date + 24)):
            if file.node == self._writer.node and file.mtime < self._expired:
                self._remote.delete(file.path)
                self._stock.remove([file.path], file.hour)
                self._figures.deleted_files += 1
                self._figures.deleted_bytes += file.size
        self._dates.popleft()

    def _begin_to_expire(self, keep: float) -> None:
        # By the storage's clock, which wrote the times: one that goes wrong here must not delete all there is.
        self._expired = self._remote.now(self._writer.node) - keep
        self._dates.extend(self._remote.dates())


def _is_merged(file: LakeFile) -> bool:
    """True when a file that was here is part of another one now, or the keeper has put it aside and said so.

    While the keeper merges, files are missing from what is listed.
    """
    there = layout.files(file.hour, file.path.parent)
    return any(covers(each, file) for each in there) or file.path.with_suffix(layout.DAMAGED).exists()


def _opened(path: Path) -> BinaryIO:
    if not parquet.is_whole(path):
        raise UnreadableError("it does not begin or end as Parquet does")
    return path.open("rb")


def main() -> None:
    """Entry point of the process."""
    settle()
    arrow.bound()
    charge = msgspec.json.decode(sys.stdin.buffer.readline(), type=Charge)
    gone = told_to_end()

    def leave() -> None:
        gone.wait()
        time.sleep(charge.drain)
        # An upload that takes longer does not appear, and is done again.
        os._exit(0)

    threading.Thread(target=leave, daemon=True).start()
    with contextlib.ExitStack() as stack:
        if (held := locks.waited_for(Path(charge.path), locks.UPLOADER, gone)) is None:
            return
        stack.enter_context(held)
        Uploader(charge).run(gone)


if __name__ == "__main__":
    main()
