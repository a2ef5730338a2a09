"""Files that are appended to and rotate: what the `file` and `pcap` destinations share.

    /var/log/fraud.sip?rotate_size=100MiB&rotate_every=1d&keep=10&mode=0600

The name may hold strftime fields (%Y %y %m %d %j %H %M %S, UTC, the packet's own time), in its last part only. A file that
would grow beyond `rotate_size` (0: never) is put aside before, as `fraud.20261123T060102123456Z.sip`; with `rotate_every`
(off unless given) also one that was last written to in an earlier hour, day … of UTC. Beside the file that is written to
`keep` older ones of the same name and date fields stay, those written to last; "all" keeps every one.

Nothing is held open between two appends. Each one locks the file, looks whether it is still the one of that name (logrotate
or another worker may have moved it), and writes whole or cuts off again what it wrote. So workers may share a file. Written
means handed to the kernel: it survives the death of the process, not that of the machine. Not here: what is written.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, urlencode

from hepswitch.destinations.dated import Dated
from hepswitch.units import parse_duration, parse_size

LEAST_SIZE = 1 << 20
"""Of `rotate_size`: more than what is appended at one time."""

LEAST_PERIOD = 60.0

ATTEMPTS = 10
"""To open a file that is there when it is to be made and is not when it is to be opened: others make and move it."""

MOST_KNOWN = 64
"""Files that are remembered as looked at."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where to write: a path (the template of one) and how its files rotate. Sizes in bytes, times in seconds."""

    path: str
    mode: int = 0o600
    rotate_size: int = 100 << 20
    rotate_every: float = 0.0
    keep: int | None = 10

    @classmethod
    def parse(cls, text: str, scheme: str, *also: str) -> tuple[Self, dict[str, str]]:
        """The location in `scheme:/path?options`, and those of the options in `also` that were given.

        ValueError with what is wrong.
        """
        path, _, query = text.removeprefix(f"{scheme}:").partition("?")
        if not text.startswith(f"{scheme}:") or not path or path.endswith("/") or "\0" in path:
            raise ValueError(f"{text!r} names no file: write for example {scheme}:/var/log/fraud.{scheme}")
        if path.startswith("//"):
            host, slash, rest = path[2:].partition("/")
            if host or not slash:
                raise ValueError(f"{text!r} names a host: write {scheme}:/{rest or host}")
            path = f"/{rest}"
        given = dict(parse_qsl(query, keep_blank_values=True))
        options = {key: given.pop(key) for key in also if key in given}
        values: dict[str, object] = {}
        for key, value in given.items():
            if key not in _READERS:
                known = ", ".join((*_READERS, *also))
                raise ValueError(f"{text!r} has the unknown option {key!r}; known here: {known}")
            try:
                values[key] = _READERS[key](value)
            except ValueError as error:
                raise ValueError(f"{text!r}: {key}: {error}") from None
        path = os.path.normpath(path)
        folder, name = os.path.split(path)
        if "%" in folder:
            raise ValueError(f"{text!r} has date fields in its folder: only the last part, {name!r}, may have some")
        Dated(name)
        return cls(path, **values), options  # type: ignore[arg-type]  # (each reader gives its key's type)

    @property
    def query(self) -> str:
        """The options as they are written behind the path; empty when all are the usual ones."""
        usual = type(self)(self.path)
        options = {key: str(getattr(self, key)) for key in _READERS if getattr(self, key) != getattr(usual, key)}
        if self.mode != usual.mode:
            options["mode"] = f"{self.mode:04o}"
        if self.keep is None:
            options["keep"] = "all"
        return urlencode(options)


