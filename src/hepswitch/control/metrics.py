"""The books as Prometheus metrics. Counters stay plain integers until somebody scrapes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client.registry import Collector

from hepswitch.books import Snapshot

__all__ = ["CONTENT_TYPE", "exposition"]

Sample = tuple[list[str], float]


def exposition(book: Snapshot) -> bytes:
    """The Prometheus text of a snapshot."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Books(book))
    return generate_latest(registry)


class _Books(Collector):
    def __init__(self, book: Snapshot) -> None:
        self._book = book

    def collect(self) -> Iterator[Metric]:
        yield from _received(self._book["received"])
        yield from _routed(self._book["routed"])
        yield from _rules(self._book["rules"])
        yield from _guards(self._book["guards"])
        yield from _outlets("destination", self._book["destinations"])
        yield from _outlets("store", self._book["stores"])
        yield from _traces(self._book["traces"], self._book["tracer"])
        yield from _script(self._book["script"])
        yield _gauge("hepswitch_uptime_seconds", "Seconds since the switch started.", [], [([], self._book["uptime"])])
        yield _gauge(
            "hepswitch_books_balanced",
            "1 when every packet is accounted for.",
            [],
            [([], float(self._book["balanced"]))],
        )


def _received(rows: dict[str, Any]) -> Iterator[Metric]:
    for key, text in {
        "packets": "Packets read.",
        "bytes": "Bytes of the packets read.",
        "kernel_drops": "Datagrams or frames that the kernel dropped because the receive buffer or ring was full.",
        "frames": "Frames read by listeners that capture, whatever is in them.",
        "truncated": "Captured frames that were cut short (snaplen).",
        "interruptions": "How often an interface that is captured from went away.",
    }.items():
        yield _counter(
            f"hepswitch_received_{key}", text, ["listener"], [([url], row[key]) for url, row in rows.items()]
        )
    yield _gauge(
        "hepswitch_connections", "Open TCP and TLS connections of agents.", ["listener"],
        [([url], row["connections"]) for url, row in rows.items()],
    )  # fmt: skip
    for key, name, text in (
        ("malformed_reasons", "malformed", "Packets that could not be decoded, by reason."),
        ("refused", "refused", "Packets not let into the route, by reason."),
    ):
        yield _counter(
            f"hepswitch_received_{name}", text, ["listener", "reason"],
            [([url, reason], count) for url, row in rows.items() for reason, count in row[key].items()],
        )  # fmt: skip


def _routed(row: dict[str, Any]) -> Iterator[Metric]:
    yield _counter("hepswitch_routed_packets", "Packets that went through the route.", [], [([], row["packets"])])
    yield _counter(
        "hepswitch_unrouted", "Packets neither sent, stored nor dropped by name.", [], [([], row["unrouted"])]
    )
    yield _counter(
        "hepswitch_captured", "SIP messages that the route put into stores.", ["kind"],
        [([kind], row[f"captured_{kind}"]) for kind in ("requests", "replies")],
    )  # fmt: skip
    yield _counter("hepswitch_route_errors", "Packets whose route raised.", [], [([], row["errors"])])
    yield _counter(
        "hepswitch_dropped", "Packets that the route dropped, by reason.", ["reason"],
        [([reason], count) for reason, count in row["dropped"].items()],
    )  # fmt: skip


def _rules(hits: dict[str, int]) -> Iterator[Metric]:
    if hits:
        samples: list[Sample] = [([name], count) for name, count in hits.items()]
        yield _counter("hepswitch_rule_hits", "Packets that a rule acted on.", ["rule"], samples)


def _guards(row: dict[str, Any]) -> Iterator[Metric]:
    if row.get("limits"):
        samples: list[Sample] = [([name], count) for name, count in row["limits"].items()]
        yield _counter("hepswitch_limit_exceeded", "Packets above a rate limit, dropped or marked.", ["limit"], samples)
    for key, text in {
        "duplicates": "Copies of messages that another agent had sent, dropped or marked.",
        "evicted": "Buckets of rate limits that gave way to others.",
        "forgotten": "Messages forgotten too early to recognise their copies: raise the size.",
    }.items():
        if key in row:
            yield _counter(f"hepswitch_guard_{key}", text, [], [([], row[key])])


