"""Flight against a model: whatever is acknowledged and however it breaks, no frame is lost and the order holds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from far_ends import numbered, packet
from hepswitch.destinations.flight import Flight
from hepswitch.wire.frames import Frames


def frame(number: int) -> bytes:
    return f"<{number}>".encode() * (1 + number % 5)


class FarEnd:
    """What the far end's kernel has, and what its program has read before a break."""

    def __init__(self) -> None:
        self.stream = b""
        self.read: list[list[bytes]] = []

    def break_off(self, upto: int) -> None:
        frames, at = [], 0
        while at < upto:
            end = self.stream.find(b">", at, upto) + 1
            if not end:
                break  # of the last frame not even the first part arrived whole
            whole = self.stream[at:end]
            size = len(whole) * (1 + int(whole[1:-1]) % 5)
            if at + size > upto:
                break
            frames.append(self.stream[at : at + size])
            at += size
        self.read.append(frames)
        self.stream = b""


actions = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(1, 5)),
        st.tuples(st.just("write"), st.integers(1, 60)),
        st.tuples(st.just("acknowledge"), st.floats(0, 1)),
        st.tuples(st.just("clean"), st.just(0)),
        st.tuples(st.just("reset"), st.floats(0, 1)),
    ),
    max_size=60,
)


@settings(max_examples=1000)
@given(actions, st.sampled_from([0, 20, 1 << 20]))
def test_nothing_is_lost_and_the_order_holds(steps: list[tuple[str, float]], replay: int) -> None:
    flight, far, pushed, delivered, acknowledged = Flight(replay), FarEnd(), 0, 0, 0
    for action, amount in [*steps, ("write", 10**6), ("acknowledge", 1.0), ("clean", 0)]:
        if action == "push":
            for _ in range(int(amount)):
                flight.frames.push(frame(pushed))
                pushed += 1
        elif action == "write":
            size = min(int(amount), flight.unsent)
            far.stream += bytes(memoryview(flight.frames)[flight.sent :][:size])
            flight.wrote(size)
        else:
            if action == "acknowledge":
                acknowledged += int((len(far.stream) - acknowledged) * amount)
            delivered += flight.acknowledged(len(far.stream) - acknowledged)
            if action == "clean":
                far.break_off(acknowledged)
                assert flight.broken(clean=True) >= 0
            elif action == "reset":
                # The program has read all but at most `replay` bytes of what its kernel acknowledged.
                far.break_off(max(acknowledged - int(replay * amount), 0))
                flight.broken(clean=False)
            if action != "acknowledge":
                acknowledged = 0
        assert flight.undelivered == pushed - delivered
    assert delivered == pushed
    expected = 0
    for connection in far.read:
        for got in connection:
            number = int(got[1 : got.index(b">")])
            assert number <= expected, "a gap"
            expected = max(expected, number + 1)
        numbers = [int(got[1 : got.index(b">")]) for got in connection]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
    assert expected == pushed


def test_what_is_kept_is_bounded() -> None:
    flight = Flight(replay=100)
    for _ in range(1000):
        flight.frames.push(b"x" * 30)
        flight.wrote(30)
        assert flight.acknowledged(0) == 1
        assert flight.settled <= 120, "the frames that the last 100 bytes belong to"
    assert len(flight.frames) == 4


def test_withdraw_takes_the_undelivered_in_order() -> None:
    flight = Flight(replay=1000)
    for number in range(10):
        flight.frames.push(frame(number))
    flight.wrote(flight.unsent)
    flight.acknowledged(len(b"".join(frame(number) for number in range(4, 10))))
    with pytest.raises(ValueError, match="still there"):
        flight.withdraw(10)
    assert flight.broken(clean=False) == 4
    blocks = flight.withdraw(10)
    assert all(isinstance(block, Frames) for block in blocks)
    assert [each for block in blocks for each in block] == [frame(number) for number in range(4, 10)]
    assert list(flight.frames) == [frame(number) for number in range(4)]
    assert flight.undelivered == 0
    flight.frames.push(b"next")
    assert list(flight.frames)[4:] == [b"next"]


def test_more_written_than_there_is_raises() -> None:
    flight = Flight(replay=0)
    flight.frames.push(b"abc")
    with pytest.raises(ValueError, match="4 bytes"):
        flight.wrote(4)


def test_numbered_frames_are_kept_until_they_have_a_receipt() -> None:
    flight = Flight(replay=0)
    flight.numbered = True
    frames = [numbered(bytes(packet(number)), number) for number in range(1, 6)]
    for each in (b"plain", *frames, b"plain too"):
        flight.frames.push(each)
    flight.wrote(flight.unsent)
    assert flight.acknowledged(len(b"plain too") + len(frames[4])) == 5
    assert list(flight.frames) == [*frames, b"plain too"], "what has no number needs no receipt"
    assert not flight.confirmed(frames[4][-16:]), "it is not acknowledged yet"
    assert not flight.confirmed(bytes(16))
    with pytest.raises(ValueError, match="16 bytes"):
        flight.confirmed(b"short")
    assert flight.confirmed(frames[1][-16:])
    assert list(flight.frames) == [*frames[2:], b"plain too"]
    assert flight.acknowledged(0) == 2
    assert flight.confirmed(frames[3][-16:])
    with pytest.raises(ValueError, match="still there"):
        flight.recall()
    assert flight.broken(clean=False) == 2
    assert list(flight.recall()) == [frames[4], b"plain too"]
    assert (len(flight.frames), flight.undelivered) == (0, 0)
