"""The keeper of a lake: a process that seals closed segments, merges small files, and deletes what need not be kept.

Started as `python -m hepswitch.lake.keeper [LEVEL FORMAT]` (of its log) with the store's table as one JSON line on
standard input; it ends when standard input does, after sealing what is closed by then. What it warns of goes to standard
output, too, as JSON lines (`logs.Event`). Only one keeper works on a lake
at a time; another one waits.
Not here: how each is done (`sealer`, `compaction`, `retention`).
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from pathlib import Path

import msgspec
import pyarrow as pa
import structlog

from hepswitch import journal
from hepswitch.destinations.figures import KeeperFigures, Ledger
from hepswitch.destinations.marks import keep_marks
from hepswitch.lake import arrow, layout, locks, parquet
from hepswitch.lake.compaction import compact, plan
from hepswitch.lake.process import settle, told_to_end
from hepswitch.lake.retention import retain
from hepswitch.lake.sealer import seal

log = structlog.get_logger("hepswitch.keeper")

POLL = 0.5
"""Seconds between two looks at the journals."""

TIDY = 60.0
"""Seconds between two rounds of merging and deleting."""

QUIET = 60.0
"""Seconds without a new file after which an hour's files are merged for good: nothing seems to come any more."""

LAST_ROUND = 5.0
"""Seconds that sealing may go on when the switch has stopped; the rest is done at the next start."""

PAUSE = 10.0
"""Seconds before trying again after the disk refused."""


class Charge(msgspec.Struct):
    """What a keeper needs of the store's table (`destinations.lake.LakeStore`, whose checks take 10 MiB of modules)."""

    url: str
    keep: float | None
    max_size: int | None

    @property
    def path(self) -> Path:
        """The lake's folder."""
        return Path(self.url.removeprefix("lake:"))


def clean(root: Path) -> None:
    """Remove what a killed keeper left unfinished."""
    for leftover in root.glob(f"date=*/hour=*/.*{layout.TEMPORARY}"):
        leftover.unlink()


def adopt(root: Path) -> None:
    """Close the open segments of journals that no worker holds: of a smaller number of workers, or of a switch that died."""
    for _, folder in layout.journals(root):
        with journal.unheld(folder) as free:
            if free:
                journal.recover(folder, closing=keep_marks)


def seal_closed(root: Path, figures: KeeperFigures, stop_at: float = float("inf")) -> int:
    """Seal every closed segment, in the order of each worker, until the monotonic time `stop_at`. Returns how many.

    One that cannot be sealed is put aside, so that it does not stop the others. Raises OSError.
    """
    count = 0
    for worker, folder in layout.journals(root):
        for segment in journal.segments(folder):
            if not segment.closed:
                continue
            if time.monotonic() > stop_at:
                return count
            begun = time.monotonic()
            name = str(segment.path)
            count += 1
            try:
                done = seal(root, worker, segment)
            except OSError:
                raise
            except Exception as error:
                figures.troubles.note()
                log.exception("segment cannot be sealed and is put aside", segment=name, error=str(error))
                layout.put_aside(segment.path)
                clean(root)
                continue
            took = time.monotonic() - begun
            figures.segments.add(took)
            figures.rows += done.rows
            figures.files += done.files
            figures.newest = time.time()
            figures.oldest = figures.oldest or figures.newest
            if done.damaged or done.unread:
                figures.troubles.note()
                log.error(
                    "segment damaged", segment=name, records=done.damaged, error=done.fault, unread_bytes=done.unread
                )
            log.debug("sealed", segment=name, files=done.files, seconds=round(took, 3))
    if count:
        pa.default_memory_pool().release_unused()
    return count


def make_room(store: Charge, figures: KeeperFigures, now: float) -> bool:
    """One round of retention; True when something was deleted. `now` is Unix time."""
    try:
        done = retain(store.path, store.keep, store.max_size, now)
    except OSError as error:
        figures.troubles.note()
        log.error("old packets cannot be deleted", path=str(store.path), error=str(error))
        return False
    figures.deleted_files += done.files
    figures.deleted_bytes += done.bytes
    figures.files, figures.bytes = done.files_left, done.bytes_left
    figures.oldest, figures.newest = done.oldest, done.newest
    if done.files:
        log.info("old packets deleted", files=done.files, bytes=done.bytes)
    return done.files > 0


