"""Replays: nothing is taken for a replay that was not here, whatever dies; what was here and is remembered is taken once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from far_ends import number as number_of
from far_ends import packet, split
from hepswitch.destinations.balance import Balancer, Node
from hepswitch.destinations.flight import Flight
from hepswitch.routing.receipts import shared_memory
from hepswitch.routing.replays import ROOM, Replays

QUEUE = 0x1234_5678_9ABC_DEF1
SPANS = 6


def settled(replays: Replays) -> None:
    replays.safe(replays.taken())


def test_a_number_is_had_once() -> None:
    replays = Replays(bytearray(ROOM))
    assert [replays.had(QUEUE, number) for number in (1, 2, 3, 2, 1, 4)] == [False, False, False, True, True, False]
    assert replays.had(QUEUE + 1, 1) is False, "each queue counts for itself"
    assert replays.taken() == [(QUEUE, 1, 4), (QUEUE + 1, 1, 1)]
    assert replays.taken() == []


def test_numbers_and_names_that_nobody_gives_are_never_had() -> None:
    replays = Replays(bytearray(ROOM))
    for _ in range(2):
        assert [replays.had(*each) for each in ((0, 1), (QUEUE, 0), (QUEUE, 1 << 63), (QUEUE, (1 << 64) - 1))] == [
            False
        ] * 4
    assert replays.taken() == []
    assert replays.had(QUEUE, (1 << 63) - 1) is False
    assert replays.had(QUEUE, (1 << 63) - 1) is True


def test_gaps_and_numbers_out_of_order_are_taken() -> None:
    replays = Replays(bytearray(ROOM))
    assert [replays.had(QUEUE, number) for number in (10, 11, 20, 5, 12, 6, 13, 12)] == [False] * 7 + [True]
    assert replays.taken() == [
        (QUEUE, 10, 11),
        (QUEUE, 20, 20),
        (QUEUE, 5, 5),
        (QUEUE, 12, 12),
        (QUEUE, 6, 6),
        (QUEUE, 13, 13),
    ]


numbers = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(1, 60)),
        st.tuples(st.just("run"), st.integers(1, 60)),
        st.tuples(st.just("settle"), st.just(0)),
        st.tuples(st.just("die"), st.just(0)),
    ),
    max_size=80,
)


@given(numbers)
def test_what_was_never_here_passes_and_of_few_runs_nothing_passes_twice(steps: list[tuple[str, int]]) -> None:
    memory = bytearray(ROOM)
    replays = Replays(memory)
    here: set[int] = set()
    safe: set[int] = set()

    def runs(those: set[int]) -> int:
        return sum(number - 1 not in those for number in those)

    most = 0
    for step, amount in steps:
        if step == "settle":
            settled(replays)
            safe |= here
        elif step == "die":
            replays = Replays(memory)
            replays.begin()
            here = set(safe)
        else:
            for number in range(amount, amount + (5 if step == "run" else 1)):
                had = replays.had(QUEUE, number)
                assert had is not None
                assert not had or number in here, "a packet that was never here was refused"
                if most <= SPANS:
                    assert had is (number in here)
                here.add(number)
                most = max(most, runs(here))


happenings = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.integers(1, 4)),
        st.tuples(st.just("write"), st.integers(1, 900)),
        st.tuples(st.just("acknowledge"), st.floats(0, 1)),
        st.tuples(st.just("read"), st.integers(1, 900)),
        st.tuples(st.just("store"), st.just(0)),
        st.tuples(st.just("cut"), st.booleans()),
        st.tuples(st.just("kill"), st.booleans()),
    ),
    max_size=80,
)


@given(happenings)
def test_a_flight_and_a_far_end_that_dies_store_each_packet_once(steps: list[tuple[str, float]]) -> None:
    """A numbered node's flight, a connection and a receiver that stores what it takes a little later."""
    node = Node("tcp://far:9060", 1.0, 3, 1 << 30)
    node.numbered = True
    flight, memory = Flight(0), bytearray(ROOM)
    flight.numbered = True
    node.inbox = flight.frames
    balancer, replays = Balancer([node], "first"), Replays(memory)
    stored: list[int] = []
    taken: list[int] = []
    stream, got, outstanding, offered, latest = b"", 0, 0, 0, b""
    for step, amount in [
        *steps,
        ("write", 1e9),
        ("read", 1e9),
        ("store", 0),
        ("kill", True),
        ("write", 1e9),
        ("read", 1e9),
    ]:
        if step == "offer":
            for _ in range(int(amount)):
                assert balancer.offer(packet(offered, size=20))
                offered += 1
        elif step == "write":
            size = min(int(amount), flight.unsent)
            stream += bytes(memoryview(flight.frames)[flight.sent :][:size])
            flight.wrote(size)
            outstanding += size
        elif step == "acknowledge":
            outstanding -= int(outstanding * amount)
            flight.acknowledged(outstanding)
        elif step == "read":
            for frame in split(stream[got : got + int(amount)]):
                got += len(frame)
                latest = frame[-16:]
                if not replays.had(int.from_bytes(frame[-16:-8]), int.from_bytes(frame[-8:])):
                    taken.append(number_of(frame))
        elif step == "store":
            stored += taken
            taken = []
            settled(replays)
            if latest:
                flight.confirmed(latest)
        else:
            flight.acknowledged(outstanding if amount else 0)
            flight.broken(clean=False)
            stream, got, outstanding, latest = b"", 0, 0, b""
            if step == "kill":
                replays, taken = Replays(memory), []
                replays.begin()
    stored += taken
    assert sorted(stored) == list(range(offered))


