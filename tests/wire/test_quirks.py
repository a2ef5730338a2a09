"""What real senders do beside the specification, one test each: see "Seen in the wild" of the HEP facts."""

from __future__ import annotations

import gzip
import json
import random
import struct
import zlib
from pathlib import Path

import pytest

from hepswitch.wire.errors import WireError
from hepswitch.wire.hep import Hep
from hepswitch.wire.values import MOST_INFLATED

INVITE = b"INVITE sip:bob@example.net SIP/2.0\r\nCall-ID: c1@a\r\nCSeq: 1 INVITE\r\n\r\n"
VECTORS = Path(__file__).parents[1] / "vectors"


def chunk(id: int, value: bytes, vendor: int = 0) -> bytes:
    return struct.pack(">HHH", vendor, id, 6 + len(value)) + value


def v3(*chunks: bytes) -> bytes:
    body = b"".join(chunks)
    return b"HEP3" + (6 + len(body)).to_bytes(2) + body


def v2(order: str, length: int = 16, family: int = 2, seconds: int = 1_700_000_000, payload: bytes = INVITE) -> bytes:
    addresses = bytes([10, 0, 0, 1, 10, 0, 0, 2]) if family == 2 else bytes(15) + b"\1" + bytes(15) + b"\2"
    time = struct.pack(f"{order}IIHH", seconds, 250_000, 77, 0xABCD)
    return bytes([2, length, family, 17]) + struct.pack(">HH", 5060, 5070) + addresses + time + payload


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw_deflate], ids=["gzip", "zlib", "raw"])
def test_a_compressed_payload_is_inflated_when_asked_for(pack) -> None:
    raw = v3(chunk(0x0B, b"\1"), chunk(0x10, pack(INVITE)), chunk(0x11, b"x"))
    packet = Hep(raw)
    assert packet.payload == INVITE
    assert packet.sip.call_id == "c1@a"
    assert packet.call_identity == b"c1@a"
    assert bytes(packet) == raw
    packet.payload = b"changed"
    assert bytes(packet) == v3(chunk(0x0B, b"\1"), chunk(0x0F, b"changed"), chunk(0x11, b"x"))


def test_plain_sip_in_the_compressed_chunk() -> None:
    """OpenSIPS relays what it inflated without changing the chunk's number."""
    assert Hep(v3(chunk(0x10, INVITE))).payload == INVITE


@pytest.mark.parametrize(
    "packed",
    [b"garbage", gzip.compress(bytes(1 << 20)), gzip.compress(INVITE)[:-9], b""],
    ids=["garbage", "a bomb", "cut", "empty"],
)
def test_what_cannot_be_inflated_is_left_alone(packed: bytes) -> None:
    packet = Hep(v3(chunk(0x10, packed)))
    assert packet.payload is None
    assert packet.sip is None
    assert packet.compressed_payload == packed


def test_inflating_goes_up_to_its_limit() -> None:
    noise = random.Random(1).randbytes(6000)
    for extra, expected in ((0, True), (1, False)):
        whole = (noise * 44)[: MOST_INFLATED + extra]
        assert (Hep(v3(chunk(0x10, zlib.compress(whole)))).payload == whole) is expected


def test_a_small_packet_cannot_make_much_work() -> None:
    assert Hep(v3(chunk(0x10, zlib.compress(bytes(100_000))))).payload is None
    with pytest.raises(WireError, match="bad gzip"):
        Hep(gzip.compress(v3(chunk(0x0F, bytes(60_000)))))


def test_a_whole_datagram_that_is_gzip() -> None:
    """heplify's payload_zip."""
    inner = v3(chunk(0x0C, b"\0\0\0\5"), chunk(0x0F, INVITE))
    packet = Hep(gzip.compress(inner))
    assert (packet.captagent_id, packet.payload) == (5, INVITE)
    assert bytes(packet) == inner
    packet.captagent_id = 6
    assert packet.captagent_id == 6


