"""Hep: reading, editing, building and converting packets. Quirks of senders are in test_quirks."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hepswitch.wire.chunks import by_name
from hepswitch.wire.errors import WireError
from hepswitch.wire.hep import Hep

INVITE = b"INVITE sip:bob@example.net SIP/2.0\r\nCall-ID: c1@a\r\nCSeq: 1 INVITE\r\n\r\n"
EXAMPLE = bytes.fromhex(  # of the specification
    "4845503300710000000100070200000002000711"
    "00000003000ad4ca000100000004000a527400d3000000070008" + "2eea000000080008" + "13c4"
    "00000009000a4e4982cb0000000a000a0001d4c00000000b000701"
    "0000000c000a000000e40000000f0014494e56495445207369703a626f62"
)
VECTORS = Path(__file__).parents[1] / "vectors"


def chunk(id: int, value: bytes, vendor: int = 0) -> bytes:
    return struct.pack(">HHH", vendor, id, 6 + len(value)) + value


def v3(*chunks: bytes) -> bytes:
    body = b"".join(chunks)
    return b"HEP3" + (6 + len(body)).to_bytes(2) + body


def old(version: int, **chunks: Any) -> Hep:
    given = {"src_ip": "10.0.0.1", "dst_ip": "10.0.0.2", "src_port": 5060, "dst_port": 5070} | chunks
    return Hep.new(INVITE, version=version, **given)


# ── reading ──


def test_the_specifications_example() -> None:
    packet = Hep(EXAMPLE)
    assert (packet.version, packet.proto_family, packet.proto_id) == (3, 2, 17)
    assert (packet.src_ip, packet.src_port) == ("212.202.0.1", 12010)
    assert (packet.dst_ip, packet.dst_port) == ("82.116.0.211", 5060)
    assert (packet.timestamp, packet.timestamp_us, packet.time) == (1313440459, 120000, 1313440459.12)
    assert packet.proto_type == "SIP"
    assert packet.captagent_id == 228
    assert packet.payload == b"INVITE sip:bob"
    assert packet.correlation_id is None
    assert packet.vlan_id is None
    assert repr(packet) == "<Hep v3 212.202.0.1:12010 → 82.116.0.211:5060 SIP, 113 bytes>"


def test_get_by_name_and_number() -> None:
    packet = Hep(v3(chunk(0x0C, b"\0\0\0\7", vendor=3), chunk(0x0C, b"\0\0\0\5"), chunk(0x80, b"id", vendor=8)))
    assert (
        packet.get("captagent_id")
        == packet.get(12)
        == packet.get("0x0c")
        == packet.get("12")
        == packet.get("CAPTAGENT_ID")
        == 5
    )
    assert packet.get(12, vendor=3) == b"\0\0\0\7"
    assert packet.get(12, type="uint32", vendor=3) == 7
    assert packet.get(0x80) == b"id"
    assert packet.get(0x80, type="utf8-string") == "id"
    assert packet.get(0x80, vendor=3) is None
    assert packet.get("vlan_id") is None
    assert packet.get("payload") is None
    for wrong in ("no_such", "", -1, 65536, None, 1.5):
        with pytest.raises(ValueError, match="no chunk is called"):
            packet.get(wrong)  # type: ignore[arg-type]


def test_every_chunk_is_shown_in_order() -> None:
    packet = Hep(v3(chunk(0x0C, b"\0\0\0\5"), chunk(0x99, b"?", vendor=7), chunk(3, b"bad"), chunk(0x0C, b"\0\0\0\6")))
    assert [(c.vendor, c.id, c.name, c.type, c.size, c.value) for c in packet.chunks()] == [
        (0, 12, "captagent_id", "uint32", 4, 5),
        (7, 0x99, "", "octet-string", 1, b"?"),
        (0, 3, "src_ip", "inet4-addr", 3, b"bad"),
        (0, 12, "captagent_id", "uint32", 4, 6),
    ]
    assert packet.src_ip is None
    assert packet.captagent_id == 5


@pytest.mark.parametrize(
    ("raw", "offset", "reason"),
    [
        (b"", 0, "too short"),
        (b"HEP3", 0, "too short"),
        (b"hello, world", 0, "bad magic"),
        (b"HEP3\0\5", 4, "bad length"),
        (b"HEP3\0\x20" + chunk(0x0C, b"\0\0\0\5"), 4, "truncated"),
        (v3(chunk(0x0C, b"\0\0\0\5"), b"\0\0\0"), 16, "bad chunk length"),
        (v3(b"\0\0\0\1\0\5"), 10, "bad chunk length"),
        (v3(b"\0\0\0\1\0\x09\2"), 10, "bad chunk length"),
        (b"\1\x10\2\x11\0\0\0", 0, "too short"),
        (b"\2\x10\2\x11" + bytes(20), 0, "too short"),
        (b"\1\x10\3\x11" + bytes(20), 2, "unknown family"),
        (b"\x1f\x8bnonsense", 0, "bad gzip"),
    ],
)
def test_what_is_no_packet_says_where_and_why(raw: bytes, offset: int, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        Hep(raw)
    assert (caught.value.offset, caught.value.reason) == (offset, reason)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_packet_or_a_wire_error(raw: bytes) -> None:
    for data in (raw, b"HEP3" + raw, v3(raw), b"\2\x10\2\x11" + raw):
        try:
            packet = Hep(data)
        except WireError:
            continue
        assert data.startswith(bytes(packet)) or packet.truncated


def test_without_a_time_of_its_own_a_packet_has_that_of_its_arrival() -> None:
    assert Hep(v3(), 12.5).time == 12.5
    zero = Hep(v3(chunk(9, bytes(4)), chunk(10, bytes(4))), 12.5)
    assert (zero.timestamp, zero.time, zero.time_us, zero.arrival) == (0, 12.5, 12_500_000, 12.5)
    assert Hep(EXAMPLE, 12.5).time == 1313440459.12


def test_the_identity_of_a_call() -> None:
    ends = {"src_ip": "10.0.0.2", "dst_ip": "10.0.0.1", "src_port": 2, "dst_port": 1}
    assert Hep.new(INVITE, correlation_id=b"x").call_identity == b"c1@a"
    assert Hep.new(b"{}", proto_type="RTCP", correlation_id=b"x").call_identity == b"x"
    assert Hep.new(b"{}", proto_type=5, **ends).call_identity == b"10.0.0.1:1 10.0.0.2:2"
    assert Hep.new(INVITE, proto_type="LOG", **ends).call_identity == b"10.0.0.1:1 10.0.0.2:2"
    assert old(1).call_identity == b"c1@a"


# ── editing ──


@pytest.mark.parametrize("name", [name for name in by_name if by_name[name].type.startswith("uint")])
def test_numbers_are_read_written_bounded_and_deleted(name: str) -> None:
    most = (1 << int(by_name[name].type[4:])) - 1
    packet = Hep(EXAMPLE)
    for value in (0, 1, most):
        setattr(packet, name, value)
        assert getattr(Hep(bytes(packet)), name) == value
    for wrong in (-1, most + 1, 1 << 64):
        with pytest.raises(ValueError, match=rf"{name} takes a number 0\.\.{most}, not {wrong}"):
            setattr(packet, name, wrong)
    with pytest.raises(TypeError):
        setattr(packet, name, [])
    setattr(packet, name, None)
    assert getattr(Hep(bytes(packet)), name) is None
    assert packet.delete(name) is False


def test_an_edit_of_equal_size_changes_nothing_else() -> None:
    packet = Hep(EXAMPLE)
    packet.captagent_id = 42
    assert bytes(packet) == EXAMPLE.replace(b"\0\0\0\xe4", b"\0\0\0\x2a")
    assert Hep(EXAMPLE).captagent_id == 228  # the caller's bytes are his own


def test_strings_grow_and_shrink_in_their_place() -> None:
    packet = Hep(v3(chunk(0x13, b"node"), chunk(0x0F, b"payload"), chunk(0x11, b"id", vendor=9)))
    packet.node_name = "a longer näme"
    packet.payload = b"short"
    assert bytes(packet) == v3(
        chunk(0x13, "a longer näme".encode()), chunk(0x0F, b"short"), chunk(0x11, b"id", vendor=9)
    )
    packet.correlation_id = "text"
    assert packet.correlation_id == b"text"
    assert packet.get(0x11, vendor=9) == b"id"
    del packet.node_name
    assert packet.node_name is None


def test_set_defaults_by_name_and_by_number() -> None:
    packet = Hep(v3())
    packet.set("vlan_id", 7)
    packet.set(0x1F, "text")
    packet.set("0x20", 132, type="uint32")
    packet.set(0x0E, "key", vendor=0)
    packet.set("node_name", "n", vendor=5)
    assert [(c.vendor, c.id, c.value) for c in packet.chunks()] == [
        (0, 0x12, 7),
        (3, 0x1F, b"text"),
        (3, 0x20, b"\0\0\0\x84"),
        (0, 0x0E, b"key"),
        (5, 0x13, b"n"),
    ]
    packet.set(0x1F, b"other")
    assert packet.get(0x1F) == b"other"
    assert len(packet.chunks()) == 5
    for vendor in (-1, 65536):
        with pytest.raises(ValueError, match="a vendor is a number"):
            packet.set(1, "x", vendor=vendor)


def test_delete_by_name_number_and_vendor() -> None:
    three = (chunk(0x11, b"a"), chunk(0x11, b"b", vendor=3), chunk(0x11, b"c"))
    packet = Hep(v3(*three))
    assert packet.delete("correlation_id") is True
    assert bytes(packet) == v3(three[1])
    packet = Hep(v3(*three))
    assert packet.delete(0x11, vendor=3) is True
    assert bytes(packet) == v3(three[0], three[2])
    assert packet.delete(0x11) is True
    assert bytes(packet) == v3()


def test_an_address_of_the_other_family_takes_the_place_of_the_old_one() -> None:
    packet = Hep.new(b"", src_ip="10.0.0.1", dst_ip="10.0.0.2")
    packet.src_ip = "2001:db8::1"
    assert (packet.src_ip, packet.dst_ip, packet.proto_family) == ("2001:db8::1", "10.0.0.2", 10)
    assert [c.id for c in packet.chunks()][:4] == [1, 2, 5, 4]
    packet.dst_ip = "2001:db8::2"
    assert [c.id for c in packet.chunks()][:4] == [1, 2, 5, 6]
    packet.src_ip, packet.dst_ip = "10.0.0.3", "10.0.0.4"
    assert (packet.proto_family, packet.src_ip, packet.dst_ip) == (2, "10.0.0.3", "10.0.0.4")
    packet.src_ip = None
    assert packet.src_ip is None
    for wrong in ("10.0.0", "host", "", "10.0.0.1\0", 5, "é"):
        with pytest.raises(ValueError, match="dst_ip takes an IPv4 or IPv6 address"):
            packet.dst_ip = wrong


def test_no_packet_grows_beyond_the_format() -> None:
    packet = Hep.new(b"x" * 65_000)
    before = bytes(packet)
    for grow in (
        lambda: setattr(packet, "payload", b"x" * 65_535),
        lambda: packet.set(0x31, "y" * 600),
        lambda: setattr(packet, "node_name", "z" * 70_000),
    ):
        with pytest.raises(ValueError, match="HEP allows 65535"):
            grow()
        assert bytes(packet) == before
    packet = Hep(v3(chunk(0x10, b"c" * 100)))
    with pytest.raises(ValueError, match="HEP allows 65535"):
        packet.payload = b"x" * 65_535
    assert bytes(packet) == v3(chunk(0x10, b"c" * 100))


def test_sip_follows_the_payload() -> None:
    packet = Hep.new(INVITE)
    assert packet.sip.call_id == "c1@a"
    packet.payload = INVITE.replace(b"c1", b"c2")
    assert packet.sip.call_id == "c2@a"
    packet.proto_type = "RTCP"
    assert packet.sip is None
    packet.proto_type = 1
    assert packet.sip is not None
    packet.payload = None
    assert packet.sip is None


def test_a_copy_is_a_packet_of_its_own() -> None:
    packet = Hep(EXAMPLE, 3.0)
    twin = packet.copy()
    twin.captagent_id = 1
    assert (packet.captagent_id, twin.arrival) == (228, 3.0)


def test_building_refuses_what_it_does_not_know() -> None:
    with pytest.raises(TypeError, match="no chunk is called 'source'"):
        Hep.new(b"", source="10.0.0.1")
    with pytest.raises(ValueError, match="versions 1, 2 and 3, not 4"):
        Hep.new(b"", version=4)
    assert Hep.new(None).payload is None
    assert Hep.new("text").payload == b"text"
    assert Hep.new(b"", time=1.25).timestamp_us == 250_000
    assert Hep.new(b"", dst_ip="::1").proto_family == 10


# ── versions 1 and 2 ──


def test_a_version_2_packet_on_the_wire() -> None:
    packet = old(2, time=1_700_000_000.5, captagent_id=77)
    assert bytes(packet) == (
        bytes([2, 16, 2, 17]) + struct.pack(">HH", 5060, 5070) + bytes([10, 0, 0, 1, 10, 0, 0, 2])
        + struct.pack("<IIHH", 1_700_000_000, 500_000, 77, 0) + INVITE
    )  # fmt: skip


@pytest.mark.parametrize("version", [1, 2])
def test_header_fields_are_edited_in_place(version: int) -> None:
    packet = old(version)
    size = len(bytes(packet))
    packet.src_ip, packet.dst_port, packet.proto_id, packet.proto_type = "10.9.9.9", 1, 6, "SIP"
    packet.set("src_port", 2)
    packet.set(8, 3, type="uint16", vendor=0)
    if version == 2:
        packet.captagent_id, packet.time = 9, 1_600_000_000.75
        assert packet.get("captagent_id") == 9
    again = Hep(bytes(packet))
    assert (again.src_ip, again.src_port, again.dst_port, again.proto_id, len(bytes(again))) == (
        "10.9.9.9",
        2,
        3,
        6,
        size,
    )
    assert again.proto_type == again.get(11) == again.get("proto_type") == "SIP"
    if version == 2:
        assert (again.captagent_id, again.time) == (9, 1_600_000_000.75)
    packet.payload = b"BYE sip:a@b SIP/2.0\r\n\r\n"
    assert Hep(bytes(packet)).payload == packet.payload == b"BYE sip:a@b SIP/2.0\r\n\r\n"


@pytest.mark.parametrize(
    "change",
    [
        {"correlation_id": b"x"},
        {"proto_type": 5},
        {"node_name": "n"},
        {"src_ip": "::1"},
        {"proto_family": 10},
        {"time": 5.0},
        {"captagent_id": 70_000},
    ],
)
def test_what_the_version_cannot_carry_names_the_way_out(change: dict[str, Any]) -> None:
    packet = old(1)
    before = bytes(packet)
    for name, value in change.items():
        with pytest.raises(ValueError, match=r"HEPv1 cannot carry this .*: set hep.version = 3 first"):
            setattr(packet, name, value)
    assert bytes(packet) == before
    packet.version = 3
    for name, value in change.items():
        setattr(packet, name, value)
        assert getattr(packet, name) == value


def test_header_fields_cannot_be_deleted() -> None:
    with pytest.raises(ValueError, match=r"set hep.version = 3 first to delete it"):
        old(2).delete("src_port")
    assert old(2).delete("vlan_id") is False


def test_version_3_with_all_chunks_becomes_2_and_keeps_what_fits() -> None:
    packet = old(
        3, time=1_700_000_000.5, captagent_id=70_000, correlation_id=b"c", node_name="n", src_ip="::1", dst_ip="::2"
    )
    packet.version = 2
    assert (packet.src_ip, packet.dst_ip, packet.time, packet.captagent_id) == ("::1", "::2", 1_700_000_000.5, 0)
    assert packet.payload == INVITE
    packet.version = 3
    assert packet.correlation_id is None
    assert packet.proto_family == 10


def test_what_an_older_version_cannot_say_stays_as_it_is() -> None:
    for packet, message in (
        (Hep.new(b"{}", proto_type=5), "HEPv2 carries nothing but SIP, and this is RTCP"),
        (Hep.new(INVITE, src_ip="::1", dst_ip="10.0.0.1"), "two addresses of one family, not ::1 and 10.0.0.1"),
        (Hep.new(b"x" * 65_490), "HEP allows 65535"),
    ):
        before = bytes(packet)
        with pytest.raises(ValueError, match=message):
            packet.version = 2
        assert bytes(packet) == before


def test_arrival_becomes_the_time_of_a_packet_that_had_none() -> None:
    packet = Hep(bytes(old(1)), 1_700_000_000.25)
    assert packet.timestamp is None
    packet.version = 3
    assert (packet.timestamp, packet.timestamp_us) == (1_700_000_000, 250_000)


# ── any sequence of edits ──


class Edits(RuleBasedStateMachine):
    """Whatever is edited in whatever order: the packet is what a list of chunks says it should be."""

    ids = st.integers(0x11, 0x13) | st.integers(0x30, 0x32)
    vendors = st.integers(0, 2)

    def __init__(self) -> None:
        super().__init__()
        self.model = [(0, 0x0C, b"\0\0\0\1"), (2, 0x30, b"v"), (0, 0x0F, b"payload"), (0, 0x11, b"id"), (2, 0x30, b"w")]
        self.packet = Hep(self.expected())

    def expected(self) -> bytes:
        return v3(*(chunk(id, value, vendor) for vendor, id, value in self.model))

    @rule(id=ids, vendor=vendors, value=st.binary(max_size=40))
    def set(self, id: int, vendor: int, value: bytes) -> None:
        self.packet.set(id, value, type="octet-string", vendor=vendor)
        for i, (v, n, _) in enumerate(self.model):
            if (v, n) == (vendor, id):
                self.model[i] = (vendor, id, value)
                return
        self.model.append((vendor, id, value))

    @rule(id=ids, vendor=st.none() | vendors)
    def delete(self, id: int, vendor: int | None) -> None:
        left = [c for c in self.model if c[1] != id or vendor not in (None, c[0])]
        assert self.packet.delete(id, vendor) is (left != self.model)
        self.model = left

    @rule(value=st.binary(max_size=3000))
    def payload(self, value: bytes) -> None:
        self.packet.payload = value
        self.model = [(v, n, value if (v, n) == (0, 0x0F) else old) for v, n, old in self.model]

    @rule(value=st.integers(0, 0xFFFFFFFF))
    def number(self, value: int) -> None:
        self.packet.captagent_id = value
        self.model = [(v, n, value.to_bytes(4) if (v, n) == (0, 0x0C) else old) for v, n, old in self.model]

    @rule()
    def copy(self) -> None:
        self.packet = self.packet.copy()

    @invariant()
    def holds(self) -> None:
        assert bytes(self.packet) == self.expected()
        assert [(c.vendor, c.id) for c in self.packet.chunks()] == [(v, n) for v, n, _ in self.model]


test_any_sequence_of_edits = Edits.TestCase
