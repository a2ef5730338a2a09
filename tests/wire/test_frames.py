"""The queue of frames: first in, first out, whatever is pushed and popped in between."""

from __future__ import annotations

import struct
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.wire.frames import Frames


@given(st.lists(st.one_of(st.binary(max_size=200), st.integers(0, 5))))
def test_it_is_a_queue(steps: list[bytes | int]) -> None:
    frames, model = Frames(), []
    for step in steps:
        if isinstance(step, bytes):
            frames.push(step)
            model.append(step)
        else:
            count = min(step, len(model))
            frames.pop(count)
            del model[:count]
        assert list(frames) == model
        assert len(frames) == len(model)
        assert frames.nbytes == sum(map(len, model))
        assert bytes(memoryview(frames)) == b"".join(model)
        assert frames.lengths() == struct.pack(f"<{len(model)}I", *map(len, model))


def test_indices_are_those_of_a_list() -> None:
    frames = Frames()
    for frame in (b"a", b"", b"ccc"):
        frames.push(frame)
    assert (frames[0], frames[1], frames[-1]) == (b"a", b"", b"ccc")
    for outside in (3, -4):
        with pytest.raises(IndexError):
            frames[outside]
    with pytest.raises(ValueError, match="cannot pop 4 of 3"):
        frames.pop(4)
    frames.clear()
    assert not len(frames)


def test_a_view_keeps_the_bytes_where_they_are() -> None:
    frames = Frames()
    frames.push(b"x" * 3000)
    with memoryview(frames) as view:
        assert view.readonly
        frames.pop(1)
        assert bytes(view) == b"x" * 3000
        frames.push(b"y" * 1000)
        with pytest.raises(BufferError, match="memoryview"):
            frames.push(b"y" * 3000)
    frames.push(b"z")
    assert frames[-1] == b"z"


def test_a_frame_is_at_most_16_mib() -> None:
    frames = Frames()
    frames.push(bytes(16 << 20))
    with pytest.raises(ValueError, match="at most 16777216 bytes"):
        frames.push(bytes((16 << 20) + 1))
    assert len(frames) == 1


BURST = """
from hepswitch.wire.frames import Frames

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

frames, before = Frames(), resident()
for _ in range(1000):
    frames.push(b"x" * 65535)
full = resident() - before
frames.pop(999)
assert frames[0] == b"x" * 65535
print(full, resident() - before)
"""


def test_memory_is_given_back_after_a_burst() -> None:
    # In a process of its own: what other tests allocated and freed decides how much the C library keeps for itself.
    done = subprocess.run([sys.executable, "-c", BURST], capture_output=True, text=True, check=True)
    full, left = map(int, done.stdout.split())
    assert full > 50 << 20
    assert left < 20 << 20
