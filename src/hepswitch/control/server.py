"""uvicorn as the control listener has it: one server an address, plain, with TLS or on a unix socket, its requests bounded
in time and number.

Not here: what is answered (`control.http`), the sockets (`control.listeners`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator
from typing import Any

import h11
import uvicorn
from msgspec.json import encode
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from hepswitch.control.endpoints import Trouble
from hepswitch.control.listeners import Listening

PATIENCE = 15.0
"""Seconds for a request to come whole; a change has some hundred bytes, and a connection that sends nothing waits for
nothing."""
MOST_CONNECTIONS = 512
"""Of one address. When all are taken, one that has asked for nothing yet gives way."""
MOST_HEAD = 256 << 10
"""Bytes of a request line with its headers: the longest question there is, written as a URL writes it."""
HANDSHAKE = 10.0
"""Seconds for TLS."""
STALLED = 30.0
"""Seconds in which a client takes hardly anything of an answer (less than asyncio's buffer for a connection, 64 KiB): then
it is cut off. It would hold a reader process for as long as it liked."""


class Connection(H11Protocol):
    """A connection whose requests have to come, and whose answers have to be taken, in time; and who is at its other end,
    where the kernel says that at once."""

    _deadline: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in H11Protocol
        if len(self.connections) >= MOST_CONNECTIONS:
            idle = next((each for each in self.connections if isinstance(each, Connection) and not each.asks), self)
            idle_transport = transport if idle is self else idle.transport
            idle_transport.abort()
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock.family == socket.AF_UNIX:
            _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            self.app_state = {**self.app_state, "uid": uid}
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._taken()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED, self._too_slow)

    def resume_writing(self) -> None:
        self._taken()
        super().resume_writing()

    def handle_events(self) -> None:
        super().handle_events()
        if self.asks:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        self._wait()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """As there, in the shape that every answer here has."""
        body = encode(
            Trouble(f"{msg.rstrip('.')}: it is broken, or its first line and headers exceed {MOST_HEAD} bytes")
        )
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"), h11.Data(data=body), h11.EndOfMessage()
        ):  # fmt: skip
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    @property
    def asks(self) -> bool:
        """Whether a request has come whole, and is not answered yet."""
        return self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete

    def _wait(self) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(PATIENCE, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _taken(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _too_slow(self) -> None:
        self.transport.abort()


class Server(uvicorn.Server):
    """Serves `app` at an address until `should_exit`."""

    def __init__(self, app: ASGIApp, listening: Listening) -> None:
        self._listening = listening
        config = uvicorn.Config(
            app, http=Connection, ws="none", lifespan="off", loop="none",
            log_config=None, log_level="error", access_log=False, server_header=False,
            timeout_graceful_shutdown=1, h11_max_incomplete_event_size=MOST_HEAD,
            proxy_headers=False,  # else a header would say who asks
        )  # fmt: skip
        super().__init__(config)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the supervisor's."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As there, but for unix sockets and TLS, which uvicorn has for sockets of its own alone."""
        loop, sock, context = asyncio.get_running_loop(), self._listening.socket, self._listening.context

        def connection() -> Connection:
            return Connection(config=self.config, server_state=self.server_state, app_state={})

        if sock.family == socket.AF_UNIX:
            server = await loop.create_unix_server(connection, sock=sock)
        else:
            timeout: dict[str, Any] = {} if context is None else {"ssl_handshake_timeout": HANDSHAKE}
            server = await loop.create_server(connection, sock=sock, ssl=context, **timeout)
        self.servers = [server]
        self.started = True
