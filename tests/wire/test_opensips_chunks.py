"""OpenSIPS' hep_get(), hep_set() and hep_del(), call by call, as they are written here; and what OpenSIPS refuses.

Each row of the tables names the OpenSIPS call (argument order of 3.0 and later) that the expression beside it stands for.
"""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.wire.chunks import (
    IP_FAMILIES,
    IP_PROTOCOLS,
    OPENSIPS_NUMBERS,
    PROTO_TYPES,
    ProtoFamily,
    ProtoId,
    ProtoType,
)
from hepswitch.wire.hep import Hep
from hepswitch.wire.values import number

INVITE = b"INVITE sip:bob@example.net SIP/2.0\r\nCall-ID: c1@a\r\nCSeq: 1 INVITE\r\n\r\n"
IPV4 = {"src_ip": "192.0.2.1", "dst_ip": "192.0.2.2", "src_port": 5060, "dst_port": 5070}
IPV6 = {"src_ip": "2001:db8::1", "dst_ip": "2001:db8::2", "src_port": 5060, "dst_port": 5070}


def chunk(id: int, value: bytes, vendor: int = 0) -> bytes:
    return struct.pack(">HHH", vendor, id, 6 + len(value)) + value


def v3(*chunks: bytes) -> bytes:
    body = b"".join(chunks)
    return b"HEP3" + (6 + len(body)).to_bytes(2) + body


def sample(**chunks: Any) -> Hep:
    packet = Hep.new(
        INVITE, time=1_700_000_000.25, captagent_id=2001, correlation_id=b"c1@a", auth_key=b"s3cret", **(IPV4 | chunks)
    )
    packet.set(0x30, "fra1")
    packet.set(0x31, 513, type="uint16", vendor=7)
    return packet


# ── hep_get ──


@pytest.mark.parametrize(
    ("opensips", "arguments", "expected"),
    [
        ('hep_get("proto_family", "uint8", $var(v))', ("proto_family",), "AF_INET"),
        ('hep_get("proto_id", "uint8", $var(v))', ("proto_id",), "udp"),
        ('hep_get("src_ip", "inet4-addr", $var(v))', ("src_ip", "inet4-addr"), "192.0.2.1"),
        ('hep_get("dst_ip", "utf8-string", $var(v))', ("dst_ip", "utf8-string"), "192.0.2.2"),
        ('hep_get("src_port", "uint16", $var(v))', ("src_port", "uint16"), 5060),
        ('hep_get("dst_port", "uint16", $var(v))', ("dst_port",), 5070),
        ('hep_get("timestamp", "uint32", $var(v))', ("timestamp", "uint32"), 1_700_000_000),
        ('hep_get("timestamp_us", "uint32", $var(v))', ("timestamp_us",), 250_000),
        ('hep_get("proto_type", "utf8-string", $var(v))', ("proto_type", "utf8-string"), "SIP"),
        ('hep_get("proto_type", "uint8", $var(v))', ("proto_type", "uint8"), 1),
        ('hep_get("captagent_id", "uint32", $var(v))', ("captagent_id", "uint32"), 2001),
        ('hep_get("captagent_id", "utf8-string", $var(v))', ("captagent_id", "utf8-string"), "2001"),
        ('hep_get("CaptAgent_ID", "uint32", $var(v))', ("CaptAgent_ID",), 2001),
        ('hep_get("12", "uint32", $var(v))', ("12",), 2001),
        ('hep_get("0x000c", "uint32", $var(v))', ("0x000c", "uint32"), 2001),
        ('hep_get("0x0b", "utf8-string", $var(v))', ("0x0b", "utf8-string"), "SIP"),
        ('hep_get("11", "", $var(v))', (11,), "sip"),
        ('hep_get("payload", "utf8-string", $var(v))', ("payload", "utf8-string"), INVITE.decode()),
        ('hep_get("payload", "octet-string", $var(v))', ("payload",), INVITE),
        ('hep_get("0x000f", "octet-string", $var(v))', ("0x000f",), INVITE),
        ('hep_get("0x0011", "utf8-string", $var(v))', ("0x0011", "utf8-string"), "c1@a"),
        ('hep_get("0x0e", "utf8-string", $var(v))', ("auth_key",), b"s3cret"),
        ('hep_get("0x0030", "utf8-string", $var(v), $var(vendor))', ("0x0030", "utf8-string"), "fra1"),
        ('hep_get("48", "octet-string", $var(v))', ("48",), b"fra1"),
        ('hep_get("0x31", "uint16", $var(v), $var(vendor))', ("0x31", "uint16"), 513),
        ('hep_get("0x0012", "uint16", $var(v))', ("0x0012", "uint16"), None),
    ],
)
def test_hep_get(opensips: str, arguments: tuple[Any, ...], expected: object) -> None:
    assert sample().get(*arguments) == expected, opensips


