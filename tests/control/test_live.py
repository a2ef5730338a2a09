"""The live stream: what watchers get of what the workers find, and of a real switch with two workers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from msgspec import Raw

from control.stand_in import LIBRARY, Switch, ask
from far_ends import until
from hepswitch.control import live as module
from hepswitch.control.http import Control
from hepswitch.control.live import Live, Watcher
from hepswitch.control.refusal import RefusedError
from hepswitch.control_table import ControlTable
from hepswitch.testing import invite, sip
from hepswitch.tracing.taps import Found
from running import TWO_WORKERS, RunningSwitch, running_switch, wait_for
from traffic import calls, hep


@contextlib.asynccontextmanager
async def running(switch: Switch) -> AsyncIterator[Live]:
    task = asyncio.create_task(switch.live.run())
    try:
        yield switch.live
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def events(frames: bytes) -> list[tuple[str, Any]]:
    """Names and data of the events in a piece of the stream."""
    parts = [frame.split(b"\n") for frame in frames.split(b"\n\n") if frame.startswith(b"event")]
    return [
        (event.removeprefix(b"event: ").decode(), json.loads(data.removeprefix(b"data: "))) for event, data in parts
    ]


def found(*numbers: int, matched: int = 0, missed: int = 0, skipped: int = 0, seen: int = 0) -> Found:
    rows = [(number, Raw(b'{"n":%d}' % number)) for number in numbers]
    return Found(rows, seen, matched or len(rows) + missed, missed, skipped)


async def shown(watcher: Watcher, count: int) -> list[tuple[str, Any]]:
    got: list[tuple[str, Any]] = []
    async for frames in watcher.frames():
        got += events(frames)
        if len(got) >= count:
            return got
    return got


async def test_rows_of_all_workers_come_in_the_order_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RATE", 0.0)
    switch = Switch()
    async with running(switch) as live:
        watcher = await live.watch(" sip.method = INVITE ", payload=False)
        [watching] = switch.watching
        assert (watching.filter, watching.payload) == ("sip.method = INVITE", False)
        switch.found = [{watching.id: found(3, 5, seen=9)}, {watching.id: found(2, 4, missed=1, skipped=2, seen=5)}]
        got = await shown(watcher, 6)
        seconds = got[-1][1].pop("seconds")
        assert got == [
            ("packet", {"n": 2}), ("packet", {"n": 3}), ("packet", {"n": 4}), ("packet", {"n": 5}),
            ("missed", {"missed": 1, "skipped": 2}), ("rate", {"seen": 14, "matched": 5}),
        ]  # fmt: skip
        assert seconds >= 0


async def test_who_watches_alike_shares_and_the_last_one_to_leave_ends_it() -> None:
    switch = Switch()
    async with running(switch) as live:
        first, second = await live.watch("", payload=True), await live.watch(None, payload=True)
        other = await live.watch(None, payload=False)
        assert [watching.payload for watching in switch.watching] == [True, False]
        switch.found = [{switch.watching[0].id: found(1)}]
        assert [await shown(watcher, 1) for watcher in (first, second)] == [[("packet", {"n": 1})]] * 2
        first.close()
        other.close()
        await until(lambda: [watching.payload for watching in switch.watching] == [True], "two have left")
        second.close()
        await until(lambda: not switch.watching, "the end of watching")
        assert live.watchers == 0


async def test_who_does_not_read_misses_packets_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 200)
    monkeypatch.setattr(module, "RATE", 0.0)
    watcher = Watcher(lambda _: None)
    frames = [module._frame("packet", b'{"n":%d}' % number) for number in range(20)]
    watcher.take(frames[:10], found(matched=10, seen=10))
    watcher.take(frames[10:], found(matched=13, missed=3, seen=20))
    watcher.end()
    got = await shown(watcher, 100)
    packets = [data["n"] for event, data in got if event == "packet"]
    assert packets == list(range(len(packets))), "the oldest are shown"
    assert 0 < len(packets) < 20
    assert got[-2:] == [("missed", {"missed": 23 - len(packets), "skipped": 0}), ("rate", got[-1][1])]
    assert got[-1][1]["matched"] == 23


async def test_what_cannot_be_watched() -> None:
    switch = Switch()
    with pytest.raises(RefusedError, match=r"(?s)sip.metod.*\^") as refused:
        await switch.live.watch("sip.metod = INVITE", payload=False)
    assert refused.value.status == 400
    await switch.live.watch("src_ip in @gateways", payload=False)
    with pytest.raises(RefusedError, match="nowhere"):
        await switch.live.watch("src_ip in @nowhere", payload=False)
    for _ in range(module.MOST - 1):
        await switch.live.watch("sip", payload=False)
    with pytest.raises(RefusedError, match="32 watch already") as refused:
        await switch.live.watch("sip", payload=False)
    assert refused.value.status == 503


async def test_a_refusal_of_the_workers_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    switch = Switch()

    async def refuse(_: object) -> None:
        raise RefusedError("no")

    monkeypatch.setattr(switch, "watch", refuse)
    with pytest.raises(RefusedError):
        await switch.live.watch(None, payload=False)
    assert (switch.live.watching, switch.live.watchers) == ([], 0)


async def test_over_http() -> None:
    switch = Switch()
    async with Control(switch, LIBRARY, ControlTable(listen="127.0.0.1:0")) as url, running(switch):
        status, answer = await ask(f"{url}/api/v1/live?filter={quote('sip.method =')}")
        assert status == 400
        assert "sip.method =" in answer["error"]
        assert (await ask(f"{url}/api/v1/live?payload=perhaps"))[0] == 400
        assert await ask(f"{url}/api/v1/events") == (
            200,
            {
                "events": [
                    {
                        "at": "2026-11-25T12:00:00.000000Z", "level": "error", "event": "route raised",
                        "details": {"where": "route.py:7"}, "process": "worker 0",
                    }
                ]
            },
        )  # fmt: skip
        with await asyncio.to_thread(urllib.request.urlopen, f"{url}/api/v1/live?payload=true", timeout=10) as stream:
            assert stream.headers["Content-Type"].startswith("text/event-stream")
            assert stream.readline() == b": watching\n"
            assert [watching.payload for watching in switch.watching] == [True]
        await until(lambda: not switch.watching, "the end of watching")


# ── a real switch ──────────────────────────────────────────────────────────────────────────────────────────────────────

ROUTE = """
import os
from hepswitch import hep_route

