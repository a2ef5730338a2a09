"""A fleet from its start to its books: two edges, a stream, two storing nodes, packets, and one of each kind killed in turn.

    senders ──UDP──▶ edge1, edge2 ──▶ stream of three servers ──▶ store1, store2 ──▶ a lake each, or one in object storage

Not here: the command line (`run`).
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import harness
import traffic
from fleet.books import Books, Found, settle
from fleet.nodes import Node
from fleet.streams import STREAMS, Stream
from harness import wait_for
from hepswitch.lake.lake import Lake
from servers import free_port

HERE = Path(__file__).parent
SAMPLE = 0.25
"""Seconds between two looks at how far packets have come."""

PATIENCE = 120.0
"""Seconds without a packet stored, after which the rest is given up: then the books say what is missing."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is driven: `rate` packets a second over both edges for `seconds`; what is killed stays `away` seconds."""

    stream: str = "nats"
    rate: int = 2000
    seconds: float = 60.0
    away: float = 3.0
    kills: bool = True

    @property
    def count(self) -> int:
        """Packets for each edge."""
        return int(self.rate * self.seconds / 2)


@dataclass(slots=True)
class Incident:
    """Something that was done to the fleet, and when (seconds since the first packet)."""

    what: str
    began: float
    mended: float = 0.0


class Watch(threading.Thread):
    """Looks again and again how many packets are on their way: accepted by an edge, in no lake yet."""

    def __init__(self, edges: Sequence[Node], stores: Sequence[Node]) -> None:
        super().__init__(daemon=True)
        self._edges, self._stores = edges, stores
        self._begun = time.monotonic()
        self._over = threading.Event()
        self.samples: list[tuple[float, int]] = []

    @property
    def now(self) -> float:
        """Seconds since the first packet."""
        return time.monotonic() - self._begun

    def behind(self) -> int:
        """Packets that are on their way at this moment."""
        stored = sum(node.stored for node in self._stores)
        return max(0, sum(node.accepted for node in self._edges) - stored)

    def run(self) -> None:
        while not self._over.wait(SAMPLE):
            self.samples.append((self.now, self.behind()))

    def end(self) -> None:
        self._over.set()
        self.join()

    def told(self, incidents: Sequence[Incident], rate: float) -> list[dict[str, Any]]:
        """How far behind each incident put the lakes, and how long after its end they were where they usually are."""
        first = incidents[0].began if incidents else 0.0
        usual = max((behind for moment, behind in self.samples if moment < first), default=0) + rate / 2
        rows = []
        for number, incident in enumerate(incidents):
            until = incidents[number + 1].began if number + 1 < len(incidents) else float("inf")
            during = [(moment, behind) for moment, behind in self.samples if incident.began <= moment < until]
            over = next((moment for moment, behind in during if moment >= incident.mended and behind <= usual), None)
            rows.append({
                "what": incident.what, "at_s": round(incident.began, 1),
                "away_s": round(incident.mended - incident.began, 1),
                "most_behind": max((behind for _, behind in during), default=0),
                "caught_up_s": None if over is None else round(over - incident.mended, 1),
            })  # fmt: skip
        return rows


def drive(plan: Plan, folder: Path, say: Callable[[str], None]) -> Books:
    """All of it in the empty `folder`; `say` is told what happens. AssertionError when something does not start or end."""
    with contextlib.ExitStack() as stack:
        stream = STREAMS[plan.stream](folder)
        stack.callback(stream.stop)
        edges, stores = nodes(folder, stream)
        for node in (*stores, *edges):
            stack.callback(node.close)
            node.start()
        say(f"{plan.stream} at {stream.url()}; {', '.join(node.name for node in (*edges, *stores))} are up")
        watch = Watch(edges, stores)
        sent, incidents = load(plan, edges, stores, stream, watch, say)
        say(f"{sum(sent)} packets sent, {watch.behind()} on their way")
        rest(watch)
        say(f"all that will come has come, {watch.now - plan.seconds:.1f} s after the last packet; counting")
        watch.end()
        held = stream.held()
        for node in (*edges, *stores):
            node.stop()
        stream.stop()
        found = Found(sent)
        for node in stores:
            found.add(Lake(node.lake))
        books = settle(edges, stores, sent, plan.rate / 2, held, found)
        books.figures["incidents"] = watch.told(incidents, plan.rate)
        books.figures["cpu_us_a_packet"] = work(edges, stores, stream, books.figures["accepted"])
        books.figures["server_bytes"] = stream.traffic()
    return books


