"""What must hold for stores under load: the checks `stores` and `outage` of `mustshow`.

stores: `count` packets through a route into a store of each kind: none is missing or there twice, calls that are searched
for are the same in all of them, and a packet that comes alone is stored within `flush`. outage: a PostgreSQL that hangs and
is then killed under load gets everything once, and nothing grows meanwhile. Not here: what a row costs (`stores`).
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import backends
import harness
import traffic
from backends import Backend
from harness import Figures, RunningSwitch, blast, must, settled, wait_for

ROUTE = """\
from hepswitch import hep_route


@hep_route
def switch(hep):
    hep.store("it")
"""

SLACK = 0.5
"""Seconds above `flush` that a packet may take: until it is written, found, loaded and counted."""

FLAT = 32 << 20
"""Bytes that a process may grow by while its far end is away."""


ARRIVAL = {"received_ts", "received_ip", "received_port"}
"""Columns of messages that say when and from where a packet came to us: not the same the next time."""


def config(folder: Path, keys: str) -> str:
    """The configuration of a switch with a route that stores every packet in one store; the route is written."""
    (folder / "route.py").write_text(ROUTE)
    return (
        'listen = ["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]\nreceive_buffer = "64MiB"\n'
        f'[hep_route]\nmode = "script"\nscript = "route.py"\n[stores.it]\n{keys}\n'
    )


# ── stores ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def stores(count: int = 1_000_000, only: str = "") -> Figures:
    """Every kind of store whose name contains `only` gets the same calls."""
    start = time.time() - 600 - count / traffic.MESSAGES / 1000
    figures: Figures = {}
    first: tuple[Backend, list[Any]] | None = None
    for name, begin in backends.STORES.items():
        if only not in name:
            continue
        with harness.workplace() as folder:
            (home := folder / "server").mkdir()
            with begin(home) as backend:
                figures[name], messages = _stored(folder, backend, count, start)
        first = first or (backend, messages)
        leave_out = ARRIVAL | first[0].lacks | backend.lacks
        for one, other in zip(first[1], messages, strict=True):
            differ = {
                key: (one[key], other.get(key)) for key in one if key not in leave_out and one[key] != other.get(key)
            }
            must(not differ, f"{name} gives other messages than the first", differ)
    return figures


def _stored(folder: Path, backend: Backend, count: int, start: float) -> tuple[Figures, list[Any]]:
    """`count` packets into the store; the figures, and the messages of ten calls as `search` gives them."""
    with harness.running_switch(folder, config(folder, backend.keys)) as switch:
        begun = time.monotonic()
        _, call_ids = harness.fill(switch.address("tcp"), count, 1000.0, start)
        sent = time.monotonic() - begun
        book = settled(switch, count, 1800.0)
        stored = time.monotonic() - begun
        row = book["stores"]["it"]
        messages = [message for call_id in call_ids for message in _search(folder, call_id)]
        waits = _waits(switch, count)
    flush = getattr(backend.store, "flush", 0.0)
    figures = {
        "sent": count, "sent_s": round(sent, 1), "stored_s": round(stored, 1), "delivered": row["delivered"],
        "rows": backend.count() - len(waits), "balanced": book["balanced"], "calls": len(call_ids),
        "messages": len(messages), "flush": flush, "waited_s": round(max(waits), 2),
    }  # fmt: skip
    must(figures["rows"] == figures["delivered"] == count, "packets are missing or there twice", figures)
    must(book["balanced"], "the books do not balance", figures)
    must(len(messages) == traffic.MESSAGES * len(call_ids), "a call was not found", figures)
    must(max(waits) <= flush + SLACK, "a packet waited longer than `flush`", figures)
    return figures, messages


def _search(folder: Path, call_id: str) -> list[Any]:
    """The messages of a call."""
    command = [sys.executable, "-m", "hepswitch.cli", "search", "--config", str(folder / "hepswitch.toml")]
    command += ["--store", "it", "--json", "--messages", "--call-id", call_id]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return sorted((json.loads(line) for line in found.stdout.splitlines()), key=lambda message: str(message["ts"]))


def _waits(switch: RunningSwitch, count: int, times: int = 20) -> list[float]:
    """How long packets that come alone take to be counted as stored, in seconds."""
    waits = []
    for number in range(1, times + 1):
        packet = traffic.hep(next(traffic.calls(1, start=time.time())))
        begun = time.monotonic()
        switch.send_udp(packet)
        _wait_for_rows(switch, count + number)
        waits.append(time.monotonic() - begun)
    return waits


def _wait_for_rows(switch: RunningSwitch, number: int) -> None:
    switch.wait_stats(lambda book: book["stores"]["it"]["delivered"] >= number, f"{number} packets stored")


# ── outage ───────────────────────────────────────────────────────────────────────────────────────────────────────────

NUMBERS = (
    "SELECT count(*) AS rows, count(DISTINCT substring(msg FROM 'X-Number: ([0-9]+)')) AS numbers FROM sip_capture"
)


class Memory:
    """The most memory that the worker and the loader had since the last look."""

    def __init__(self, switch: RunningSwitch) -> None:
        self._pids: dict[str, list[int]] = wait_for(lambda: self._both(switch), "a worker and a loader")
        self._most: dict[str, int] = {}

    @staticmethod
    def _both(switch: RunningSwitch) -> dict[str, list[int]] | None:
        found = harness.processes(switch)
        return {role: found[role] for role in ("worker", "loader")} if found["worker"] and found["loader"] else None

    def sample(self) -> None:
        for role, pids in self._pids.items():
            self._most[role] = max(self._most.get(role, 0), harness.resident(pids))

    def most(self) -> dict[str, int]:
        """By role, in bytes."""
        self.sample()
        most, self._most = self._most, {}
        return most


def outage(
    rate: int = 5_000, hung: float = 15.0, dead: float = 15.0, before: float = 10.0, after: float = 10.0
) -> Figures:
    """PostgreSQL stops answering for `hung` seconds, is killed, and starts again `dead` seconds later, all under load."""
    count = int(rate * (before + hung + dead + after))
    with harness.workplace() as folder:
        (home := folder / "server").mkdir()
        with backends.opensips(home) as backend:
            frames = harness.frames_file(folder)
            with harness.running_switch(folder, config(folder, backend.keys)) as switch:
                memory = Memory(switch)
                with blast(switch.address(), frames, count, rate, max(count // 70, 1)) as sender:
                    _wait_for_rows(switch, int(rate * before / 2))
                    _pass(before / 2, memory)
                    calm = memory.most()
                    processes = [backend.server.pid, *harness.children(backend.server.pid)]
                    backend.server.signal(signal.SIGSTOP)
                    _pass(hung, memory)
                    backend.server.signal(signal.SIGKILL)
                    wait_for(lambda: not any(map(_runs, processes)), "the end of the server")
                    _pass(dead, memory)
                    waiting = switch.stats()["stores"]["it"]
                    away = memory.most()
                    backend.server.start(*backends.POSTGRES)
                    sender.finish()
                book = settled(switch, count, 120.0)
                back = memory.most()
            (rows,) = backend.ask(NUMBERS)
    figures = {
        "sent": count, "routed": book["routed"]["packets"], "delivered": book["stores"]["it"]["delivered"], **rows,
        "spooled": waiting["spooled"], "state": waiting["state"], "balanced": book["balanced"],
        "mib": {role: [calm[role] >> 20, away[role] >> 20, back[role] >> 20] for role in calm},
    }  # fmt: skip
    must(rows["rows"] == rows["numbers"] == count, "packets are missing or there twice", figures)
    must(book["balanced"] and figures["delivered"] == figures["routed"] == count, "the books do not balance", figures)
    must(all(away[role] <= calm[role] + FLAT for role in calm), "memory grew while the server was away", figures)
    return figures


def _pass(seconds: float, memory: Memory) -> None:
    """Let time pass, and look at the memory."""
    end = time.monotonic() + seconds

    def over() -> bool:
        memory.sample()
        return time.monotonic() >= end

    wait_for(over, "time", seconds + 60)


def _runs(pid: int) -> bool:
    """Whether there is such a process; one that has ended and was not waited for is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