def _outlets(kind: str, rows: dict[str, Any]) -> Iterator[Metric]:
    nodes = {(name, url): node for name, row in rows.items() for url, node in row.get("nodes", {}).items()}
    for key, text in {"accepted": "Packets taken over.", "delivered": "Packets handed on."}.items():
        samples: list[Sample] = [([name], row[key]) for name, row in rows.items()]
        yield _counter(f"hepswitch_{kind}_{key}", text, [kind], samples)
    for key, text in {"queued": "Packets waiting in memory.", "spooled": "Packets waiting on disk."}.items():
        yield _gauge(f"hepswitch_{kind}_{key}", text, [kind], [([name], row[key]) for name, row in rows.items()])
    yield _counter(
        f"hepswitch_{kind}_discarded", "Packets lost after being taken over, by reason.", [kind, "reason"],
        [([name, reason], count) for name, row in rows.items() for reason, count in row["discarded"].items()],
    )  # fmt: skip
    yield _counter(
        f"hepswitch_{kind}_refused", "Packets offered and not taken over, by reason.", [kind, "reason"],
        [([name, reason], count) for name, row in rows.items() for reason, count in row["refused"].items()],
    )  # fmt: skip
    if not nodes:
        return
    for key, text in {"delivered": "Packets handed on to the node."}.items():
        yield _counter(
            f"hepswitch_node_{key}", text, [kind, "node"], [([*of], node[key]) for of, node in nodes.items()]
        )
    yield _gauge(
        "hepswitch_node_up", "1 while the node is active.", [kind, "node"],
        [([*of], float(node["state"] == "active")) for of, node in nodes.items()],
    )  # fmt: skip
    for key, text in {"queued": "Packets waiting in memory.", "spooled": "Packets waiting on disk."}.items():
        yield _gauge(f"hepswitch_node_{key}", text, [kind, "node"], [([*of], node[key]) for of, node in nodes.items()])


def _traces(rows: dict[str, Any], tracer: dict[str, Any]) -> Iterator[Metric]:
    for key, text in {
        "packets": "Packets handed to the destinations of a trace.",
        "requests": "SIP requests among them.",
        "replies": "SIP replies among them.",
        "calls": "Transactions and dialogs whose trace was begun.",
        "refused": "Copies that a destination of the trace did not take.",
    }.items():
        yield _counter(f"hepswitch_traced_{key}", text, ["trace"], [([name], row[key]) for name, row in rows.items()])
    yield _gauge(
        "hepswitch_tracer_calls", "Transactions and dialogs that are being traced.", [], [([], tracer["calls"])]
    )
    yield _counter(
        "hepswitch_tracer_evicted", "Traced calls that were cut short, by reason.", ["reason"],
        [([reason], count) for reason, count in tracer["evicted"].items()],
    )  # fmt: skip
    yield _counter(
        "hepswitch_tracer_untold", "What a worker could not tell another one about traced calls, by reason.", ["reason"],
        [([reason], count) for reason, count in tracer["untold"].items()],
    )  # fmt: skip
    yield _counter(
        "hepswitch_tracer_forgotten", "Packets that were forgotten before the time to look back was over.", [],
        [([], tracer["forgotten"])],
    )  # fmt: skip


def _script(row: dict[str, Any]) -> Iterator[Metric]:
    """What route scripts count. Samples bring their own labels: workers may run two versions of a script for a while."""
    for name, series in row["counters"].items():
        metric: Metric = CounterMetricFamily(f"hepswitch_script_{name}", series.get("help", ""))
        for labels, number in series["values"].items():
            metric.add_sample(f"{metric.name}_total", dict(parse_qsl(labels, keep_blank_values=True)), number)
        yield metric
    for name, series in row["gauges"].items():
        metric = GaugeMetricFamily(f"hepswitch_script_{name}", series.get("help", ""))
        for labels, number in series["values"].items():
            metric.add_sample(metric.name, dict(parse_qsl(labels, keep_blank_values=True)), number)
        yield metric
    tables = row["tables"].items()
    yield _gauge(
        "hepswitch_table_entries", "Entries in tables of the route script.", ["table"],
        [([name], table["entries"]) for name, table in tables],
    )  # fmt: skip
    for key, text in {
        "hits": "Look-ups in the table that found something.",
        "misses": "Look-ups in the table that found nothing.",
        "expired": "Entries whose time was over.",
        "evicted": "Entries that made room for others: the table is full.",
    }.items():
        yield _counter(f"hepswitch_table_{key}", text, ["table"], [([name], table[key]) for name, table in tables])


def _counter(name: str, text: str, labels: list[str], samples: Iterable[Sample]) -> Metric:
    metric = CounterMetricFamily(name, text, labels=labels)
    for values, number in samples:
        metric.add_metric(values, number)
    return metric


def _gauge(name: str, text: str, labels: list[str], samples: Iterable[Sample]) -> Metric:
    metric = GaugeMetricFamily(name, text, labels=labels)
    for values, number in samples:
        metric.add_metric(values, number)
    return metric
