from __future__ import annotations

import contextlib
import io
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.wire.errors import WireError
from hepswitch.wire.pcap import CapturedFrame, Reader, Writer, is_capture, read

FRAMES = st.lists(st.tuples(st.integers(0, 2**32 * 1_000_000 - 1), st.binary(max_size=80)), max_size=5)


@given(FRAMES, st.sampled_from(["pcap", "pcapng"]), st.integers(0, 500))
def test_what_is_written_is_read_and_a_cut_tail_costs_only_itself(
    frames: list[tuple[int, bytes]], form: str, cut: int
) -> None:
    file = io.BytesIO()
    writer = Writer(file, form)  # type: ignore[arg-type]
    for time_us, frame in frames:
        writer.write(time_us, frame)
    expected = [CapturedFrame(time_us, 1, frame, len(frame)) for time_us, frame in frames]
    data = file.getvalue()
    assert is_capture(data)
    assert list(read(io.BytesIO(data))) == list(read(io.BytesIO(data[4:]), data[:4])) == expected
    if cut >= 4:
        assert expected[: len(found := list(read(io.BytesIO(data[:cut]))))] == found


@pytest.mark.parametrize("form", ["pcap", "pcapng"])
def test_a_file_that_comes_byte_by_byte_and_goes_on_after_a_restart(form: str) -> None:
    file = io.BytesIO()
    writer = Writer(file, form)  # type: ignore[arg-type]
    for number in range(3):
        writer.write(number, b"x" * number)
    data, found, reader = file.getvalue(), [], Reader()
    for at in range(len(data)):
        if at % 5 == 0:  # what is fed is forgotten, what is remembered is enough
            reader = Reader.resumed(json.loads(json.dumps(reader.state())))
            reader.feed(data[reader.at : at])
        assert reader.fed == at
        reader.feed(data[at : at + 1])
        found += reader.frames()
    assert found == [CapturedFrame(number, 1, b"x" * number, number) for number in range(3)]
    assert (reader.at, reader.begun) == (len(data), True)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "units"), [(0xA1B2C3D4, 10**6), (0xA1B23C4D, 10**9)])
def test_classic_in_either_byte_order(order: str, magic: int, units: int) -> None:
    data = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, 101)
    data += struct.pack(order + "IIII", 7, units // 4, 2, 9) + b"ab"
    assert list(read(io.BytesIO(data))) == [CapturedFrame(7_250_000, 101, b"ab", 9)]


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + size + body + size


def section(order: str) -> bytes:
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))


def interface(order: str, linktype: int, snaplen: int = 0, *options: tuple[int, bytes]) -> bytes:
    body = struct.pack(order + "HHI", linktype, 0, snaplen)
    for code, value in options:
        body += struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)
    return block(order, 1, body + bytes(4))


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_interfaces_resolutions_and_blocks(order: str) -> None:
    other = ">" if order == "<" else "<"
    shift = struct.pack(order + "q", 100)
    data = b"".join(
        [
            section(order),
            interface(order, 1, 0, (9, b"\x09")),
            block(order, 0xBAD, b"custom"),
            interface(order, 101, 3, (2, b"eth0"), (9, b"\x8a"), (14, shift)),
            block(order, 6, struct.pack(order + "5I", 0, 0, 1500, 1, 1) + b"a"),
            block(order, 6, struct.pack(order + "5I", 1, 0, 512, 2, 8) + b"bc"),
            block(order, 2, struct.pack(order + "HHIIII", 0, 0, 1, 0, 1, 1) + b"d"),
            section(other),
            interface(other, 276, 3),
            block(other, 3, struct.pack(other + "I", 5) + b"efghi"),
        ]
    )
    assert list(read(io.BytesIO(data))) == [
        CapturedFrame(1, 1, b"a", 1),
        CapturedFrame(100_500_000, 101, b"bc", 8),
        CapturedFrame(2**32 // 1000, 1, b"d", 1),
        CapturedFrame(0, 276, b"efg", 5),
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GIF89a", "neither pcap nor pcapng"),
        (b"", "neither pcap nor pcapng"),
        (
            struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 0, 1) + struct.pack("<IIII", 0, 0, 1 << 31, 0),
            "frame length out of range",
        ),
        (b"\n\r\r\n\0\0\0\x1c\0\0\0\0", "bad byte-order magic"),
        (section("<") + struct.pack("<II", 6, 11), "block length out of range"),
        (section("<") + struct.pack("<II", 6, 1 << 31), "block length out of range"),
        (section("<")[:-4] + bytes(4), "block lengths differ"),
        (section("<") + block("<", 6, bytes(20)), "packet of an unknown interface"),
        (
            section("<") + interface("<", 1) + block("<", 6, struct.pack("<5I", 0, 0, 0, 9, 9)),
            "frame length out of range",
        ),
        (section("<") + interface("<", 1) + block("<", 6, b"x"), "packet block too short"),
        (section("<") + block("<", 1, b"x"), "interface block too short"),
    ],
)
def test_hostile_files(data: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        list(read(io.BytesIO(data)))


PIECES = st.sampled_from(
    [section("<"), section(">"), interface("<", 1), b"\x06\0\0\0", b"\x20\0\0\0", bytes(8), b"\xff\xff\xff\xff"]
)


@given(st.one_of(st.binary(), st.lists(PIECES | st.binary(max_size=8)).map(b"".join)))
def test_any_bytes_at_all(data: bytes) -> None:
    for head in (b"", b"\xd4\xc3\xb2\xa1", section("<")):
        with contextlib.suppress(WireError):
            list(read(io.BytesIO(head + data)))