def nodes(folder: Path, stream: Stream) -> tuple[list[Node], list[Node]]:
    """The edges and the storing nodes, not started yet."""
    configurations = HERE / stream.scheme
    edges = []
    for number in (1, 2):
        listen = json.dumps([f"udp://127.0.0.1:{free_port()}"])
        settings = {"HEPSWITCH_LISTEN": listen, "HEPSWITCH_STORES__BUS__URL": stream.url()}
        edges.append(Node(folder, f"edge{number}", configurations / "edge.toml", settings))
    stores = []
    for number in (1, 2):
        listen = json.dumps([f"{stream.url()}?group=lake&share={number}/2"])
        settings = {"HEPSWITCH_LISTEN": listen}
        stores.append(Node(folder, f"store{number}", configurations / "storing.toml", settings))
    return edges, stores


def load(
    plan: Plan,
    edges: Sequence[Node],
    stores: Sequence[Node],
    stream: Stream,
    watch: Watch,
    say: Callable[[str], None],
) -> tuple[list[int], list[Incident]]:
    """Send the packets and let things happen meanwhile; how many were sent to each edge, and what happened."""
    incidents: list[Incident] = []

    def happens(at: float, hurt: Callable[[], str], mend: Callable[[], None]) -> None:
        pause_until(watch, at)
        incident = Incident(hurt(), watch.now)
        incidents.append(incident)
        say(f"{incident.began:6.1f} s: {incident.what}")
        pause_until(watch, watch.now + plan.away)
        mend()
        incident.mended = watch.now
        say(f"{incident.mended:6.1f} s: back")

    with contextlib.ExitStack() as stack:
        senders = []
        for number, edge in enumerate(edges):
            blast = harness.blast(
                edge.address, frames(edge.folder, number), plan.count, plan.rate // 2, max(plan.count // 7, 1)
            )
            senders.append(stack.enter_context(blast))
        watch.start()
        if plan.kills:
            happens(0.2 * plan.seconds, lambda: killed(edges[0]), edges[0].start)
            happens(0.45 * plan.seconds, stream.hurt, stream.mend)
            happens(0.7 * plan.seconds, lambda: killed(stores[0]), stores[0].start)
        sent = [sender.finish(plan.seconds + 60.0)["sent"] for sender in senders]
    return sent, incidents


def frames(folder: Path, edge: int) -> Path:
    """A file for `blast`: the messages of some calls, with room for the numbers of calls and packets, and the edge's."""
    heads = f"{harness.CALL}00000000\r\nX-Edge: {edge}\r\n{harness.NUMBER}000000000\r\n".encode()
    path = folder / "calls.hep"
    with path.open("wb") as file:
        for message in traffic.calls(100, start=time.time()):
            payload = re.sub(rb"Call-ID: .*\r\n", heads, message.payload)
            file.write(traffic.hep(replace(message, time=time.time(), payload=payload)))
    return path


def killed(node: Node) -> str:
    """kill -9 of a node; says so."""
    node.kill()
    return f"{node.name} killed"


def pause_until(watch: Watch, moment: float) -> None:
    """Let the fleet work until that many seconds after the first packet."""
    time.sleep(max(0.0, moment - watch.now))


def rest(watch: Watch) -> None:
    """Wait until nothing is on its way any more, or nothing has come for a long while."""
    least, since = watch.behind(), time.monotonic()

    def over() -> bool:
        nonlocal least, since
        behind = watch.behind()
        if behind != least:
            least, since = behind, time.monotonic()
        return behind == 0 or time.monotonic() - since > PATIENCE

    wait_for(over, "an end of what is on its way", float("inf"))


def work(edges: Sequence[Node], stores: Sequence[Node], stream: Stream, packets: int) -> dict[str, float]:
    """µs of CPU a packet by kind of process, starting included."""
    seconds = dict(stream.work)
    for kind, group in (("edge", edges), ("store", stores)):
        for role in group[0].work:
            seconds[f"{kind} {role}"] = sum(node.work[role] for node in group)
    return {kind: round(used / max(packets, 1) * 1e6, 2) for kind, used in sorted(seconds.items()) if used}
