"""The age of the oldest packet that waits, out of what came and what is done with."""

from __future__ import annotations

from collections import deque
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hepswitch import books
from hepswitch.waiting import FINENESS, Ages, Waiting, with_lags


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=60))
def test_it_is_the_age_of_the_first_that_came_and_is_not_done(steps: list[tuple[int, int]]) -> None:
    """A look each second; packets come between two looks, and are seen at the second of them."""
    waiting, arrivals = Waiting(), deque[float]()
    came = done = 0
    for now, (arriving, leaving) in enumerate(steps):
        arrivals.extend([float(now)] * arriving)
        came += arriving
        for _ in range(min(leaving, len(arrivals))):
            arrivals.popleft()
            done += 1
        assert waiting.look(came, done, float(now)) == (now - arrivals[0] if arrivals else 0.0)


def test_what_waits_on_disk_has_waited_before_its_process_was_started_again() -> None:
    waiting = Waiting()
    assert waiting.look(100, 90, 0.0) == 0.0
    assert waiting.look(130, 90, 60.0) == 60.0
    assert waiting.look(40, 0, 61.0) == 61.0, "the successor found 40 on disk"
    assert waiting.look(50, 40, 70.0) == 0.0
    assert waiting.look(50, 50, 71.0) == 0.0
    assert waiting.look(3, 0, 72.0) == 0.0, "nothing was left of the one before"


def test_an_outage_of_days_takes_no_memory_and_keeps_its_age() -> None:
    waiting = Waiting()
    for second in range(200_000):
        age = waiting.look(second + 1, 0, float(second))
    assert age == 199_999.0
    assert len(waiting._looks) < 4000
    for done in (1000, 100_000, 190_000):
        assert 200_000 - done <= waiting.look(200_000, done, 200_000.0) <= 200_000 - done + done * FINENESS + 1


def _book(**nodes: tuple[int, int]) -> dict[str, Any]:
    """Books with a destination of these nodes: what each accepted, and what of it is spooled."""
    rows = {
        url: books.Account(accepted=came, delivered=came - left, spooled=left).snapshot()
        for url, (came, left) in nodes.items()
    }
    total = books.Account(
        accepted=sum(came for came, _ in nodes.values()), spooled=sum(left for _, left in nodes.values())
    )
    return books.empty() | {"destinations": {"homer": total.snapshot() | {"nodes": rows}}}


def test_the_worst_of_all_workers_is_told() -> None:
    stuck, flowing = Ages(), Ages()
    first, second = _book(a=(5, 1)), _book(a=(900, 1))
    stuck.look(first, 0.0)
    flowing.look(second, 0.0)
    stuck.look(first, 30.0)
    flowing.look(_book(a=(1900, 1)), 30.0)
    book = with_lags(books.merge([first, _book(a=(1900, 1))]), [stuck, flowing])
    assert book["destinations"]["homer"]["nodes"]["a"]["lag"] == 30.0
    assert book["destinations"]["homer"]["lag"] == 30.0
    assert "lag" not in first["destinations"]["homer"], "what the worker said stays as it was"


def test_a_row_that_knows_better_keeps_its_lag() -> None:
    ages = Ages()
    book = books.empty() | {"stores": {"db": books.Account().snapshot() | {"lag": 7.5}}}
    ages.look(book, 0.0)
    assert with_lags(book, [ages])["stores"]["db"]["lag"] == 7.5


def test_places_that_are_gone_are_forgotten() -> None:
    ages = Ages()
    ages.look(_book(a=(5, 5), b=(1, 0)), 0.0)
    ages.look(_book(b=(1, 0)), 10.0)
    assert ages.of(("destinations", "homer", "a")) == 0.0
