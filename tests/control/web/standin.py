"""A stand-in for the API until the real one is there: serves the page with its policy, and the contract's answers from
`standin_data`. Each answer may be slowed or broken by a test.
"""

from __future__ import annotations

import json
import mimetypes
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import hepswitch.control
from control.web import standin_data as data

WEB = Path(hepswitch.control.__file__).parent / "web"
PAGES = {"/": "index.html", "/call": "call.html", "/live": "live.html", "/switch": "switch.html"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
Asked = dict[str, list[str]]


class RefusedError(Exception):
    """An error as the API answers it."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def calls(asked: Asked) -> dict[str, Any]:
    begin, limit = int(asked.get("cursor", ["0"])[0]), int(asked.get("limit", ["100"])[0])
    question = asked.get("q", [""])[0]
    if question.count("(") != question.count(")"):
        raise RefusedError(400, f"{question!r}: a parenthesis is not closed")
    found = [one for one in data.CALLS if question in json.dumps(one)] if question.isalnum() else data.CALLS
    since = asked.get("since", [data.stamp(data.NOW - 3600)])[0]
    until = asked.get("until", [data.stamp(data.NOW)])[0]
    if "T" in since:
        found = [one for one in found if since <= one["start"] <= until]
    more = begin + limit < len(found)
    return {
        "calls": found[begin : begin + limit],
        "next": str(begin + limit) if more else None,
        "since": since,
        "until": until,
        "asked": {"user": question} if question else {},
        "warnings": [],
        "seconds": 0.021,
    }


def rate(asked: Asked) -> dict[str, Any]:
    found = calls(asked | {"limit": ["100000"]})
    step, count = 30.0, 120
    buckets = [{"at": data.stamp(data.NOW - 3600 + place * step), "calls": 0, "failed": 0} for place in range(count)]
    for one in found["calls"]:
        place = max(i for i, bucket in enumerate(buckets) if i == 0 or bucket["at"] <= one["start"])
        buckets[place]["calls"] += 1
        buckets[place]["failed"] += one["status"] >= 300 and one["status"] not in (401, 407, 487)
    return {"since": found["since"], "until": found["until"], "step": step, "buckets": buckets}


class Standin:
    """`answers`: a function of the parameters for each path of the API. `log`: what was asked. `posted`: the changes."""

    def __init__(self) -> None:
        self.url = ""
        self.log: list[str] = []
        self.posted: list[tuple[str, Any]] = []
        self.over = Event()
        self.answers: dict[str, Callable[[Asked], Any]] = {
            "/calls": calls,
            "/rate": rate,
            "/call": lambda _: data.one_call(),
            "/stores": lambda _: {"stores": [{"name": "lake", "kind": "lake", "default": True}]},
            "/me": lambda _: {"user": None, "role": "operate"},
            "/status": lambda _: data.STATUS,
            "/stats": lambda _: data.STATS,
            "/agents": lambda _: data.AGENTS,
            "/destinations": lambda _: data.DESTINATIONS,
            "/events": lambda _: data.EVENTS,
            "/traces": lambda _: data.TRACES,
            "/capture": lambda _: {"on": True},
            "/config": lambda _: {"listen": ["udp://0.0.0.0:9060"]},
        }
        self.export: Callable[[Asked], bytes] = lambda asked: b"\n".join(one.encode() for one in asked["call_id"])

    def live(self) -> Iterator[tuple[str, Any]]:
        """The events of /live: ten packets a second until the stand-in ends."""
        number = 0
        while not self.over.wait(0.1):
            number += 1
            yield "packet", data.live(number)
            if number % 10 == 0:
                yield "rate", {"seen": 400, "matched": 10, "seconds": 1.0}


@contextmanager
def standing_in() -> Iterator[Standin]:
    standin = Standin()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if not url.path.startswith("/api/v1/"):
                name = PAGES.get(url.path, url.path.removeprefix("/web/"))
                file = WEB / name
                kind = "text/javascript" if file.suffix == ".js" else mimetypes.guess_type(name)[0]
                return (
                    self._send(200, file.read_bytes(), kind or "application/octet-stream")
                    if file.is_file()
                    else self._error(404, name)
                )
            asked, path = parse_qs(url.query), url.path.removeprefix("/api/v1")
            standin.log.append(self.path)
            if path == "/live":
                return self._stream()
            if path == "/export":
                return self._send(
                    200,
                    standin.export(asked),
                    "application/octet-stream",
                    {"Content-Disposition": 'attachment; filename="calls.pcap"'},
                )
            if path not in standin.answers:
                return self._error(404, f"{path} is not there")
            try:
                return self._send(200, json.dumps(standin.answers[path](asked)).encode(), "application/json")
            except RefusedError as error:
                return self._error(error.status, str(error))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            standin.posted.append((urlsplit(self.path).path.removeprefix("/api/v1"), body))
            self._send(200, json.dumps({"changed": True}).encode(), "application/json")

        def _error(self, status: int, words: str) -> None:
            self._send(status, json.dumps({"error": words}).encode(), "application/json")

        def _send(self, status: int, body: bytes, kind: str, more: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (
                HEADERS | {"Content-Type": kind, "Content-Length": str(len(body))} | (more or {})
            ).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def _stream(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            for name, value in standin.live():
                self.wfile.write(f"event: {name}\ndata: {json.dumps(value)}\n\n".encode())

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:
                self.close_connection = True  # the browser went away: it gave a question up

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        standin.url = f"http://127.0.0.1:{server.server_address[1]}"
        Thread(target=server.serve_forever, daemon=True).start()
        yield standin
        standin.over.set()
        server.shutdown()


if __name__ == "__main__":
    with standing_in() as running:
        print(running.url, flush=True)
        while True:
            time.sleep(1000)
