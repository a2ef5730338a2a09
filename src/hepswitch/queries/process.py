"""A reader process: answers questions to the stores, one at a time.

Started as `python -m hepswitch.queries.process DESCRIPTOR LEVEL FORMAT` (of its log) with a socket whose first frame is the
`Charge`; it ends when the other side does. SIGINT gives up what is being answered. It works behind what takes packets
(nice), and what a question may take is bounded: DuckDB's memory by DuckDB, all of it by the kernel (RLIMIT_DATA).
Not here: what questions mean (`answering`), when to interrupt (`reader`).
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import sys
from pathlib import Path

import msgspec
import structlog

from hepswitch import logs
from hepswitch.destinations.stores import searchable_store_of
from hepswitch.lake import interrupts
from hepswitch.queries import line
from hepswitch.queries.answering import Asking, BrokenError, refuse
from hepswitch.queries.line import Charge, Head, Line
from hepswitch.queries.questions import KINDS

log = structlog.get_logger("hepswitch.queries")

NICE = 5

TOO_MUCH = "the answer takes more memory than [control] query_memory allows: ask about less time"


class Answering:
    """An answer on its way out (`answering.Out`), in pieces."""

    def __init__(self, to: Line) -> None:
        self._line = to
        self._waiting = bytearray()
        self.begun = False

    def begin(self, head: Head) -> None:
        """Say what comes."""
        self._line.say(line.HEAD, msgspec.json.encode(head))
        self.begun = True

    def write(self, octets: bytes) -> int:
        """Some of it: sent when there is enough."""
        self._waiting += octets
        if len(self._waiting) >= line.PIECE:
            self.flush()
        return len(octets)

    def flush(self) -> None:
        """Send what waits."""
        self._line.tell(self._waiting)
        self._waiting = bytearray()


def serve(to: Line, asking: Asking) -> None:
    """Answer until the other side is gone."""
    while (asked := to.question()) is not None:
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            answer(to, asking, asked)
            end = line.END, b""
        except KeyboardInterrupt:
            end = line.CANCELLED, b""
        except BrokenError as error:
            end = line.BROKEN, str(error).encode("utf-8", "replace")
        if not _deaf():
            end = line.CANCELLED, b""
        to.say(*end)


def _deaf() -> bool:
    """Interrupts mean nothing until the next question. False when one came just now."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        _deaf()
        return False
    return True


def answer(to: Line, asking: Asking, asked: bytes) -> None:
    """Answer one question."""
    out = Answering(to)
    try:
        kind, fields = msgspec.json.decode(asked)
        asking.answer(msgspec.convert(fields, KINDS[kind]), out)
    except MemoryError:
        refuse(out, 503, TOO_MUCH)
    except (BrokenError, ConnectionError):
        raise
    except Exception as error:
        if interrupts.is_one(error):
            raise KeyboardInterrupt from error
        log.exception("a question cannot be answered")
        why = logs.words(error) if isinstance(error, OSError) else f"{type(error).__name__}; the switch's log says more"
        refuse(out, 503, f"the question cannot be answered: {why}")
    out.flush()


def bound(memory: int) -> None:
    """Let the process have `memory` bytes more than it has now."""
    data = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (data + memory, hard))


def main() -> None:
    """Entry point of the process."""
    # Terminals signal every process of a group: the supervisor alone decides what it means.
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    os.nice(NICE)
    logs.setup(*sys.argv[2:4])
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        to = Line(sock)
        first = to.question()
        if first is None:
            return
        charge = msgspec.json.decode(first, type=Charge)
        stores = {name: searchable_store_of(table) for name, table in charge.stores.items()}
        asking = Asking(stores, charge.memory)
        with interrupts.heeded(asking.interrupt):  # before the bound: a thread's stack is memory
            bound(2 * charge.memory)
            to.say(line.READY)
            with contextlib.suppress(ConnectionError):  # the supervisor is gone
                serve(to, asking)
    # Threads of drivers and of DuckDB have nothing to finish.
    os._exit(0)


if __name__ == "__main__":
    main()
