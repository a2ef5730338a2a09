"""The token of `[control]`: when there is one, who does not show it gets no answer but that of /healthz.

It comes as `Authorization: Bearer TOKEN`, as the password of HTTP Basic (RFC 7617; whatever the user is called), or in the
URL of MI (`/mi?token=TOKEN`), for opensips-cli can say it nowhere else. Not here: what may be asked for without one
(`control.origin`).
"""

from __future__ import annotations

import base64
import contextlib
import hmac
from collections.abc import Iterator

from msgspec.json import encode
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

OPEN = "/healthz"
MI = "/mi"

WORDS = (
    "this switch wants the token of its [control]: send Authorization: Bearer TOKEN (hepswitch ctl: --token), "
    "or ask /mi?token=TOKEN"
)


class TokenGate:
    """An ASGI application that hands on to `app` what comes with the token, and answers 401 to the rest."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != OPEN and not self._shown(Request(scope)):
            refusal = Response(
                encode({"error": WORDS}),
                401,
                {"WWW-Authenticate": 'Basic realm="hepswitch"'},
                media_type="application/json",
            )
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _shown(self, request: Request) -> bool:
        return any(hmac.compare_digest(each.encode(), self._token) for each in _tokens(request))


def _tokens(request: Request) -> Iterator[str]:
    kind, _, said = request.headers.get("authorization", "").partition(" ")
    match kind.lower():
        case "bearer":
            yield said.strip()
        case "basic":
            with contextlib.suppress(ValueError):  # no base64, or no text: no token
                yield base64.b64decode(said.strip(), validate=True).decode().partition(":")[2]
    if request.url.path == MI:
        yield from request.query_params.getlist("token")
