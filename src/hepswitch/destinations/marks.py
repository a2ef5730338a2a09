"""Marks: which messages of a stream a store has written, so that one that comes again is not written twice.

A message's mark is 16 bytes (`streams.message`). The first record of the message in a journal bears it, and all of the
message is in that record's block (`record_queue`): what the journal has of marks is true, whenever the process dies. Before
a segment is closed, from when on it may be taken and deleted, its marks are put into the file `marks` beside the segments:
16 bytes each, the oldest first. `keep_marks` does it for a segment that a killed writer left, whoever closes it.
The last MOST messages are remembered. One listener's messages go to one worker; when the number of workers has changed it
is another one, which hence knows the marks of all journals of the store.
Not here: the journal (`journal`), what a mark is made of (`streams.message`).
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from hepswitch import journal
from hepswitch.wire.record import marks_in

NAME = "marks"
SIZE = 16
"""Bytes of a mark."""
MOST = 100_000
"""Marks that are remembered of a journal; its file is rewritten when it has twice as many."""


class Marks:
    """The marks of the journal in `folder`, which was just recovered and is this process's own. It begins with those of the
    journals in the folders beside it, too, as they are now: the other workers'.

    Raises OSError.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._order = deque(_read(folder))
        self._written = set(self._order)
        self._unsaved: list[bytes] = []
        others = [path for path in folder.parent.iterdir() if path != folder and path.is_dir()]
        self._elsewhere = _Packed(mark for other in others for mark in _all_of(other))

    def __contains__(self, mark: object) -> bool:
        return mark in self._written or mark in self._elsewhere

    def __len__(self) -> int:
        return len(self._written)

    def add(self, marks: Collection[bytes]) -> None:
        """These messages were written to the open segment."""
        self._order.extend(marks)
        self._written.update(marks)
        self._unsaved += marks
        while len(self._order) > MOST:
            self._written.discard(self._order.popleft())

    def save(self) -> None:
        """The open segment is about to be closed: put its marks into the file. Raises OSError; then it must stay open."""
        _append(self._folder, self._unsaved)
        self._unsaved.clear()


class _Packed(Sequence[bytes]):
    """Marks in order, in a sixth of the memory that a set takes: there may be as many workers more."""

    def __init__(self, marks: Iterable[bytes]) -> None:
        self._data = b"".join(sorted(marks))

    def __len__(self) -> int:
        return len(self._data) // SIZE

    def __getitem__(self, place: Any) -> Any:
        return self._data[place * SIZE : (place + 1) * SIZE]

    def __contains__(self, mark: object) -> bool:
        place = bisect_left(self, mark)
        return place < len(self) and bool(self[place] == mark)


def keep_marks(segment: Path) -> None:
    """Put the marks of a segment, which is about to be closed, into the file beside it. Raises OSError."""
    _append(segment.parent, _in(segment))


def _in(segment: Path) -> list[bytes]:
    return [mark for block in journal.read_blocks(segment) for mark in marks_in(block.data, block.lengths)]


def _all_of(folder: Path) -> list[bytes]:
    """The marks of a journal that another process may be writing to, or closing."""
    found: list[bytes] = []
    # The segments first: one that is closed meanwhile has its marks in the file before it is.
    for segment in journal.segments(folder):
        if not segment.closed:
            try:
                found += _in(segment.path)
            except FileNotFoundError:
                continue
    return _read(folder) + found


def _read(folder: Path) -> list[bytes]:
    """The last marks of the file; what a process that died has left of one is not one."""
    try:
        data = (folder / NAME).read_bytes()
    except FileNotFoundError:
        return []
    end = len(data) - len(data) % SIZE
    return [data[at : at + SIZE] for at in range(max(0, end - MOST * SIZE), end, SIZE)]


def _append(folder: Path, marks: list[bytes]) -> None:
    """Add to the file, all or nothing; it is written anew when it has become long."""
    if not marks:
        return
    fd = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, journal.FILE_MODE)
    try:
        size = os.fstat(fd).st_size
        end = size - size % SIZE
        data = b"".join(marks)
        if end + len(data) <= 2 * MOST * SIZE:
            _write(fd, data, end)
            return
    finally:
        os.close(fd)
    _rewrite(folder, (_read(folder) + marks)[-MOST:])


def _rewrite(folder: Path, marks: list[bytes]) -> None:
    new = folder / f".{NAME}.new"
    fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, journal.FILE_MODE)
    try:
        _write(fd, b"".join(marks), 0)
    except OSError:
        new.unlink()
        raise
    finally:
        os.close(fd)
    new.replace(folder / NAME)


def _write(fd: int, data: bytes, at: int) -> None:
    """All of `data` at `at`; on failure the file ends there. Raises OSError."""
    try:
        while data:
            written = os.pwrite(fd, data, at)
            data, at = data[written:], at + written
    except OSError:
        os.ftruncate(fd, at - at % SIZE)
        raise
