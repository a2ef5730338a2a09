"""Reading a journal behind its writer: runs of frames, in order, from any frame on, over all segments.

Not here: where a reader stands after a restart (`position`), deleting segments (`backlog`).
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, NamedTuple

from hepswitch import journal
from hepswitch.journal import Segment, read_blocks


class Run(NamedTuple):
    """Frames that lie end to end in `data`, each as long as `lengths` says; `first` is the number of the first."""

    first: int
    lengths: memoryview
    data: memoryview

    @property
    def frames(self) -> int:
        """How many there are."""
        return len(self.lengths)

    @property
    def last(self) -> int:
        """The number after the last frame."""
        return self.first + len(self.lengths)

    def between(self, first: int, last: int) -> Run:
        """Its frames from `first` up to, but not including, `last`."""
        start = min(max(first - self.first, 0), len(self.lengths))
        stop = min(max(last - self.first, start), len(self.lengths))
        if (start, stop) == (0, len(self.lengths)):
            return self
        skipped = sum(self.lengths[:start])
        return Run(
            self.first + start,
            self.lengths[start:stop],
            self.data[skipped : skipped + sum(self.lengths[start:stop])],
        )


class FramesReader:
    """Reads the journal in `folder` from frame number `first` on. `next`: the first frame that was not read."""

    def __init__(self, folder: Path, first: int) -> None:
        self.folder = folder
        self.next = first
        self.lost = 0
        """Frames that were missing on disk and were passed over."""
        self._segment: Segment | None = None
        self._file: BinaryIO | None = None
        self._offset = 0
        self._over = False

    def read(self) -> Run | None:
        """The next run; None when there is nothing more at the moment. Raises OSError."""
        while self._file is not None or self._enter():
            assert self._file is not None
            for block in read_blocks(self._file, self._offset):
                self._offset = block.end
                run = Run(block.first, block.lengths, block.data).between(self.next, block.first + block.count)
                if not run.frames:
                    continue
                self._pass(run.first)
                self.next = run.last
                return run
            if not self._leave():
                return None
        return None

    def _enter(self) -> bool:
        """Open the segment that holds the next frame, or the first one behind it."""
        found = journal.segments(self.folder)
        if not found:
            return False
        before = [segment for segment in found if segment.first <= self.next]
        segment = before[-1] if before else found[0]
        for suffix in (journal.OPEN, journal.CLOSED):
            try:
                self._file = (self.folder / f"{segment.path.stem}{suffix}").open("rb")
            except FileNotFoundError:  # closed meanwhile
                continue
            self._segment, self._offset, self._over = segment, 0, False
            return True
        return False

    def _leave(self) -> bool:
        """Is there reason to read on, in this segment or in the next one?"""
        assert self._segment is not None
        if (self.folder / f"{self._segment.path.stem}{journal.OPEN}").exists():
            return False
        if not self._over:
            self._over = True  # it was closed: what was written before that has not been seen for sure
            return True
        later = [each for each in journal.segments(self.folder) if each.number > self._segment.number]
        if not later:
            return False
        self._pass(later[0].first)
        self.close()
        return True

    def _pass(self, first: int) -> None:
        """Frames below `first` that were not read are not there."""
        if first > self.next:
            self.lost += first - self.next
            self.next = first

    def take_lost(self) -> int:
        """How many frames were missing since the last time."""
        lost, self.lost = self.lost, 0
        return lost

    def pass_over(self, first: int) -> int:
        """Go on at frame `first` at the earliest; gives how many frames are left out."""
        left_out = max(0, first - self.next)
        if left_out:
            self.next = first
            self.close()
        return left_out

    def close(self) -> None:
        """Let go of the file; `read` opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None