@pytest.mark.parametrize(
    ("inner", "reason"),
    [
        (gzip.compress(v3()), "bad magic"),
        (b"text, no HEP", "bad magic"),
        (bytes(70_000), "bad gzip"),
        (b"HEP", "too short"),
    ],
    ids=["gzip", "text", "too long", "cut"],
)
def test_a_gzip_of_something_else(inner: bytes, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        Hep(gzip.compress(inner))
    assert caught.value.reason == reason


@pytest.mark.parametrize("order", ["<", ">"])
def test_version_2_writes_its_time_in_the_senders_byte_order(order: str) -> None:
    packet = Hep(v2(order))
    assert (packet.timestamp, packet.timestamp_us, packet.captagent_id) == (1_700_000_000, 250_000, 77)
    packet.captagent_id, packet.timestamp_us = 78, 5
    assert (Hep(bytes(packet)).captagent_id, Hep(bytes(packet)).time_us) == (78, 1_700_000_000_000_005)
    packet.version = 3
    assert (packet.time_us, packet.captagent_id) == (1_700_000_000_000_005, 78)


def test_version_2_without_a_time() -> None:
    assert Hep(v2("<", seconds=0), 5.0).time == 5.0


@pytest.mark.parametrize("length", [0, 1, 8, 28, 40, 52, 255])
def test_the_length_byte_of_version_2_says_nothing(length: int) -> None:
    """sofia-sip counts the time block (28, 52), sngrep writes 1 or 8."""
    packet = Hep(v2("<", length=length))
    assert (packet.src_ip, packet.payload) == ("10.0.0.1", INVITE)
    assert bytes(packet)[1] == length


@pytest.mark.parametrize("family", [10, 23, 24, 28, 30])
def test_families_as_other_systems_number_them(family: int) -> None:
    packet = Hep(v2("<", family=family))
    assert (packet.proto_family, packet.src_ip, packet.dst_ip, packet.payload) == (family, "::1", "::2", INVITE)
    packet.version = 3
    assert packet.src_ip == "::1"


@pytest.mark.parametrize("nuls", [0, 1, 8, 32])
def test_nuls_behind_the_payload_are_not_part_of_it(nuls: int) -> None:
    raw = v2("<", payload=INVITE + bytes(nuls))
    packet = Hep(raw)
    assert packet.payload == INVITE
    assert bytes(packet) == raw
    packet.payload = INVITE + b"more"
    assert bytes(packet) == v2("<", payload=INVITE + b"more")


def test_a_version_2_packet_of_nothing_but_nuls() -> None:
    """OpenSIPS' xlog over version 2."""
    packet = Hep(v2("<", payload=bytes(8)))
    assert packet.payload == b""
    assert packet.sip is None


@pytest.mark.parametrize(("family", "source"), [(2, "10.0.0.1"), (10, "::1"), (30, "::1"), (None, "10.0.0.1")])
def test_both_address_families_in_one_packet(family: int | None, source: str) -> None:
    chunks = [chunk(3, bytes([10, 0, 0, 1])), chunk(5, bytes(15) + b"\1"), chunk(4, bytes([10, 0, 0, 2]))]
    packet = Hep(v3(*([] if family is None else [chunk(1, bytes([family]))]), *chunks))
    assert (packet.src_ip, packet.dst_ip) == (source, "10.0.0.2")
    packet.src_ip = "10.7.7.7"
    assert [c.value for c in packet.chunks() if c.name == "src_ip"] == ["10.7.7.7"]


def test_the_addresses_count_not_the_family() -> None:
    packet = Hep(v3(chunk(1, b"\2"), chunk(5, bytes(15) + b"\1"), chunk(6, bytes(15) + b"\2")))
    assert (packet.src_ip, packet.dst_ip, packet.proto_family) == ("::1", "::2", 2)


def test_sip_wrapped_in_json() -> None:
    """OpenSIPS with homer5_on=0."""
    wrapped = json.dumps({"payload": INVITE.decode()}, indent=1).encode()
    for kind in (1, 50):
        packet = Hep.new(wrapped, proto_type=kind, correlation_id=b"other")
        assert packet.payload == wrapped
        assert packet.sip.raw == INVITE
        assert packet.call_identity == b"c1@a"
    assert Hep.new(wrapped, proto_type=5).sip is None
    packet = Hep.new(wrapped, proto_type=1)
    packet.version = 2
    assert packet.payload == INVITE


@pytest.mark.parametrize(
    "broken", [b"{", b'{"payload": 5}', b'{"payload": "text"}', b"{" * 10_000, b'{"payload": "\\ud800"}', b"[]"]
)
def test_json_that_wraps_no_sip(broken: bytes) -> None:
    assert Hep.new(broken).sip is None


def test_a_recorded_json_wrapped_message() -> None:
    packet = Hep((VECTORS / "opensips-v3-homer6-udp4-001.hep").read_bytes())
    assert packet.payload.startswith(b"{")
    assert packet.sip is not None
    assert packet.sip.call_id


def test_vendors_reuse_generic_numbers() -> None:
    """heplify-server and OpenSIPS take any vendor's chunk for the generic one."""
    raw = v3(chunk(0x0C, b"\0\0\0\7", vendor=8), chunk(0x0F, b"not the payload", vendor=2), chunk(0x0C, b"\0\0\0\5"))
    packet = Hep(raw)
    assert (packet.captagent_id, packet.payload) == (5, None)
    packet.captagent_id = 6
    assert bytes(packet) == raw[:-4] + b"\0\0\0\6"


def test_numbers_of_an_unusual_size() -> None:
    packet = Hep(v3(chunk(0x12, b"\7"), chunk(0x24, b"\0\1"), chunk(0x0D, b""), chunk(0x07, bytes(9))))
    assert (packet.vlan_id, packet.transaction_type, packet.keep_alive, packet.src_port) == (7, b"\0\1", None, None)
    packet.vlan_id = 300
    assert bytes(packet).startswith(v3(chunk(0x12, b"\1\x2c"))[6:], 6)


def test_bytes_behind_the_advertised_length() -> None:
    inner = v3(chunk(0x0F, INVITE))
    packet = Hep(inner + b"rest")
    assert packet.payload == INVITE
    assert bytes(packet) == inner


def test_a_packet_that_its_sender_cut_inside_the_payload() -> None:
    """A message's beginning is worth having: it still finds its call."""
    whole = v3(chunk(0x0C, b"\0\0\0\5"), chunk(0x0F, INVITE + b"v=0\r\n" * 100), chunk(0x11, b"id"))
    packet = Hep(whole[:150])
    assert packet.truncated
    assert (packet.captagent_id, packet.sip.call_id, packet.correlation_id) == (5, "c1@a", None)
    assert packet.payload == (INVITE + b"v=0\r\n" * 100)[: 150 - 22]
    again = Hep(bytes(packet))
    assert (again.payload, again.truncated) == (packet.payload, False)
    assert not Hep(whole).truncated


def test_a_packet_that_its_sender_cut_behind_the_payload() -> None:
    packet = Hep(v3(chunk(0x0F, INVITE), chunk(0x11, b"identity"))[:-3])
    assert packet.truncated
    assert (packet.payload, packet.correlation_id) == (INVITE, None)
    assert bytes(packet) == v3(chunk(0x0F, INVITE))


@pytest.mark.parametrize("left", [6, 10, 16, 20, 22])
def test_a_packet_that_its_sender_cut_before_the_payload(left: int) -> None:
    with pytest.raises(WireError) as caught:
        Hep(v3(chunk(0x0C, b"\0\0\0\5"), chunk(0x0F, INVITE))[:left])
    assert caught.value.reason == "truncated"


def test_the_other_magic_is_kept() -> None:
    raw = b"EEP3" + v3(chunk(0x0C, b"\0\0\0\5"))[4:]
    packet = Hep(raw)
    assert bytes(packet) == raw
    packet.captagent_id = 6
    assert bytes(packet)[:4] == b"EEP3"


def test_keep_alive_packets_without_a_payload() -> None:
    packet = Hep(v3(chunk(0x0D, b"\0\x1e")))
    assert (packet.keep_alive, packet.payload, packet.sip) == (30, None, None)
    assert Hep(v3(chunk(0x0F, b""))).payload == b""
    assert Hep(v3()).chunks() == []


def test_names_in_any_encoding_come_back() -> None:
    packet = Hep(v3(chunk(0x13, b"caf\xe9")))
    assert packet.node_name == "caf\udce9"
    packet.node_name += "!"
    assert bytes(packet) == v3(chunk(0x13, b"caf\xe9!"))
