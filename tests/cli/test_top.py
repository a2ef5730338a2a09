"""`hepswitch top`: the picture of made-up switches, and of a real one."""

from __future__ import annotations

import copy
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from far_ends import UdpSink
from hepswitch import books
from hepswitch.cli import main, top
from hepswitch.cli.top_picture import Shot, fitting, picture
from hepswitch.testing import invite
from running import TWO_WORKERS, running_switch

URL, NODE = "udp://127.0.0.1:9060", "udp://10.0.0.1:9060"


def book(packets: int) -> dict[str, Any]:
    account = {"accepted": packets, "delivered": packets, "queued": 0, "spooled": 7, "discarded": {}, "refused": {}}
    said = books.empty() | {
        "received": {
            URL: {
                "packets": packets, "bytes": packets * 900, "malformed": 3, "malformed_reasons": {"bad magic": 3},
                "refused": {}, "kernel_drops": 12, "connections": 0,
            }
        },
        "destinations": {"homer": account | {"nodes": {NODE: copy.deepcopy(account) | {"state": "away"}}}},
        "stores": {"lake": account},
    }  # fmt: skip
    said["routed"] |= {"packets": packets, "dropped": {"lab": packets // 2}, "unrouted": 4, "errors": 1}
    return said | {"uptime": 93_784.2, "balanced": True}


def shot(at: float, packets: int, **said: Any) -> Shot:
    status = {
        "version": "0.1.0", "capturing": True, "tracing": True, "hints": [],
        "processes": [{"pid": 41, "kind": "supervisor"}, {"pid": 42, "kind": "worker 0"}],
    }  # fmt: skip
    nodes = [
        {"url": NODE, "state": "away", "queued": 5, "spooled": 70, "last_error": "connection refused"},
        {"url": "tcp://h:1", "state": "active", "queued": 0, "spooled": 0, "last_error": ""},
    ]
    parts: dict[str, Any] = {
        "status": status,
        "stats": book(packets),
        "destinations": {"homer": {"policy": "call", "nodes": nodes}},
        "agents": {"agents": [agent(n) for n in range(30)], "forgotten": 0},
        "events": {"events": [event(f"trouble {n}") for n in range(30)]},
    }
    return Shot(at, **(parts | said))


def agent(number: int) -> dict[str, Any]:
    return {
        "captagent_id": 2000 + number, "node_name": f"edge-{number}", "src_ip": "10.0.0.9", "listener": URL,
        "versions": [2, 3], "packets": 100, "bytes": 1, "rate": float(number), "types": {"sip": 100}, "skew": -3.25,
        "first_seen": "2026-11-25T10:00:00.000000Z", "last_seen": "2026-11-25T10:00:00.000000Z",
    }  # fmt: skip


def event(words: str) -> dict[str, Any]:
    return {
        "at": "2026-11-25T10:00:00.000000Z", "level": "error", "event": words, "process": "worker 1",
        "details": {"where": "route.py:7"},
    }  # fmt: skip


def drawn(now: Shot, before: Shot, width: int = 80, height: int | None = 24) -> list[str]:
    console = Console(width=width, height=height or 100, no_color=True, highlight=False)
    with console.capture() as captured:
        console.print(picture(now, before, width, height))
    return captured.get().rstrip("\n").split("\n")


def test_all_is_on_one_screen() -> None:
    lines = drawn(shot(12.0, 3000), shot(10.0, 1000))
    assert len(lines) == 24
    assert all(len(line) <= 80 for line in lines)
    text = "\n".join(lines)
    assert lines[0].split("   ")[:4] == ["hepswitch 0.1.0", "up 1 d 2:03:04", "balanced", "1,000 packets/s"]
    assert re.search(rf"{URL} +1,000 +900,000 +3,000 +3 +0 +12", text)
    assert re.search(r"routed +1,000 +3,000", text)
    assert re.search(r"unrouted|errors of the route", text)
    assert re.search(r"homer +udp://10\.0\.0\.1:9060 +away +1,000 +5 +70 +0 +connect", text)
    assert re.search(r"lake +1,000 +0 +7 +0 +active", text)
    assert re.search(r"2029 +edge-29 +10\.0\.0\.9 +2, 3 +29 +-3\.2 s", text)
    assert "trouble 0" in text
    assert "supervisor 41  worker 0 42" in text
    assert re.search(r"agent \(\d+ more\)", text)


def test_a_larger_screen_shows_more() -> None:
    lines = drawn(shot(12.0, 3000), shot(10.0, 1000), width=120, height=60)
    assert len(lines) == 60
    assert len([line for line in lines if "edge-" in line]) > 10
    everything = drawn(shot(12.0, 3000), shot(10.0, 1000), width=120, height=None)
    assert len([line for line in everything if "edge-" in line]) == 30
    assert not [line for line in everything if "more)" in line]


def test_what_is_wrong_is_said() -> None:
    now = shot(12.0, 3000)
    now.stats["balanced"] = False
    now.status["capturing"] = False
    now.status["hints"].append("udp: the kernel dropped 12 packets: sysctl -w net.core.rmem_max=…")
    text = "\n".join(drawn(now, shot(10.0, 1000), width=120))
    assert "NOT BALANCED" in text
    assert "capturing is off" in text
    assert "sysctl -w" in text


def test_a_switch_without_agents_and_the_first_picture() -> None:
    first = shot(10.0, 0, agents={"agents": [], "forgotten": 0}, events={"events": []})
    text = "\n".join(drawn(first, first))
    assert "- packets/s" in text
    assert "last seen" not in text
    assert "warnings" not in text
    died = "\n".join(drawn(shot(12.0, 500), shot(10.0, 1000)))
    assert "0 packets/s" in died


def test_texts_of_strangers_neither_colour_nor_command() -> None:
    evil = "[red]x[/] \x1b[2J"
    now = shot(12.0, 10, agents={"agents": [agent(1) | {"node_name": evil}]}, events={"events": [event(evil)]})
    text = "\n".join(drawn(now, now, width=120))
    assert "\x1b" not in text
    assert text.count("[red]x[/] ?[2J") == 2


@pytest.mark.parametrize(
    ("wanted", "room", "shown"),
    [
        ([1, 1], 10, [1, 1]),
        ([5, 5], 10, [4, 4]),
        ([5, 1, 5], 11, [4, 1, 3]),
        ([5, 5, 5], 7, [3, 2, 0]),
        ([5], 1, [0]),
        ([], 5, []),
    ],
)
def test_lines_are_shared(wanted: list[int], room: int, shown: list[int]) -> None:
    assert fitting(wanted, room) == shown


CONFIG = f"""{TWO_WORKERS}
    [destinations.homer]
    urls = ["{{url}}"]
"""

ROUTE = """
from hepswitch import hep_route

@hep_route
def route(hep):
    hep.relay("homer")
"""


def test_a_real_switch(tmp_path: Path) -> None:
    (tmp_path / "route.py").write_text(ROUTE)
    sink = UdpSink()
    with running_switch(tmp_path, CONFIG.format(url=sink.url)) as switch:
        switch.send_udp(*[bytes(invite())] * 10)
        switch.wait_stats(lambda book: book["routed"]["packets"] == 10, "ten packets")
        done = CliRunner().invoke(main, ["top", "--once", "--interval", "0.1", "--url", switch.control])
        assert done.exit_code == 0, done.output
        assert "balanced" in done.output
        assert re.search(r"routed +\d+ +10", done.output)
        assert "worker 1" in done.output
        ended = _watched(switch.control)
        assert ended.count("\x1b[?1049h") == ended.count("\x1b[?1049l") == 1, "the other screen, and back"
        assert "homer" in ended
    sink.close()


def _watched(url: str) -> str:
    """What `hepswitch top` writes to a terminal of 80 columns until somebody types q."""
    ours, theirs = pty.openpty()
    env = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    command = [sys.executable, "-m", "hepswitch.cli", "top", "--interval", "0.2", "--url", url]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        written = b""
        end = time.monotonic() + 30
        asked = False
        while time.monotonic() < end:
            ready, _, _ = select.select([ours], [], [], 0.1)
            try:
                written += os.read(ours, 65536) if ready else b""
            except OSError:  # the other end is closed
                break
            if b"homer" in written and not asked:
                os.write(ours, b"q")
                asked = True
        assert process.wait(30) == 0, written.decode()
    os.close(ours)
    return written.decode()


def test_where_there_is_no_standard_input_it_only_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # as Python has it when it was started with `<&-`
    with top._keys() as key:
        assert key(0.0) is None


def test_no_switch() -> None:
    done = CliRunner().invoke(main, ["top", "--url", "http://127.0.0.1:9"])
    assert done.exit_code == 1
    assert "no switch answers" in done.output
