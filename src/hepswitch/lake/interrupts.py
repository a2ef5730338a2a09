"""Interrupts (SIGINT) while a lake is asked: heeded at once, whatever DuckDB or a storage keep the main thread with.

Not here: who sends them (`queries.reader`, a person).
"""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import duckdb

from hepswitch.lake.ranges import CalledOffError

INTERRUPTED = "Query interrupted"
"""What DuckDB's RuntimeError says when a signal came while it was at work, instead of letting KeyboardInterrupt through."""


@contextlib.contextmanager
def heeded(interrupt: Callable[[], None]) -> Iterator[None]:
    """Let a signal call `interrupt` at once, from another thread: DuckDB looks for none while its own have all the work.

    Python tells of a signal through a descriptor as soon as it comes, whatever the main thread does; the exception follows
    when that is back.
    """
    ear, mouth = socket.socketpair()
    mouth.setblocking(False)
    before = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)

    def listen() -> None:
        while ear.recv(64):
            interrupt()

    listener = threading.Thread(target=listen, name="signals", daemon=True)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        mouth.close()
        listener.join()
        ear.close()


def is_one(error: Exception) -> bool:
    """Whether an error says no more than that somebody interrupted."""
    if isinstance(error, duckdb.InterruptException | CalledOffError):
        return True
    return isinstance(error, RuntimeError) and str(error) == INTERRUPTED