def test_numbers_in_words_are_words() -> None:
    packet = sample(proto_type=34, proto_id=99)
    assert packet.get("proto_type", "utf8-string") == "MOS-full"
    assert packet.get("proto_id", "utf8-string") == "99"
    assert packet.get(1, "utf8-string") == "AF_INET"
    assert packet.get("0x07", "utf8-string") == "5060"
    assert packet.get("proto_type", "octet-string") == b"\x22"


def test_the_vendor_of_a_chunk_that_was_found() -> None:
    """OpenSIPS gives it in hep_get's fourth argument."""
    assert {(c.id, c.vendor) for c in sample().chunks() if c.id >= 0x30} == {(0x30, 3), (0x31, 7)}


@pytest.mark.parametrize("id", sorted(OPENSIPS_NUMBERS))
def test_a_number_that_opensips_names_means_the_same_as_the_name(id: int) -> None:
    name = OPENSIPS_NUMBERS[id]
    for ends in (IPV4, IPV6):
        packet = sample(**ends)
        forms: list[int | str] = [name, name.upper(), id, str(id), f"0{id}", f"0x{id:x}", f"0x{id:04X}"]
        assert {packet.get(form) for form in forms} == {getattr(packet, name)}
        value = getattr(packet, name) or b"\x1f\x8b"
        for form in forms:
            twin = packet.copy()
            twin.set(form, value)
            expected = packet.copy()
            setattr(expected, name, value)
            assert bytes(twin) == bytes(expected)


def test_a_number_finds_other_vendors_when_there_is_no_generic_chunk() -> None:
    packet = Hep(v3(chunk(0x0C, b"\0\0\0\7", vendor=3)))
    assert packet.get("0x0c") == b"\0\0\0\7"
    assert packet.get("0x0c", "uint32") == 7
    assert packet.get("captagent_id") is None
    assert packet.get("0x0c", vendor=0) is None


# ── hep_set ──


