"""The line between the supervisor and a reader process: frames with a kind, a length and that many bytes.

    question  ─▶   Q  a question as JSON: [kind, fields]
              ◀─   H  the head of its answer as JSON: `Head`
              ◀─   D  some bytes of it, as often as there are any
              ◀─   E  the end; or  C  it was cancelled; or  X  it broke off, with the words for the log

The first frame of all is Q with the process's `Charge`, answered by R when it is ready. Not here: who speaks when (`reader`,
`process`).
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import struct
from collections.abc import Iterator
from typing import Any

from msgspec import Struct
from msgspec.json import encode

HEADER = struct.Struct("<cI")
PIECE = 64 << 10
"""Bytes of a D frame at most: what the supervisor has in memory of an answer is a few of them."""

QUESTION, READY, HEAD, DATA, END, CANCELLED, BROKEN = b"Q", b"R", b"H", b"D", b"E", b"C", b"X"


class Head(Struct, frozen=True):
    """The beginning of an answer. `file_name` is safe for a header and for a disk; None: it is shown, not saved."""

    status: int = 200
    media_type: str = "application/json"
    file_name: str | None = None


class Charge(Struct, frozen=True):
    """What a reader process is told first: the stores as `model_dump` writes them, secrets and all, by name."""

    stores: dict[str, dict[str, Any]]
    memory: int


def frame(kind: bytes, body: bytes = b"") -> bytes:
    """One frame."""
    return HEADER.pack(kind, len(body)) + body


def message(kind: bytes, value: Any) -> bytes:
    """A frame of JSON."""
    return frame(kind, encode(value))


async def read(stream: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The next frame: its kind and its bytes. Raises EOFError (IncompleteReadError) when the other side is gone."""
    kind, size = HEADER.unpack(await stream.readexactly(HEADER.size))
    return kind, await stream.readexactly(size)


class Line:
    """The process's side: blocking."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._stream = sock.makefile("rb")

    def question(self) -> bytes | None:
        """The next question; None when there will be none."""
        head = self._stream.read(HEADER.size)
        if len(head) < HEADER.size:
            return None
        _, size = HEADER.unpack(head)
        body = self._stream.read(size)
        return body if len(body) == size else None

    def say(self, kind: bytes, body: bytes = b"") -> None:
        """Send a frame; waits while the other side is slow. Raises OSError when it is gone."""
        with _whole():
            self._socket.sendall(frame(kind, body))

    def tell(self, body: bytes | bytearray) -> None:
        """Send some bytes of the answer, in pieces."""
        for start in range(0, len(body), PIECE):
            self.say(DATA, bytes(body[start : start + PIECE]))


@contextlib.contextmanager
def _whole() -> Iterator[None]:
    """An interrupt takes effect afterwards: who interrupts reads on, and must find whole frames."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt
