"""The books, the vitals and the agents as Prometheus metrics. Counters stay plain integers until somebody scrapes.

Not here: numbers of their own; every sample is read from the books or from `control.vitals`.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client.registry import Collector

from hepswitch.books import Snapshot
from hepswitch.control.agents import AgentList
from hepswitch.control.metrics import agents, flow, health, outlets, quality, script, stores, traffic
from hepswitch.control.vitals import Vitals

__all__ = ["CONTENT_TYPE", "GROUPS", "exposition"]

GROUPS = (
    health.SWITCH,
    flow.LISTENERS,
    flow.ROUTE,
    traffic.PACKETS,
    traffic.SIP,
    quality.QUALITY,
    agents.AGENTS,
    outlets.DESTINATIONS,
    outlets.NODES,
    outlets.STORES,
    stores.BEHIND,
    stores.LAKES,
    stores.UPLOADS,
    flow.TRACES,
    script.SCRIPT,
    health.PROCESSES,
    health.SYSTEM,
)
"""All families that there are, in the order of the reference page."""


def exposition(book: Snapshot, vitals: Vitals, known: AgentList) -> bytes:
    """The Prometheus text of all this; `known` are the agents that are known."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Metrics(book, vitals, known))
    return generate_latest(registry)


class _Metrics(Collector):
    def __init__(self, book: Snapshot, vitals: Vitals, known: AgentList) -> None:
        self._book = book
        self._vitals = vitals
        self._known = known

    def collect(self) -> Iterator[Metric]:
        book, vitals = self._book, self._vitals
        yield from health.collect(book, vitals)
        yield from flow.collect(book)
        yield from traffic.collect(book["meter"])
        yield from quality.collect(book["meter"])
        yield from agents.collect(self._known)
        yield from outlets.collect(book)
        yield from stores.collect(vitals)
        yield from script.collect(book["script"])
