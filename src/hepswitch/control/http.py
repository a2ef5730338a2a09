"""The control listener.

    GET  /metrics           the books for Prometheus
    GET  /healthz           ok
    GET  /api/stats         the books
    GET  /api/dispatcher    every set's policy and nodes
    POST /api/dispatcher    {"set", "node", "state"?, "weight"?, "priority"?}: change a node
    POST /api/reload        {"only"?: "dispatcher"}: read the configuration file again

What is not done is answered with `{"error": words}` (`control.refusal` has the status). It runs in the supervisor, so it
answers for all workers and never takes time from packets. Not here: what the numbers mean (`books`), their names as
metrics (`control.metrics`), who may ask for a change (`control.origin`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterator
from types import TracebackType
from typing import Any, Literal, Protocol, TypeVar

import uvicorn
from msgspec import MsgspecError, Struct
from msgspec.json import decode, encode
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hepswitch.books import Snapshot
from hepswitch.control import metrics, origin
from hepswitch.control.refusal import RefusedError
from hepswitch.destinations.sets import NodeChange
from hepswitch.net.sockets import listen_tcp
from hepswitch.units import Endpoint

T = TypeVar("T")

MOST_BODY = 64 << 10
"""Bytes of a request: a change takes a few hundred."""


class Reloaded(Struct, frozen=True):
    """What came of a reload: keys of the file that differed and hold now, and those that need a restart to hold."""

    changed: list[str]
    restart: list[str]


class Reload(Struct, frozen=True, forbid_unknown_fields=True):
    """What to reload: all that can be, or the dispatcher sets alone."""

    only: Literal["dispatcher"] | None = None


class Switch(Protocol):
    """What the control listener asks of the supervisor."""

    async def stats(self) -> Snapshot:
        """The books of all workers, now."""

    async def dispatcher(self) -> dict[str, Any]:
        """Every set's policy and nodes."""

    async def set_node(self, change: NodeChange) -> None:
        """Make the change in every worker. Raises RefusedError."""

    async def reload(self, only: Collection[str] = ...) -> Reloaded:
        """Read the file again, as far as the keys `only`. Raises RefusedError."""


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
            Route("/api/dispatcher", self._dispatcher),
            Route("/api/dispatcher", self._set_node, methods=["POST"]),
            Route("/api/reload", self._reload, methods=["POST"]),
        ]
        self._host = endpoint.host
        config = uvicorn.Config(
            Starlette(routes=routes, exception_handlers={RefusedError: _refuse}),
            log_config=None, access_log=False, lifespan="off", loop="none",
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

    async def _metrics(self, request: Request) -> Response:
        origin.check_reader(request.headers, self._host)
        return Response(metrics.exposition(await self._switch.stats()), media_type=metrics.CONTENT_TYPE)

    async def _stats(self, request: Request) -> Response:
        origin.check_reader(request.headers, self._host)
        return _json(await self._switch.stats())

    async def _healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _dispatcher(self, request: Request) -> Response:
        origin.check_reader(request.headers, self._host)
        return _json(await self._switch.dispatcher())

    async def _set_node(self, request: Request) -> Response:
        await self._switch.set_node(await self._asked(request, NodeChange))
        return _json({"changed": True})

    async def _reload(self, request: Request) -> Response:
        asked = await self._asked(request, Reload)
        return _json(await (self._switch.reload(["destinations"]) if asked.only else self._switch.reload()))

    async def _asked(self, request: Request, kind: type[T]) -> T:
        """What a request that changes the switch asks for. Raises RefusedError."""
        server = request.scope["server"]
        origin.check(request.headers, self._host, server[0] if server else None)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MOST_BODY:
                raise RefusedError(f"the request has more than {MOST_BODY} bytes", 400)
        try:
            return decode(body or b"{}", type=kind)
        except (MsgspecError, UnicodeDecodeError) as error:
            raise RefusedError(f"{request.url.path}: {error}", 400) from error


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return Response(encode({"error": str(error)}), error.status, media_type="application/json")


def _json(answer: Any) -> Response:
    return Response(encode(answer), media_type="application/json")
