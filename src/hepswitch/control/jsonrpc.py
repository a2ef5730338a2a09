"""JSON-RPC 2.0 (www.jsonrpc.org/specification): what came is taken apart, each request is given to `call`, answers go back.

Single requests, batches and notifications. Errors of a command have HTTP-like codes, as OpenSIPS gives them. Not here: the
commands (`mi_commands`), HTTP (`control.http`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from msgspec import MsgspecError
from msgspec.json import decode, encode

log = structlog.get_logger("hepswitch.control")

Params = list[Any] | dict[str, Any]
Call = Callable[[str, Params], Awaitable[Any]]

MOST_ID = 1 << 63
"""Numbers below this one may be ids: what is beyond JSON libraries read as they like."""


class CallError(Exception):
    """A request that is answered with an error: its code, a phrase, and words for a person."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(code, message, data)
        self.code = code
        self.message = message
        self.data = data


PARSE_ERROR: Final = (-32700, "Parse error")
INVALID_REQUEST: Final = (-32600, "Invalid Request")
NOT_FOUND: Final = (-32601, "Method not found")
INVALID_PARAMS: Final = (-32602, "Invalid params")
INTERNAL_ERROR: Final = (-32603, "Internal error")


async def answer(body: bytes, call: Call) -> bytes | None:
    """The answer to `body`; None when only notifications came, which get none.

    `call(method, params)` gives the result or raises CallError. Whatever else it raises is logged and an internal error.
    """
    try:
        asked = decode(body)
    except (MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return encode(_failed(None, CallError(*PARSE_ERROR, str(error))))
    if isinstance(asked, list) and asked:
        answers = [await _one(request, call) for request in asked]
        said = [each for each in answers if each is not None]
        return encode(said) if said else None
    one = await _one(asked, call)
    return None if one is None else encode(one)


async def _one(asked: Any, call: Call) -> dict[str, Any] | None:
    """The answer to one request; None to a notification."""
    if not isinstance(asked, dict):
        return _failed(None, CallError(*INVALID_REQUEST, "a request is an object"))
    id = asked.get("id")
    if not _is_id(id):
        return _failed(None, CallError(*INVALID_REQUEST, "an id is a string, a number or null"))
    method, params = asked.get("method"), asked.get("params", {})
    if asked.get("jsonrpc") != "2.0" or not isinstance(method, str) or not isinstance(params, (list, dict)):
        words = '"jsonrpc" is "2.0", "method" a string, and "params" an array or an object, if there are any'
        return _failed(id, CallError(*INVALID_REQUEST, words))
    try:
        said = {"jsonrpc": "2.0", "result": await call(method, params), "id": id}
    except CallError as error:
        said = _failed(id, error)
    except Exception:
        log.exception("command failed", method=method)
        said = _failed(id, CallError(*INTERNAL_ERROR, "see the log of the switch"))
    return said if "id" in asked else None


def _is_id(id: Any) -> bool:
    if isinstance(id, int):
        return not isinstance(id, bool) and -MOST_ID <= id < MOST_ID
    return id is None or isinstance(id, (str, float))


def _failed(id: Any, error: CallError) -> dict[str, Any]:
    said: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.data is not None:
        said["data"] = error.data
    return {"jsonrpc": "2.0", "error": said, "id": id}
