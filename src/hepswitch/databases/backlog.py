"""The backlog of a store in one worker: the frames of its journal that are not in the database yet.

Frames are read in order, in batches; batches may be finished in any order. The position that is kept on disk says which
frames are done, and which batches were begun: after a crash these are offered again exactly as they were. Segments that are
done are deleted, and the oldest when the spool outgrows its limit. Not here: the database (`loader`).
"""

from __future__ import annotations

import itertools
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from hepswitch import journal
from hepswitch.databases.frames_reader import FramesReader, Run
from hepswitch.destinations import position
from hepswitch.destinations.marks import keep_marks

log = structlog.get_logger("hepswitch.backlog")

BYTES = 8 << 20
"""So many bytes do not wait for more. A batch has no more than that and one block."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Frames `first` up to, but not including, `last` of a backlog, in runs as they lie in the journal."""

    backlog: Backlog
    first: int
    last: int
    runs: list[Run]
    left_out: frozenset[int] = frozenset()
    """Numbers of frames that were set aside: they are not offered any more."""

    @property
    def count(self) -> int:
        """How many frames it holds."""
        return self.last - self.first

    def frames(self) -> Iterator[tuple[int, memoryview]]:
        """Each frame with its number."""
        for run in self.runs:
            at = 0
            for number, length in enumerate(run.lengths, run.first):
                yield number, run.data[at : at + length]
                at += length

    def without(self, numbers: Iterable[int]) -> Batch:
        """The batch with these frames left out, too."""
        return replace(self, left_out=self.left_out.union(numbers))

    def halves(self) -> list[Batch]:
        """The batch as two; it has more than one frame."""
        middle = (self.first + self.last) // 2
        return [
            Batch(
                self.backlog,
                low,
                high,
                [part for run in self.runs if (part := run.between(low, high)).frames],
                self.left_out,
            )
            for low, high in ((self.first, middle), (middle, self.last))
        ]


