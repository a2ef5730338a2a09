"""The remote files of a lake as DuckDB reads them: a file system of fsspec that knows these files and nothing else.

DuckDB asks for what it needs of a file: its end, then the row groups that may hold what is looked for, each with one read.
Ends come from `tails`, sizes and times from the listing, so that only those row groups are requests. What went wrong is
remembered with its path, since DuckDB tells of it in words alone. Not here: which files there are (`remote_part`).
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import fsspec  # type: ignore[import-untyped]

from hepswitch.lake.ranges import CalledOffError, Range, Ranges
from hepswitch.lake.tails import Tails

if TYPE_CHECKING:
    from hepswitch.lake.remote import RemoteFile

PROTOCOL = "remote"


class ObjectFiles(fsspec.AbstractFileSystem):  # type: ignore[misc]  # it is untyped
    """Files that were `offered`, by their URLs. Not to be written, not to be listed."""

    protocol = PROTOCOL
    cachable = False

    everything = f"{PROTOCOL}://"
    """What the URLs of all files begin with."""

    def __init__(self, ranges: Ranges, tails: Tails) -> None:
        super().__init__()
        self._ranges = ranges
        self._tails = tails
        self._files: dict[str, RemoteFile] = {}
        self.touched: set[str] = set()
        """Paths of the files of which more than the end was read since `offer`."""
        self.failed: dict[str, OSError] = {}
        """What could not be read since then, and why."""

    def offer(self, files: Iterable[RemoteFile]) -> list[str]:
        """Let these be the files; their URLs."""
        self._files = {f"{PROTOCOL}://{file.path}": file for file in files}
        self.touched, self.failed = set(), {}
        return list(self._files)

    def glob(self, path: str, **_: Any) -> list[str]:
        """The file of this URL, when it is one of ours."""
        return [path] if path in self._files else []

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """What the listing said of a file."""
        return {"name": path, "size": self._file(path).size, "type": "file"}

    def modified(self, path: str) -> datetime:
        """When the file was written."""
        return datetime.fromtimestamp(self._file(path).mtime, UTC)

    def open(self, path: str, mode: str = "rb", **_: Any) -> OpenFile:
        """The file, to be read. Nothing is asked of the storage."""
        if mode != "rb":
            raise PermissionError(f"{path}: a lake's remote files are only read")
        return self.stream(self._file(path))

    def stream(self, file: RemoteFile) -> OpenFile:
        """A file to be read."""
        return OpenFile(self, file)

    def read(self, file: RemoteFile, offset: int, length: int) -> bytes:
        """Bytes of a file, as far as it goes."""
        length = max(0, min(length, file.size - offset))
        if not length:
            return b""
        if (known := self._tails.read(file, offset, length)) is not None:
            return known
        self.touched.add(file.path)
        try:
            return self._ranges.read(Range(file.path, offset, length))
        except OSError as error:
            self.failed[file.path] = error
            raise
        except CalledOffError:
            raise OSError("called off") from None

    def _file(self, path: str) -> RemoteFile:
        if path not in self._files:
            raise FileNotFoundError(f"{path}: no file of this lake")
        return self._files[path]


class OpenFile(io.RawIOBase):
    """One file that is being read."""

    def __init__(self, files: ObjectFiles, file: RemoteFile) -> None:
        self._files = files
        self._file = file
        self._place = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._file.size}[whence]
        return self._place

    def tell(self) -> int:
        """The place."""
        return self._place

    def read(self, size: int = -1) -> bytes:
        """So many bytes from there on."""
        found = self._files.read(self._file, self._place, self._file.size if size < 0 else size)
        self._place += len(found)
        return found

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True
