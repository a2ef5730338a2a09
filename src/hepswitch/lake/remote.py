"""The same files on S3-compatible storage, or in another folder (an NFS mount), where several nodes put theirs.

    PREFIX/date=2026-11-23/hour=07/edge1-w0-000000000001-000000000006.parquet     NODE-wN-FIRST[-LAST]
    PREFIX/nodes/edge1.json                   whose name this is
    PREFIX/uploads/edge1.parquet              a big file on its way
    PREFIX/uploads/edge1.time                 written to know what time it is there

Within one node and worker a file covered by a wider interval is superseded, as in `layout`. Errors of the storage are
RemoteError, in words. Not here: what is uploaded and deleted, and when (`uploader`); queries (`lake`).
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from hepswitch.destinations.remote_url import NODE, RemoteUrl
from hepswitch.journal import create, make_folder
from hepswitch.lake import layout
from hepswitch.logs import words

if TYPE_CHECKING:
    import pyarrow.fs

CONNECT = 5.0
"""Seconds for a connection to be made."""

PATIENCE = 10.0
"""Seconds without a byte after which an attempt has failed. (What was sent counts for some seconds more.)"""

ATTEMPTS = 2
"""How often a request is made before it has failed."""

WHOLE = 8 << 20
"""Bytes: a file up to this size is one request, which the storage takes whole or not at all."""

PIECE = 1 << 20

FEW = 3
"""Hours of a date that are listed each by itself: a listing gives 1000 names and takes its time, however many are wanted."""

_NAME = re.compile(rf"({NODE.pattern})-w(\d+)-(\d{{12}})(?:-(\d{{12}}))?\.parquet")
_ERROR = re.compile(r"AWS Error (\w+) during (\w+) operation: (.*?)(?: \(Request ID: [^)]*\))?$", re.DOTALL)

_MEANT = {
    "NO_SUCH_BUCKET": "there is no such bucket: make it, or write its name right",
    "ACCESS_DENIED": "access denied ({operation}): the key is unknown, or may not do this",
    "INVALID_ACCESS_KEY_ID": "access denied: the storage does not know access_key",
    "SIGNATURE_DOES_NOT_MATCH": "access denied: secret_key is not that of access_key",
}
"""What frequent errors mean to a person."""


class RemoteError(OSError):
    """The storage is away, or does not do what it is asked; `str` says what it was."""


class UnreadableError(OSError):
    """What is to be uploaded cannot be read."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of `node`: segments `first` to `last` of its `worker`.

    `path` as `Remote.filesystem` takes it, `hour` in hours since the epoch (UTC), `size` in bytes, `mtime` (Unix time): when
    it was uploaded.
    """

    path: str
    hour: int
    node: str
    worker: int
    first: int
    last: int
    size: int
    mtime: float


@dataclass(frozen=True)
class Remote:
    """The storage at `url`. Without keys: what the environment, the configuration files of AWS or the machine's role say."""

    url: RemoteUrl
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    patience: float = PATIENCE

    @classmethod
    def parse(cls, url: str, access_key: str = "", secret_key: str = "", patience: float = PATIENCE) -> Remote:
        """Of a URL as in the configuration. Nothing is asked yet. Raises ValueError."""
        return cls(RemoteUrl.parse(url), access_key, secret_key, patience)

    @cached_property
    def filesystem(self) -> pyarrow.fs.FileSystem:
        """The file system of Arrow; what it raises is for `told`. Raises RemoteError."""
        # Late: it costs 20 MiB, and nobody needs it without a remote.
        from pyarrow import fs

        if self.url.is_folder:
            return fs.LocalFileSystem()
        if self.url.endpoint:
            # Else the SDK sends checksums behind the body (aws-chunked), which many servers other than AWS do not know.
            os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
        scheme, _, address = self.url.endpoint.rstrip("/").partition("://")
        said = {
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "region": self.url.region,
            "scheme": scheme,
            "endpoint_override": address,
            "tls_ca_file_path": self.url.ca,
        }
        options: dict[str, Any] = {name: value for name, value in said.items() if value}
        try:
            with self.told():
                return fs.S3FileSystem(
                    connect_timeout=CONNECT,
                    request_timeout=self.patience,
                    retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
                    # In the background nothing bounds what waits to be sent.
                    background_writes=False,
                    # A small file is one request then, made when it is closed.
                    allow_delayed_open=True,  # type: ignore[call-arg]  # the stubs are older
                    **options,
                )
        except ImportError as error:
            raise RemoteError(f"{self}: this pyarrow was built without S3: install the one of PyPI") from error

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Let what the storage says be a RemoteError in words; that a file is not there stays FileNotFoundError."""
        try:
            yield
        except (FileNotFoundError, RemoteError, UnreadableError):
            raise
        except (OSError, ValueError, NotImplementedError) as error:  # the bases of what Arrow raises
            raise RemoteError(f"{self}: {_meaning(error)}") from error

    def __str__(self) -> str:
        at = f" at {self.url.endpoint}" if self.url.endpoint else ""
        return f"{self.url.scheme}://{self.url.root}{at}"

    # ── what is there ──────────────────────────────────────────────────────────────────────────────────────────────

    def files(self, wanted: Callable[[int], bool] = lambda _: True) -> list[RemoteFile]:
        """The files that count, of all nodes, of the hours (since the epoch) that are `wanted`, by hour.

        One listing finds the dates; one more for each date, or for each hour of it when they are few. Raises RemoteError.
        """
        found: list[RemoteFile] = []
        for date in self.dates():
            found += self.of_date([hour for hour in range(date, date + 24) if wanted(hour)])
        return counting(found)

    def of_date(self, hours: Sequence[int]) -> list[RemoteFile]:
        """All files of some hours of one date, superseded ones included; of more than FEW by one listing of the whole date.

        Raises RemoteError.
        """
        if len(hours) <= FEW:
            return [file for hour in hours for file in self.listing(hour)]
        return [file for file in self._listed(self._date(hours[0])) if file.hour in hours]

    def dates(self) -> list[int]:
        """The first hour (since the epoch) of each date that there is, in their order. Raises RemoteError."""
        found = {layout.hour_of(info.base_name, "hour=00") for info in self._entries(self.url.root)}
        if not found and self.read(f"nodes/{secrets.token_hex(8)}.json") is not None:
            # The page of a proxy, say, which to Arrow is an empty list.
            raise RemoteError(f"{self}: gives what is not there: it is no storage that answers")
        return sorted(hour for hour in found if hour is not None)

    def listing(self, hour: int) -> list[RemoteFile]:
        """All files of an hour, superseded ones included. Raises RemoteError."""
        return self._listed(self.folder(hour))

    def folder(self, hour: int) -> str:
        """Where the packets of `hour` (hours since the epoch) are."""
        return str(layout.folder(Path(self.url.root), hour))

    def path_of(self, node: str, file: layout.LakeFile) -> str:
        """Where the file of a lake's folder belongs, as one of `node`."""
        return f"{self.folder(file.hour)}/{node}-{file.path.name}"

    def _date(self, hour: int) -> str:
        return str(Path(self.folder(hour)).parent)

    def _listed(self, path: str) -> list[RemoteFile]:
        found = (_remote_file(info) for info in self._entries(path, recursive=True))
        # A copy of a lake that somebody keeps further below would be there twice.
        return [file for file in found if file is not None and file.path.rpartition("/")[0] == self.folder(file.hour)]

    def _entries(self, path: str, recursive: bool = False) -> list[pyarrow.fs.FileInfo]:
        from pyarrow import fs

        self._check_folder()
        try:
            with self.told():
                return self.filesystem.get_file_info(fs.FileSelector(path, recursive=recursive))
        except FileNotFoundError:
            return []

    def _check_folder(self) -> None:
        """It is never made: where nothing is mounted, files would go to another disk."""
        if self.url.is_folder and not Path(self.url.root).is_dir():
            raise RemoteError(f"{self}: there is no such folder: mount it, or make it")

    # ── what is done there ─────────────────────────────────────────────────────────────────────────────────────────

    def put(self, source: BinaryIO, size: int, path: str, node: str) -> None:
        """Bring the `size` bytes of `source` to `path`, where all of them appear at once.

        Whatever ends it early, nothing is there, or what was there before. `node` does one at a time. Raises RemoteError,
        and UnreadableError when `source` cannot be read.
        """
        self._check_folder()
        if size <= WHOLE and not self.url.is_folder:
            # Read first: an upload that is let go half-way is taken for a whole one by Arrow.
            self._write(path, [_exactly(source, size)])
        else:
            temporary = f"{self.url.root}/uploads/{node}.parquet"
            self._write(temporary, _pieces(source, size))
            self._check_size(temporary, size)
            with self.told():
                self._publish(temporary, path)
        self._check_size(path, size)

    def _write(self, path: str, pieces: Iterable[bytes]) -> None:
        if not self.url.is_folder:
            with self.told(), self.filesystem.open_output_stream(path) as stream:
                for piece in pieces:
                    stream.write(piece)
            return
        with self.told():
            make_folder(Path(path).parent)
            with create(Path(path)) as file:
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())

    def _publish(self, temporary: str, path: str) -> None:
        if self.url.is_folder:
            make_folder(Path(path).parent)
            Path(temporary).replace(path)
        else:
            self.filesystem.copy_file(temporary, path)

    def _check_size(self, path: str, size: int) -> None:
        with self.told():
            found = self.filesystem.get_file_info(path).size
        if found != size:
            raise RemoteError(f"{self}: {path} has {found} bytes after an upload of {size}")

    def delete(self, path: str) -> None:
        """Delete a file; it may be gone already. Raises RemoteError."""
        self._check_folder()
        with self.told(), contextlib.suppress(FileNotFoundError):
            self.filesystem.delete_file(path)
        if self.url.is_folder:
            for folder in list(Path(path).parents)[:2]:
                # Not empty is the usual case, and the answer.
                with contextlib.suppress(OSError):
                    folder.rmdir()

    def now(self, node: str) -> float:
        """What the storage's clock says (Unix time): that of `RemoteFile.mtime`. Raises RemoteError."""
        path = f"uploads/{node}.time"
        self.write(path, b"now\n")
        with self.told():
            return (self.filesystem.get_file_info(f"{self.url.root}/{path}").mtime_ns or 0) / 1e9

    def read(self, path: str) -> bytes | None:
        """A small file below the root; None when there is none. Raises RemoteError."""
        self._check_folder()
        with self.told():
            try:
                with self.filesystem.open_input_stream(f"{self.url.root}/{path}") as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                return None

    def write(self, path: str, content: bytes) -> None:
        """Replace a small file below the root. Raises RemoteError."""
        self._check_folder()
        self._write(f"{self.url.root}/{path}", [content])