def _mode(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ValueError(f"{text!r} is no file mode: write for example 0640")
    return int(text, 8)


def _rotate_size(text: str) -> int:
    size = parse_size(text)
    if 0 < size < LEAST_SIZE:
        raise ValueError(f"{text!r} is too small: at least 1MiB, or 0 for no limit")
    return size


def _rotate_every(text: str) -> float:
    seconds = parse_duration(text)
    if 0 < seconds < LEAST_PERIOD:
        raise ValueError(f"{text!r} is too short: at least 1m, or 0 for never")
    return seconds


def _keep(text: str) -> int | None:
    if text == "all":
        return None
    if not re.fullmatch(r"\d{1,6}", text):
        raise ValueError(f'{text!r} is no number of files: write for example 10, or "all"')
    return int(text)


_READERS: dict[str, Callable[[str], object]] = {
    "mode": _mode,
    "rotate_size": _rotate_size,
    "rotate_every": _rotate_every,
    "keep": _keep,
}


class RotatingFile:
    """The files of one location. Every method may block.

    `begins(fd, size)` is called, under the lock, for each file that was not written to before from here, and gives what
    comes first; `size` bytes are there already. It may cut them, or raise OSError when they are not ours: such a file is
    neither written to nor put aside.
    """

    def __init__(self, location: Location, begins: Callable[[int, int], bytes] | None = None) -> None:
        self._location = location
        self._folder, name = os.path.split(location.path)
        self._name = Dated(name)
        self._begins = begins
        stem, dot, suffix = name.rpartition(".") if "." in name.lstrip(".") else (name, "", "")
        rotated = r"(?:\.\d{8}T\d{12}Z)?"
        self._ours = re.compile(Dated(stem).pattern + rotated + re.escape(dot) + Dated(suffix).pattern)
        self._known: dict[str, tuple[int, int]] = {}

    def path_at(self, time_us: int) -> str:
        """The file for a packet of that time."""
        return os.path.join(self._folder, self._name.at(time_us))  # noqa: PTH118 (once a packet)

    def append(self, path: str, data: bytes) -> None:
        """Append `data` to the file, or raise OSError and leave it as it was. Of an empty `data` only the beginning."""
        fd = self._locked(path)
        try:
            begin = self._beginning(fd, path)  # before it is put aside: what is not ours stays where it is
            if self._is_over(os.fstat(fd), len(data)):
                self._put_aside(path)
                old, fd = fd, self._locked(path)
                os.close(old)
                begin = self._beginning(fd, path)
            self._write(fd, path, begin + data)
        finally:
            os.close(fd)  # which unlocks it

    def _locked(self, path: str) -> int:
        """The file of that name, open and locked; made if there is none."""
        while True:
            fd = self._opened(path)
            try:
                if _lock(fd, path):
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def _opened(self, path: str) -> int:
        # Without O_NONBLOCK a pipe would be waited for until somebody reads it.
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
        for _ in range(ATTEMPTS):
            with contextlib.suppress(FileNotFoundError):
                return os.open(path, flags)
            Path(self._folder).mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, self._location.mode)
                os.fchmod(fd, self._location.mode)  # whatever the umask says
                self._remove_oldest(path)
                return fd
        raise OSError(errno.ENOENT, "is a link to nothing, or is moved away as soon as it is there", path)

    def _is_over(self, found: os.stat_result, more: int) -> bool:
        size, every = self._location.rotate_size, self._location.rotate_every
        if not found.st_size:
            return False
        too_large = bool(size) and found.st_size + more > size
        return too_large or (bool(every) and found.st_mtime // every < time.time() // every)

    def _put_aside(self, path: str) -> None:
        now = time.time_ns() // 1000
        while True:
            seconds, fraction = divmod(now, 1_000_000)
            mark = time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds))
            old = Path(path).with_suffix(f".{mark}{fraction:06}Z{Path(path).suffix}")
            if not old.exists():
                Path(path).rename(old)
                return
            now += 1

    def _remove_oldest(self, path: str) -> None:
        """All but the `keep` old files that were written to last."""
        keep = self._location.keep
        if keep is None:
            return
        others = []
        name = os.path.basename(path)  # noqa: PTH119 (as it was made)
        with os.scandir(self._folder or ".") as entries:
            for entry in entries:
                if entry.name != name and self._ours.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    with contextlib.suppress(FileNotFoundError):  # another worker was faster
                        others.append((entry.stat().st_mtime_ns, entry.path))
        for _, old in sorted(others, reverse=True)[keep:]:
            Path(old).unlink(missing_ok=True)

    def _beginning(self, fd: int, path: str) -> bytes:
        """What comes first in the file, unless it was written to before from here."""
        found = os.fstat(fd)
        known = found.st_size and self._known.pop(path, None) == (found.st_dev, found.st_ino)
        return b"" if known or self._begins is None else self._begins(fd, found.st_size)

    def _write(self, fd: int, path: str, data: bytes) -> None:
        found = os.fstat(fd)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(fd, rest) :]
        except OSError:
            os.ftruncate(fd, found.st_size)
            raise
        self._known[path] = found.st_dev, found.st_ino
        if len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]


def _lock(fd: int, path: str) -> bool:
    """Lock the file. False when it was moved away before we had it. OSError when it is none that can be cut, or a trap."""
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "is no regular file", path)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        if _is_planted(path):
            raise OSError(errno.EACCES, "was put there by another user: move it away, or name another folder", path)
        return os.path.samestat(found, os.stat(path))  # noqa: PTH116 (once a batch)
    except FileNotFoundError:
        return False


def _is_planted(path: str) -> bool:
    """Did somebody else put this file, or a link, into a folder where everybody may (/tmp)? What we write would be his, or
    would go where he wants. The kernel (fs.protected_regular) asks the same when files are made, not when they are opened.
    """
    folder = os.stat(os.path.dirname(path) or ".")  # noqa: PTH116, PTH120 (once a batch)
    if not (folder.st_mode & stat.S_ISVTX and folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        return False
    return os.lstat(path).st_uid not in (os.geteuid(), folder.st_uid)
