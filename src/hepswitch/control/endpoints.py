"""An endpoint of the API: what it is asked, what it answers, and how both travel in HTTP.

GET reads and POST changes: there is no third kind. Questions are Structs, in the URL of a GET and as JSON in the body of a
POST; answers are JSON, or a Response that an endpoint makes itself. What is not done is answered with `{"error": words}`.
Not here: which endpoints there are (`api`), their description (`openapi`), who may ask (`origin`, `token`).
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_origin

import msgspec
from msgspec import MsgspecError, Struct
from msgspec.json import decode, encode
from msgspec.structs import FieldInfo
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from hepswitch.control.refusal import RefusedError

PREFIX = "/api/v1"

MOST_BODY = 64 << 10
"""Bytes of a request: a change takes a few hundred."""

Reader = Callable[[Request], None]
"""Lets a request pass that reads; raises RefusedError when it may not."""

Body = Callable[[Request], Awaitable[bytes]]
"""Gives the body of a request that may change the switch; raises RefusedError when it may not."""


class Trouble(Struct, frozen=True):
    """Why something was not done."""

    error: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`run` is given an `asks` (nothing when that is None), and gives an `answers`, or a Response of media type `answers`.

    Its docstring says what it is for. `errors` are the statuses it may answer with, beside those that every endpoint has.
    """

    method: Literal["GET", "POST"]
    path: str
    run: Callable[..., Coroutine[Any, Any, Any]]
    asks: type[Struct] | None = None
    answers: Any = dict[str, Any]
    errors: tuple[int, ...] = ()

    @property
    def role(self) -> Literal["read", "operate"]:
        """Who may ask."""
        return "read" if self.method == "GET" else "operate"

    @property
    def summary(self) -> str:
        """What it is for, in a line."""
        return (inspect.getdoc(self.run) or "").partition("\n")[0]

    def route(self, reader: Reader, body: Body) -> Route:
        """It as a route of Starlette."""

        async def answer(request: Request) -> Response:
            if self.method == "POST":
                said = await self.run(self._asked(await body(request)))
            else:
                reader(request)
                asked = self._parameters(request)
                said = await _while_listening(request, self.run() if asked is None else self.run(asked))
            return said if isinstance(said, Response) else json_response(said)

        return Route(PREFIX + self.path, answer, methods=[self.method])

    def _asked(self, body: bytes) -> Struct:
        assert self.asks is not None, "a change says what is to be changed"
        try:
            return decode(body or b"{}", type=self.asks)
        except (MsgspecError, UnicodeDecodeError) as error:
            raise RefusedError(f"{PREFIX}{self.path}: {error}", 400) from error

    def _parameters(self, request: Request) -> Struct | None:
        said = _parameters(request, () if self.asks is None else msgspec.structs.fields(self.asks))
        try:
            return None if self.asks is None else msgspec.convert(said, self.asks, strict=False)
        except MsgspecError as error:
            raise RefusedError(f"{PREFIX}{self.path}: {error}", 400) from error


def _parameters(request: Request, fields: Sequence[FieldInfo]) -> dict[str, Any]:
    """The parameters of the URL; those that may be said several times are lists. Raises RefusedError."""
    kinds = {field.encode_name: field.type for field in fields}
    found: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        if name not in kinds:
            raise RefusedError(f"{name!r} is no parameter here; there are: {', '.join(kinds) or 'none'}", 400)
        if get_origin(kinds[name]) is list:
            found.setdefault(name, []).append(value)
        elif name in found:
            raise RefusedError(f"{name} is said twice", 400)
        else:
            found[name] = value
    return found


async def _while_listening(request: Request, work: Coroutine[Any, Any, Any]) -> Any:
    """What `work` comes to; it is given up when the client goes away. Raises ClientDisconnect then."""
    task = asyncio.create_task(work)
    tasks = task, asyncio.create_task(_leaving(request))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _leaving(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def read_body(request: Request) -> bytes:
    """The body, if it is no longer than MOST_BODY. Raises RefusedError."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BODY:
            raise RefusedError(f"the request has more than {MOST_BODY} bytes", 400)
    return body


def json_response(answer: Any, status: int = 200) -> Response:
    """An answer as JSON."""
    return Response(encode(answer), status, media_type="application/json")


async def refuse(_: Request, error: Exception) -> Response:
    """The answer to what was not done."""
    assert isinstance(error, RefusedError)
    return json_response(Trouble(str(error)), error.status)


async def gone(_: Request, error: Exception) -> Response:
    """The answer that nobody waits for any more."""
    assert isinstance(error, ClientDisconnect)
    return Response(status_code=499)
