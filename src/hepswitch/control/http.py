"""The control listener.

    GET  /             the page: its screens, and /web for their files
    *    /api/v1       the API: `control.api` has the table of its endpoints
    GET  /api/stats    the books, as at /api/v1/stats
    GET  /metrics      the books for Prometheus
    GET  /healthz      ok
    GET  /readyz       whether packets are taken
    POST /mi           JSON-RPC 2.0 for opensips-cli

It runs in the supervisor, so it answers for all workers and never takes time from packets. Not here: what the numbers mean
(`books`), their names as metrics (`control.metrics`), who may ask for what (`control.access`), MI's commands (`control.mi`).
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hepswitch.control import endpoints, jsonrpc, metrics, pages
from hepswitch.control.access import Access
from hepswitch.control.api import Api
from hepswitch.control.audit import Audit
from hepswitch.control.audited import audited
from hepswitch.control.endpoints import json_response, read_body, refuse
from hepswitch.control.listeners import listen
from hepswitch.control.logins import logins_of
from hepswitch.control.mi import MI
from hepswitch.control.mi_commands import COMMANDS
from hepswitch.control.protocol import Switch
from hepswitch.control.refusal import RefusedError
from hepswitch.control.server import Server
from hepswitch.control_table import ControlTable
from hepswitch.queries.library import Library


class Control:
    """`async with Control(…) as url`: serves while the block runs, at the addresses of `table`; `url` is the first of
    them, `urls` has all. OSError names an address that cannot be had, ValueError a certificate that cannot be used.
    """

    def __init__(self, switch: Switch, library: Library, table: ControlTable) -> None:
        audit = Audit(table.audit)
        self._switch = switch = audited(switch, audit)
        self._mi = MI(switch, COMMANDS)
        routes = [
            *pages.routes(),
            *endpoints.routes(Api(switch, library).endpoints),
            Route("/api/stats", self._stats),
            Route("/metrics", self._metrics),
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/mi", self._call, methods=["POST"]),
        ]
        app = Starlette(routes=routes, exception_handlers={RefusedError: refuse, HTTPException: refuse})
        logins = logins_of(table)
        self._listeners = listen(table.listeners)
        self._servers = [
            Server(Access(app, each.listener, logins, audit, table.names), each) for each in self._listeners
        ]
        self.urls = [each.url for each in self._listeners]

    async def __aenter__(self) -> str:
        self._tasks = [asyncio.create_task(server.serve()) for server in self._servers]
        return self.urls[0]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.should_exit = True
        await asyncio.gather(*self._tasks)
        for each in self._listeners:
            each.close()

    def renew_certificates(self) -> None:
        """Read them again, for connections to come. Raises OSError or ValueError; the old ones hold then."""
        for each in self._listeners:
            each.renew()

    async def _stats(self, _: Request) -> Response:
        return json_response(await self._switch.stats())

    async def _metrics(self, _: Request) -> Response:
        book, vitals = await self._switch.stats(), await self._switch.vitals()
        text = await asyncio.to_thread(metrics.exposition, book, vitals)
        return Response(text, media_type=metrics.CONTENT_TYPE)

    async def _healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, _: Request) -> Response:
        missing = self._switch.missing()
        return PlainTextResponse("\n".join(missing or ["ready"]) + "\n", 503 if missing else 200)

    async def _call(self, request: Request) -> Response:
        """JSON-RPC. Its errors are answers like others: the status says only that there is one."""
        said = await jsonrpc.answer(await read_body(request), self._mi.call)
        return Response(status_code=204) if said is None else Response(said, media_type="application/json")
