"""The page: files of `control/web`, sent with headers that let them do nothing but ask this switch.

Whatever SIP says is shown as text: no script, style or picture comes from anywhere but here (Content-Security-Policy).
Not here: what the pages show (`web`), the API that they ask (`api`).
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

WEB = Path(__file__).with_name("web")

SCREENS = {"/": "index.html", "/call": "call.html", "/live": "live.html", "/switch": "switch.html"}

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def routes() -> Iterator[Route]:
    """A route for each file that there is: no other path leads to one."""
    for path, name in SCREENS.items():
        yield _file(path, WEB / name)
    for file in sorted(WEB.rglob("*")):
        if file.is_file() and file.suffix != ".html":
            yield _file(f"/web/{file.relative_to(WEB).as_posix()}", file)


def _file(path: str, file: Path) -> Route:
    kind = mimetypes.types_map.get(file.suffix, "application/octet-stream")

    async def answer(_: Request) -> Response:
        return FileResponse(file, headers=HEADERS, media_type=kind)

    return Route(path, answer)
