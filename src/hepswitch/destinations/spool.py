"""Spool: packets on disk that wait, in order, for a node that is away or slow. A journal that is read behind its writer.

What was read counts as waiting until it is reported as delivered; the number of the first frame that is not is kept in
the file `position`, so a restart goes on there. It is written from time to time: after a kill -9 some frames come again.
Delivered segments are deleted. When the spool outgrows its limit, its oldest segments are.
Not here: when to spool and when to replay (`stream_node`).
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import structlog

from hepswitch.journal import FILE_MODE, Block, Journal, JournalBusyError, read_blocks
from hepswitch.wire.frames import Frames

log = structlog.get_logger("hepswitch.spool")

LARGEST_SEGMENT = 32 << 20
TIDY = 1 << 20
"""Bytes of delivered frames in the open segment from which it is closed and deleted."""


class _Log:
    """One spool directory: where its reader and its deliveries stand, as frame numbers."""

    def __init__(self, path: Path, segment_bytes: int) -> None:
        self.path = path
        self.journal = Journal(path, segment_bytes)
        self._position = os.open(path / "position", os.O_RDWR | os.O_CREAT, FILE_MODE)
        self.segments = self.journal.segments()
        stored = self._stored()
        # Frames behind the journal's end never were: their numbers will be given again.
        self.next = max(self.segments[0].first, min(stored, self.journal.next_frame))
        self.delivered = self._saved = self.next
        self._number = self.journal.number
        self._reading: int | None = None
        self._file: BinaryIO | None = None
        self._offset = 0

    def _stored(self) -> int:
        """The position as it was written down; 0, the first frame there is, when nothing sensible was."""
        text = os.pread(self._position, 20, 0) or b"0"
        if text.isdigit():
            return int(text)
        log.warning(
            "spool position unreadable", path=str(self.path / "position"), text=repr(text), starting="at the oldest"
        )
        return 0

    @property
    def pending(self) -> int:
        """Frames not read yet."""
        return self.journal.next_frame - self.next

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        self.look()
        return sum(segment.size for segment in self.segments if segment.closed) + self.journal.size

    def look(self) -> None:
        """Know the segments again after the journal began another one."""
        if self._number != self.journal.number:
            self._number = self.journal.number
            self.segments = self.journal.segments()

    def block(self) -> Block | None:
        """The next block that holds unread frames; None when its segment has no more of them."""
        if self._file is None:
            self.look()
            segment = [each for each in self.segments if each.first <= self.next][-1]
            # Found again by its number: it may have been closed since it was looked at. Open, it outlives its name.
            path = next(self.path.glob(f"{segment.path.stem}.*"))
            self._reading, self._file, self._offset = segment.number, path.open("rb"), 0
        for block in read_blocks(self._file, self._offset):
            self._offset = block.end
            if block.first + block.count > self.next:
                return block
        return None

    def skip(self) -> int:
        """Leave a segment that ended before its last frame was read; gives how many frames are lost with that."""
        self.look()
        later = [segment.first for segment in self.segments if segment.first > self.next]
        upto = later[0] if later else self.journal.next_frame
        lost, self.next = upto - self.next, upto
        self.turn()
        return lost

    def finished(self) -> bool:
        """True when the segment that is being read has been read, and another one goes on after it."""
        self.look()
        return any(each.first == self.next and each.number != self._reading for each in self.segments)

    def turn(self) -> None:
        """Leave the segment that is being read."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def drop_oldest(self) -> int:
        """Delete the oldest closed segment; gives how many unread frames fall off."""
        oldest, following = self.segments[0], self.segments[1].first
        oldest.path.unlink(missing_ok=True)
        del self.segments[0]
        lost = max(0, following - self.next)
        if lost:
            self.next = following
            self.turn()
        self.delivered = max(self.delivered, following)
        return lost

    def save(self) -> None:
        """Write down what was delivered, and delete the segments that are no longer needed."""
        if self.delivered == self._saved:
            return
        os.pwrite(self._position, b"%020d" % self.delivered, 0)
        self._saved = self.delivered
        if self.delivered == self.journal.next_frame and self.journal.size > TIDY:
            self.journal.roll()
        self.look()
        while len(self.segments) > 1 and self.segments[1].first <= self.delivered:
            if self.segments[0].number == self._reading:
                self.turn()
            self.segments[0].path.unlink(missing_ok=True)
            del self.segments[0]

    def close(self) -> None:
        """Let go of the files, also when the disk refuses: then OSError is raised afterwards."""
        try:
            self.save()
        finally:
            self.turn()
            self.journal.close()
            os.close(self._position)

    def remove(self) -> None:
        """Delete the directory: everything in it was delivered."""
        self.close()
        for file in self.path.iterdir():
            file.unlink()
        self.path.rmdir()