def counting(files: Iterable[RemoteFile]) -> list[RemoteFile]:
    """Those that no other file of the same hour, node and worker covers, by hour."""
    kept: list[RemoteFile] = []
    ordered = sorted(files, key=lambda file: (file.hour, file.node, file.worker, file.first, -file.last))
    for _, group in groupby(ordered, key=lambda file: (file.hour, file.node)):
        alike = list(group)
        gone = set(layout.superseded(alike))
        kept += [file for file in alike if file not in gone]
    return kept


def _remote_file(info: pyarrow.fs.FileInfo) -> RemoteFile | None:
    date, hour_name, name = info.path.split("/")[-3:] if info.path.count("/") >= 2 else ("", "", "")
    match, hour = _NAME.fullmatch(name), layout.hour_of(date, hour_name)
    if match is None or hour is None or not info.is_file:
        return None
    first = int(match[3])
    mtime = (info.mtime_ns or 0) / 1e9
    return RemoteFile(info.path, hour, match[1], int(match[2]), first, int(match[4] or first), info.size, mtime)


def _exactly(source: BinaryIO, size: int) -> bytes:
    return b"".join(_pieces(source, size))


def _pieces(source: BinaryIO, size: int) -> Iterator[bytes]:
    left = size
    while left:
        try:
            piece = source.read(min(PIECE, left))
        except OSError as error:
            raise UnreadableError(words(error)) from error
        if not piece:
            raise UnreadableError(f"{left} bytes are missing at its end")
        left -= len(piece)
        yield piece


def _meaning(error: Exception) -> str:
    text = words(error)
    match = _ERROR.search(text)
    if match is None:
        return text
    kind, operation, said = match.groups()
    return _MEANT.get(kind, said.strip() or kind).format(operation=operation)
