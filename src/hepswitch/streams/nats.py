"""Connections to NATS. One that breaks is not mended: its owner makes another, at whichever server of the cluster answers.

Not here: what is published (`databases.nats`) and consumed (`sources.nats`).
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.client import Client

from hepswitch.net.tls import client_context
from hepswitch.streams.address import Login, StreamAddress, spelled

CONNECT_TIMEOUT = 5
"""Seconds (whole ones) that a server may take until it is ready to talk."""

PING = 5
"""Seconds between two signs of life; a server that misses two is away."""

ERRORS = (nats.errors.Error, OSError)
"""What nats-py raises when a server is away, refuses or does not answer: see `said`."""


async def connect(
    address: StreamAddress,
    login: Login,
    name: str,
    *,
    closed: Callable[[], Awaitable[None]] | None = None,
    **options: Any,
) -> Client:
    """A connection to one of the servers, tried in any order; `name` is what the servers call us in their lists.

    `closed` is called once when the connection is over, whoever ended it. `options`: further ones of `Client.connect`.
    OSError with words when none of the servers takes us.
    """
    failures = []
    for endpoint in random.sample(address.endpoints, len(address.endpoints)):
        server = spelled((endpoint.host, endpoint.port))
        heard = _Heard()
        client = Client()
        try:
            await client.connect(
                [f"{'tls' if address.is_tls else 'nats'}://{server}"],
                name=name,
                error_cb=heard,
                closed_cb=closed,
                allow_reconnect=False,
                connect_timeout=CONNECT_TIMEOUT,
                ping_interval=PING,
                tls=client_context(endpoint) if address.is_tls else None,
                user=login.user or None,
                password=login.password or None,
                token=login.token or None,
                user_credentials=login.credentials or None,
                **options,
            )
        except ModuleNotFoundError as error:
            raise OSError(f"a credentials file needs {error.name}: pip install 'hepswitch[nats]'") from error
        except (*ERRORS, ValueError) as error:
            failures.append(f"{server}: {said(heard.error or error)}")
            await _let_go(client)
        except BaseException:
            await _let_go(client)
            raise
        else:
            return client
    raise OSError("; ".join(failures))


class _Heard:
    """Keeps the last error of a connection: what `connect` raises is less exact."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    async def __call__(self, error: Exception) -> None:
        self.error = error


async def _let_go(client: Client) -> None:
    with contextlib.suppress(*ERRORS):  # it is over in any case
        await client.close()


HINTS = {
    "authorization violation": "the server does not know us: check user and password, token or credentials",
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
