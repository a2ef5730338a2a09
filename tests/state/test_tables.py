"""Tables: what they keep, for how long, and how much."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepswitch.state.tables import Table


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_it_is_used_like_a_dict(clock: Clock) -> None:
    table = Table("calls", "1h", 10, clock)
    table["a"] = 1
    table.set(("b", 2), "two")
    assert (table["a"], table.get("c"), table.get("c", 7), "a" in table, len(table)) == (1, None, 7, True, 2)
    assert table.items() == [("a", 1), (("b", 2), "two")]
    assert list(table) == ["a", ("b", 2)]
    del table["a"]
    assert table.pop(("b", 2)) == "two"
    assert table.pop("a", "gone") == "gone"
    with pytest.raises(KeyError, match="a"):
        table["a"]
    with pytest.raises(KeyError, match="a"):
        del table["a"]
    assert len(table) == 0


def test_an_entry_lives_for_the_tables_time_or_its_own(clock: Clock) -> None:
    table = Table("calls", "10s", 10, clock)
    table["a"] = 1
    table.set("b", 2, ttl="1m")
    clock.now += 10
    assert ("a" in table, "b" in table) == (False, True)
    clock.now += 50
    assert "b" not in table
    assert table.expired == 2


def test_writing_renews_and_incr_does_not(clock: Clock) -> None:
    table = Table("calls", 10, 10, clock)
    table["a"] = 1
    assert table.incr("n") == 1
    clock.now += 6
    table["a"] = 2
    assert table.incr("n", 4) == 5
    clock.now += 6
    assert table.get("a") == 2
    assert table.incr("n") == 1, "a new window"


def test_the_oldest_makes_room(clock: Clock) -> None:
    table = Table("calls", "1h", 3, clock)
    for key in "abc":
        table[key] = key
    table["a"] = "again"
    table["d"] = "d"
    assert [key for key, _ in table.items()] == ["c", "a", "d"]
    assert table.evicted == 1


def test_what_expired_makes_room_first(clock: Clock) -> None:
    table = Table("calls", "1h", 2, clock)
    table["old"] = 1
    table.set("short", 2, ttl=1)
    clock.now += 2
    table["new"] = 3
    assert "old" in table
    assert (table.expired, table.evicted) == (1, 0)


def test_what_nobody_asks_for_goes_as_well(clock: Clock) -> None:
    table = Table("calls", 10, 100_000, clock)
    table.set("long", 1, ttl="1d")
    for number in range(5000):
        table[number] = number
    clock.now += 10
    for number in range(2500):
        table[f"new {number}"] = number
    assert len(table) <= 1 + 2500 + 2, "each write swept two"
    assert "long" in table
    clock.now += 10
    looks = [table.statistics()["entries"] for _ in range(4)]
    assert looks == sorted(looks, reverse=True)
    assert looks[-1] == 1


def test_a_table_made_smaller_shrinks_as_it_is_written(clock: Clock) -> None:
    table = Table("calls", "1h", 100, clock)
    for number in range(100):
        table[number] = number
    table.configure("1h", 10)
    for number in range(100, 190):
        table[number] = number
    assert [key for key, _ in table.items()] == list(range(180, 190))


def test_statistics(clock: Clock) -> None:
    table = Table("calls", 10, 1, clock)
    table["a"] = 1
    table["b"] = 2
    assert table.get("b") == 2
    assert table.get("a") is None
    clock.now += 10
    assert table.get("b") is None
    assert table.statistics() == {"entries": 0, "hits": 1, "misses": 2, "expired": 1, "evicted": 1}
    assert repr(table) == "<Table calls: 0 of 1 entries, ttl 10 s>"


@pytest.mark.parametrize(("ttl", "size", "words"), [("1h", 0, "size 0"), (0, 1, "keeps nothing"), ("soon", 1, "soon")])
def test_what_makes_no_sense_is_refused(clock: Clock, ttl: Any, size: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Table("calls", ttl, size, clock)


KEYS = st.integers(0, 7)
STEPS = st.one_of(
    st.tuples(st.just("set"), KEYS, st.sampled_from([None, 1, 3, 20])),
    st.tuples(st.sampled_from(["get", "in", "pop", "incr", "items", "statistics"]), KEYS, st.none()),
    st.tuples(st.just("wait"), st.integers(1, 6), st.none()),
)


@settings(max_examples=300)
@given(st.lists(STEPS, max_size=60))
def test_it_is_a_dict_that_forgets(steps: list[tuple[str, int, Any]]) -> None:
    """Against a plain dict of key → (value, deadline), with room for every key."""
    clock = Clock()
    table = Table("model", 5, 8, clock)
    model: dict[int, tuple[int, float]] = {}
    for number, (what, key, ttl) in enumerate(steps):
        if what == "wait":
            clock.now += key
        model = {k: (value, deadline) for k, (value, deadline) in model.items() if deadline > clock.now}
        if what == "set":
            table.set(key, number, ttl)
            model.pop(key, None)
            model[key] = (number, clock.now + (ttl or 5))
        elif what == "incr":
            value, deadline = model.get(key, (0, clock.now + 5))
            model[key] = (value + 1, deadline)
            assert table.incr(key) == value + 1
        elif what == "pop":
            assert table.pop(key) == model.pop(key, (None,))[0]
        elif what == "get":
            assert table.get(key) == model.get(key, (None,))[0]
        elif what == "in":
            assert (key in table) == (key in model)
        elif what == "statistics":
            assert table.statistics()["entries"] == len(model)
        assert table.items() == [(k, value) for k, (value, _) in model.items()]
        assert len(table) >= len(model)
    assert table.evicted == 0


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from([1, 5, 50]), st.integers(0, 2)), max_size=100))
def test_it_never_holds_more_than_its_size_and_every_entry_is_explained(steps: list[tuple[int, int, int]]) -> None:
    clock = Clock()
    table = Table("bounded", 5, 4, clock)
    made = 0
    for key, ttl, wait in steps:
        clock.now += wait
        made += key not in table
        table.set(key, key, ttl)
        assert len(table) <= 4
        assert table.get(key) == key
        assert len(table) + table.expired + table.evicted == made
