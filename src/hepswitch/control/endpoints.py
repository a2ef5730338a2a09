"""An endpoint of the API: what it is asked, what it answers, and how both travel in HTTP.

GET reads and POST changes: there is no third kind. Questions are Structs, in the URL of a GET and as JSON in the body of a
POST; answers are JSON, or a Response that an endpoint makes itself. What is not done is answered with `{"error": words}`.
Not here: which endpoints there are (`api`), their description (`openapi`), who may ask (`access`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from msgspec import MsgspecError, Struct
from msgspec.json import decode, encode
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hepswitch.control.refusal import RefusedError
from hepswitch.queries.questions import read

PREFIX = "/api/v1"

MOST_BODY = 64 << 10
"""Bytes of a request: a change takes a few hundred."""


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


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

    async def answer(self, request: Request) -> Response:
        """The response to a request."""
        if self.method == "POST":
            said = await self.run(self._asked(await read_body(request)))
        else:
            asked = self._parameters(request)
            said = await (self.run() if self.asks is None else self.run(asked))
        return said if isinstance(said, Response) else json_response(said)

    def _asked(self, body: bytes) -> Struct:
        assert self.asks is not None, "a change says what is to be changed"
        try:
            return decode(body or b"{}", type=self.asks)
        except (MsgspecError, UnicodeDecodeError) as error:
            raise RefusedError(f"{PREFIX}{self.path}: {error}", 400) from error

    def _parameters(self, request: Request) -> Struct:
        try:
            return read(self.asks or Nothing, request.query_params.multi_items())
        except ValueError as error:
            raise RefusedError(f"{PREFIX}{self.path}: {error}", 400) from error


def routes(endpoints: Iterable[Endpoint]) -> Iterator[Route]:
    """The endpoints as routes of Starlette, one for each path."""
    paths: dict[str, dict[str, Endpoint]] = {}
    for each in endpoints:
        paths.setdefault(each.path, {})[each.method] = each
    for path, methods in paths.items():
        yield _route(PREFIX + path, methods)


def _route(path: str, methods: dict[str, Endpoint]) -> Route:
    async def answer(request: Request) -> Response:
        return await methods["GET" if request.method == "HEAD" else request.method].answer(request)

    return Route(path, answer, methods=list(methods))


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


async def refuse(request: Request, error: Exception) -> Response:
    """The answer to what was not done."""
    if isinstance(error, HTTPException):  # Starlette's own: there is no such path, or nothing of this kind to do there
        answer = json_response(Trouble(f"{request.method} {request.url.path}: {error.detail}"), error.status_code)
        answer.headers.update(error.headers or {})
        return answer
    assert isinstance(error, RefusedError)
    return json_response(Trouble(str(error)), error.status)
