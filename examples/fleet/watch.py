"""How a fleet does while it works: how many packets are on their way, what kills do to that, what a packet costs.

Not here: whether anything is lost (`books`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fleet.nodes import Node
from fleet.streams import Stream

Calm = dict[str, Any]
"""What a packet costs while nothing happens: see `Moment.since`."""

SAMPLE = 0.25
"""Seconds between two looks at how far packets have come."""


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


@dataclass(frozen=True, slots=True)
class Moment:
    """What had been done by a moment: packets accepted, CPU seconds by kind of process, bytes of the stream's servers."""

    packets: int
    cpu: dict[str, float]
    traffic: dict[str, int]

    @classmethod
    def of(cls, edges: Sequence[Node], stores: Sequence[Node], stream: Stream) -> Moment:
        """This moment; all of the fleet is up."""
        cpu = stream.cpu()
        for kind, group in (("edge", edges), ("store", stores)):
            for node in group:
                for role, used in node.cpu().items():
                    cpu[f"{kind} {role}"] = cpu.get(f"{kind} {role}", 0.0) + used
        return cls(sum(edge.accepted for edge in edges), cpu, stream.traffic())

    def since(self, before: Moment) -> Calm:
        """What a packet has cost since then."""
        packets = max(self.packets - before.packets, 1)
        return {
            "packets": packets,
            "cpu_us_a_packet": {
                kind: round((used - before.cpu[kind]) / packets * 1e6, 2) for kind, used in self.cpu.items()
            },
            "server_bytes_a_packet": {
                kind: round((count - before.traffic[kind]) / packets) for kind, count in self.traffic.items()
            },
        }