def inspect(root: Path) -> None:
    """Put aside the Parquet files that are not whole: a power failure may leave such."""
    for hour, folder in layout.folders(root):
        for file in layout.all_files(hour, folder):
            try:
                if not parquet.is_whole(file.path):
                    _put_aside(file.path)
            except OSError as error:
                log.error("file cannot be looked at", file=str(file.path), error=str(error))


def tidy(root: Path, now: float) -> None:
    """One round of removal of superseded files, and merging. `now` is Unix time."""
    limits = {
        worker: min((segment.number for segment in journal.segments(folder)), default=0)
        for worker, folder in layout.journals(root)
    }
    for hour, folder in layout.folders(root):
        for file in layout.superseded(layout.all_files(hour, folder)):
            file.path.unlink()
        files = layout.files(hour, folder)
        over = max((file.path.stat().st_mtime for file in files), default=now) + QUIET < now
        for worker in sorted({file.worker for file in files}):
            # A worker without a journal has nothing left to seal.
            while _merge(hour, folder, worker, over, limits.get(worker, sys.maxsize)):
                pass
    pa.default_memory_pool().release_unused()


def _merge(hour: int, folder: Path, worker: int, over: bool, limit: int) -> bool:
    """Merge what is to be merged of one worker in one folder; False when there is nothing (more)."""
    files, aside = (
        [file for file in some if file.worker == worker]
        for some in (layout.files(hour, folder), layout.aside(hour, folder))
    )
    groups = plan(files, over, limit, aside)
    for group in groups:
        try:
            compact(group)
        except Exception as error:
            broken = [file.path for file in group if not parquet.is_readable(file.path)]
            for path in broken:
                _put_aside(path)
            if broken:
                return True
            if isinstance(error, OSError):
                raise
            log.exception("files cannot be merged", folder=str(folder), worker=worker, error=str(error))
            return False
        log.debug("merged", folder=str(folder), worker=worker, files=len(group))
    return bool(groups)


def _put_aside(path: Path) -> None:
    log.error("file damaged and put aside", file=str(path))
    layout.put_aside(path)


def keep(store: Charge, gone: threading.Event) -> None:
    """Look after the lake until `gone` is set."""
    with contextlib.ExitStack() as stack:
        if (held := locks.waited_for(store.path, locks.KEEPER, gone)) is None:
            return
        stack.push(held)
        ledger = Ledger(store.path, KeeperFigures)
        figures = ledger.figures
        stack.callback(ledger.save)
        clean(store.path)
        inspect(store.path)
        next_tidy = 0.0
        while not gone.is_set():
            pause = POLL
            due = time.monotonic() >= next_tidy
            try:
                if due:
                    # Before anything that writes: a full disk gets room by it.
                    with locks.pruning(store.path):
                        make_room(store, figures, time.time())
                seal_closed(store.path, figures)
                if due:
                    adopt(store.path)
                    with locks.pruning(store.path):
                        tidy(store.path, time.time())
                    next_tidy = time.monotonic() + TIDY
            except OSError as error:
                full = error.errno in journal.NO_SPACE
                clean(store.path)
                pause = POLL if full and make_room(store, figures, time.time()) else PAUSE
                figures.troubles.note()
                log.error(
                    "lake cannot be tended", path=str(store.path), error=str(error), disk_full=full, retry_in=pause
                )
            ledger.save()
            gone.wait(pause)
        with contextlib.suppress(OSError):
            seal_closed(store.path, figures, time.monotonic() + LAST_ROUND)


def main() -> None:
    """Entry point of the process."""
    settle()
    arrow.bound()
    store = msgspec.json.decode(sys.stdin.buffer.readline(), type=Charge)
    keep(store, told_to_end())


if __name__ == "__main__":
    main()
