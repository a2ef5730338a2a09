"""Counters and gauges: what they count, what they refuse, what the books say of them."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from hepswitch.state import State
from hepswitch.state.counters import MOST_SERIES, Counter, Gauge


def test_a_counter_counts() -> None:
    calls = Counter("calls", "Calls.")
    calls.inc()
    calls.inc(2)
    assert calls.value() == 3
    assert calls.snapshot() == {"help": "Calls.", "values": {"": 3}}


def test_labels_are_counted_apart_in_any_order() -> None:
    calls = Counter("calls", labels=("tenant", "kind"))
    assert calls.snapshot()["values"] == {}
    calls.inc(tenant="a", kind="new")
    calls.inc(kind="new", tenant="a")
    calls.inc(5, tenant="b & c", kind=None)
    assert calls.snapshot()["values"] == {"tenant=a&kind=new": 2, "tenant=b+%26+c&kind=": 5}
    assert (calls.value(tenant="a", kind="new"), calls.value(tenant="x", kind="new")) == (2, 0)


def test_a_gauge_is_set() -> None:
    load = Gauge("load", labels=("node",))
    load.set(0.5, node=b"n\xff1")
    load.set(-2, node="n2")
    assert load.snapshot()["values"] == {"node=n%5Cxff1": 0.5, "node=n2": -2}
    plain = Gauge("plain")
    plain.set(4)
    assert plain.value() == 4


def test_series_are_bounded_and_the_rest_is_counted_together() -> None:
    calls = Counter("calls", labels=("caller",))
    for number in range(MOST_SERIES + 50):
        calls.inc(caller=number)
    calls.inc(caller=3)
    values = calls.snapshot()["values"]
    assert len(values) == MOST_SERIES + 1
    assert (values["caller=other"], values["caller=3"]) == (50, 2)


def test_label_values_from_hostile_packets_can_be_said() -> None:
    calls = Counter("calls", labels=("agent",))
    for _ in range(2):
        calls.inc(agent="bad \udcff")
        calls.inc(agent="x" * 60_000)
    assert list(calls.snapshot()["values"].values()) == [2, 2]
    assert max(map(len, calls.snapshot()["values"])) < 200
    msgspec.json.encode(calls.snapshot())


@pytest.mark.parametrize("by", [-1, math.nan, math.inf, 2**60])
def test_absurd_numbers_are_refused(by: float) -> None:
    calls, load = Counter("calls"), Gauge("load")
    with pytest.raises(ValueError, match="counter 'calls' cannot count"):
        calls.inc(by)
    if by != -1:
        with pytest.raises(ValueError, match="gauge 'load' cannot be"):
            load.set(by)
    assert (calls.value(), load.value()) == (0, 0)


@pytest.mark.parametrize("labels", [{}, {"a": 1}, {"a": 1, "b": 2, "c": 3}, {"a": 1, "c": 2}])
def test_labels_must_be_those_of_the_counter(labels: dict[str, Any]) -> None:
    calls = Counter("calls", labels=("a", "b"))
    with pytest.raises(ValueError, match=r"counter 'calls' has a, b; given: (none|a)"):
        calls.inc(**labels)
    with pytest.raises(ValueError, match="has no labels; given: a"):
        Counter("plain").inc(a=1)


@pytest.mark.parametrize(
    ("name", "labels", "words"),
    [
        ("a-b", (), "begins with a letter"),
        ("", (), "begins with a letter"),
        ("calls_total", (), "leave _total away"),
        ("calls", ("a b",), "label 'a b'"),
        ("calls", ("__a",), "label '__a'"),
        ("calls", ("a", "a"), "twice"),
    ],
)
def test_names_that_prometheus_would_refuse(name: str, labels: tuple[str, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        State().series(Counter, name, "", labels)
