"""The books and the vitals as Prometheus metrics. Counters stay plain integers until somebody scrapes.

Not here: numbers of their own; every sample is read from the books or from `control.vitals`.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client.registry import Collector

from hepswitch.books import Snapshot
from hepswitch.control.metrics import flow, health, outlets, quality, script, stores, traffic
from hepswitch.control.vitals import Vitals

__all__ = ["CONTENT_TYPE", "GROUPS", "exposition"]

GROUPS = (
    health.SWITCH,
    flow.LISTENERS,
    flow.ROUTE,
    traffic.PACKETS,
    traffic.SIP,
    quality.QUALITY,
    outlets.DESTINATIONS,
    outlets.NODES,
    outlets.STORES,
    stores.BEHIND,
    stores.LAKES,
    flow.TRACES,
    script.SCRIPT,
    health.PROCESSES,
    health.SYSTEM,
)
"""All families that there are, in the order of the reference page."""


def exposition(book: Snapshot, vitals: Vitals) -> bytes:
    """The Prometheus text of both."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Metrics(book, vitals))
    return generate_latest(registry)


class _Metrics(Collector):
    def __init__(self, book: Snapshot, vitals: Vitals) -> None:
        self._book = book
        self._vitals = vitals

    def collect(self) -> Iterator[Metric]:
        book, vitals = self._book, self._vitals
        yield from health.collect(book, vitals)
        yield from flow.collect(book)
        yield from traffic.collect(book["meter"])
        yield from quality.collect(book["meter"])
        yield from outlets.collect(book)
        yield from stores.collect(vitals)
        yield from script.collect(book["script"])
