"""The answer of a reader process (`hepswitch.queries`) as an HTTP response: its bytes go on as they come.

A client that goes away cancels its question. Not here: questions and answers (`queries`).
"""

from __future__ import annotations

import asyncio

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hepswitch.queries.library import Library
from hepswitch.queries.questions import Question


class Relayed(Response):
    """The answer to `question`."""

    def __init__(self, library: Library, question: Question) -> None:
        self.background = None
        self._library = library
        self._question = question

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        relaying = asyncio.create_task(self._relay(send))
        leaving = asyncio.create_task(_leaving(receive))
        try:
            await asyncio.wait((relaying, leaving), return_when=asyncio.FIRST_COMPLETED)
            if relaying.done():
                relaying.result()
        finally:
            for each in (relaying, leaving):
                each.cancel()
            await asyncio.gather(relaying, leaving, return_exceptions=True)

    async def _relay(self, send: Send) -> None:
        async with self._library.ask(self._question) as answer:
            headers = MutableHeaders({"Content-Type": answer.media_type, "Cache-Control": "no-store"} | answer.headers)
            headers["X-Content-Type-Options"] = "nosniff"
            await send({"type": "http.response.start", "status": answer.status, "headers": headers.raw})
            async for piece in answer.chunks():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


async def _leaving(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
