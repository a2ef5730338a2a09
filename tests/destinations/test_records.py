"""Records into rows: every column, other payloads, broken input, and back into packets."""

import gzip
import json
import struct
import zlib
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from batches import batch_of
from hepswitch.destinations.records import Records
from hepswitch.destinations.schema import COLUMNS, SCHEMA
from hepswitch.lake.rebuild import packet
from hepswitch.wire.frames import Frames
from hepswitch.wire.hep import Hep
from lakes import ARRIVAL, records
from traffic import calls, hep

INVITE = (
    b"INVITE sip:bob@biloxi.example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP pc33.example.com;branch=z9hG4bKnashds8\r\nVia: SIP/2.0/UDP older.example.com;branch=z9hG4bKx\r\n"
    b"To: Bob <sip:bob@biloxi.example.com>\r\nFrom: Alice <sip:alice@atlanta.example.com>;tag=88sja8x\r\n"
    b"Call-ID: 987asjd97y7atg\r\nCSeq: 986759 INVITE\r\nContact: <sip:alice-c@10.1.1.1>\r\nUser-Agent: Softphone Beta1.5\r\n"
    b'Proxy-Authorization: Digest username="alice-a", realm="x"\r\nP-Asserted-Identity: <sip:+4930@example.com>\r\n'
    b"Reason: Q.850;cause=16\r\nX-CID: other-leg\r\nContent-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0"
)


def chunk(vendor: int, number: int, value: bytes) -> bytes:
    return struct.pack(">HHH", vendor, number, len(value) + 6) + value


def v3(*chunks: bytes) -> bytes:
    body = b"".join(chunks)
    return b"HEP3" + struct.pack(">H", len(body) + 6) + body


BASE = [
    chunk(0, 1, b"\x02"), chunk(0, 2, b"\x11"), chunk(0, 3, bytes([10, 0, 0, 1])), chunk(0, 4, bytes([10, 0, 0, 2])),
    chunk(0, 7, b"\x13\xc4"), chunk(0, 8, b"\x13\xc5"), chunk(0, 9, struct.pack(">I", 1_795_000_000)),
    chunk(0, 10, struct.pack(">I", 123456)), chunk(0, 12, struct.pack(">I", 228)),
]  # fmt: skip
SIP = chunk(0, 11, b"\x01")