class Backlog:
    """The journal in `folder`, which a worker writes. `limit`: bytes of it that may wait."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self._limit = limit
        known = position.read(folder)
        self._position = known or position.Position()
        self._discarded = Counter(self._position.discarded)
        oldest = next((segment.first for segment in journal.segments(folder)), 0)
        if known is not None and oldest > known.done:
            self._discard("lost on disk", _uncovered(known, oldest))
        self._again = deque(sorted((max(first, oldest), last) for first, last in self._position.begun if last > oldest))
        self._begun = set(self._again)
        self._reader = FramesReader(folder, max(self._position.taken, oldest))
        self._runs: list[Run] = []
        self._waiting_since = 0.0
        self._advance()

    @property
    def journal(self) -> str:
        """The journal's name in the database."""
        return self._position.journal

    @property
    def done(self) -> int:
        """Every frame below is dealt with."""
        return self._position.done

    @property
    def state(self) -> str:
        """What hinders loading, or "active"."""
        return self._position.state

    @state.setter
    def state(self, text: str) -> None:
        if text != self._position.state:
            self._position.state = text
            self.save()

    def take(self, rows: int, age: float, *, all: bool = False) -> Batch | None:
        """The next batch: one begun before a crash, or what has come, once it is `rows` frames, much, or `age` seconds old.

        `all`: also what is younger. None when there is nothing to take. Raises OSError.
        """
        while self._again:
            batch = self._read_again(*self._again[0])
            self._again.popleft()
            if batch is not None:
                return batch
        self._pull(rows)
        runs = self._joined()
        if not runs:
            return None
        much = sum(run.frames for run in runs) >= rows or sum(run.data.nbytes for run in runs) >= BYTES
        if not (much or all or len(runs) < len(self._runs) or time.monotonic() - self._waiting_since >= age):
            return None
        first, last = runs[0].first, min(runs[-1].last, runs[0].first + rows)
        batch = Batch(self, first, last, [part for run in runs if (part := run.between(first, last)).frames])
        self._runs = [part for run in self._runs if (part := run.between(last, run.last)).frames]
        self._begun.add((first, last))
        self._advance()
        return batch

    def _joined(self) -> list[Run]:
        """Of the runs that wait the first ones, up to a place where frames are missing."""
        for place, (run, following) in enumerate(itertools.pairwise(self._runs), 1):
            if run.last != following.first:
                return self._runs[:place]
        return self._runs

    def _pull(self, rows: int) -> None:
        count = sum(run.frames for run in self._runs)
        size = sum(run.data.nbytes for run in self._runs)
        while count < rows and size < BYTES:
            run = self._reader.read()
            if self._reader.lost:
                self._discard("lost on disk", self._reader.take_lost())
            if run is None:
                return
            if not self._runs:
                self._waiting_since = time.monotonic()
            self._runs.append(run)
            count += run.frames
            size += run.data.nbytes

    def _read_again(self, first: int, last: int) -> Batch | None:
        """The batch of these frames, as far as they are still there."""
        reader = FramesReader(self.folder, first)
        runs: list[Run] = []
        try:
            while reader.next < last and (run := reader.read()) is not None:
                if (part := run.between(first, last)).frames:
                    runs.append(part)
        finally:
            reader.close()
        missing = last - first - sum(run.frames for run in runs)
        if missing:
            self._discard("lost on disk", missing)
        if not runs:
            self._begun.discard((first, last))
            self._advance()
            return None
        return Batch(self, first, last, runs)

    def split(self, batch: Batch, parts: list[Batch]) -> None:
        """`batch` goes on as these parts."""
        self._begun.discard((batch.first, batch.last))
        self._begun.update((part.first, part.last) for part in parts)
        self.save()

    def finish(self, batch: Batch, discarded: Counter[str]) -> None:
        """The batch is dealt with: loaded, but for what was `discarded`."""
        self._begun.discard((batch.first, batch.last))
        self._discarded.update(discarded)
        self._advance()

    def _discard(self, reason: str, count: int) -> None:
        self._discarded[reason] += count
        log.error("packets lost", journal=str(self.folder), packets=count, reason=reason)

    def _advance(self) -> None:
        self._position.taken = self._runs[0].first if self._runs else self._reader.next
        self._position.done = min([self._position.taken, *(first for first, _ in self._begun)])
        self.save()

    def save(self) -> None:
        """Write down where it stands. What cannot be written now is written the next time."""
        self._position.discarded = dict(self._discarded)
        self._position.begun = sorted(self._begun)
        try:
            position.write(self.folder, self._position)
        except OSError as error:
            log.error("position cannot be written", folder=str(self.folder), error=str(error))

    def tidy(self) -> None:
        """Delete what is done, and the oldest segments while there is more than the limit. Raises OSError."""
        found = journal.segments(self.folder)
        total = sum(segment.size for segment in found)
        lost = 0
        for segment, following in itertools.pairwise(found):
            if not segment.closed:
                continue
            if following.first > self.done:
                if total <= self._limit:
                    break
                lost += self._pass_over(following.first)
            segment.path.unlink(missing_ok=True)
            total -= segment.size
        if lost:
            self._discard("spool full", lost)
            self._advance()

    def _pass_over(self, first: int) -> int:
        """Go on reading at frame `first` at the earliest; gives how many unread frames are left out."""
        lost = 0
        kept: list[Run] = []
        for run in self._runs:
            part = run.between(first, run.last)
            lost += run.frames - part.frames
            if part.frames:
                kept.append(part)
        self._runs = kept
        return lost + self._reader.pass_over(first)

    def recover(self) -> None:
        """Close the segment that a worker left open which is no more, so that it can be deleted. Raises OSError."""
        with journal.unheld(self.folder) as free:
            if free:
                journal.recover(self.folder, closing=keep_marks)

    def close(self) -> None:
        """Let go of the files."""
        self._reader.close()


def _uncovered(known: position.Position, oldest: int) -> int:
    """How many frames below `oldest`, the first that is there, were neither done nor discarded."""
    begun = sum(min(last, oldest) - first for first, last in known.begun if first < oldest)
    return begun + max(0, oldest - known.taken)
