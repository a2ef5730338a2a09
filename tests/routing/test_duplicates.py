"""Duplicates: copies from other agents are recognised, retransmissions never, also by processes that share the memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.routing.duplicates import Duplicates, room

WINDOW, LAG, NOW = 500_000, 5_000_000, 60_000_000


def table(size: int = 1000, **options: Any) -> Duplicates:
    return Duplicates(bytearray(room(size)), WINDOW, LAG, **options)


def test_a_copy_is_what_another_agent_sent_before() -> None:
    duplicates = table()
    assert not duplicates.seen(b"INVITE", b"a", NOW, NOW)
    assert duplicates.seen(b"INVITE", b"b", NOW + 100, NOW + 200)
    assert duplicates.seen(b"INVITE", b"c", NOW - 100, NOW + 300)
    assert not duplicates.seen(b"BYE", b"b", NOW, NOW)


def test_a_retransmission_is_no_copy_whoever_comes_first() -> None:
    duplicates = table()
    order = [(b"a", False), (b"b", True), (b"b", False), (b"a", True), (b"a", False), (b"b", True)]
    for number, (agent, copy) in enumerate(order):
        assert duplicates.seen(b"INVITE", agent, NOW + 100 * number, NOW) is copy


def test_the_window_is_between_captures_and_the_lag_between_arrivals() -> None:
    duplicates = table()
    assert not duplicates.seen(b"x", b"a", NOW, NOW)
    assert not duplicates.seen(b"x", b"b", NOW + WINDOW + 1, NOW)
    duplicates = table()
    assert not duplicates.seen(b"x", b"a", NOW, NOW)
    assert duplicates.seen(b"x", b"b", NOW + WINDOW, NOW + LAG)
    duplicates = table()
    assert not duplicates.seen(b"x", b"a", NOW, NOW)
    assert not duplicates.seen(b"x", b"b", NOW, NOW + LAG + 1)
    # Another process's look at the clock may be a little older.
    assert duplicates.seen(b"x", b"c", NOW, NOW + LAG)


def test_as_many_agents_as_are_kept_pass() -> None:
    duplicates = table(keep=2)
    assert [duplicates.seen(b"x", agent, NOW, NOW) for agent in (b"a", b"b", b"c", b"d")] == [False, False, True, True]
    assert [duplicates.seen(b"x", agent, NOW, NOW) for agent in (b"c", b"b", b"a")] == [False, False, True]


@given(st.lists(st.sampled_from("abc"), max_size=40), st.integers(1, 3))
def test_as_many_are_kept_as_the_most_attentive_agent_saw(agents: list[str], keep: int) -> None:
    duplicates = table(keep=keep)
    kept = sum(not duplicates.seen(b"x", agent.encode(), NOW, NOW) for agent in agents)
    seen = Counter(agents).values()
    assert kept == sum(min(keep, sum(count > n for count in seen)) for n in range(len(agents)))


def test_a_full_table_forgets_the_oldest_and_counts_it() -> None:
    duplicates = table(10)
    for number in range(11):
        assert not duplicates.seen(b"%d" % number, b"a", NOW, NOW + number)
    assert duplicates.forgotten == 1
    assert not duplicates.seen(b"0", b"b", NOW, NOW + 20)
    assert duplicates.seen(b"10", b"b", NOW, NOW + 20)


def test_more_agents_than_a_set_holds_are_copies_all_the_same() -> None:
    duplicates = table(10)
    assert [duplicates.seen(b"x", b"%d" % agent, NOW, NOW) for agent in range(40)] == [False] + [True] * 39


def test_memory_is_checked() -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        Duplicates(bytearray(100), WINDOW, LAG)
    with pytest.raises(ValueError, match="aligned"):
        Duplicates(memoryview(bytearray(room(100)))[1:], WINDOW, LAG)
    with pytest.raises(ValueError, match="1 to 4"):
        table(keep=5)
    with pytest.raises(BufferError):
        Duplicates(bytes(room(100)), WINDOW, LAG)  # type: ignore[arg-type]


def test_a_lock_whose_holder_died_does_not_stop_anybody() -> None:
    memory = bytearray(room(10))
    duplicates = Duplicates(memory, WINDOW, LAG)
    assert not duplicates.seen(b"x", b"a", NOW, NOW)
    at = len(memory) // 2  # of two sets the second one holds sightings, its lock first
    assert memory[at : at + 8] == bytes(8)
    memory[at] = 1
    assert duplicates.seen(b"x", b"b", NOW, NOW)
    assert memory[at : at + 8] == bytes(8)


DELIVER = """
import mmap, random, sys
from hepswitch.routing.duplicates import Duplicates
memory, agent = mmap.mmap(int(sys.argv[1]), 0), sys.argv[2].encode()
keys = list(range(int(sys.argv[3]))) * int(sys.argv[4])
duplicates = Duplicates(memory, 500_000, 5_000_000)
random.Random(1).shuffle(keys)
print("ready", flush=True)
sys.stdin.readline()
print(*[key for key in keys if not duplicates.seen(b"%d" % key, agent, 1, 1)])
"""


@pytest.mark.parametrize(("count", "times"), [(5000, 1), (1, 20_000)], ids=["many messages", "one, again and again"])
def test_of_copies_that_reach_different_workers_one_passes(count: int, times: int) -> None:
    memory = os.memfd_create("duplicates")
    os.ftruncate(memory, room(count * 100))  # so much that nothing is forgotten
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", DELIVER, str(memory), agent, str(count), str(times)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[memory],
        )
        for agent in "abc"
    ]  # fmt: skip
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        passed = [worker.communicate(timeout=30)[0].split() for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
        os.close(memory)
    assert sorted(int(key) for keys in passed for key in keys) == sorted([*range(count)] * times)
    assert [worker.returncode for worker in workers] == [0, 0, 0]
