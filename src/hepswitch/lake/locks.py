"""The locks in a lake's folder. The kernel gives one back when the process that holds it ends.

Packets are written and read without any. Not here: the locks of journals (`journal`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from hepswitch import journal

KEEPER = ".lock"
"""Held by the keeper for as long as it lives."""

UPLOADER = ".uploader"
"""Held by the uploader for as long as it lives."""

PAUSE = 0.1


def holding(root: Path, name: str) -> contextlib.AbstractContextManager[bool]:
    """Hold a lock of the lake in `root`: True, or False when another process has it. Raises OSError."""
    journal.make_folder(root)
    return journal.held(os.open(root / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, journal.FILE_MODE))


def waited_for(root: Path, name: str, gone: threading.Event) -> contextlib.ExitStack | None:
    """What holds the lock, as soon as nobody else does; None when `gone` was set before. Raises OSError."""
    while not (held := contextlib.ExitStack()).enter_context(holding(root, name)):
        held.close()
        if gone.wait(PAUSE):
            return None
    return held


@contextlib.contextmanager
def pruning(root: Path) -> Iterator[None]:
    """Be the only one who deletes Parquet files: what one has listed, another must not delete under its hands.

    It is the folder's own lock, so it needs no room on a full disk. Waits for the uploader, which is quick; the uploader
    tries (`journal.unheld`), as the keeper is not. Raises OSError.
    """
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