@pytest.mark.parametrize(
    ("opensips", "arguments", "name", "expected"),
    [
        ('hep_set("proto_id", "TCP")', ("proto_id", "TCP"), "proto_id", 6),
        ('hep_set("proto_id", "udp")', ("proto_id", "udp"), "proto_id", 17),
        ('hep_set("proto_id", "TLS")', ("proto_id", "TLS"), "proto_id", 22),
        ('hep_set("proto_id", "SCTP")', ("proto_id", "SCTP"), "proto_id", 132),
        ('hep_set("proto_id", "WS")', ("proto_id", "WS"), "proto_id", 50),
        ('hep_set("proto_id", "WSS")', ("proto_id", "WSS"), "proto_id", 50),
        ('hep_set("src_ip", "10.0.0.9")', ("src_ip", "10.0.0.9"), "src_ip", "10.0.0.9"),
        ('hep_set("3", "10.0.0.9", "inet4-addr")', ("3", "10.0.0.9", "inet4-addr"), "src_ip", "10.0.0.9"),
        ('hep_set("src_port", "5080")', ("src_port", "5080"), "src_port", 5080),
        ('hep_set("dst_port", "0x13c4", "uint16")', ("dst_port", "0x13c4", "uint16"), "dst_port", 5060),
        ('hep_set("captagent_id", "2001")', ("captagent_id", "2001"), "captagent_id", 2001),
        ('hep_set("captagent_id", "42", "utf8-string")', ("captagent_id", "42", "utf8-string"), "captagent_id", 42),
        ('hep_set("0x0c", "42", "uint32", "0")', ("0x0c", "42", "uint32", "0"), "captagent_id", 42),
        ('hep_set("12", "42")', ("12", "42"), "captagent_id", 42),
        ('hep_set("proto_type", "RTCP")', ("proto_type", "RTCP"), "proto_type", 5),
        ('hep_set("0x0b", "megaco", "utf8-string")', ("0x0b", "megaco", "utf8-string"), "proto_type", 7),
        ('hep_set("payload", "new", "utf8-string")', ("payload", "new", "utf8-string"), "payload", b"new"),
        ('hep_set("0x0d", "30", "uint16", "0")', ("0x0d", "30", "uint16", "0"), "keep_alive", 30),
        ('hep_set("0x0e", "pw", "utf8-string", "0")', ("0x0e", "pw", "utf8-string", "0"), "auth_key", b"pw"),
        (
            'hep_set("0x0011", "id", "octet-string", "0")',
            ("0x0011", "id", "octet-string", "0"),
            "correlation_id",
            b"id",
        ),
        ('hep_set("18", "100", "uint16", "0x0")', ("18", "100", "uint16", "0x0"), "vlan_id", 100),
    ],
)
def test_hep_set_of_generic_chunks(opensips: str, arguments: tuple[Any, ...], name: str, expected: object) -> None:
    packet = sample()
    others = [c for c in packet.chunks() if c.name != name]
    packet.set(*arguments)
    assert getattr(Hep(bytes(packet)), name) == expected, opensips
    assert [c for c in Hep(bytes(packet)).chunks() if c.name != name] == others


@pytest.mark.parametrize(
    ("opensips", "arguments", "expected"),
    [
        ('hep_set("0x0040", "fra1")', ("0x0040", "fra1"), (3, 0x40, b"fra1")),
        ('hep_set("0x0040", "fra1", "utf8-string", "3")', ("0x0040", "fra1", "utf8-string", "3"), (3, 0x40, b"fra1")),
        ('hep_set("64", "7", "uint8", "0x1f")', ("64", "7", "uint8", "0x1f"), (31, 0x40, b"\7")),
        ('hep_set("64", "0x102", "uint16", "8")', ("64", "0x102", "uint16", "8"), (8, 0x40, b"\1\2")),
        ('hep_set("64", "65538", "uint32")', ("64", "65538", "uint32"), (3, 0x40, b"\0\1\0\2")),
        ('hep_set("64", "192.0.2.9", "inet4-addr")', ("64", "192.0.2.9", "inet4-addr"), (3, 0x40, b"\xc0\0\2\x09")),
        ('hep_set("64", "::1", "inet6-addr")', ("64", "::1", "inet6-addr"), (3, 0x40, bytes(15) + b"\1")),
        ('hep_set("64", "raw", "octet-string")', ("64", "raw", "octet-string"), (3, 0x40, b"raw")),
    ],
)
def test_hep_set_of_other_chunks(opensips: str, arguments: tuple[Any, ...], expected: tuple[Any, ...]) -> None:
    packet = sample()
    before = len(packet.chunks())
    packet.set(*arguments)
    last = Hep(bytes(packet)).chunks()[-1]
    assert (last.vendor, last.id, last.value) == expected, opensips
    packet.set(*arguments)
    assert len(packet.chunks()) == before + 1  # replaced, not added again


# ── hep_del ──


