"""How a process beside the workers begins and ends, whatever it tends: a lake, or (`databases.loader`) another store.

It is started with the LEVEL and FORMAT of its log as arguments, and ends when its standard input does. Not here: what it
does (`keeper`, `uploader`), who starts it (`processes`).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

from hepswitch import logs

M_MMAP_THRESHOLD = -3
"""malloc.h (glibc): pieces of this size and more are memory of their own, which goes back to the system when freed."""

BIG = 128 << 10
"""Bytes: that size."""


def settle() -> None:
    """Begin, with the log that the arguments say."""
    # Terminals signal every process of a group: the supervisor alone decides what it means.
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    logs.setup(*sys.argv[1:3])
    logs.hand_on_to(sys.stdout.fileno())
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, BIG)


def told_to_end() -> threading.Event:
    """What is set when standard input ends. The first line, a charge, is to be read before."""
    gone = threading.Event()

    def wait_for_the_end() -> None:
        # Not through sys.stdin: Python may end while this waits, and cannot while a thread holds the lock of its buffer.
        while os.read(0, 4096):
            pass
        gone.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    return gone
