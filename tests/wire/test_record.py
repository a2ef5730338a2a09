"""Records of the lake: what is written is read, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.wire.errors import WireError
from hepswitch.wire.frames import Frames
from hepswitch.wire.hep import Hep
from hepswitch.wire.record import read, write

VECTORS = Path(__file__).parents[1] / "vectors"
PACKET = (VECTORS / "opensips-v3-001.hep").read_bytes()

senders = st.one_of(st.just(""), st.ip_addresses().map(str))
metas = st.one_of(st.none(), st.dictionaries(st.text(max_size=9), st.text(max_size=20), min_size=1, max_size=3))


def record(*args: object, arrival: float = 1.5) -> bytes:
    frames = Frames()
    write(frames, Hep(PACKET, arrival), *args)  # type: ignore[arg-type]
    return frames[0]


@given(senders, st.integers(0, 65535), metas, st.integers(0, 4_000_000_000))
def test_it_reads_as_written(sender: str, port: int, meta: dict[str, str] | None, arrival: int) -> None:
    found = read(record(sender, port, meta, arrival=float(arrival)))
    assert (found.arrival_us, found.hep) == (arrival * 1_000_000, PACKET)
    assert (found.sender_ip, found.sender_port, found.meta) == (sender, port, meta)


def test_the_layout_is_the_documented_one() -> None:
    found = record("192.0.2.1", 0x1234, {"table": "t"})
    meta = b'{"table":"t"}'
    assert found[:4] == (36 + len(meta) + len(PACKET)).to_bytes(4, "little")
    assert found[4:6] == len(meta).to_bytes(2, "little")
    assert found[6:8] == b"\4\0"
    assert found[8:16] == (1_500_000).to_bytes(8, "little")
    assert found[16:20] == b"\x34\x12\0\0"
    assert found[20:36] == bytes([192, 0, 2, 1]) + bytes(12)
    assert found[36:] == meta + PACKET


def test_the_packet_is_kept_as_the_route_left_it() -> None:
    frames, packet = Frames(), Hep(PACKET)
    packet.captagent_id = 77
    write(frames, packet)
    assert Hep(read(frames[0]).hep).captagent_id == 77


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b"", "too short"),
        (record()[:35], "too short"),
        (record()[:-1], "bad length"),
        (record() + b"x", "bad length"),
        (record()[:4] + b"\xff\xff" + record()[6:], "bad length"),
        (record()[:6] + b"\5" + record()[7:], "unknown family"),
        (record()[:4] + b"\3\0" + record()[6:], "bad meta"),
    ],
)
def test_a_record_that_contradicts_itself(broken: bytes, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        read(broken)
    assert caught.value.reason == reason


def test_what_a_route_says_is_bounded() -> None:
    with pytest.raises(ValueError, match="at most 65535 fit a record"):
        record("", 0, {"table": "x" * 70_000})
