"""Metrics of route scripts: what they count themselves, and their tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from hepswitch.control.metrics.families import Group

SCRIPT = Group(
    "Route script",
    '`counter("NAME")` of a script is `hepswitch_script_NAME_total`, `gauge("NAME")` is `hepswitch_script_NAME`, with the '
    "labels that the script gives them.",
)

ENTRIES = SCRIPT.gauge("hepswitch_table_entries", "Entries in tables of the route script.", "table")
OF_TABLES = {
    "hits": SCRIPT.counter("hepswitch_table_hits_total", "Look-ups in the table that found something.", "table"),
    "misses": SCRIPT.counter("hepswitch_table_misses_total", "Look-ups in the table that found nothing.", "table"),
    "expired": SCRIPT.counter("hepswitch_table_expired_total", "Entries whose time was over.", "table"),
    "evicted": SCRIPT.counter(
        "hepswitch_table_evicted_total", "Entries that made room for others: the table is full.", "table"
    ),
}


def collect(row: dict[str, Any]) -> Iterator[Metric]:
    """All of them, out of `script` of the books.

    Samples bring their own labels: workers may run two versions of a script for a while.
    """
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
    yield ENTRIES.by(row["tables"], "entries")
    for key, family in OF_TABLES.items():
        yield family.by(row["tables"], key)
