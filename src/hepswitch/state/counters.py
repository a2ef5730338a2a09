"""Counters and gauges of route scripts. They become Prometheus metrics `hepswitch_script_<name>`.

Plain numbers until somebody scrapes. Not here: the exposition (`control.metrics`), the sums over workers (`books`).
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

MOST_SERIES = 1000
"""Label sets of one counter that are kept apart: a script may build them from packet data."""

MOST_CHARACTERS = 128
"""Characters of a label's value; the rest is cut off."""

MOST = 2**53
"""The largest number that one call may add or set: every number in the books is exact and finite."""

OTHER = "other"
"""Value of each label in the series that takes what comes after `MOST_SERIES`."""

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")

Snapshot = dict[str, Any]


def check_name(kind: str, name: str) -> None:
    """ValueError unless `name` can name a metric."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{kind} {name!r}: a name is letters, digits and _, and begins with a letter")
    if name.endswith("_total"):
        raise ValueError(f"{kind} {name!r}: leave _total away; the metric of a counter gets it by itself")


class Series:
    """What counters and gauges share: a number for each set of label values."""

    kind = "series"

    def __init__(self, name: str, help: str = "", labels: tuple[str, ...] = ()) -> None:
        for label in labels:
            if not _NAME.fullmatch(label):
                raise ValueError(f"{self.kind} {name!r}: label {label!r} is not letters, digits and _")
        if len(set(labels)) < len(labels):
            raise ValueError(f"{self.kind} {name!r}: a label is there twice: {', '.join(labels)}")
        self.name = name
        self.help = help
        self.labels = labels
        self._plain: float = 0  # without labels
        self._numbers: dict[tuple[str, ...], float] = {}  # with labels, by their values

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self.snapshot()['values']}>"

    def value(self, **labels: Any) -> float:
        """The number now; of the series with these label values (0 when there is none)."""
        key = self._values(labels)
        return self._numbers.get(tuple(map(_clean, key)), 0) if key else self._plain

    def snapshot(self) -> Snapshot:
        """For the books: `values` by label set, written `tenant=a&kind=b` (percent-encoded; "" without labels)."""
        if not self.labels:
            return {"help": self.help, "values": {"": self._plain}}
        return {
            "help": self.help,
            "values": {urlencode(list(zip(self.labels, key, strict=True))): n for key, n in self._numbers.items()},
        }

    def _values(self, labels: dict[str, Any]) -> tuple[str, ...]:
        try:
            key = tuple([_text(labels[name]) for name in self.labels])
        except KeyError:
            key = ()
        if len(labels) != len(key) or len(key) != len(self.labels):
            wanted = ", ".join(self.labels) or "no labels"
            given = ", ".join(labels) or "none"
            raise ValueError(f"{self.kind} {self.name!r} has {wanted}; given: {given}")
        return key

    def _key(self, labels: dict[str, Any]) -> tuple[str, ...]:
        """The series of these label values, there from now on."""
        key = tuple(map(labels.get, self.labels))
        if key in self._numbers and len(labels) == len(key):
            return key
        clean = tuple(map(_clean, self._values(labels)))
        if clean not in self._numbers:
            if len(self._numbers) >= MOST_SERIES:
                clean = (OTHER,) * len(clean)
            self._numbers.setdefault(clean, 0)
        return clean


class Counter(Series):
    """Counts up. `calls.inc()`, `calls.inc(3)`, `calls.inc(tenant="a")`; the metric is `hepswitch_script_<name>_total`."""

    kind = "counter"

    def inc(self, by: float = 1, **labels: Any) -> None:
        """Add `by` (0 or more). ValueError for a number that is negative or absurd, and for labels that it has not."""
        if not 0 <= by <= MOST:
            raise ValueError(f"counter {self.name!r} cannot count {by!r}: it goes up, by 2**53 at most")
        if labels or self.labels:
            self._numbers[self._key(labels)] += by
        else:
            self._plain += by


class Gauge(Series):
    """A number that goes up and down; the metric is `hepswitch_script_<name>`, the sum over all workers."""

    kind = "gauge"

    def set(self, value: float, **labels: Any) -> None:
        """Set it to `value`. ValueError for a number that is not finite, and for labels that it has not."""
        if not -MOST <= value <= MOST:
            raise ValueError(f"gauge {self.name!r} cannot be {value!r}: at most 2**53 up or down")
        if labels or self.labels:
            self._numbers[self._key(labels)] = value
        else:
            self._plain = value


def _text(value: Any) -> str:
    """A label's value as text; what a packet does not have (None) is empty."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return "" if value is None else str(value)


def _clean(text: str) -> str:
    """Without what UTF-8 cannot say (captured text may hold any byte), and bounded."""
    return text[:MOST_CHARACTERS].encode("utf-8", "backslashreplace").decode()
