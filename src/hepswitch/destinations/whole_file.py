"""Small JSON files that one process leaves for others to read. They are replaced as a whole, so whoever reads one sees one
state, also of a process that was killed. Not here: what is in them (`position`, `figures`).
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hepswitch.journal import FILE_MODE

T = TypeVar("T")


def read(path: Path, kind: type[T]) -> T | None:
    """What the file says; None when there is none. Raises OSError, and msgspec.DecodeError when it makes no sense."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None


def write(path: Path, said: Any) -> None:
    """Replace the file. Raises OSError; the old one stands then."""
    new = path.with_name(f".{path.name}.new")
    text = msgspec.json.encode(said)
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
        try:
            if os.write(fd, text) != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(new))
        finally:
            os.close(fd)
        new.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
