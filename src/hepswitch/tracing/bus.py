"""The bus between workers: each hears what the others say, in the order in which each of them said it.

One pair of datagram sockets (AF_UNIX) for each worker, made by the supervisor and handed to all: its worker reads from one
end, the others write to the other. A datagram is one message, whole or not at all, from however many writers; and what a
worker that died has not read, its successor reads. (A pipe would cut a message at 4096 bytes, and a reader that died in the
middle of one would leave the rest of it to its successor.)

What an ear cannot take at once waits in the memory of who says it. Not here: what is said (`sharing`).
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter, deque
from collections.abc import Callable, Mapping

import structlog

from hepswitch.logs import Throttle, words

log = structlog.get_logger("hepswitch.tracing")

MOST_WAITING = 16 << 20
"""Bytes that wait for one worker: one that hangs, or that is being started again."""

BUFFER = 1 << 20
"""Bytes that the kernel is asked to keep for one worker."""

MOST_AT_ONCE = 256
"""Messages that are heard before packets get their turn again."""

LOG_EVERY = 60.0
"""Seconds between two log lines about the same reason why something was not told."""


def make_pairs(workers: int) -> list[tuple[socket.socket, socket.socket]]:
    """For each worker the end that it hears with, and the end that others speak into."""
    pairs = []
    for _ in range(workers):
        ear, mouth = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        mouth.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        pairs.append((ear, mouth))
    return pairs


class Bus:
    """A worker's place at the bus: its `ear`, and the mouths into which it speaks to others, by their number.

    `untold` counts by reason what could not be told to somebody.
    """

    def __init__(self, ear: socket.socket, mouths: Mapping[int, socket.socket]) -> None:
        for sock in (ear, *mouths.values()):
            sock.setblocking(False)
        self._ear = ear
        self._waiting = {worker: _Waiting(mouth) for worker, mouth in mouths.items()}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._throttle = Throttle(LOG_EVERY)
        self.untold = Counter[str]()

    @property
    def others(self) -> frozenset[int]:
        """Numbers of the other workers."""
        return frozenset(self._waiting)

    def listen(self, loop: asyncio.AbstractEventLoop, hear: Callable[[bytes], None], after: Callable[[], None]) -> None:
        """Tell `hear` of every message from now on, and `after` when all that had come is told."""
        self._loop = loop
        loop.add_reader(self._ear, self.read, hear, after)

    def close(self) -> None:
        """Neither hear nor speak any more."""
        if self._loop is not None:
            self._loop.remove_reader(self._ear)
            for waiting in self._waiting.values():
                self._loop.remove_writer(waiting.mouth)
        for sock in (self._ear, *(waiting.mouth for waiting in self._waiting.values())):
            sock.close()

    def read(self, hear: Callable[[bytes], None], after: Callable[[], None]) -> None:
        """Hear what has come, and say when that is all."""
        for _ in range(MOST_AT_ONCE):
            try:
                message = self._ear.recv(BUFFER)
            except BlockingIOError:
                break
            hear(message)
        after()

    def tell_all(self, message: bytes) -> None:
        """Tell every other worker. Never blocks."""
        for worker in self._waiting:
            self.tell(worker, message)

    def tell(self, worker: int, message: bytes) -> None:
        """Tell one of them. Never blocks."""
        waiting = self._waiting[worker]
        if not waiting.messages and self._speak(worker, message):
            return
        if waiting.nbytes + len(message) > MOST_WAITING:
            self._not_told("worker does not listen", worker)
            return
        waiting.push(message)
        if self._loop is not None:
            self._loop.add_writer(waiting.mouth, self._go_on, worker)

    def _speak(self, worker: int, message: bytes) -> bool:
        """False when there is no room: say it later."""
        try:
            self._waiting[worker].mouth.send(message)
        except BlockingIOError:
            return False
        except OSError as error:  # EMSGSIZE: more than the kernel takes as one
            self._not_told(words(error), worker)
        return True

    def _go_on(self, worker: int) -> None:
        waiting = self._waiting[worker]
        while waiting.messages and self._speak(worker, waiting.messages[0]):
            waiting.pop()
        if not waiting.messages and self._loop is not None:
            self._loop.remove_writer(waiting.mouth)

    def _not_told(self, reason: str, worker: int) -> None:
        self.untold[reason] += 1
        unsaid = self._throttle.due(reason)
        if unsaid is not None:
            log.warning(
                "not told to another worker: it may miss messages of a traced call",
                reason=reason, worker=worker, not_logged=unsaid,
            )  # fmt: skip


class _Waiting:
    """What waits to be said into one mouth."""

    def __init__(self, mouth: socket.socket) -> None:
        self.mouth = mouth
        self.messages: deque[bytes] = deque()
        self.nbytes = 0

    def push(self, message: bytes) -> None:
        self.messages.append(message)
        self.nbytes += len(message)

    def pop(self) -> None:
        self.nbytes -= len(self.messages.popleft())
