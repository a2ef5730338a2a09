"""Families of metrics: name, kind, help and labels, said once; from there to samples, and to the reference page.

A family is declared in the module that fills it, as part of a `Group`, so that what is exposed and what is documented
cannot differ. Not here: which families there are (the other modules of this package).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

Sample = tuple[Sequence[str], float]
"""Values of the labels, in the order of the family's, and the number."""

Rows = Mapping[str, Mapping[str, Any]]
"""Rows of the books by name: a listener's, an outlet's, a table's."""


@dataclass(frozen=True, slots=True)
class Family:
    """One family. `name` is that of its samples; those of a histogram have `_bucket`, `_count` and `_sum` behind it."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    text: str
    labels: tuple[str, ...]

    def of(self, samples: Iterable[Sample]) -> Metric:
        """With these samples, of a counter or a gauge."""
        kind = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        metric = kind(self.name, self.text, labels=self.labels)
        for values, number in samples:
            metric.add_metric(values, number)
        return metric

    def alone(self, number: float) -> Metric:
        """The one sample of a family without labels."""
        return self.of([((), number)])

    def each(self, numbers: Mapping[str, float]) -> Metric:
        """A sample for each number, of a family with one label."""
        return self.of(((name,), number) for name, number in numbers.items())

    def by(self, rows: Rows, key: str) -> Metric:
        """A sample for each row: its name, and what it has under `key` (0 where it has nothing)."""
        return self.of(((name,), row.get(key, 0)) for name, row in rows.items())

    def by_reason(self, rows: Rows, key: str) -> Metric:
        """A sample for each row and reason of what it has under `key`, numbers by reason."""
        return self.of(((name, why), number) for name, row in rows.items() for why, number in row.get(key, {}).items())

    def spread(self, samples: Iterable[tuple[Sequence[str], Sequence[float], Sequence[int], float]]) -> Metric:
        """With these samples, of a histogram: values of the labels, upper bounds, how many in each bucket (one more than
        there are bounds: what lies above them all), and the sum of what was observed."""
        metric = HistogramMetricFamily(self.name, self.text, labels=self.labels)
        for values, bounds, counts, total in samples:
            reached, buckets = 0, []
            for bound, count in zip((*map(repr, bounds), "+Inf"), counts, strict=True):
                reached += count
                buckets.append((bound, reached))
            metric.add_metric(values, buckets, total)
        return metric


class Group:
    """Families that belong together: a section of the reference page. `text` is what is to be said about all of them."""

    def __init__(self, title: str, text: str = "") -> None:
        self.title = title
        self.text = text
        self.families: list[Family] = []

    def counter(self, name: str, text: str, *labels: str) -> Family:
        """A new family of numbers that only grow. `name` ends in `_total`."""
        return self._new(Family("counter", name, text, labels))

    def gauge(self, name: str, text: str, *labels: str) -> Family:
        """A new family of numbers that may fall."""
        return self._new(Family("gauge", name, text, labels))

    def histogram(self, name: str, text: str, *labels: str) -> Family:
        """A new family of numbers counted in buckets."""
        return self._new(Family("histogram", name, text, labels))

    def _new(self, family: Family) -> Family:
        self.families.append(family)
        return family
