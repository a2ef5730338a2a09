"""Frames out of a byte stream, however the bytes arrive."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.wire.batch import Batch
from hepswitch.wire.errors import WireError
from hepswitch.wire.stream import FrameReader

VECTORS = Path(__file__).parents[1] / "vectors"
RECORDED = (VECTORS / "opensips-v3-tcp.hepstream").read_bytes()


def frame(payload: bytes, magic: bytes = b"HEP3") -> bytes:
    return magic + (6 + len(payload)).to_bytes(2) + payload


def feed(reader: FrameReader, data: bytes) -> None:
    with reader.get_buffer() as buffer:
        assert len(buffer) >= 65536
        buffer[: len(data)] = data
    reader.fed(len(data))


def collect(reader: FrameReader, *pieces: bytes) -> list[bytes]:
    batch, found = Batch(None), []
    for piece in pieces:
        feed(reader, piece)
        while reader.fill(batch):
            found += batch
    return found


def test_a_recorded_stream_byte_at_a_time_and_at_once() -> None:
    at_once = collect(FrameReader(), RECORDED)
    assert len(at_once) == 6
    assert b"".join(at_once) == RECORDED
    assert collect(FrameReader(), *[RECORDED[i : i + 1] for i in range(len(RECORDED))]) == at_once


@given(st.lists(st.binary(max_size=300), max_size=20), st.lists(st.integers(1, 500), min_size=1))
def test_any_split_gives_the_same_frames(payloads: list[bytes], sizes: list[int]) -> None:
    frames = [frame(payload) for payload in payloads]
    stream, pieces, i = b"".join(frames), [], 0
    while stream:
        size = sizes[i % len(sizes)]
        pieces.append(stream[:size])
        stream, i = stream[size:], i + 1
    reader = FrameReader()
    assert collect(reader, *pieces) == frames
    assert reader.pending == 0


def test_the_largest_frame_fits_behind_a_read() -> None:
    big = frame(bytes(65529))
    stream = frame(b"x") + big + big + frame(b"")
    pieces = [stream[i : i + 65536] for i in range(0, len(stream), 65536)]
    assert collect(FrameReader(), *pieces) == [frame(b"x"), big, big, frame(b"")]


def test_the_other_magic_is_accepted() -> None:
    assert collect(FrameReader(), frame(b"", b"EEP3")) == [frame(b"", b"EEP3")]


@pytest.mark.parametrize(
    ("broken", "offset", "reason"),
    [
        (b"GET / HTTP/1.1", 0, "bad magic"),
        (b"HEX", 2, "bad magic"),
        (b"HEP3\0\5", 4, "bad length"),
        (b"HEP3\0\0", 4, "bad length"),
    ],
)
def test_frames_before_an_error_come_first(broken: bytes, offset: int, reason: str) -> None:
    reader, batch = FrameReader(), Batch(None)
    feed(reader, frame(b"good") + broken)
    assert reader.fill(batch)
    assert list(batch) == [frame(b"good")]
    with pytest.raises(WireError) as caught:
        reader.fill(batch)
    assert (caught.value.offset, caught.value.reason) == (offset, reason)
    assert reader.pending == len(broken)


def test_bad_magic_shows_with_its_first_byte() -> None:
    reader = FrameReader()
    feed(reader, b"\x16")  # a TLS hello on a plain port
    with pytest.raises(WireError, match="bad magic"):
        reader.fill(Batch(None))


def test_frames_arrive_when_they_were_read() -> None:
    reader, batch = FrameReader(), Batch(None)
    before = time.time_ns() // 1000
    feed(reader, frame(b""))
    assert reader.fill(batch)
    assert before <= batch.arrival_us <= time.time_ns() // 1000


def test_more_than_the_buffer_was_never_read() -> None:
    with pytest.raises(ValueError, match="were not read into the buffer"):
        FrameReader().fed(1 << 20)


def test_a_batch_holds_few_frames_however_small_they_are() -> None:
    reader, batch, sizes = FrameReader(), Batch(None), []
    with reader.get_buffer() as buffer:
        buffer[:6000] = b"HEP3\0\6" * 1000
    reader.fed(6000)
    while reader.fill(batch):
        sizes.append(len(batch))
    assert sizes == [256, 256, 256, 232]


def test_only_its_own_batch_can_be_unread() -> None:
    reader, other, batch = FrameReader(), FrameReader(), Batch(None)
    feed(reader, frame(b"a"))
    assert reader.fill(batch)
    with pytest.raises(ValueError, match="not filled here"):
        other.unread(batch)