class Spool:
    """The spool in `dirs`: the first takes new frames, up to `limit` bytes; the others are only read, and first."""

    def __init__(self, dirs: Sequence[Path], limit: int) -> None:
        self._dirs = dirs
        self.limit = limit
        self._logs: list[_Log] = []
        self._runs: deque[tuple[_Log | None, int, int]] = deque()
        self.unsaved = False
        """True when there is something for `save` to write down."""

    def open(self) -> int:
        """Take over what the directories hold; gives how many frames that is. Raises OSError when ours cannot be used."""
        own, *left = self._dirs
        size = max(4096, min(LARGEST_SEGMENT, self.limit // 8))
        for path in left:
            if path.is_dir():
                with contextlib.suppress(JournalBusyError):
                    self._logs.append(_Log(path, size))
        self._own = _Log(own, size)
        self._logs.append(self._own)
        return self.pending

    @property
    def pending(self) -> int:
        """Frames that wait on disk and were not read yet."""
        return sum(each.pending for each in self._logs)

    @property
    def lent(self) -> int:
        """Frames that were read and are not delivered: they are on disk still."""
        return sum(count for source, _, count in self._runs if source is not None)

    @property
    def idle(self) -> bool:
        """True when nothing waits on disk and nothing that was read waits for its delivery."""
        return not self._runs and self.pending == 0

    @property
    def fill(self) -> float:
        """How full it is, 0.0 to 1.0 and a little more."""
        return self._own.nbytes / self.limit

    def append(self, frames: Frames) -> int:
        """Store `frames` at the end; gives how many old frames fell off for that. Raises OSError: nothing is stored."""
        self._own.journal.append(frames)
        lost = 0
        while self._own.nbytes > self.limit and len(self._own.segments) > 1:
            lost += self._own.drop_oldest()
        return lost

    def read(self, queue: Frames, ahead: int, room: int) -> int:
        """Push about `room` bytes of waiting frames to `queue`, which holds `ahead` undelivered frames.

        Gives how many frames were lost because the disk gave back something else than was written. Raises OSError.
        """
        lost = taken = 0
        tracked = sum(count for _, _, count in self._runs)
        if ahead > tracked:
            self._runs.append((None, 0, ahead - tracked))
        while taken < room and self.pending:
            current = next(each for each in self._logs if each.pending)
            block = current.block()
            if block is None:
                if current.finished():
                    current.turn()
                else:
                    lost += current.skip()
                continue
            lost += max(0, block.first - current.next)
            first = max(current.next, block.first)
            for frame in list(block)[first - block.first :]:
                queue.push(bytes(frame))
            current.next = block.first + block.count
            self._runs.append((current, first, current.next - first))
            taken += block.data.nbytes
        return lost

    def delivered(self, count: int) -> None:
        """The first `count` undelivered frames of the queue are delivered."""
        while count and self._runs:
            source, first, frames = self._runs.popleft()
            done = min(count, frames)
            count -= done
            if source is not None:
                source.delivered = max(source.delivered, first + done)
                self.unsaved = True
            if done < frames:
                self._runs.appendleft((source, first + done, frames - done))

    def save(self) -> None:
        """Write down what was delivered; a directory left by another worker goes when it is empty."""
        self.unsaved = False
        for each in self._logs[:-1]:
            if each.delivered == each.journal.next_frame:
                each.remove()
                self._logs.remove(each)
        self._own.save()

    def take_back(self, frames: list[bytes]) -> list[bytes]:
        """The queue with the undelivered `frames` is given up: what came from here waits again.

        Gives those that did not come from here.
        """
        foreign: list[bytes] = []
        at = 0
        for source, _, count in self._runs:
            if source is None:
                foreign += frames[at : at + count]
            at += count
        self._runs.clear()
        for each in self._logs:
            each.next = each.delivered
            each.turn()
        return foreign + frames[at:]

    def close(self) -> None:
        """Let go of the files, also when the disk refuses: then OSError is raised afterwards."""
        with contextlib.ExitStack() as stack:
            for each in self._logs:
                stack.callback(each.close)
            self.save()