def test_only_the_worker_that_holds_a_queue_judges_it_until_all_is_safe() -> None:
    memory = bytearray(ROOM)
    first, second = Replays(memory, 0), Replays(memory, 1)
    assert first.had(QUEUE, 1) is False
    settled(first)
    assert second.had(QUEUE, 1) is True
    assert first.had(QUEUE, 1) is True, "a packet that was here makes nobody hold the queue"
    assert second.had(QUEUE, 2) is False
    assert first.had(QUEUE, 1) is True, "what is safe is known to all"
    assert first.had(QUEUE, 2) is None
    assert first.had(QUEUE, 3) is None
    runs = second.taken()
    assert second.had(QUEUE, 3) is False
    second.safe(runs)
    assert first.had(QUEUE, 2) is True
    assert first.had(QUEUE, 3) is None, "something is not safe yet"
    settled(second)
    assert first.had(QUEUE, 3) is True
    assert first.had(QUEUE, 4) is False


def test_what_a_dead_worker_held_is_open_again_when_its_successor_begins() -> None:
    memory = bytearray(ROOM)
    dead, other = Replays(memory, 0), Replays(memory, 1)
    assert dead.had(QUEUE, 1) is False
    settled(dead)
    assert dead.had(QUEUE, 2) is False
    assert other.had(QUEUE, 2) is None
    successor = Replays(memory, 0)
    successor.safe([(QUEUE, 2, 2)])  # as its notes and its journal say
    successor.begin()
    assert other.had(QUEUE, 2) is True
    assert other.had(QUEUE, 3) is False


def test_runs_may_be_joined_before_they_are_safe() -> None:
    memory = bytearray(ROOM)
    replays, other = Replays(memory, 0), Replays(memory, 1)
    for number in range(1, 10):
        assert replays.had(QUEUE, number) is False
        assert replays.taken() == [(QUEUE, number, number)]
    replays.renew()
    replays.safe([(QUEUE, 1, 9)])
    assert other.had(QUEUE, 9) is True
    assert other.had(QUEUE, 10) is False


def test_the_queue_that_was_silent_longest_is_forgotten() -> None:
    replays = Replays(bytearray(ROOM))
    queues = [QUEUE + 512 * i for i in range(9)]  # of one set
    for queue in queues[:8]:
        assert replays.had(queue, 1) is False
        settled(replays)
    assert replays.had(queues[0], 2) is False
    settled(replays)
    assert replays.had(queues[8], 1) is False
    settled(replays)
    assert [replays.had(queue, 1) for queue in (queues[0], queues[8], *queues[2:8])] == [True] * 8
    assert replays.had(queues[1], 1) is False


def test_memory_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot hold numbers"):
        Replays(bytearray(ROOM - 8))


PROCESS = """
import os, sys
from pathlib import Path
from hepswitch.routing.receipts import shared_memory
from hepswitch.routing.replays import Replays
replays = Replays(shared_memory(Path(sys.argv[1])), 3)
assert replays.had(77, 1) is False
replays.safe(replays.taken())
assert replays.had(77, 2) is False
os.kill(os.getpid(), 9)
"""


def test_the_file_outlives_every_process(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    assert subprocess.run([sys.executable, "-c", PROCESS, str(folder)], check=False).returncode == -9
    replays = Replays(shared_memory(folder))
    assert replays.had(77, 1) is True
    assert replays.had(77, 2) is None, "worker 3 may be writing it"
    Replays(shared_memory(folder), 3).begin()
    assert replays.had(77, 2) is False
    assert (folder / "numbers").stat().st_mode & 0o777 == 0o640


def test_a_folder_that_cannot_be_used_costs_memory_of_the_past_alone(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    replays = Replays(shared_memory(tmp_path / "spool"))
    assert [replays.had(QUEUE, 1), replays.had(QUEUE, 1)] == [False, True]
