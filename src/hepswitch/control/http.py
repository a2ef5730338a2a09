"""The control listener.

    GET  /             the page: its screens, and /web for their files
    *    /api/v1       the API: `control.api` has the table of its endpoints
    GET  /api/stats    the books, as at /api/v1/stats
    GET  /metrics      the books for Prometheus
    GET  /healthz      ok
    GET  /readyz       whether packets are taken
    POST /mi           JSON-RPC 2.0 for opensips-cli

It runs in the supervisor, so it
answers for all workers and never takes time from packets. Not here: what the numbers mean (`books`), their names as
metrics (`control.metrics`), who may ask for a change (`control.origin`, `control.token`), MI's commands (`control.mi`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from types import TracebackType

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hepswitch.control import jsonrpc, metrics, origin, pages
from hepswitch.control.api import Api
from hepswitch.control.endpoints import gone, json_response, read_body, refuse
from hepswitch.control.mi import MI
from hepswitch.control.mi_commands import COMMANDS
from hepswitch.control.peer import user_of
from hepswitch.control.protocol import Switch
from hepswitch.control.refusal import RefusedError
from hepswitch.control.token import TokenGate
from hepswitch.net.sockets import listen_tcp
from hepswitch.units import Endpoint


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the supervisor's."""
        yield


class Control:
    """`async with Control(…) as url`: serves while the block runs. OSError names an address that cannot be had.

    `token`: what everybody has to show; None: nothing, and changes are for root and our own user on this machine.
    """

    def __init__(self, switch: Switch, endpoint: Endpoint, token: str | None = None) -> None:
        self._switch = switch
        self._mi = MI(switch, COMMANDS)
        self._socket = listen_tcp(endpoint)
        self._url = str(Endpoint("http", endpoint.host, self._socket.getsockname()[1]))
        self._host = endpoint.host
        self._guarded = token is not None
        api = Api(switch)
        routes = [
            *pages.routes(),
            *(endpoint.route(self._reader, self._body) for endpoint in api.endpoints),
            Route("/api/stats", self._stats),
            Route("/metrics", self._metrics),
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/mi", self._call, methods=["POST"]),
        ]
        config = uvicorn.Config(
            Starlette(
                routes=routes,
                middleware=[Middleware(TokenGate, token=token)] if token is not None else [],
                exception_handlers={RefusedError: refuse, ClientDisconnect: gone},
            ),
            log_config=None, access_log=False, lifespan="off", loop="none",
            timeout_graceful_shutdown=1, server_header=False, ws="none",
            proxy_headers=False,  # else a header would say who asks
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

    async def _stats(self, request: Request) -> Response:
        self._reader(request)
        return json_response(await self._switch.stats())

    async def _metrics(self, request: Request) -> Response:
        self._reader(request)
        book, vitals = await self._switch.stats(), await self._switch.vitals()
        text = await asyncio.to_thread(metrics.exposition, book, vitals)
        return Response(text, media_type=metrics.CONTENT_TYPE)

    async def _healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, request: Request) -> Response:
        self._reader(request)
        missing = self._switch.missing()
        return PlainTextResponse("\n".join(missing or ["ready"]) + "\n", 503 if missing else 200)

    def _reader(self, request: Request) -> None:
        """Let a request pass that only reads. Raises RefusedError."""
        origin.check_reader(request.headers, self._host)

    async def _body(self, request: Request) -> bytes:
        """The body of a request that may change the switch. Raises RefusedError."""
        here, there = request.scope["server"], request.scope["client"]
        user = user_of(there, here) if here and there and not self._guarded else None
        origin.check(request.headers, self._host, here[0] if here else None, guarded=self._guarded, user=user)
        return await read_body(request)

    async def _call(self, request: Request) -> Response:
        """JSON-RPC. Its errors are answers like others: the status says only that there is one."""
        said = await jsonrpc.answer(await self._body(request), self._mi.call)
        return Response(status_code=204) if said is None else Response(said, media_type="application/json")
