"""ClickHouse over HTTP: one connection, kept open, one request at a time, by blocking calls.

Not here: what is asked (`clickhouse`), tables (`clickhouse_tables`), the event loop.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import select
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from hepswitch.net.tls import client_context
from hepswitch.units import Endpoint

CONNECT_TIMEOUT = 5.0
ANSWER_TIMEOUT = 30.0
"""Seconds after which a server that neither takes nor says anything counts as away."""

PORTS = {"clickhouse": 8123, "clickhouses": 8443}
HINTS = {
    81: "make it: CREATE DATABASE",
    192: "check the user in url, and password",
    193: "check the user in url, and password",
    194: "check the user in url, and password",
    243: "the server's disk is full",
    252: "inserts come faster than the server merges: make flush longer, connections fewer",
    497: "the user needs SELECT and INSERT, and CREATE TABLE when create = true",
    516: "check the user in url, and password",
}
"""What to do about some codes of system.errors."""

GOES_WITH_US = {"cancel_http_readonly_queries_on_client_close": "1"}
"""What reads ends when its connection does. Otherwise the server goes on with a query that nobody waits for."""

NO_SETTING = {115, 164}
"""Codes that say that the server has no such setting, or that the user (with readonly = 1) may make none."""

LONGEST = 64 << 10
"""Bytes of an error that are read."""


class ClickhouseError(OSError):
    """The server refused: `code` of system.errors, 0 when it is not ClickHouse that says so."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is, out of `clickhouse://USER@HOST[:PORT]/DATABASE[?ca=FILE…]`."""

    endpoint: Endpoint
    database: str
    user: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """The parts of a URL that has been checked (`ClickhouseStore`)."""
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        endpoint = Endpoint(parts.scheme, parts.hostname or "", parts.port or PORTS[parts.scheme], options)
        return cls(endpoint, unquote(parts.path[1:]), unquote(parts.username or "default"))


@dataclass(slots=True)
class Http:
    """The connection. It is made by the first request, and again by the next one after it broke, until it is closed."""

    address: Address
    password: str = ""
    _connection: http.client.HTTPConnection | None = field(default=None, init=False)
    _is_closed: bool = field(default=False, init=False)
    _may_set: bool = field(default=True, init=False)

    def ask(self, method: str, parameters: Mapping[str, str], body: memoryview | bytes = b"") -> bytes:
        """What the server answers to a request with these parameters in its URL.

        `method`: "GET" for what reads, ClickHouse lets it change nothing; "POST" for the rest. ClickhouseError when the
        server refuses, another OSError when it is away or does not answer.
        """
        if method == "GET" and self._may_set:
            try:
                return self._ask(method, {**parameters, **GOES_WITH_US}, body)
            except ClickhouseError as error:
                if error.code not in NO_SETTING:
                    raise
            self._may_set = False
        return self._ask(method, parameters, body)

    def _ask(self, method: str, parameters: Mapping[str, str], body: memoryview | bytes) -> bytes:
        connection = self._open()
        headers: dict[str, str | bytes] = {
            "X-ClickHouse-User": self.address.user.encode(),
            "X-ClickHouse-Key": self.password.encode(),
            "Content-Type": "application/octet-stream",
        }
        query = urlencode({"database": self.address.database, **parameters}, errors="surrogateescape")
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may say why it did not want all of it
                connection.request(method, f"/?{query}", body, headers)
            answer = connection.getresponse()
            if answer.status == http.client.OK:
                return answer.read()
            text = answer.read(LONGEST).decode("utf-8", "replace").strip()
            if not answer.isclosed():
                self._drop()  # the rest of it would stand before the next answer
        except TimeoutError:
            self._drop()
            raise TimeoutError(f"{self.address.endpoint} does not answer within {ANSWER_TIMEOUT:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise OSError(f"{self.address.endpoint}: {why}") from error
        raise self._refusal(answer, text)

    def close(self) -> None:
        """Close it for good. From another thread: a request that waits for the server fails at once."""
        self._is_closed = True
        self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        sock: socket.socket | None = connection.sock
        if sock is not None:
            with contextlib.suppress(OSError):  # it is gone already
                sock.shutdown(socket.SHUT_RDWR)
        connection.close()

    def _open(self) -> http.client.HTTPConnection:
        connection = self._connection
        if connection is not None and connection.sock is not None:
            # Idle connections are closed by servers after some seconds. What can be read now is that, and nothing else.
            poll = select.poll()
            poll.register(connection.sock, select.POLLIN)
            if not poll.poll(0):
                return connection
        self._drop()
        endpoint = self.address.endpoint
        self._connection = connection = self._new()
        try:
            connection.connect()
        except OSError as error:
            self._drop()
            raise OSError(f"{endpoint}: {error.strerror or error}: is ClickHouse there, with HTTP?") from error
        if self._is_closed:
            self._drop()
            raise OSError(f"{endpoint}: the connection was closed")
        connection.sock.settimeout(ANSWER_TIMEOUT)
        connection.auto_open = 0  # what another thread closes stays closed
        return connection

    def _new(self) -> http.client.HTTPConnection:
        endpoint = self.address.endpoint
        if endpoint.scheme == "clickhouse":
            return http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=CONNECT_TIMEOUT)
        try:
            context = client_context(endpoint)
        except ValueError as error:
            raise OSError(str(error)) from error
        return http.client.HTTPSConnection(endpoint.host, endpoint.port, timeout=CONNECT_TIMEOUT, context=context)

    def _refusal(self, answer: http.client.HTTPResponse, text: str) -> ClickhouseError:
        """The error that an answer is."""
        code = answer.headers["X-ClickHouse-Exception-Code"]
        said = re.match(r"(?:Code: (\d+)[.,] )?(?:e\.displayText\(\) = )?(?:DB::Exception: )*(.*)", text, re.DOTALL)
        code = code or (said and said[1])
        if said is None or code is None or not code.isdecimal():
            first = " ".join(text.split())[:200]
            return ClickhouseError(
                0, f"{self.address.endpoint}: HTTP {answer.status} {answer.reason}: {first or 'is it ClickHouse?'}"
            )
        words = re.sub(r",? ?\(?version [^()]*(\([^()]*\))?\)?$|, e\.what\(\) = .*$", "", said[2])
        hint = f": {HINTS[int(code)]}" if int(code) in HINTS else ""
        return ClickhouseError(int(code), f"{self.address.endpoint}: {words[:1000]} (code {code}){hint}")