def rows(*packets: bytes, meta: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    made = Records()
    frames = records(packets, meta)
    made.add(memoryview(frames), memoryview(frames.lengths()).cast("I"))
    assert made.damaged == 0
    batch, after = made.batch(0, len(made))
    assert after == len(packets)
    batch.validate(full=True)
    assert batch.schema == SCHEMA
    return batch.to_pylist()


def row(*chunks: bytes, meta: dict[str, Any] | None = None) -> dict[str, Any]:
    return rows(v3(*BASE, *chunks), meta=meta)[0]


def test_the_schema_is_the_table_of_columns() -> None:
    assert SCHEMA.names == [name for name, _, _ in COLUMNS]
    assert SCHEMA.field("ts").type == pa.timestamp("us", "UTC")


def test_a_request_fills_its_columns() -> None:
    found = row(
        SIP, chunk(0, 0x11, b"corr"), chunk(0, 0x12, b"\x00\x2a"), chunk(0, 0x13, b"edge"), chunk(0, 15, INVITE)
    )
    assert {key: value for key, value in found.items() if value is not None} == {
        "ts": datetime.fromtimestamp(1_795_000_000, UTC).replace(microsecond=123456),
        "call_id": "987asjd97y7atg", "correlation_id": "corr", "proto_type": 1, "src_ip": "10.0.0.1", "src_port": 5060,
        "dst_ip": "10.0.0.2", "dst_port": 5061, "proto_id": 17, "captagent_id": 228, "node_name": "edge", "method": "INVITE",
        "cseq": 986759, "cseq_method": "INVITE", "ruri_user": "bob", "ruri_domain": "biloxi.example.com",
        "from_user": "alice", "from_domain": "atlanta.example.com", "from_tag": "88sja8x", "to_user": "bob",
        "to_domain": "biloxi.example.com", "via_branch": "z9hG4bKnashds8", "contact_user": "alice-c", "pid_user": "+4930",
        "auth_user": "alice-a", "user_agent": "Softphone Beta1.5", "content_type": "application/sdp",
        "reason_header": "Q.850;cause=16", "callid_aleg": "other-leg", "vlan_id": 42, "hep_version": 3,
        "received_ts": datetime.fromtimestamp(ARRIVAL, UTC), "received_ip": "10.9.8.7", "received_port": 40000,
        "payload": INVITE,
    }  # fmt: skip


def test_a_reply_has_status_and_reason() -> None:
    reply = b"SIP/2.0 486 Busy Here\r\nCall-ID: a\r\nCSeq: 1 INVITE\r\nTo: <sip:b@c>;tag=t\r\n\r\n"
    found = row(SIP, chunk(0, 15, reply))
    assert (found["method"], found["status"], found["reason"], found["cseq_method"]) == (
        None,
        486,
        "Busy Here",
        "INVITE",
    )
    assert (found["call_id"], found["to_tag"]) == ("a", "t")


def test_other_payloads_have_no_call_id() -> None:
    report = b'{"sender_information":{"packets":17}}'
    found = row(chunk(0, 11, b"\x05"), chunk(0, 0x11, b"987asjd97y7atg"), chunk(0, 15, report))
    assert (found["call_id"], found["correlation_id"], found["proto_type"]) == (None, "987asjd97y7atg", 5)
    assert (found["method"], found["status"], found["payload"]) == (None, None, report)


def test_addresses_of_both_kinds() -> None:
    six = [chunk(0, 5, bytes(15) + b"\x01"), chunk(0, 6, bytes.fromhex("20010db8" + "00" * 11 + "02"))]
    found = rows(v3(chunk(0, 1, b"\x0a"), *six))[0]
    assert (found["src_ip"], found["dst_ip"]) == ("::1", "2001:db8::2")
    four = row(*six)  # the family chunk says IPv4
    assert (four["src_ip"], four["dst_ip"]) == ("10.0.0.1", "10.0.0.2")
    assert four["chunks"] == b"".join(six)


def test_what_has_no_column_is_kept_and_the_key_is_not() -> None:
    others = [
        chunk(3, 0x1F, b"abcd"),
        chunk(0, 0x20, b"\x01\x90"),
        chunk(0, 12, b"\x00\x00\x00\x09"),
        chunk(0, 7, b"odd"),
    ]
    found = row(SIP, chunk(0, 0x0E, b"secret"), *others, chunk(0, 15, INVITE))
    assert found["chunks"] == b"".join(others)
    assert found["captagent_id"] == 228


def test_compressed_payload_is_inflated() -> None:
    for packed in (zlib.compress(INVITE), gzip.compress(INVITE)):
        found = row(SIP, chunk(0, 0x10, packed))
        assert (found["payload"], found["call_id"], found["chunks"]) == (INVITE, "987asjd97y7atg", None)


def test_a_compressed_payload_that_cannot_be_inflated_is_kept() -> None:
    found = row(SIP, chunk(0, 0x10, b"no such stream"))
    assert found["chunks"] == chunk(0, 0x10, b"no such stream")
    assert found["payload"] is None
    assert found["call_id"] is None


def test_sip_in_json() -> None:
    wrapped = json.dumps({"payload": INVITE.decode()}).encode()
    found = row(SIP, chunk(0, 15, wrapped))
    assert (found["call_id"], found["method"], found["payload"]) == ("987asjd97y7atg", "INVITE", wrapped)


def test_version_1_and_2() -> None:
    for version in (1, 2):
        old = Hep(v3(*BASE, SIP, chunk(0, 15, INVITE)))
        old.version = version
        found = rows(bytes(old))[0]
        assert (found["hep_version"], found["src_ip"], found["dst_port"]) == (version, "10.0.0.1", 5061)
        assert (found["call_id"], found["payload"], found["proto_type"]) == ("987asjd97y7atg", INVITE, 1)
        expected = ARRIVAL if version == 1 else 1_795_000_000.123456
        assert found["ts"].timestamp() == pytest.approx(expected, abs=1e-6)
        assert found["captagent_id"] == (None if version == 1 else 228)


def test_no_time_is_the_time_of_arrival() -> None:
    found = rows(v3(SIP, chunk(0, 15, INVITE)))[0]
    assert found["ts"].timestamp() == ARRIVAL
    assert (found["src_ip"], found["src_port"], found["captagent_id"]) == (None, None, None)


def test_broken_text_is_presentable_and_the_payload_untouched() -> None:
    broken = INVITE.replace(b"Softphone", b"Caf\xe9\x00phone").replace(b"987asjd97y7atg", "grüße".encode())
    found = row(SIP, chunk(0, 0x13, b"\xff\xfe"), chunk(0, 15, broken))
    assert found["user_agent"] == "Caf\ufffd\x00phone Beta1.5"
    assert (found["call_id"], found["node_name"], found["payload"]) == ("grüße", "\ufffd\ufffd", broken)


def test_what_the_route_said() -> None:
    found = row(
        SIP,
        chunk(0, 0x11, b"as sent"),
        chunk(0, 15, INVITE),
        meta={"table": "calls_%Y%m%d", "custom_field1": "tenant", "custom_field3": "ü", "correlation_id": "given"},
    )
    day = datetime.fromtimestamp(1_795_000_000, UTC).strftime("%Y%m%d")
    assert (found["store_table"], found["custom_field1"], found["custom_field2"]) == (f"calls_{day}", "tenant", None)
    assert (found["custom_field3"], found["correlation_id"]) == ("ü", "given")


def test_damaged_records_are_left_out() -> None:
    frames = Frames()
    frames.push(b"short")
    frames.push(b"\x20\x00\x00\x00" + bytes(28))
    good = records([v3(*BASE, SIP)])
    frames.push(good[0])
    frames.push(good[0][:-1])
    frames.push(good[0][:36] + b"HEP3")
    made = Records()
    made.add(memoryview(frames), memoryview(frames.lengths()).cast("I"))
    assert (len(made), made.damaged) == (1, 4)


def test_sorted_by_hour_call_and_time() -> None:
    packets = [hep(message) for message in calls(300, per_second=0.05)]
    frames = records(packets)
    made = Records()
    made.add(memoryview(frames), memoryview(frames.lengths()).cast("I"))
    made.sort()
    hours = made.hours()
    assert len(hours) > 1
    assert hours[-1][2] == len(packets)
    total = 0
    for hour, start, stop in hours:
        batch, _ = made.batch(start, stop)
        keys = [(found["call_id"], found["ts"]) for found in batch.to_pylist()]
        assert keys == sorted(keys)
        assert {int(ts.timestamp()) // 3600 for _, ts in keys} == {hour}
        total += len(keys)
    assert total == len(packets)


def test_only_records_that_mention_something() -> None:
    packets = [hep(message) for message in calls(50)]
    wanted = Hep(packets[100]).sip.call_id.encode()
    frames = records(packets)
    made = Records()
    made.add(memoryview(frames), memoryview(frames.lengths()).cast("I"), [wanted])
    assert {found["call_id"].encode() for found in made.batch(0, len(made))[0].to_pylist()} == {wanted}
    assert len(made) == 7


def test_a_row_becomes_an_equal_packet() -> None:
    others = [chunk(3, 0x1F, b"abcd"), chunk(0, 0x20, b"\x01\x90")]
    known = [chunk(0, 0x11, b"c"), chunk(0, 0x12, b"\x00\x2a"), chunk(0, 0x13, b"edge"), chunk(0, 15, INVITE)]
    before = v3(*BASE[:-1], SIP, BASE[-1], *known, *others)
    assert packet(rows(before)[0]) == before


def test_a_large_payload_is_compressed_for_its_packet() -> None:
    large = INVITE + "".join(f"a=candidate:{number} 1 UDP 2130706431\r\n" for number in range(3000)).encode()
    found = rows(v3(*BASE, SIP, chunk(0, 0x10, zlib.compress(large))))[0]
    assert found["payload"] == large
    rebuilt = Hep(packet(found))
    assert rebuilt.get(0x10) is not None
    assert rebuilt.sip is not None
    assert rebuilt.sip.call_id == "987asjd97y7atg"


EXTRA = (
    b"INVITE sip:bob@example.net;x=1 SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1, SIP/2.0/TCP b\r\nCall-ID: c\r\n"
    b"CSeq: 7  INVITE\r\nDIVERSION: <sip:carol@example.org>\r\nm: %b\r\nx-tenant: acme\r\nX-Tenant: other\r\n"
    b"X-Bad: \xff\x00\r\n\r\nX-Body: no"
)


@pytest.mark.parametrize(
    ("contact", "ip", "port"),
    [
        (b"<sip:a@192.0.2.1:5080;transport=tcp>;expires=60", "192.0.2.1", 5080),
        (b'"A: b" <sips:a@[2001:db8::1]:5061>', "2001:db8::1", 5061),
        (b"sip:a@host.example", "host.example", None),
        (b"<sip:a@host:99999>", "host", None),
        (b"<sip:a@host:x>", "host", None),
        (b"*", "*", None),
        (b"", None, None),
        (b"<sip:[", "[", None),
        (b"<sip:a@[]:1>", "[]", 1),
    ],
)
def test_columns_beside_those_of_the_schema(contact: bytes, ip: str | None, port: int | None) -> None:
    extras = ("ruri", "via", "cseq_value", "contact_ip", "contact_port", "direction")
    headers = ("header:Diversion", "header:X-Tenant", "header:x-bad", "header:X-Body", "header:")
    batch = batch_of([v3(*BASE, SIP, chunk(0, 15, EXTRA % contact))], (*extras, *headers), direction="out", attrs="a1")
    (row,) = batch.to_pylist()
    assert [row[name] for name in extras] == [
        "sip:bob@example.net;x=1", "SIP/2.0/UDP a;branch=z9hG4bK1", "7  INVITE", ip, port, "out",
    ]  # fmt: skip
    assert [row[name] for name in headers] == ["<sip:carol@example.org>", "acme", "\ufffd\0", None, None]
    assert row["custom_field1"] == "a1"
    assert batch.schema.names == [*SCHEMA.names, *extras, *headers]


def test_what_is_no_sip_has_none_of_them() -> None:
    extras = ("ruri", "contact_port", "header:Via", "direction")
    (row,) = batch_of([v3(*BASE, chunk(0, 11, b"d"), chunk(0, 15, b"Via: no"))], extras).to_pylist()
    assert [row[name] for name in extras] == [None] * 4


def test_columns_that_there_are_not() -> None:
    with pytest.raises(ValueError, match="no column colour"):
        batch_of([v3(*BASE)], ["colour"])
    with pytest.raises(ValueError, match="at most 64"):
        Records(f"header:X-{i}" for i in range(65))


@pytest.mark.parametrize(
    ("days", "name"),
    [(0, "t_20261118"), (300, "t_20270914"), (-300, "t_20260122"), (-20000, "t_20261118"), (3000, "t_20261118")],
)
def test_a_clock_that_says_anything_makes_no_tables(days: int, name: str) -> None:
    """More than a year away from its arrival a packet is filed by that."""
    seconds = struct.pack(">I", int(ARRIVAL) + days * 86400)
    (row,) = batch_of([v3(*BASE[:6], chunk(0, 9, seconds))], table="t_%Y%m%d").to_pylist()
    assert row["store_table"] == name


def test_text_that_is_none() -> None:
    (row,) = batch_of([v3(*BASE)], custom_field1="a\ud800b", custom_field2="a\udcffb").to_pylist()
    assert (row["custom_field1"], row["custom_field2"]) == ("a?b", "a\ufffdb")
