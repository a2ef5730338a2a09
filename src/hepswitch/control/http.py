"""The control listener: `/metrics` (Prometheus), `/api/stats` (the books), `/healthz`.

It runs in the supervisor, so it answers for all workers and never takes time from packets. Not here: what the numbers
mean (`books`), their names as metrics (`control.metrics`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import Protocol

import uvicorn
from msgspec.json import encode
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hepswitch.books import Snapshot
from hepswitch.control import metrics
from hepswitch.net.sockets import listen_tcp
from hepswitch.units import Endpoint


class Switch(Protocol):
    """What the control listener asks of the supervisor."""

    async def stats(self) -> Snapshot:
        """The books of all workers, now."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the supervisor's."""
        yield


class Control:
    """`async with Control(…) as url`: serves while the block runs. OSError names an address that cannot be had."""

    def __init__(self, switch: Switch, endpoint: Endpoint) -> None:
        self._switch = switch
        self._socket = listen_tcp(endpoint)
        self._url = str(Endpoint("http", endpoint.host, self._socket.getsockname()[1]))
        routes = [
            Route("/metrics", self._metrics),
            Route("/api/stats", self._stats),
            Route("/healthz", self._healthz),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes), log_config=None, access_log=False, lifespan="off", loop="none",
            timeout_graceful_shutdown=1, server_header=False, ws="none",
        )  # fmt: skip
        self._server = _Server(config)

    async def __aenter__(self) -> str:
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        return self._url

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        await self._task

    async def _metrics(self, _: Request) -> Response:
        return Response(metrics.exposition(await self._switch.stats()), media_type=metrics.CONTENT_TYPE)

    async def _stats(self, _: Request) -> Response:
        return Response(encode(await self._switch.stats()), media_type="application/json")

    async def _healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")
