"""The books as Prometheus metrics. Counters stay plain integers until somebody scrapes.

Not here: numbers of their own; every sample is read from the books or from what the processes left (`control.figures`).
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client.registry import Collector

from hepswitch.books import Snapshot
from hepswitch.control.metrics import flow, outlets, script
from hepswitch.control.metrics.families import Group

__all__ = ["CONTENT_TYPE", "GROUPS", "exposition"]

SWITCH = Group("The switch")
UPTIME = SWITCH.gauge("hepswitch_uptime_seconds", "Seconds since the switch started.")
BALANCED = SWITCH.gauge("hepswitch_books_balanced", "1 when every packet is accounted for.")

GROUPS = (
    SWITCH,
    flow.LISTENERS,
    flow.ROUTE,
    outlets.DESTINATIONS,
    outlets.NODES,
    outlets.STORES,
    flow.TRACES,
    script.SCRIPT,
)
"""All families that there are, in the order of the reference page."""


def exposition(book: Snapshot) -> bytes:
    """The Prometheus text of a snapshot."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Books(book))
    return generate_latest(registry)


class _Books(Collector):
    def __init__(self, book: Snapshot) -> None:
        self._book = book

    def collect(self) -> Iterator[Metric]:
        book = self._book
        yield UPTIME.alone(book["uptime"])
        yield BALANCED.alone(float(book["balanced"]))
        yield from flow.collect(book)
        yield from outlets.collect(book)
        yield from script.collect(book["script"])
