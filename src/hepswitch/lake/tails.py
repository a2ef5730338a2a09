"""The ends of remote Parquet files, kept on the local disk: footers and Bloom filters, by which most files are passed over.

A look-up of one call asks every file of the time that is meant, and all but a few say no. What they say it with is at their
ends, 1 to 3 % of their bytes. It is fetched with one request a file, many at once, and then is there for all processes that
may read the folder. Files of a lake never change, so a name, size and time of writing mean the same bytes for ever.
Not here: reading the rest (`object_files`), waiting (`ranges`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xxhash import xxh3_128_hexdigest

from hepswitch.journal import create, make_folder
from hepswitch.lake.layout import TEMPORARY
from hepswitch.lake.ranges import Range, Ranges

if TYPE_CHECKING:
    from hepswitch.lake.remote import RemoteFile

LEAST, SHARE = 128 << 10, 32
"""Bytes of a tail: so many, and one of SHARE of the file. A smaller file is fetched whole."""

ROOM = 2 << 30
"""Bytes of tails on the disk: those of some 200 GB of Parquet."""

MEMORY = 64 << 20
"""Bytes of tails in memory where there is no disk for them."""

SUFFIX = ".tail"


def tails_of(root: Path | None) -> Path:
    """Where tails are kept: in the lake's folder for those who may write there, else in the user's cache."""
    if root is not None and os.access(root, os.W_OK | os.X_OK):
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
        missing = {file.path: file for file in files if not self._has(file)}
        if not missing:
            return {}
        begin(len(missing))
        failed: dict[str, OSError] = {}
        for (path, _, _), found in self._ranges.read_many([_wanted(file) for file in missing.values()]):
            if isinstance(found, OSError):
                failed[path] = found
            else:
                self._keep(missing[path], found)
        self._make_room()
        return failed

    def read(self, file: RemoteFile, offset: int, length: int) -> bytes | None:
        """These bytes of the file, when they are in its tail; None when they are not, or it is not there any more."""
        start = _wanted(file).offset
        if offset < start:
            return None
        name = self._name(file)
        if (data := self._memory.get(name)) is not None:
            return data[offset - start : offset - start + length]
        try:
            fd = os.open(self._folder / name, os.O_RDONLY)
        except OSError:
            return None
        try:
            found = os.pread(fd, length, offset - start)
        finally:
            os.close(fd)
        return found if len(found) == min(length, file.size - offset) else None

    @staticmethod
    def hold_all_of(file: RemoteFile) -> bool:
        """Whether the file is so small that its tail is all of it."""
        return _wanted(file).offset == 0

    def _has(self, file: RemoteFile) -> bool:
        name = self._name(file)
        return name in self._memory or (self._folder / name).exists()

    def _keep(self, file: RemoteFile, data: bytes) -> None:
        name = self._name(file)
        # Somebody else's folder, a full disk: then in memory.
        with contextlib.suppress(OSError):
            make_folder(self._folder)
            temporary = self._folder / f".{name}.{os.getpid()}{TEMPORARY}"
            with create(temporary) as stream:
                stream.write(data)
            temporary.replace(self._folder / name)
            return
        self._memory[name] = data
        self._remembered += len(data)
        while self._remembered > MEMORY:
            self._remembered -= len(self._memory.pop(next(iter(self._memory))))

    def _make_room(self) -> None:
        """Delete the tails that were fetched first, until a quarter of the room is free."""
        if not self._folder.is_dir():
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


def _wanted(file: RemoteFile) -> Range:
    length = min(file.size, LEAST + file.size // SHARE)
    return Range(file.path, file.size - length, length)


def _files(folder: Path) -> Iterable[tuple[Path, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                yield Path(entry.path), entry.stat()
