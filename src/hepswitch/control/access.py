"""What every request passes first: who asks, and whether that may be asked.

On a guarded listener (there is a token, or there are users) nothing but /healthz is answered to who shows nothing, and no
answer tells what is there. Elsewhere all who reach it may read, and the kernel says who may change. Whatever is no GET, HEAD
or OPTIONS is a change, so that a way to change something cannot be forgotten here. Not here: the rules themselves
(`control.logins`, `control.visitor`, `control.origin`).
"""

from __future__ import annotations

from functools import partial

from msgspec.json import encode
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hepswitch.control import origin
from hepswitch.control.audit import LOG_IN, Audit
from hepswitch.control.logins import LoginError, Logins, shown
from hepswitch.control.peer import user_of
from hepswitch.control.refusal import RefusedError
from hepswitch.control.visitor import VISITOR, OfThisMachine, Visitor
from hepswitch.control_table import ControlListener

OPEN = b"/healthz"
READING = {"GET", "HEAD", "OPTIONS"}

CHALLENGE = {"WWW-Authenticate": 'Basic realm="hepswitch", charset="UTF-8"'}
LATER = {"Retry-After": "5"}


class Access:
    """An ASGI application that hands on to `app` what may be asked at `listener`. `logins`: None where nobody is asked.

    While `app` answers, `visitor.VISITOR` is who asks.
    """

    def __init__(
        self, app: ASGIApp, listener: ControlListener, logins: Logins | None, audit: Audit, names: list[str]
    ) -> None:
        self._app = app
        self._local = listener.is_local
        self._names = {*names, *filter(None, [listener.endpoint.host.lower()])}
        self._logins = logins
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"no {scope['type']} is spoken here")
        if scope["raw_path"] == OPEN:  # as it was asked for: nothing that only comes to the same
            await self._app(scope, receive, send)
            return
        try:
            visitor = await self._visitor(scope)
            self._check(scope, visitor)
        except LoginError as error:
            answer = _refusal(str(error), error.status, CHALLENGE if error.status == 401 else LATER)
        except RefusedError as error:
            answer = _refusal(str(error), error.status, {})
        else:
            VISITOR.set(visitor)
            await self._app(scope, receive, send)
            return
        await answer(scope, receive, send)

    async def _visitor(self, scope: Scope) -> Visitor:
        client = scope["client"]
        source = client[0] if client else "unix"
        if self._logins is None:
            return _of_this_machine(scope, source)
        try:
            return await self._logins.visitor(shown(scope["headers"], scope["path"], scope["query_string"]), source)
        except LoginError as error:
            if error.shown is not None:
                self._audit.refused(error.shown, source, LOG_IN, "wrong" if error.status == 401 else str(error))
            raise

    def _check(self, scope: Scope, visitor: Visitor) -> None:
        headers, method = Headers(scope=scope), scope["method"]
        if method in READING:
            origin.check_reader(headers, scope["path"], self._names, local=self._local)
            return
        try:
            visitor.check("operate")
            reached = scope["server"][0] if scope["client"] else ""
            origin.check_change(headers, self._names | {reached}, scheme=scope["scheme"])
        except RefusedError as error:
            self._audit.refused(visitor.who, visitor.source, f"{method} {scope['path']}", str(error))
            raise


def _of_this_machine(scope: Scope, source: str) -> OfThisMachine:
    here, there = scope["server"], scope["client"]
    if there is None:
        return OfThisMachine(source, None, lambda: scope["state"].get("uid"))
    return OfThisMachine(source, here[0], partial(user_of, there, here))


def _refusal(words: str, status: int, headers: dict[str, str]) -> Response:
    return Response(encode({"error": words}), status, headers, media_type="application/json")
