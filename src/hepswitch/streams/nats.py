"""Connections to NATS. One that breaks is not mended: its owner makes another, at whichever server of the cluster answers.

Not here: what is published (`databases.nats`) and consumed (`sources.nats`).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.client import Client

from hepswitch.net.tls import client_context
from hepswitch.streams.address import Login, StreamAddress, spelled
from hepswitch.units import Endpoint

CONNECT_TIMEOUT = 3
"""Seconds (whole ones) that a server may take until it is ready to talk."""

PING = 5
"""Seconds between two signs of life; a server that misses two is away."""

GOODBYE = 1.0
"""Seconds that a server may take to be left."""

ERRORS = (nats.errors.Error, OSError)
"""What nats-py raises when a server is away, refuses or does not answer: see `said`."""


async def connect(
    address: StreamAddress,
    login: Login,
    name: str,
    *,
    closed: Callable[[], None] | None = None,
    heard: Callable[[str], None] | None = None,
    **options: Any,
) -> Client:
    """A connection to one of the servers, tried in any order; `name` is what the servers call us in their lists.

    `closed` is called once when the connection is over, whoever ended it; `heard` with what a server complains of, such as a
    right that is missing. `options`: further ones of `Client.connect`. OSError with words when none of the servers takes us.
    """
    failures = []
    for endpoint in random.sample(address.endpoints, len(address.endpoints)):
        try:
            return await _connect(endpoint, login, closed, heard, name=name, **options)
        except OSError as error:
            failures.append(f"{spelled((endpoint.host, endpoint.port))}: {error}")
    raise OSError("; ".join(failures))


async def _connect(
    endpoint: Endpoint,
    login: Login,
    closed: Callable[[], None] | None,
    heard: Callable[[str], None] | None,
    **options: Any,
) -> Client:
    """A connection to one server. OSError with words alone."""
    last: Exception | None = None

    async def hear(error: Exception) -> None:
        nonlocal last
        last = error
        if heard is not None:
            heard(said(error))

    async def close() -> None:
        if closed is not None:
            closed()

    is_tls = endpoint.scheme.endswith("+tls")
    try:
        tls = client_context(endpoint) if is_tls else None
    except (OSError, ValueError) as error:
        raise OSError(said(error)) from error
    client = _TlsClient() if is_tls else _Client()
    try:
        await client.connect(
            [f"{'tls' if is_tls else 'nats'}://{spelled((endpoint.host, endpoint.port))}"],
            error_cb=hear,
            closed_cb=close,
            allow_reconnect=False,
            max_reconnect_attempts=1,  # twice at once, and never again
            reconnect_time_wait=0,
            connect_timeout=CONNECT_TIMEOUT,
            ping_interval=PING,
            tls=tls,
            user=login.user or None,
            password=login.password or None,
            token=login.token or None,
            user_credentials=login.credentials or None,
            **options,
        )
    except BaseException as error:
        await let_go(client)
        if isinstance(error, ModuleNotFoundError):
            raise OSError(f"a credentials file needs {error.name}: pip install 'hepswitch[nats]'") from error
        if isinstance(error, (*ERRORS, ValueError)):
            raise OSError(said(last or error)) from error  # what it raises itself is less exact
        raise
    return client


async def let_go(client: Client) -> None:
    """Close a connection, without waiting for a server that does not answer."""
    with contextlib.suppress(*ERRORS, AssertionError):  # it was not begun, or is over
        async with asyncio.timeout(GOODBYE):
            await client.close()


class _Client(Client):
    """A client that takes whatever header a message has: nats-py itself stops reading for good at some that are none."""

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            found: dict[str, str] | None = await super()._process_headers(headers)
        except (IndexError, UnicodeDecodeError):
            return None
        return found


class _TlsClient(_Client):
    """A client that shows a password over TLS or not at all: nats-py itself does without when the server says so."""

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection and not info.get("tls_required"):
            raise nats.errors.Error("the server has no TLS: write nats://, or switch it on there")
        await super()._process_info(info, initial_connection)


HINTS = {
    "authorization violation": "the server does not know us: check user and password, token or credentials",
    "broken pipe": "the server has closed the connection: it may not know us, or want our certificate",
    "connection reset": "the server has closed the connection: it may not know us, or want our certificate",
    "stream not found": "nobody has made it yet, or it has another name: the store of an edge makes it",
    "no responders": "no stream answers there: JetStream is off, or the stream has no leader at the moment",
}


def said(error: BaseException) -> str:
    """What an error of nats-py says to a person."""
    if isinstance(error, nats.js.errors.APIError) and error.description:
        return error.description
    if isinstance(error, TimeoutError) and not error.errno:
        return "no answer in time"
    text = (getattr(error, "strerror", None) or str(error) or type(error).__name__).removeprefix("nats: ").strip("'")
    return next((f"{text}: {hint}" for start, hint in HINTS.items() if text.lower().startswith(start)), text)
