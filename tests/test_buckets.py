"""Token buckets: how many tokens there are when, and that the table neither grows nor forgets whom it limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.buckets import Buckets, pace

SECOND = 1_000_000_000


def test_a_burst_and_then_the_rate() -> None:
    buckets, (interval, depth), start = Buckets(), pace("10/s", 3), 5 * SECOND
    assert [buckets.take("a", interval, depth, start) for _ in range(5)] == [True, True, True, False, False]
    assert not buckets.take("a", interval, depth, start + interval - 1)
    assert buckets.take("a", interval, depth, start + interval)
    assert not buckets.take("a", interval, depth, start + interval)
    assert [buckets.take("a", interval, depth, start + 60 * SECOND) for _ in range(4)] == [True, True, True, False]


def test_each_key_has_its_own_bucket() -> None:
    buckets = Buckets()
    assert [buckets.limit(key, "1/m") for key in ("a", "b", "a", ("a", 1), ("a", 1), 7, 7)] == [
        True, True, False, True, False, True, False,
    ]  # fmt: skip


@given(
    count=st.integers(1, 1000),
    burst=st.integers(1, 100),
    steps=st.lists(st.integers(0, SECOND), min_size=1, max_size=100),
)
def test_never_more_than_the_burst_and_the_rate(count: int, burst: int, steps: list[int]) -> None:
    buckets, (interval, depth), now, taken = Buckets(), pace(count, burst), SECOND, 0
    for step in steps:
        now += step
        taken += buckets.take("a", interval, depth, now)
        assert taken <= burst + (now - SECOND) // interval
    assert taken >= 1


@given(burst=st.integers(1, 64), step=st.floats(1.0, 4.0))
def test_who_keeps_to_the_rate_is_never_limited(burst: int, step: float) -> None:
    buckets, (interval, depth) = Buckets(), pace(3, burst)
    assert all(buckets.take("a", interval, depth, SECOND + int(n * interval * step) + n) for n in range(200))


def test_a_flood_of_new_keys_costs_no_memory_and_frees_nobody() -> None:
    buckets, (interval, depth) = Buckets(64), pace("1/h", 100)
    for _ in range(100):
        assert buckets.take("flooder", interval, depth, SECOND)
    for number in range(10_000):
        assert buckets.take(number, interval, depth, SECOND)
    assert buckets.evicted >= 10_000 - 64
    assert not buckets.take("flooder", interval, depth, SECOND)


def test_buckets_that_are_full_again_give_way_for_nothing() -> None:
    buckets, (interval, depth) = Buckets(8), pace("1/s")
    for number in range(100):
        assert buckets.take(number, interval, depth, (2 * number + 1) * SECOND)
    assert buckets.evicted == 0


def test_workers_share_a_rate() -> None:
    assert pace("1000/s", share=4) == (4_000_000, SECOND)
    assert pace("60/m") == (SECOND, 60 * SECOND)
    assert pace("0.5/s") == (2 * SECOND, 2 * SECOND)
    interval, depth = pace("1/d", 1_000_000_000, share=256)
    assert Buckets().take("a", interval, depth, SECOND)


@pytest.mark.parametrize(
    ("rate", "burst"), [("1000", None), ("1/w", None), ("0/s", None), (2e7, None), ("1/s", 0), ("1/s", 2e9)]
)
def test_what_is_no_rate_is_said(rate: str | float, burst: float | None) -> None:
    with pytest.raises(ValueError, match=r"rate|burst"):
        Buckets().limit("a", rate, burst)


def test_sizes_are_bounded() -> None:
    with pytest.raises(ValueError, match="16777216"):
        Buckets(1 << 40)