@pytest.mark.parametrize(
    ("opensips", "arguments", "left"),
    [
        ('hep_del("captagent_id")', ("captagent_id",), "captagent_id"),
        ('hep_del("0x0c")', ("0x0c",), "captagent_id"),
        ('hep_del("SRC_IP")', ("SRC_IP",), "src_ip"),
        ('hep_del("payload")', ("payload",), "payload"),
        ('hep_del("0x000e")', ("0x000e",), "auth_key"),
        ('hep_del("17")', ("17",), "correlation_id"),
    ],
)
def test_hep_del(opensips: str, arguments: tuple[Any, ...], left: str) -> None:
    packet = sample()
    assert packet.delete(*arguments) is True, opensips
    assert getattr(Hep(bytes(packet)), left) is None
    assert packet.delete(*arguments) is False
    assert Hep(v3()).delete(*arguments) is False  # OpenSIPS crashes when there is no extra chunk at all


# ── what OpenSIPS refuses ──


def test_timestamps_can_be_set() -> None:
    packet = sample()
    packet.set("timestamp", "1600000000")
    packet.set(0x0A, 750_000)
    assert (packet.time, packet.get("timestamp")) == (1_600_000_000.75, 1_600_000_000)


@pytest.mark.parametrize("value", [34, "35", "0x64", "MOS-short", "log", 200, "H321", "reserved", "M2UA(SS7/SIGTRAN)"])
def test_protocol_types_by_number_and_by_any_name(value: int | str) -> None:
    packet = sample()
    packet.set("proto_type", value)
    assert packet.proto_type == (number(value) if isinstance(value, str) and number(value) is not None else value)


def test_the_family_by_name() -> None:
    packet = sample(**IPV6)
    assert packet.proto_family == "AF_INET6"
    packet.set("proto_family", "af_inet")
    assert packet.proto_family == 2
    assert str(ProtoFamily(30)) == "AF_INET6"  # macOS


def test_addresses_change_their_family_one_by_one() -> None:
    packet = sample()
    packet.set("src_ip", "2001:db8::9")
    assert (packet.src_ip, packet.dst_ip, packet.proto_family) == ("2001:db8::9", "192.0.2.2", "AF_INET6")
    packet.set("0x0004", "2001:db8::a")
    again = Hep(bytes(packet))
    assert (again.src_ip, again.dst_ip) == ("2001:db8::9", "2001:db8::a")
    assert {c.id for c in again.chunks()}.isdisjoint({3, 4})


def test_chunks_are_told_apart_by_vendor() -> None:
    packet = Hep(v3(chunk(0x30, b"a", vendor=3), chunk(0x30, b"b", vendor=8), chunk(0x0C, b"\0\0\0\1", vendor=8)))
    assert (packet.get(0x30, vendor="3"), packet.get(0x30, vendor="0x8"), packet.captagent_id) == (b"a", b"b", None)
    packet.set(0x30, "c", vendor="8")
    assert [c.value for c in packet.chunks()] == [b"a", b"c", b"\0\0\0\1"]
    assert packet.delete(0x30, vendor="3") is True
    assert packet.delete(0x30, vendor="3") is False
    assert packet.get(0x30) == b"c"


def test_chunks_above_0x12_have_names_and_types() -> None:
    packet = sample()
    packet.set("node_name", "proxy-fra1")
    packet.set("mos", "421")
    assert (packet.node_name, packet.get("0x20"), packet.get(0x20, "uint16", 0)) == ("proxy-fra1", 421, 421)


def test_packets_up_to_64_kilobytes() -> None:
    packet = sample()
    packet.set("payload", "x" * 65_000)
    assert Hep(bytes(packet)).payload == b"x" * 65_000


def test_a_chunk_that_was_absent_gets_its_own_number() -> None:
    packet = Hep(v3(chunk(0x0F, b"p")))
    packet.set("captagent_id", "7")
    packet.set("proto_id", "TCP")
    assert [(c.id, c.value) for c in packet.chunks()] == [(0x0F, b"p"), (0x0C, 7), (0x02, 6)]


