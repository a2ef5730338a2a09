"""The ends of remote Parquet files, kept on the local disk: footers and Bloom filters, by which most files are passed over.

A look-up of one call asks every file of the time that is meant, and all but a few say no. What they say it with is at their
ends, 1 to 3 % of their bytes. It is fetched with one or two requests a file, many at once, and then is there for all
processes that may read the folder. Files of a lake never change, so a name, size and time of writing mean the same bytes
for ever. Not here: what an end says (`digest`), reading the rest (`object_files`), waiting (`ranges`).
"""

from __future__ import annotations

import contextlib
import functools
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from xxhash import xxh3_128_hexdigest

from hepswitch.journal import create, make_folder
from hepswitch.lake.digest import Digest, digest, footer
from hepswitch.lake.layout import TEMPORARY
from hepswitch.lake.ranges import Range, Ranges

if TYPE_CHECKING:
    from hepswitch.lake.remote import RemoteFile

LEAST, SHARE = 64 << 10, 64
"""Bytes that are asked for at first: so many, and one of SHARE of the file. A smaller file is kept whole."""

ROOM = 2 << 30
"""Bytes of tails on the disk: those of some 150 GB of Parquet."""

MEMORY = 64 << 20
"""Bytes of tails in memory where there is no disk for them."""

HEAD = struct.Struct("<QI")
"""In front of a tail: where in the file it begins, and the length of the digest that comes first."""

ALL = 16 << 10
"""Bytes of a head with its digest, mostly."""

SUFFIX = ".tail"


def tails_of(root: Path | None) -> Path:
    """Where tails are kept: in the lake's folder for its owner who may write there, else in the user's cache.

    What somebody else made there, root too, its owner might not be able to read.
    """
    if root is not None and os.access(root, os.W_OK | os.X_OK) and root.stat().st_uid == os.geteuid():
        return root / "tails"
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "hepswitch" / "tails"