@hep_route
def route(hep):
    if hep.captagent_id == 13:
        raise ValueError("unlucky")
    hep.drop("seen")
"""


class Viewer:
    """Somebody who reads the stream of a switch in a thread."""

    def __init__(self, switch: RunningSwitch, query: str = "") -> None:
        self.stream: HTTPResponse = urllib.request.urlopen(f"{switch.control}/api/v1/live?{query}", timeout=20)
        assert self.stream.readline() == b": watching\n"
        self.packets: list[dict[str, Any]] = []
        self.missed = self.skipped = self.matched = self.seen = 0
        self.ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)

    def start(self) -> Viewer:
        self._thread.start()
        return self

    def _read(self) -> None:
        event = ""
        for line in self.stream:
            if line.startswith(b"event: "):
                event = line[7:-1].decode()
            elif line.startswith(b"data: "):
                self._note(event, json.loads(line[6:]))
        self.ended = True

    def leave(self) -> None:
        """Go away in the middle of it."""
        with socket.socket(fileno=os.dup(self.stream.fileno())) as sock:
            sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(20)
        self.stream.close()

    def _note(self, event: str, data: dict[str, Any]) -> None:
        if event == "packet":
            self.packets.append(data)
        elif event == "missed":
            self.missed += data["missed"]
            self.skipped += data["skipped"]
        else:
            self.matched += data["matched"]
            self.seen += data["seen"]


@pytest.fixture(scope="module")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSwitch]:
    folder = tmp_path_factory.mktemp("live")
    (folder / "route.py").write_text(ROUTE)
    with running_switch(folder, TWO_WORKERS) as running:
        yield running


def send(switch: RunningSwitch, packets: list[bytes]) -> None:
    """From several sockets, so that both workers get some, no faster than they are read."""
    before = switch.stats()["routed"]["packets"]
    for start in range(0, len(packets), 200):
        for agent in range(start, min(start + 200, len(packets)), 10):
            switch.send_udp(*packets[agent : min(agent + 10, start + 200)])
        sent = before + min(start + 200, len(packets))
        switch.wait_stats(lambda book, sent=sent: book["routed"]["packets"] >= sent, f"{sent} packets read")


def test_every_packet_that_matches_is_shown_or_counted(switch: RunningSwitch) -> None:
    packets = [hep(message) for message in calls(600)]
    everything, invites = Viewer(switch, "payload=true"), Viewer(switch, f"filter={quote('sip.method = INVITE')}")
    sleeper = Viewer(switch, "payload=true&filter=sip")  # reads when all is over
    everything.start()
    invites.start()
    send(switch, packets)
    for viewer, count in ((everything, len(packets)), (invites, 600)):
        wait_for(lambda viewer=viewer: viewer.seen == len(packets), "all went by")
        assert viewer.matched + viewer.skipped >= count
        assert len(viewer.packets) + viewer.missed == viewer.matched
    assert {row["method"] for row in invites.packets} == {"INVITE"}
    assert all(row["outcome"] == "dropped: seen" for row in everything.packets)
    known = {message.payload.decode() for message in calls(600)}
    assert {row["payload"] for row in everything.packets} <= known
    sleeper.start()
    wait_for(lambda: sleeper.seen == len(packets), "all went by the sleeper")
    assert len(sleeper.packets) + sleeper.missed == sleeper.matched
    for viewer in (everything, invites, sleeper):
        viewer.leave()


def test_a_worker_that_is_started_again_is_watched_too(switch: RunningSwitch) -> None:
    viewer = Viewer(switch, f"filter={quote('captagent_id = 77')}").start()
    old = switch.workers()
    os.kill(old[0], signal.SIGKILL)
    wait_for(lambda: len(switch.workers()) == 2 and set(switch.workers()) != set(old), "another worker")
    os.kill(old[1], signal.SIGKILL)
    wait_for(lambda: len(switch.workers()) == 2 and not set(switch.workers()) & set(old), "two other workers")
    send(switch, [bytes(invite(captagent_id=77))] * 20)
    wait_for(lambda: len(viewer.packets) == 20, "what new workers read")
    viewer.leave()
    died = [event for event in json.loads(switch.get("/api/v1/events"))["events"] if event["event"] == "worker died"]
    assert len(died) == 2
    assert died[0]["process"] == "supervisor"
    assert died[0]["at"] > died[1]["at"]


def test_errors_of_scripts_are_told_with_their_worker(switch: RunningSwitch) -> None:
    send(switch, [bytes(sip(200, captagent_id=13))])

    def raised() -> dict[str, Any] | None:
        told = json.loads(switch.get("/api/v1/events"))["events"]
        return next((event for event in told if event["event"] == "route raised"), None)

    event = wait_for(raised, "the error of the script")
    assert event["level"] == "error"
    assert event["process"].startswith("worker ")
    assert "route.py" in event["details"]["where"]
    assert "unlucky" in event["details"]["where"]


def test_streams_end_with_the_switch(tmp_path: Path) -> None:
    (tmp_path / "route.py").write_text(ROUTE)
    with running_switch(tmp_path, TWO_WORKERS) as switch:
        viewer = Viewer(switch).start()
        assert switch.stop() == 0
        wait_for(lambda: viewer.ended, "the end of the stream")
        assert {entry.get("level") for entry in switch.log} == {"info"}, switch.log