# ── names, and what is no value ──


def test_protocols_compare_with_name_and_number() -> None:
    packet = sample(proto_id=22)
    assert packet.proto_id == "TLS"
    assert packet.proto_id == "tls"
    assert packet.proto_id == 22
    assert packet.proto_id != "TCP"
    assert str(packet.proto_id) == "TLS"
    assert ProtoId(50) == "WSS"
    assert ProtoId(50) == "ws"
    assert str(ProtoId(50)) == "WS"
    assert {6: "found"}[ProtoId(6)] == "found"
    for kind, table in ((ProtoFamily, IP_FAMILIES), (ProtoId, IP_PROTOCOLS), (ProtoType, PROTO_TYPES)):
        for known, name in table.items():
            assert kind(known) == name.swapcase()
            assert str(kind(known)) == str(kind.named(name)) == name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("captagent_id", "-1"), r"captagent_id takes a number 0\.\.4294967295, not '-1'"),
        (("captagent_id", "garbage"), r"captagent_id takes a number 0\.\.4294967295, not 'garbage'"),
        (("src_port", "65536"), r"src_port takes a number 0\.\.65535, not 65536"),
        (("src_port", ""), r"src_port takes a number 0\.\.65535, not ''"),
        (("0x0c", "9" * 5000), r"captagent_id takes a number 0\.\.4294967295"),
        (("proto_id", "BIN"), "no IP protocol is called 'BIN': use its number, or one of TCP, UDP, TLS, WS, SCTP"),
        (("proto_id", "256"), r"proto_id takes a number 0\.\.255, not 256"),
        (("proto_family", "IPv4"), "no IP family is called 'IPv4': use its number, or one of AF_INET, AF_INET6"),
        (("proto_type", "SIPX"), "no protocol type is called 'SIPX'"),
        (("src_ip", "host.example"), "src_ip takes an IPv4 or IPv6 address"),
        (("src_ipX", "10.0.0.1"), "no chunk is called 'src_ipX'"),
        (("0x10000", "x"), "no chunk is called '0x10000'"),
        (("0b11", "x"), "no chunk is called '0b11'"),
        ((0x40, "257", "uint8"), r"chunk 64 is a uint8: it takes a number 0\.\.255, not '257'"),
        ((0x40, "1.5", "uint16"), r"it takes a number 0\.\.65535, not '1\.5'"),
        ((0x40, "x", "utf8-string", "OpenSIPS"), r"a vendor is a number 0\.\.65535, not 'OpenSIPS'"),
        ((0x40, "x", "utf8-string", "0x10000"), r"a vendor is a number 0\.\.65535"),
        ((0x40, "x", "string"), "no chunk type is called 'string': use one of uint8"),
    ],
)
def test_what_is_no_value_is_refused_in_words(arguments: tuple[Any, ...], message: str) -> None:
    packet = sample()
    before = bytes(packet)
    with pytest.raises(ValueError, match=message):
        packet.set(*arguments)
    assert bytes(packet) == before


@pytest.mark.parametrize("vendor", [-1, 65536, "x", "-1", 1.5])
def test_no_function_takes_a_vendor_that_there_cannot_be(vendor: Any) -> None:
    packet = sample()
    for call in (packet.get, packet.delete):
        with pytest.raises(ValueError, match="a vendor is a number"):
            call(0x30, vendor=vendor)


@given(st.integers(0, (1 << 64) - 1))
def test_a_number_is_read_as_it_is_written(value: int) -> None:
    assert number(str(value)) == number(f"{value:#x}") == number(f"0X{value:X}") == value


@given(st.text())
def test_any_text_is_a_number_or_none(text: str) -> None:
    found = number(text)
    assert found is None or (found >= 0 and text.isascii() and text.isalnum())
