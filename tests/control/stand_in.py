"""A stand-in for the supervisor, and requests to a control listener."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Collection, Sequence
from typing import Any

from hepswitch import books, logs
from hepswitch.control.live import Live
from hepswitch.control.protocol import ProcessInfo, Reloaded, Status
from hepswitch.control.refusal import RefusedError
from hepswitch.control.vitals import Vitals
from hepswitch.control_table import ControlTable
from hepswitch.destinations.sets import NodeChange
from hepswitch.queries.library import Library
from hepswitch.tracing.dynamic import TraceStart, Watch
from hepswitch.tracing.taps import Found, Watching

LIBRARY = Library({})
"""Of no stores."""

ANY_PORT = ControlTable(listen=["127.0.0.1:0"])
"""Loopback, where nobody is asked who it is."""

JSON = {"Content-Type": "application/json"}
NODE = "udp://10.0.0.1:9060"


def trace(to: list[str], **said: Any) -> dict[str, Any]:
    """A trace as the supervisor tells it."""
    row = {
        "on": True,
        "to": to,
        "dynamic": False,
        "filter": None,
        "scope": "",
        "types": [],
        "until": None,
        "left": None,
    }
    return row | dict.fromkeys(("packets", "requests", "replies", "calls"), 0) | said


class Switch:
    """Remembers what it was asked for. `reload` works twice."""

    def __init__(self) -> None:
        self.book = books.close(books.empty(), 61.5)
        self.capturing = True
        self.live = Live(self)
        self.watching: list[Watching] = []
        self.found: list[dict[int, Found]] = []
        self.absent: list[str] = []
        self.changes: list[NodeChange] = []
        self.reloads: list[Collection[str] | None] = []
        self.started: list[TraceStart] = []
        self.tracing = True
        self.rows = {"fraud": trace(["store:lake", "sip:10.0.0.11:5060"], requests=3)}

    async def stats(self) -> books.Snapshot:
        return self.book

    async def vitals(self) -> Vitals:
        return Vitals(cpu={"supervisor": 1.5}, memory={"supervisor": 1 << 20})

    async def status(self) -> Status:
        return Status(
            "0.1.0", 61.5, self.capturing, self.tracing, 1, self.processes(), ["udp://127.0.0.1:9060"], ["look"]
        )

    async def events(self) -> list[logs.Event]:
        return [logs.Event("2026-11-25T12:00:00.000000Z", "error", "route raised", {"where": "route.py:7"}, "worker 0")]

    async def watch(self, watching: Watching) -> None:
        self.watching.append(watching)

    async def watched(self, ids: Sequence[int]) -> tuple[list[dict[int, Found]], bool]:
        self.watching = [watching for watching in self.watching if watching.id in ids]
        found, self.found = self.found, []
        return found, True

    def list_names(self) -> Collection[str]:
        return ["gateways"]

    def missing(self) -> list[str]:
        return self.absent

    def configuration(self) -> dict[str, Any]:
        return {"workers": 1, "control": {"token": "**********"}}

    def processes(self) -> list[ProcessInfo]:
        return [ProcessInfo(41, "supervisor"), ProcessInfo(42, "worker 0")]

    async def dispatcher(self) -> dict[str, Any]:
        node = {"url": NODE, "state": "active,probing", "accepted": 7, "weight": 2.0, "priority": 1}
        return {"homer": {"policy": "call", "nodes": [node, node | {"url": "tcp://h:1", "state": "disabled"}]}}

    async def set_node(self, change: NodeChange) -> None:
        if change.set != "homer":
            raise RefusedError("no such set", 404)
        self.changes.append(change)

    async def set_capture(self, on: bool) -> None:
        self.capturing = on

    async def reload(self, only: Collection[str] | None = None) -> Reloaded:
        self.reloads.append(only)
        if len(self.reloads) > 2:
            raise RefusedError("hepswitch.toml:1: workers: no\nhepswitch.toml:2: listen: no")
        return Reloaded(["destinations"], ["workers"])

    async def traces(self) -> dict[str, Any]:
        return {"on": self.tracing, "traces": self.rows, "calls": 2, "evicted": {"full": 1}}

    async def start_trace(self, start: TraceStart) -> None:
        if start.id in self.rows:
            raise RefusedError(f"there is a trace {start.id!r} already")
        try:
            Watch(start, {})
        except ValueError as error:
            raise RefusedError(str(error), 400) from error
        self.started.append(start)
        self.rows[start.id] = trace(start.to, dynamic=True, filter=start.filter, scope=start.scope)

    async def stop_trace(self, id: str) -> None:
        if not self.rows.get(id, {}).get("dynamic"):
            raise RefusedError(f"no dynamic trace {id!r}", 404)
        del self.rows[id]

    async def set_tracing(self, on: bool, id: str | None = None) -> None:
        if id is None:
            self.tracing = on
        elif id not in self.rows:
            raise RefusedError(f"no trace {id!r}", 404)
        else:
            self.rows[id]["on"] = on


async def ask(url: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """Status and JSON of a request; with a body it is a POST. `headers` on top of those that a change needs."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    given = {key: value for key, value in (JSON | (headers or {})).items() if value}

    def fetch() -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data, given), timeout=10) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    return await asyncio.to_thread(fetch)