class Tails:
    """Tails in `folder`, or in memory when it cannot be written. `place`: the storage, in a name of a file."""

    def __init__(self, folder: Path, place: str, ranges: Ranges, room: int = ROOM) -> None:
        self._folder = folder
        self._place = place
        self._ranges = ranges
        self._room = room
        self._memory: dict[str, bytes] = {}
        self._remembered = 0

    def fetch(self, files: Sequence[RemoteFile], begin: Callable[[int], None] = lambda _: None) -> dict[str, OSError]:
        """Fetch what is not there yet; which paths could not be read, and why. `begin` is told how many there are to fetch.

        Raises TimeoutError when the storage says nothing, CalledOffError.
        """
        missing = [file for file in files if not self._has(file)]
        if not missing:
            return {}
        begin(len(missing))
        failed: dict[str, OSError] = {}
        for file, tail in self._ranges.call_many({file: functools.partial(self._fetched, file) for file in missing}):
            if isinstance(tail, OSError):
                failed[file.path] = tail
            elif tail is not None:
                self._remember(file, tail)
        self._make_room()
        return failed

    def may_hold(self, file: RemoteFile, values: Iterable[bytes]) -> bool:
        """Can a packet be in the file whose Call-ID, correlation id or other leg is one of the values?"""
        with self._opened(file) as tail:
            about = None if tail is None else tail.digest()
            return tail is None or about is None or any(about.may_hold(value, tail.read) for value in values)

    def forget(self, file: RemoteFile) -> None:
        """Fetch the tail again the next time: what is kept may not be what was fetched."""
        name = self._name(file)
        self._remembered -= len(self._memory.pop(name, b""))
        with contextlib.suppress(OSError):
            (self._folder / name).unlink()

    def read(self, file: RemoteFile, offset: int, length: int) -> bytes | None:
        """These bytes of the file, when they are in its tail; None when they are not, or it is not there any more."""
        with self._opened(file) as tail:
            found = None if tail is None else tail.read(offset, length)
        return found if found is not None and len(found) == min(length, file.size - offset) else None

    @staticmethod
    def hold_all_of(file: RemoteFile) -> bool:
        """Whether the file is so small that its tail is all of it."""
        return _first(file) == 0

    def _fetched(self, file: RemoteFile) -> bytes | None:
        """The tail of a file; None when it is on the disk now."""
        tail = self._end(file)
        return None if self._is_kept(file, tail) else tail

    def _end(self, file: RemoteFile) -> bytes:
        start = _first(file)
        data = self._ranges.get(Range(file.path, start, file.size - start))
        size = footer(data)
        if size is None or size > file.size:
            return HEAD.pack(start, 0) + data
        data, start = self._with(file, data, start, file.size - size)
        about = digest(data)
        if about is None:
            return HEAD.pack(start, 0) + data
        if start and about.first:
            data, start = self._with(file, data, start, about.first)
        told = msgspec.msgpack.encode(about)
        return HEAD.pack(start, len(told)) + told + data

    def _with(self, file: RemoteFile, data: bytes, start: int, first: int) -> tuple[bytes, int]:
        """The end of the file from `first` on, of which `data` is there from `start` on; and where it begins."""
        if first >= start:
            return data, start
        return self._ranges.get(Range(file.path, first, start - first)) + data, first

    def _has(self, file: RemoteFile) -> bool:
        name = self._name(file)
        return name in self._memory or os.access(self._folder / name, os.R_OK)

    @contextlib.contextmanager
    def _opened(self, file: RemoteFile) -> Iterator[_Tail | None]:
        name = self._name(file)
        if (data := self._memory.get(name)) is not None:
            yield _Tail(lambda offset, length: data[offset : offset + length])
            return
        try:
            fd = os.open(self._folder / name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            yield None
            return
        try:
            yield _Tail(lambda offset, length: os.pread(fd, length, offset))
        finally:
            os.close(fd)

    def _is_kept(self, file: RemoteFile, tail: bytes) -> bool:
        """Write it to the disk; False for somebody else's folder, or a full disk."""
        name = self._name(file)
        temporary = self._folder / f".{name}.{os.getpid()}{TEMPORARY}"
        try:
            make_folder(self._folder)
            with create(temporary) as stream:
                stream.write(tail)
                stream.flush()
                # Else a power failure may leave zeros, and a Bloom filter of zeros knows no call.
                os.fdatasync(stream.fileno())
            temporary.replace(self._folder / name)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            return False
        return True

    def _remember(self, file: RemoteFile, tail: bytes) -> None:
        name = self._name(file)
        self._memory[name] = tail
        self._remembered += len(tail)
        while self._remembered > MEMORY:
            self._remembered -= len(self._memory.pop(next(iter(self._memory))))

    def _make_room(self) -> None:
        """Delete the tails that were fetched first, until a quarter of the room is free."""
        if not os.access(self._folder, os.R_OK | os.W_OK | os.X_OK):
            return
        found = sorted((about.st_mtime, about.st_size, path) for path, about in _files(self._folder))
        total = sum(size for _, size, _ in found)
        if total <= self._room:
            return
        for _, size, path in found:
            if total <= self._room * 3 // 4:
                break
            path.unlink(missing_ok=True)
            total -= size

    def _name(self, file: RemoteFile) -> str:
        return xxh3_128_hexdigest(f"{self._place}\0{file.path}\0{file.size}\0{file.mtime}".encode()) + SUFFIX


class _Tail:
    """A tail that is open. `pread` gives bytes of it, as it is kept, by offset and length."""

    def __init__(self, pread: Callable[[int, int], bytes]) -> None:
        self._pread = pread
        self._head = pread(0, ALL)
        self._start, self._told = HEAD.unpack_from(self._head) if len(self._head) >= HEAD.size else (0, 0)

    def digest(self) -> Digest | None:
        """Its digest; None when the file made no sense, or a crash left none."""
        if not self._told:
            return None
        end = HEAD.size + self._told
        told = self._head[HEAD.size : end] if end <= ALL else self._pread(HEAD.size, self._told)
        try:
            return msgspec.msgpack.decode(told, type=Digest)
        except msgspec.DecodeError:
            return None

    def read(self, offset: int, length: int) -> bytes | None:
        """Bytes of the file; None when they begin in front of the tail."""
        if offset < self._start:
            return None
        return self._pread(HEAD.size + self._told + offset - self._start, length)


def _first(file: RemoteFile) -> int:
    """Where what is asked for at first begins."""
    return max(0, file.size - LEAST - file.size // SHARE)


def _files(folder: Path) -> Iterable[tuple[Path, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                yield Path(entry.path), entry.stat()
