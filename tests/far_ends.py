"""Far ends for tests of destinations: sinks over UDP and TCP that can be stopped, reset, stalled and started again."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from hepswitch.books import Snapshot
from hepswitch.wire.chunks import NUMBER
from hepswitch.wire.hep import Hep

DEADLINE = 20.0


async def until(condition: Callable[[], Any], what: str) -> None:
    """Let the loop run until `condition()` is true; AssertionError naming `what` when it does not come in time."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"{what}: did not happen within {DEADLINE} s"
        await asyncio.sleep(0.002)


def packet(number: int, call: str = "c1", size: int = 200, **chunks: Any) -> Hep:
    """A HEPv3 packet whose payload begins with `number`; `call` is its correlation id."""
    payload = f"{number} ".encode().ljust(size, b".")
    chunks = {"src_ip": "192.0.2.1", "dst_ip": "192.0.2.2", "src_port": 1, "dst_port": 2, "proto_type": 100} | chunks
    return Hep.new(payload, correlation_id=call.encode(), **chunks)


def number(frame: bytes) -> int:
    """What `packet` was given."""
    payload = Hep(frame).payload
    assert payload is not None
    return int(payload.split(b" ")[0])


def numbered(frame: bytes, number: int, queue: int = 77, size: int = 16) -> bytes:
    """The HEPv3 packet as a numbered destination sends it; `size`: of the number's chunk, 16 when it is sound."""
    value = (queue.to_bytes(8) + number.to_bytes(8)).ljust(size, b"\0")[:size]
    frame += struct.pack(">HHH", *NUMBER, 6 + size) + value
    return frame[:4] + struct.pack(">H", len(frame)) + frame[6:]


def assert_balanced(row: Snapshot) -> None:
    """An outlet's row and its nodes' rows explain every packet."""
    for account in (row, *row["nodes"].values()):
        explained = account["delivered"] + account["queued"] + account["spooled"] + sum(account["discarded"].values())
        assert account["accepted"] == explained, account
        assert min(account[key] for key in ("accepted", "delivered", "queued", "spooled")) >= 0, account


class UdpSink:
    """A bound datagram socket that is read on demand."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.sock.bind((host, port))
        self.sock.setblocking(False)
        self.port: int = self.sock.getsockname()[1]
        self.url = f"udp://[{host}]:{self.port}" if ":" in host else f"udp://{host}:{self.port}"
        self.frames: list[bytes] = []

    def read(self) -> list[bytes]:
        """Everything that has arrived since the start."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.frames.append(self.sock.recv(65536))
        return self.frames

    def close(self) -> None:
        self.sock.close()


class TcpSink:
    """A TCP or TLS server in the test's loop. `connections[i]`: the bytes that were read from the i-th connection."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self.connections: list[bytearray] = []
        self.reading = asyncio.Event()
        self.reading.set()
        self._tls = tls
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._socks: set[socket.socket] = set()
        self._numbers: list[list[int]] = []
        self._parsed: list[int] = []

    @property
    def url(self) -> str:
        return f"{'tls' if self._tls else 'tcp'}://localhost:{self.port}"

    async def start(self) -> None:
        """Listen; after a stop on the same port again."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        listener.bind(("127.0.0.1", self.port))
        listener.listen()
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self._listener = listener
        # In one turn of the loop: a task that waits for a connection may be cancelled while it is handed one, and lose it.
        asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except (BlockingIOError, ConnectionError):  # it is gone again
            return
        sock.setblocking(False)
        self._socks.add(sock)
        self._spawn(self._serve(sock) if self._tls is None else self._serve_tls(sock, self._tls))

    async def _serve(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        data = bytearray()
        self.connections.append(data)
        while True:
            await self.reading.wait()
            received = await loop.sock_recv(sock, 65536)
            if not received:
                break
            data += received
        self._socks.discard(sock)
        sock.close()

    async def _serve_tls(self, sock: socket.socket, tls: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        data = bytearray()
        try:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock, ssl=tls)
                self.connections.append(data)
                try:
                    while received := await reader.read(65536):
                        data += received
                finally:
                    transport.close()
        finally:
            # The loop closes it in a later turn, also after a handshake that failed.
            await until(lambda: sock.fileno() == -1, "the socket is closed")
            self._socks.discard(sock)

    def say(self, data: bytes) -> None:
        """Send something on each connection that is not over TLS."""
        for sock in self._socks:
            assert sock.send(data) == len(data)

    async def stop(self, *, reset: bool = False) -> None:
        """Stop listening and end every connection: as a closing program does, or with a reset."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for sock in self._socks:
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        self._socks.clear()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    @property
    def connected(self) -> int:
        """TCP connections that have not ended."""
        return len(self._socks)

    @property
    def numbers(self) -> list[list[int]]:
        """The packets of each connection; one that is cut off at the end is left out."""
        for i, data in enumerate(self.connections):
            if i == len(self._numbers):
                self._numbers.append([])
                self._parsed.append(0)
            for frame in split(data[self._parsed[i] :]):
                self._numbers[i].append(number(frame))
                self._parsed[i] += len(frame)
        return self._numbers

    @property
    def received(self) -> set[int]:
        """All packets of all connections."""
        return {each for numbers in self.numbers for each in numbers}


def split(data: bytes | bytearray) -> list[bytes]:
    """The HEPv3 packets of a stream, by their length field alone."""
    frames, at = [], 0
    while len(data) - at >= 6:
        assert data[at : at + 4] == b"HEP3", "the stream lost its framing"
        size = int.from_bytes(data[at + 4 : at + 6], "big")
        if at + size > len(data):
            break
        frames.append(bytes(data[at : at + size]))
        at += size
    return frames


class Link:
    """A way to a server over which its answers get lost while it is `deaf`; what a server says first comes through."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.port = 0
        self.deaf = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, both ways."""
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(await far_reader.read(65536))
        ways = [
            asyncio.create_task(self._forth(reader, far_writer)),
            asyncio.create_task(self._back(far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for each in (writer, far_writer):
                each.transport.abort()

    async def _forth(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if not self.deaf:
                    writer.write(data)
                    await writer.drain()


@contextlib.asynccontextmanager
async def a_link(port: int) -> AsyncIterator[Link]:
    """A running link to a port of loopback."""
    link = Link(port)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(asyncio.CancelledError):
            await link.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    link.port = server.sockets[0].getsockname()[1]
    try:
        yield link
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Cable:
    """What lies between a node and its far end, `target`: a TCP relay in threads of its own that can be cut, mid-frame."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.plugged = True
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._silent: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self.plugged:
                _reset(near)
                continue
            try:
                far = socket.create_connection(self.target)
            except OSError:
                near.close()
                continue
            self._pairs.append((near, far))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        """Pass on what comes, in pieces that end anywhere; an end and a reset are passed on, too."""
        try:
            while data := source.recv(7919):
                sink.sendall(data)
            if sink not in self._silent:
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            for sock in {source, sink}.difference(self._silent):
                _reset(sock)

    def cut(self, *, half: bool = False) -> None:
        """Reset all connections; `half`: the near end's alone, the far end hears nothing of it and keeps what it has."""
        pairs, self._pairs = self._pairs, []
        for near, far in pairs:
            if half:
                self._silent.append(far)
            else:
                _reset(far)
            _reset(near)

    def close(self) -> None:
        self._listener.close()
        self.cut()
        for sock in self._silent:
            _reset(sock)


def _reset(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
