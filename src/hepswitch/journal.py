"""The journal: an append-only log of frames in a directory of segments. The lake's write-ahead log, an outlet's spool.

A frame is any bytes. Frames are numbered from 0, written in blocks (one write each, checked by a hash) and read back
block by block. docs/architecture.md fixes the bytes. Not here: what a frame means, where a reader stands, when to delete.

A block that is not whole was never stored: `append` either returns or leaves nothing, and a torn tail is cut off by
`recover`. This holds for a crash of the process at any moment; after a power failure the kernel may have kept back what
it had not written yet.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import xxhash

from hepswitch.wire.frames import Frames

MAGIC = b"HSB1"
HEADER = struct.Struct("<4sIIIQQ")
HASHED = 24
"""Bytes of the header before the hash: they are hashed too."""

OPEN, CLOSED, NEW = ".open", ".seg", ".new"
FILE_MODE, FOLDER_MODE = 0o640, 0o750
"""What is captured is personal data: nobody else reads it, and the umask may take away more."""
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors that say that the disk is full."""
LOCK_PATIENCE = 3.0
"""Seconds to wait for another process that is about to leave the journal."""


class JournalBusyError(OSError):
    """Another process writes to this journal."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of a journal. `first` is the number of its first frame; `size` in bytes."""

    path: Path
    number: int
    first: int
    size: int
    closed: bool


@dataclass(frozen=True, slots=True)
class Block:
    """The frames of one write: `data` end to end, with the length of each. `offset` to `end`: its place in the segment."""

    first: int
    lengths: memoryview
    data: memoryview
    offset: int
    end: int

    @property
    def count(self) -> int:
        """How many frames it holds."""
        return len(self.lengths)

    def __iter__(self) -> Iterator[memoryview]:
        """The frames, in order."""
        start = 0
        for length in self.lengths:
            yield self.data[start : start + length]
            start += length


class Journal:
    """The writing end of the journal in directory `path`, which is made if need be; one writer at a time.

    Opening recovers what a killed writer left. `segment_bytes`: a segment that has grown to this size is closed and the
    next one begun. `least_segment`, `least_frame`: numbers of segments and frames start here at the earliest, for readers
    that remember more than is left on disk (none is used twice). `closing` is called with a segment that is about to be
    closed: when it raises OSError, the segment stays open.
    Raises JournalBusyError when somebody else writes to it, OSError when the disk refuses.
    """

    def __init__(
        self,
        path: Path,
        segment_bytes: int = 32 << 20,
        least_segment: int = 0,
        least_frame: int = 0,
        closing: Callable[[Path], None] = lambda _: None,
    ) -> None:
        self.path = path
        self._closing = closing
        self.segment_bytes = segment_bytes
        make_folder(path)
        self._lock = _lock(path)
        self._fd = -1
        try:
            self._start(least_segment, least_frame)
        except BaseException:
            os.close(self._lock)
            raise

    def _start(self, least_segment: int, least_frame: int) -> None:
        self.number, next_frame = recover(self.path, least_segment, self._closing)
        self.next_frame = max(next_frame, least_frame)
        self._enter(self.number)

    def _enter(self, number: int) -> None:
        fd = os.open(self._name(number), os.O_WRONLY)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self.number = number
        self.size = os.fstat(fd).st_size
        self.begun: float | None = None

    def _name(self, number: int) -> Path:
        return self.path / f"{number:012d}{OPEN}"

    @property
    def age(self) -> float:
        """Seconds since the first frame went into the open segment; 0.0 while it is empty."""
        return 0.0 if self.begun is None else time.monotonic() - self.begun

    def append(self, frames: Frames) -> None:
        """Store all of `frames` (which stay as they are) with one write.

        Raises OSError when not everything could be written, and then nothing is stored.
        """
        count = len(frames)
        if not count:
            return
        if self.size >= self.segment_bytes:
            self.roll()
        lengths = frames.lengths()
        with memoryview(frames) as data:
            head = _block_head(self.next_frame, count, lengths, data)
            size = len(head) + len(lengths) + data.nbytes
            written = -1
            try:
                written = os.pwritev(self._fd, [head, lengths, data], self.size)
            finally:
                if written != size:
                    # The next append writes over what got there; readers and `recover` see a torn block until then.
                    with contextlib.suppress(OSError):
                        os.ftruncate(self._fd, self.size)
        if written != size:
            raise OSError(errno.ENOSPC, f"only {written} of {size} bytes could be written", str(self.path))
        self.size += size
        self.next_frame += count
        if self.begun is None:
            self.begun = time.monotonic()

    def roll(self) -> None:
        """Close the segment, if there is a frame in it, and begin the next."""
        if self.size <= HEADER.size:
            return
        full = self._name(self.number)
        self._closing(full)
        # The next one first: the highest number must always be on disk, so that none is used twice.
        self._enter(_create(self.path, self.number + 1, self.next_frame))
        full.rename(full.with_suffix(CLOSED))

    def segments(self) -> list[Segment]:
        """All segments, oldest first; the last one is open."""
        return segments(self.path)

    def close(self) -> None:
        """Let go of the journal. What is in it stays."""
        if self._fd >= 0:
            os.close(self._fd)
            os.close(self._lock)
            self._fd = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()


