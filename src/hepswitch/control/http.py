"""The control listener.

    GET  /metrics             the books for Prometheus
    GET  /healthz             ok
    GET  /api/stats           the books
    GET  /api/v1/me           {"user", "role"}: who asks
    GET  /api/dispatcher      every set's policy and nodes
    POST /api/dispatcher      {"set", "node", "state"?, "weight"?, "priority"?}: change a node
    POST /api/reload          {"only"?: "dispatcher"}: read the configuration file again
    GET  /api/capture         {"on"}: whether packets are stored
    POST /api/capture         {"on"}: store them, or do not
    GET  /api/traces          the traces with their figures
    POST /api/traces          start a dynamic trace: `TraceStart`
    POST /api/traces/stop     {"id"}: stop a dynamic trace
    POST /api/traces/switch   {"on", "id"?}: switch tracing, or one trace of the file, on or off
    POST /mi                  JSON-RPC 2.0 for opensips-cli

What is not done is answered with `{"error": words}` (`control.refusal` has the status). It runs in the supervisor, so it
answers for all workers and never takes time from packets. Not here: what the numbers mean (`books`), their names as
metrics (`control.metrics`), who may ask for what (`control.access`), MI's commands (`control.mi`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Literal, TypeVar

from msgspec import MsgspecError, Struct
from msgspec.json import decode, encode
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hepswitch.control import jsonrpc, metrics
from hepswitch.control.access import Access
from hepswitch.control.audit import Audit
from hepswitch.control.audited import audited
from hepswitch.control.listeners import listen
from hepswitch.control.logins import logins_of
from hepswitch.control.mi import MI
from hepswitch.control.mi_commands import COMMANDS
from hepswitch.control.protocol import Switch
from hepswitch.control.refusal import RefusedError
from hepswitch.control.server import Server
from hepswitch.control.visitor import VISITOR
from hepswitch.control_table import ControlTable
from hepswitch.destinations.sets import NodeChange
from hepswitch.tracing.dynamic import TraceStart

T = TypeVar("T")

MOST_BODY = 64 << 10
"""Bytes of a request: a change takes a few hundred."""


class Reload(Struct, frozen=True, forbid_unknown_fields=True):
    """What to reload: all that can be, or the dispatcher sets alone."""

    only: Literal["dispatcher"] | None = None


class Capture(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether packets are to be stored."""

    on: bool


class TraceStop(Struct, frozen=True, forbid_unknown_fields=True):
    """The dynamic trace to stop."""

    id: str


class TraceSwitch(Struct, frozen=True, forbid_unknown_fields=True):
    """Tracing as a whole, or one trace of the file, on or off."""

    on: bool
    id: str | None = None


class Control:
    """`async with Control(…) as url`: serves while the block runs, at the addresses of `table`; `url` is the first of
    them, `urls` has all. OSError names an address that cannot be had, ValueError a certificate that cannot be used.
    """

    def __init__(self, switch: Switch, table: ControlTable) -> None:
        audit = Audit(table.audit)
        self._switch = switch = audited(switch, audit)
        self._mi = MI(switch, COMMANDS)
        routes = [
            Route("/metrics", self._metrics),
            Route("/healthz", self._healthz),
            self._told("/api/stats", switch.stats),
            self._told("/api/v1/me", self._me),
            self._told("/api/dispatcher", switch.dispatcher),
            self._done("/api/dispatcher", NodeChange, self._set_node),
            self._done("/api/reload", Reload, self._reload),
            self._told("/api/capture", self._capture),
            self._done("/api/capture", Capture, self._set_capture),
            self._told("/api/traces", switch.traces),
            self._done("/api/traces", TraceStart, self._start_trace),
            self._done("/api/traces/stop", TraceStop, self._stop_trace),
            self._done("/api/traces/switch", TraceSwitch, self._switch_traces),
            Route("/mi", self._call, methods=["POST"]),
        ]
        app = Starlette(routes=routes, exception_handlers={RefusedError: _refuse})
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

    # ── what is told ───────────────────────────────────────────────────────────────────────────────────────────────

    def _told(self, path: str, tell: Callable[[], Awaitable[Any]]) -> Route:
        async def answer(_: Request) -> Response:
            return _json(await tell())

        return Route(path, answer)

    async def _metrics(self, _: Request) -> Response:
        return Response(metrics.exposition(await self._switch.stats()), media_type=metrics.CONTENT_TYPE)

    async def _healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _me(self) -> dict[str, Any]:
        visitor = VISITOR.get()
        return {"user": visitor.user, "role": visitor.role}

    async def _capture(self) -> Capture:
        return Capture(self._switch.capturing)

    # ── what is done ───────────────────────────────────────────────────────────────────────────────────────────────

    def _done(self, path: str, kind: type[T], do: Callable[[T], Awaitable[Any]]) -> Route:
        """A change: `do` what was asked for, a `kind`."""

        async def answer(request: Request) -> Response:
            body = await self._body(request)
            try:
                asked = decode(body or b"{}", type=kind)
            except (MsgspecError, UnicodeDecodeError) as error:
                raise RefusedError(f"{path}: {error}", 400) from error
            return _json(await do(asked))

        return Route(path, answer, methods=["POST"])

    async def _body(self, request: Request) -> bytes:
        """The body of a request. Raises RefusedError."""
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MOST_BODY:
                raise RefusedError(f"the request has more than {MOST_BODY} bytes", 400)
        return body

    async def _set_node(self, asked: NodeChange) -> dict[str, Any]:
        await self._switch.set_node(asked)
        return {"changed": True}

    async def _reload(self, asked: Reload) -> Any:
        return await (self._switch.reload(["destinations"]) if asked.only else self._switch.reload())

    async def _set_capture(self, asked: Capture) -> Capture:
        await self._switch.set_capture(asked.on)
        return asked

    async def _start_trace(self, asked: TraceStart) -> dict[str, Any]:
        await self._switch.start_trace(asked)
        return {"started": asked.id}

    async def _stop_trace(self, asked: TraceStop) -> dict[str, Any]:
        await self._switch.stop_trace(asked.id)
        return {"stopped": asked.id}

    async def _switch_traces(self, asked: TraceSwitch) -> TraceSwitch:
        await self._switch.set_tracing(asked.on, asked.id)
        return asked

    async def _call(self, request: Request) -> Response:
        """JSON-RPC. Its errors are answers like others: the status says only that there is one."""
        said = await jsonrpc.answer(await self._body(request), self._mi.call)
        return Response(status_code=204) if said is None else Response(said, media_type="application/json")


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return Response(encode({"error": str(error)}), error.status, media_type="application/json")


def _json(answer: Any) -> Response:
    return Response(encode(answer), media_type="application/json")
