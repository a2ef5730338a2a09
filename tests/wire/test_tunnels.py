"""Mirrors that are sent through tunnels: the packets inside come out, with their VLAN."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.wire.ip import Decoder, FrameBuilder
from hepswitch.wire.pcap import CapturedFrame

INNER = FrameBuilder().frames(17, "192.0.2.1", 5060, "192.0.2.2", 5061, b"hello")[0]
TAGGED = INNER[:12] + b"\x81\0\0\x07" + INNER[12:]
SIX = FrameBuilder().frames(17, "2001:db8::1", 5060, "2001:db8::2", 5061, b"hello")[0]
ERSPAN = 0x88BE
ERSPAN_3 = 0x22EB


def outer(protocol: int, data: bytes) -> bytes:
    head = b"\x45\0" + struct.pack("!H", 20 + len(data)) + b"\0\0\0\0\x40" + bytes((protocol, 0, 0))
    return head + b"\x0a\0\0\1\x0a\0\0\2" + data


def gre(flags: int, kind: int, data: bytes) -> bytes:
    words = bytes(4 * sum(bool(flags & flag) for flag in (0x8000, 0x2000, 0x1000)))
    return outer(47, struct.pack("!HH", flags, kind) + words + data)


def vxlan(data: bytes, flags: int = 8) -> bytes:
    (made,) = FrameBuilder().frames(
        17, "10.0.0.1", 40_000, "10.0.0.2", 4789, bytes((flags, 0, 0, 0, 0, 0, 5, 0)) + data
    )
    return made[14:]


def erspan_2(vlan: int) -> bytes:
    return struct.pack("!HHI", 0x1000 | vlan, 1, 0)


def erspan_3(vlan: int, kind: int, more: int) -> bytes:
    return struct.pack("!HHIHH", 0x2000 | vlan, 1, 0, 0, kind << 10 | more) + bytes(8 * more)


def decode(packet: bytes) -> list[Any]:
    decoder = Decoder()
    found = list(decoder.decode(CapturedFrame(1, 101, packet, len(packet))))
    assert not decoder.losses
    return [(d.src_ip, d.src_port, d.dst_ip, d.dst_port, d.payload, d.vlan_id) for d in found]


def inner(vlan: int = -1) -> list[Any]:
    return [("192.0.2.1", 5060, "192.0.2.2", 5061, b"hello", vlan)]


@pytest.mark.parametrize("flags", [0, 0x8000, 0x2000, 0x1000, 0xB000])
def test_gre(flags: int) -> None:
    assert decode(gre(flags, 0x0800, INNER[14:])) == inner()
    assert decode(gre(flags, 0x6558, INNER)) == inner()
    assert decode(gre(flags, 0x6558, TAGGED)) == inner(7)
    assert decode(gre(flags, 0x86DD, SIX[14:])) == [("2001:db8::1", 5060, "2001:db8::2", 5061, b"hello", -1)]


def test_erspan() -> None:
    assert decode(gre(0, ERSPAN, INNER)) == inner()  # type I
    assert decode(gre(0x1000, ERSPAN, erspan_2(0) + INNER)) == inner()
    assert decode(gre(0x1000, ERSPAN, erspan_2(33) + INNER)) == inner(33)
    assert decode(gre(0x1000, ERSPAN, erspan_2(33) + TAGGED)) == inner(7)
    for more in (0, 1):
        assert decode(gre(0x1000, ERSPAN_3, erspan_3(44, 0, more) + INNER)) == inner(44)
        assert decode(gre(0x1000, ERSPAN_3, erspan_3(44, 2, more) + INNER[14:])) == inner(44)
        assert decode(gre(0x1000, ERSPAN_3, erspan_3(44, 1, more) + INNER)) == []


def test_vxlan() -> None:
    assert decode(vxlan(INNER)) == inner()
    assert decode(vxlan(TAGGED)) == inner(7)
    (plain,) = decode(vxlan(INNER, flags=0))  # no network identifier: something else on that port
    assert plain[3] == 4789


def test_tunnels_in_tunnels() -> None:
    packet = INNER[14:]
    for _ in range(8):
        packet = outer(4, packet)
    assert decode(packet) == inner()
    assert decode(outer(4, packet)) == []  # too deep
    assert decode(gre(0, 0x0800, vxlan(TAGGED))) == inner(7)


@pytest.mark.parametrize(
    "packet",
    [
        gre(0x4000, 0x0800, INNER[14:]),
        gre(0x0001, 0x0800, INNER[14:]),
        gre(0, 0x880B, INNER),
        gre(0x1000, ERSPAN, erspan_3(1, 0, 0) + INNER),
        gre(0x1000, ERSPAN_3, erspan_2(1) + INNER),
        gre(0xB000, 0x0800, b""),
        outer(47, b"\0"),
        outer(47, b"\xb0\0\x65\x58"),
    ],
)
def test_other_headers_are_nothing(packet: bytes) -> None:
    assert decode(packet) == []


@given(
    st.sampled_from([gre(0, 0x6558, TAGGED), gre(0x1000, ERSPAN, erspan_2(3) + INNER), vxlan(TAGGED)]),
    st.lists(st.tuples(st.integers(9, 90), st.integers(0, 255)), max_size=5),
    st.integers(0, 200),
)
def test_any_bytes_at_all(packet: bytes, flips: list[tuple[int, int]], size: int) -> None:
    changed = bytearray(packet)
    for at, value in flips:
        if at < len(changed):
            changed[at] = value
    list(Decoder().decode(CapturedFrame(1, 101, bytes(changed[:size]), len(packet))))
