"""Channel: one TCP or TLS connection to a far end, non-blocking, that knows what was acknowledged.

The kernel tells how many bytes it still holds for the far end (SIOCOUTQ). Over TLS these are bytes of ciphertext, so a
TLS channel remembers up to which byte of plaintext each record reaches. What the far end sends is read, for who wants it.
Not here: when to connect again, what to send, and who knows the addresses of names.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import ssl
import struct
import termios
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from hepswitch.units import Endpoint

CONNECT_TIMEOUT = 5.0
"""Seconds for one address to answer, and for the TLS handshake."""

USER_TIMEOUT = 60_000
"""Milliseconds that sent data may stay unacknowledged before the kernel gives the connection up (RFC 5482)."""

RECORD = 64 << 10
"""Bytes encrypted at once: several TLS records, one write."""

QUIET = 2.0
"""Seconds after which a far end that ends a TLS connection in order is believed to have read what it was sent."""

OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),  # a write is a batch already: nothing to wait for
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),  # an idle connection must notice a far end that vanished
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)


class Answers(Protocol):
    """What a resolver knows of a name: addresses and ports, in the order in which to try them."""

    @property
    def candidates(self) -> Sequence[tuple[str, int]]: ...


class Resolves(Protocol):
    """Gives the addresses of names: `net.resolve.Resolver`, or whoever else knows them. Raises OSError."""

    async def resolve(self, host: str, port: int) -> Answers: ...


class Channel:
    """A connected TCP socket. Every method raises OSError when the connection is gone."""

    end_proves_reading = True
    """An orderly end says that the far end's program has read everything: else its kernel would have sent a reset."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.heard: Callable[[bytes], None] | None = None
        """Takes what the far end sends. Without it that is thrown away."""

    @property
    def pending(self) -> bool:
        """True while bytes that were taken have not reached the kernel yet."""
        return False

    def write(self, data: memoryview) -> int:
        """How many bytes from the front of `data` were taken; fewer than all when the kernel takes no more."""
        try:
            return self.sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0

    def outstanding(self) -> int:
        """Bytes written that the far end's TCP has not acknowledged. Also right after a break, before `close`."""
        return _held(self.sock)

    def ended(self) -> bool:
        """Read what the far end sent; True when it has ended the connection in order."""
        try:
            while received := self.sock.recv(65536):
                if self._says_goodbye(received):
                    return True
        except (BlockingIOError, InterruptedError):
            return False
        return True

    def lost_nothing(self, error: OSError | None, quiet: float) -> bool:
        """Whether the far end's program has read all that was acknowledged. `error`: why the connection ended, None when
        the far end ended it in order; `quiet`: seconds since the last write.
        """
        # EPIPE: we wrote after its orderly end had arrived.
        orderly = error is None or isinstance(error, BrokenPipeError)
        return orderly and (self.end_proves_reading or quiet > QUIET)

    def _says_goodbye(self, received: bytes) -> bool:
        """What the far end sent. Does it end the connection? Over TCP it cannot."""
        if self.heard is not None:
            self.heard(received)
        return False

    def close(self) -> None:
        """End the connection in order."""
        self.sock.close()


class TlsChannel(Channel):
    """The same over TLS. `handshake` comes before anything else."""

    end_proves_reading = False
    """The far end's TLS library reads on for the goodbye of ours, and throws away what comes before it."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> None:
        super().__init__(sock)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._buffer = bytearray()
        self._encrypted = 0
        self._written = 0
        self._acknowledged = 0
        self._marks: deque[tuple[int, int]] = deque()

    async def handshake(self, loop: asyncio.AbstractEventLoop) -> None:
        """Agree on keys and check certificates. Raises OSError (ssl.SSLError)."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._say(loop)
                received = await loop.sock_recv(self.sock, 65536)
                if not received:
                    raise ConnectionResetError("the far end closed during the TLS handshake") from None
                self._incoming.write(received)
            else:
                return await self._say(loop)

    async def _say(self, loop: asyncio.AbstractEventLoop) -> None:
        said = self._outgoing.read()
        self._encrypted += len(said)
        await loop.sock_sendall(self.sock, said)

    @property
    def pending(self) -> bool:
        """True while ciphertext has not reached the kernel yet."""
        return bool(self._buffer)

    def write(self, data: memoryview) -> int:
        """How many bytes of plaintext were taken; encrypted ahead by one piece at most."""
        taken = 0
        while self._pushed() and taken < len(data):
            taken += self._tls.write(data[taken : taken + RECORD])
            self._encrypt()
            self._marks.append((self._encrypted, self._written + taken))
        self._written += taken
        return taken

    def _encrypt(self) -> None:
        made = self._outgoing.read()
        self._encrypted += len(made)
        self._buffer += made

    def _pushed(self) -> bool:
        """Hand ciphertext to the kernel; True when nothing is left."""
        while self._buffer:
            try:
                del self._buffer[: self.sock.send(self._buffer)]
            except (BlockingIOError, InterruptedError):
                return False
        return True

    def outstanding(self) -> int:
        """Bytes of plaintext written whose whole records the far end's TCP has not acknowledged."""
        reached = self._encrypted - len(self._buffer) - _held(self.sock)
        while self._marks and self._marks[0][0] <= reached:
            self._acknowledged = self._marks.popleft()[1]
        return self._written - self._acknowledged

    def _says_goodbye(self, received: bytes) -> bool:
        """Session tickets and key updates live among what the far end sends; close_notify is its last word."""
        self._incoming.write(received)
        try:
            while said := self._tls.read(65536):
                if self.heard is not None:
                    self.heard(said)
        except ssl.SSLWantReadError:
            self._encrypt()
            self._pushed()
            return False
        return True

    def close(self) -> None:
        """End the connection in order, if it is not broken."""
        with contextlib.suppress(OSError):
            try:
                self._tls.unwrap()
            finally:
                self._encrypt()
                self._pushed()
        super().close()


async def connect(endpoint: Endpoint, resolver: Resolves, context: ssl.SSLContext | None) -> Channel:
    """A channel to the first candidate of `endpoint` that answers. Raises OSError saying why none did."""
    loop = asyncio.get_running_loop()
    trouble: OSError = OSError(f"{endpoint.host} has no address")
    for address, port in (await resolver.resolve(endpoint.host, endpoint.port)).candidates:
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            for level, option, value in OPTIONS:
                sock.setsockopt(level, option, value)
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await loop.sock_connect(sock, (address, port))
            if context is None:
                return Channel(sock)
            channel = TlsChannel(sock, context, endpoint.domain)
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await channel.handshake(loop)
        except TimeoutError:
            trouble = TimeoutError(f"no answer within {CONNECT_TIMEOUT:g} s")
        except OSError as error:
            trouble = error
        except BaseException:
            sock.close()
            raise
        else:
            return channel
        sock.close()
    raise trouble


def _held(sock: socket.socket) -> int:
    """Bytes that the kernel holds until the far end acknowledges them (SIOCOUTQ)."""
    answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    held: int = struct.unpack("i", answer)[0]
    return held