def make_folder(path: Path) -> None:
    """Make the folder `path`, and those above it that are missing, with FOLDER_MODE."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(FOLDER_MODE, exist_ok=True)


def create(path: Path) -> BinaryIO:
    """`path` opened for writing, emptied; a new file has FILE_MODE."""
    return open(path, "wb", opener=lambda name, flags: os.open(name, flags, FILE_MODE))


def segments(path: Path) -> list[Segment]:
    """The segments of the journal in `path`, oldest first. Files that vanish meanwhile are left out."""
    found = []
    for file in path.iterdir() if path.is_dir() else ():
        if file.suffix not in (OPEN, CLOSED) or not file.stem.isdigit():
            continue
        with contextlib.suppress(FileNotFoundError), file.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            head = stream.read(HEADER.size)
            first = HEADER.unpack(head)[4] if len(head) == HEADER.size else 0
            found.append(Segment(file, int(file.stem), first, size, file.suffix == CLOSED))
    return sorted(found, key=lambda segment: (segment.number, not segment.closed))


def read_blocks(source: Path | BinaryIO, offset: int = 0) -> Iterator[Block]:
    """The blocks of a segment from `offset` (0 or a `Block.end`) on, up to its end or a torn tail.

    `source` is a path or a file opened for reading. A segment that is being written may be read; ask again from the
    last `Block.end` for more. Raises OSError.
    """
    if isinstance(source, Path):
        with source.open("rb") as stream:
            yield from read_blocks(stream, offset)
        return
    fd = source.fileno()
    while len(head := os.pread(fd, HEADER.size, offset)) == HEADER.size:
        magic, count, nbytes, _, first, digest = HEADER.unpack(head)
        start = offset + HEADER.size
        end = start + 4 * count + nbytes
        if magic != MAGIC or end > os.fstat(fd).st_size:
            return
        body = os.pread(fd, end - start, start)
        if len(body) != end - start or _hash(head[:HASHED], body) != digest:
            return
        view = memoryview(body)
        if count:
            yield Block(first, view[: 4 * count].cast("I"), view[4 * count :], offset, end)
        offset = end


def last_frame(segment: Path, offset: int) -> tuple[int, int]:
    """(number after the last frame that a whole block holds, where that block ends), from `offset` (0 or an earlier end) on.

    Blocks' heads alone are read. The number is 0 when there is no block. Raises OSError.
    """
    after = 0
    with segment.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        while len(head := os.pread(stream.fileno(), HEADER.size, offset)) == HEADER.size:
            magic, count, nbytes, _, first, _ = HEADER.unpack(head)
            end = offset + HEADER.size + 4 * count + nbytes
            if magic != MAGIC or end > size:
                break
            after, offset = first + count, end
    return after, offset


def recover(path: Path, least_segment: int = 0, closing: Callable[[Path], None] = lambda _: None) -> tuple[int, int]:
    """Cut off torn tails in `path` and close every segment that holds frames, for a journal nobody writes to. `closing` is
    called with each of them before.

    Returns the number of the one open and empty segment that there is afterwards (at least `least_segment`), and the
    number of the next frame.
    """
    for leftover in path.glob(f"*{NEW}"):
        leftover.unlink()
    found = segments(path)
    next_frame, number = 0, max([least_segment, *(segment.number + 1 for segment in found)])
    close, drop = [], []
    newest_closed = max((segment.number for segment in found if segment.closed), default=-1)
    for segment in found:
        if segment.closed and segment.number != newest_closed:
            continue
        end, whole = _survey(segment)
        next_frame = max(next_frame, segment.first, end)
        if segment.closed:
            continue
        if whole < segment.size:
            os.truncate(segment.path, whole)
        if end > segment.first:
            close.append(segment.path)
        elif whole and segment is found[-1] and segment.number >= least_segment:
            number = segment.number
        else:
            drop.append(segment.path)
    # The open one first: the highest number must always be on disk, so that none is used twice.
    if not (path / f"{number:012d}{OPEN}").exists():
        _create(path, number, next_frame)
    for file in close:
        closing(file)
        file.rename(file.with_suffix(CLOSED))
    for file in drop:
        file.unlink()
    return number, next_frame


def _survey(segment: Segment) -> tuple[int, int]:
    """The number after the segment's last frame, and how many of its bytes are whole blocks."""
    after = segment.first
    with segment.path.open("rb") as stream:
        whole = HEADER.size if stream.read(HEADER.size) == _block_head(segment.first, 0, b"", b"") else 0
        for block in read_blocks(stream):
            after, whole = block.first + block.count, block.end
    return after, whole


def _create(path: Path, number: int, next_frame: int) -> int:
    """Make segment `number`. Its first block is empty: it carries the frame number over to the next process."""
    new = path / f"{number:012d}{NEW}"
    with create(new) as stream:
        stream.write(_block_head(next_frame, 0, b"", b""))
    new.rename(new.with_suffix(OPEN))
    return number


def _block_head(first: int, count: int, lengths: bytes, data: bytes | memoryview) -> bytes:
    head = HEADER.pack(MAGIC, count, len(data), 0, first, 0)[:HASHED]
    return head + _hash(head, lengths, data).to_bytes(8, "little")


def _hash(*parts: bytes | memoryview) -> int:
    state = xxhash.xxh3_64()
    for part in parts:
        state.update(part)
    return state.intdigest()


def unheld(path: Path) -> contextlib.AbstractContextManager[bool]:
    """Hold the lock of the folder `path`, a journal's or another: True, or False when somebody has it. Raises OSError."""
    return held(os.open(path, os.O_RDONLY | os.O_DIRECTORY))


@contextlib.contextmanager
def held(fd: int) -> Iterator[bool]:
    """Hold the lock of an open file, and close it in the end: True, or False when another process has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(fd)


def _lock(path: Path) -> int:
    """A descriptor of directory `path` that holds its lock; the kernel gives it back when the process ends."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(0.02)
                continue
            os.close(fd)
            raise JournalBusyError(
                errno.EBUSY,
                "another process writes to this journal: stop the other switch or give this one its own folder",
                str(path),
            ) from None
        return fd
