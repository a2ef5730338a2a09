"""Layout opensips: every column of its tables, from packets of real senders and from SIP that has all there is."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batches import ARRIVAL, batch_of
from hepswitch.databases.layouts.opensips import Opensips
from hepswitch.databases.layouts.shape import Piece, Shape, Type
from hepswitch.destinations.layout_tables import OpensipsTables
from hepswitch.wire.hep import Hep

VECTORS = Path(__file__).parent.parent / "vectors"
NOON = 1_795_003_200.25
NOON_US = int(NOON * 1_000_000)
MOMENT = datetime.datetime(2026, 11, 18, 12)
MIDNIGHT = 1_795_003_200 + 43_200.0

FULL = (
    b"INVITE sip:+4930123;ext=7@b.example.com:5070;user=phone SIP/2.0\r\n"
    b"Via: SIP/2.0/TLS 192.0.2.7:5061;branch=z9hG4bKtop;rport\r\nVia: SIP/2.0/UDP 192.0.2.8;branch=z9hG4bKnext\r\n"
    b'From: "Alice" <sip:alice@a.example.com>;tag=ft\r\nTo: <sip:bob@b.example.com>;tag=tt\r\n'
    b"Contact: <sip:alice@192.0.2.9:5066;transport=tls>\r\nCall-ID: call-1@a\r\nCSeq:  7   INVITE\r\n"
    b"P-Asserted-Identity: <sip:pid@a.example.com>\r\nX-CID: call-0@a\r\nX-OIP: 198.51.100.1:5090\r\n"
    b'Proxy-Authorization: Digest username="au", realm="r"\r\nAuthorization: Digest username="other"\r\n'
    b'Diversion: <sip:div@a>;reason=no-answer\r\nReason: Q.850;cause=16;text="x"\r\nUser-Agent: phone/1.0\r\n'
    b"X-RTP-Stat: PS=1,OS=2\r\nP-RTP-Stat: never\r\nContent-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0"
)
REPLY = (
    b"SIP/2.0 486 Busy Here\r\nv: SIP/2.0/UDP [2001:db8::7];branch=z9hG4bKr\r\nf: <sip:alice@a>;tag=ft\r\nt: <sip:bob@b>\r\n"
    b"i: call-2\r\nCSeq: 9 INVITE\r\nAuthorization: Digest x\r\nP-RTP-Stat: PS=3\r\nServer: gw\r\n"
    b"X-OIP: [2001:db8::1]:5091\r\n\r\n"
)
ENDS = {"src_ip": "192.0.2.1", "src_port": 5060, "dst_ip": "192.0.2.2", "dst_port": 5062}
SIX = {"src_ip": "2001:db8::a", "dst_ip": "2001:db8::b"}


def packet(payload: bytes | None = FULL, **chunks: object) -> Hep:
    return Hep.new(payload, **({"time": NOON, "captagent_id": 2001} | ENDS | chunks))


def batch(packets: Iterable[bytes | Hep], **said: Any) -> pa.RecordBatch:
    return batch_of(packets, Opensips.extras, **said)


def pieces(packets: Iterable[bytes | Hep], tables: dict[str, Any] | None = None, **said: Any) -> list[Piece]:
    made = Opensips(OpensipsTables.model_validate(tables or {})).pieces(batch(packets, **said))
    for piece in made:
        piece.rows.validate(full=True)
        assert piece.rows.schema.names == [column.name for column in piece.shape.columns]
        for column, values in zip(piece.shape.columns, piece.rows.columns, strict=True):
            assert column.default is None or not values.null_count, column
    return made


def row(made: Hep, tables: dict[str, Any] | None = None, **said: Any) -> dict[str, Any]:
    """The one row of one packet."""
    ((only,),) = [piece.rows.to_pylist() for piece in pieces([made], tables, **said)]
    assert isinstance(only, dict)
    return only


def test_sip_capture_has_every_column() -> None:
    made = packet(proto_id=22, node_name="edge", correlation_id=b"corr")
    found = row(made, custom_field1="one", custom_field3="three")
    assert found == {
        "date": MOMENT, "micro_ts": NOON_US, "method": "INVITE", "reply_reason": "",
        "ruri": "sip:+4930123;ext=7@b.example.com:5070;user=phone", "ruri_user": "+4930123",
        "ruri_domain": "b.example.com", "from_user": "alice", "from_domain": "a.example.com", "from_tag": "ft",
        "to_user": "bob", "to_domain": "b.example.com", "to_tag": "tt", "pid_user": "pid", "contact_user": "alice",
        "auth_user": "au", "callid": "call-1@a", "callid_aleg": "call-0@a",
        "via_1": "SIP/2.0/TLS 192.0.2.7:5061;branch=z9hG4bKtop;rport", "via_1_branch": "z9hG4bKtop",
        "cseq": "7   INVITE", "diversion": "<sip:div@a>;reason=no-answer", "reason": 'Q.850;cause=16;text="x"',
        "content_type": "application/sdp", "auth": 'Digest username="au", realm="r"', "user_agent": "phone/1.0",
        "source_ip": "192.0.2.1", "source_port": 5060, "destination_ip": "192.0.2.2", "destination_port": 5062,
        "contact_ip": "192.0.2.9", "contact_port": 5066, "originator_ip": "198.51.100.1", "originator_port": 5090,
        "correlation_id": "corr", "proto": 22, "family": 2, "rtp_stat": "PS=1,OS=2", "type": 1, "node": "edge",
        "msg": FULL, "custom_field1": "one", "custom_field2": None, "custom_field3": "three",
    }  # fmt: skip
    assert len(found) == 44, "43 that OpenSIPS writes, and diversion"


def test_a_reply_in_sip_capture() -> None:
    found = row(packet(REPLY, **SIX))
    said = {name: value for name, value in found.items() if value not in ("", 0, None)}
    assert said == {
        "date": MOMENT, "micro_ts": NOON_US, "method": "486", "reply_reason": "Busy Here", "from_user": "alice",
        "from_domain": "a", "from_tag": "ft", "to_user": "bob", "to_domain": "b", "callid": "call-2",
        "via_1": "SIP/2.0/UDP [2001:db8::7];branch=z9hG4bKr", "via_1_branch": "z9hG4bKr", "cseq": "9 INVITE",
        "auth": "Digest x", "user_agent": "gw", "source_ip": "2001:db8::a", "source_port": 5060,
        "destination_ip": "2001:db8::b", "destination_port": 5062, "originator_ip": "2001:db8::1",
        "originator_port": 5091, "proto": 17, "family": 10, "rtp_stat": "PS=3", "type": 2, "node": "2001", "msg": REPLY,
    }  # fmt: skip
    assert {name for name in found if name not in said} >= {"ruri", "contact_ip", "contact_port", "diversion"}


def test_sip_trace_has_every_column() -> None:
    (asked, answered) = pieces([packet(proto_id=6)], direction="out", attrs="fraud") + pieces(
        [packet(REPLY, **SIX, proto_id=77)], direction="in"
    )
    assert (asked.table, asked.shape.role) == ("sip_trace", "sip_trace")
    assert asked.rows.to_pylist() == [{
        "time_stamp": MOMENT, "callid": "call-1@a", "trace_attrs": "fraud", "msg": FULL, "method": "INVITE", "status": "",
        "from_proto": "tcp", "from_ip": "192.0.2.1", "from_port": 5060,
        "to_proto": "tcp", "to_ip": "192.0.2.2", "to_port": 5062, "fromtag": "ft", "direction": "out", "time_us": NOON_US,
    }]  # fmt: skip
    (found,) = answered.rows.to_pylist()
    assert (found["method"], found["status"], found["trace_attrs"], found["direction"]) == ("INVITE", "486", None, "in")
    assert (found["from_proto"], found["to_proto"], found["from_ip"]) == ("77", "77", "2001:db8::a")


@pytest.mark.parametrize(("proto_id", "name"), [(17, "udp"), (6, "tcp"), (22, "tls"), (50, "ws"), (132, "sctp")])
def test_transports_of_sip_trace(proto_id: int, name: str) -> None:
    assert row(packet(proto_id=proto_id), direction="in")["from_proto"] == name


def test_report_capture_of_homer5_has_every_column() -> None:
    made = packet(b"\0\xff{}", proto_type=5, proto_id=6, correlation_id=b"call-1@a", **SIX)
    assert row(made) == {
        "date": MOMENT, "micro_ts": NOON_US, "correlation_id": "call-1@a", "source_ip": "2001:db8::a",
        "source_port": 5060, "destination_ip": "2001:db8::b", "destination_port": 5062, "proto": 6, "family": 10,
        "type": 5, "node": "2001", "msg": b"\0\xff{}",
    }  # fmt: skip
    assert row(made, direction="out")["msg"] == b"\0\xff{}", "what is traced and no SIP is a report, too"


def test_report_capture_of_homer6_has_every_column() -> None:
    payload = b'{"Event": "mi", "nested": {"Event": "no"}}'
    made = packet(payload, proto_type=87, correlation_id=b"c1")
    made.set(0x65, b'{"sip": "call-1@a"}', vendor=0, type="octet-string")
    assert row(made, {"report": "homer6", "node": "homer01"}) == {
        "tss": NOON_US // 1_000_000, "tsu": 250_000, "transaction_id": "c1", "source_ip": "192.0.2.1",
        "source_port": 5060, "destination_ip": "192.0.2.2", "destination_port": 5062, "proto": 17, "family": 2,
        "type": 87, "node": "homer01", "data": payload, "payload_len": len(payload),
        "correlation_id": '{"sip": "call-1@a"}', "capture_ip": "", "capt_id": 2001, "event": "mi",
    }  # fmt: skip


@pytest.mark.parametrize(
    "payload",
    [b"Event", b'"Event"', b'{"Event": 3}', b'{"Event": "a"', b'{"Event":"\xff"}', b'{"Event":"","a":' + b"[" * 9999],
)
def test_what_has_no_event(payload: bytes) -> None:
    assert row(packet(payload, proto_type=100), {"report": "homer6"})["event"] == ""


def test_an_extra_correlation_is_found_among_other_chunks() -> None:
    made = packet(b"x", proto_type=100)
    made.set(0x65, b"of a vendor", vendor=3, type="octet-string")
    made.set(0x30, b"", vendor=3, type="octet-string")
    assert row(made, {"report": "homer6"})["correlation_id"] == ""
    made.set(0x65, b"\xff{}", vendor=0, type="octet-string")
    assert row(made, {"report": "homer6"})["correlation_id"] == "\ufffd{}"


def test_a_packet_that_says_next_to_nothing() -> None:
    found = row(Hep.new(None, proto_type=100, proto_id=None, time=NOON))
    assert {name: value for name, value in found.items() if value not in ("", 0)} == {
        "date": MOMENT, "micro_ts": NOON_US, "type": 100, "msg": None,
    }  # fmt: skip
    assert row(Hep.new(None, time=NOON), {"report": "homer6"})["payload_len"] == 0


@pytest.mark.parametrize(
    ("chunks", "node", "expected"),
    [
        ({"node_name": "edge"}, "", "edge"),
        ({}, "", "2001"),
        ({"captagent_id": None}, "", ""),
        ({"node_name": "edge"}, "homer01", "homer01:2001"),
        ({"captagent_id": None}, "homer01", "homer01"),
    ],
)
def test_node(chunks: dict[str, Any], node: str, expected: str) -> None:
    assert row(packet(**chunks), {"node": node})["node"] == expected


@pytest.mark.parametrize(
    ("value", "ip", "port"),
    [
        (b"192.0.2.5:5060", "192.0.2.5", 5060),
        (b"192.0.2.5", "192.0.2.5", 0),
        (b"[2001:db8::1]:5060", "2001:db8::1", 5060),
        (b"[2001:db8::1]", "2001:db8::1", 0),
        (b"2001:db8::1", "2001:db8::1", 0),
        (b"host.example:99999", "host.example", 99999),
        (b"host:123456", "host:123456", 0),
        (b"'; DROP TABLE x; --", "'; DROP TABLE x; --", 0),
    ],
)
def test_originator(value: bytes, ip: str, port: int) -> None:
    found = row(packet(FULL.replace(b"198.51.100.1:5090", value)))
    assert (found["originator_ip"], found["originator_port"]) == (ip, port)


def test_values_are_cut_by_characters() -> None:
    wide = "é" * 100
    made = row(packet(FULL.replace(b"alice@a.example", wide.encode() + b"@a.example").replace(b"call-1@a", b"i" * 300)))
    assert (made["from_user"], made["callid"]) == (wide, "i" * 255)
    longer = "é" * 101
    cut = row(packet(FULL.replace(b"alice@a.example", longer.encode() + b"@a.example")))
    assert cut["from_user"] == wide
    assert longer.encode() in cut["msg"], "the message has all of it"


def test_a_batch_is_split_by_kind_by_table_and_by_day() -> None:
    last, first = MIDNIGHT - 0.000_001, MIDNIGHT
    sip = [packet(REPLY, time=first), packet(time=last), packet(time=first)]
    reports = [packet(b"{}", proto_type=5, time=time) for time in (first, last, first)]
    mixed = [each for pair in zip(sip, reports, strict=True) for each in pair]

    def split(**said: Any) -> list[tuple[str, str, list[int]]]:
        tables = {"table": "sip_capture_call_%Y%m%d", "report_table": "rtcp_%d"}
        made = pieces(mixed, tables, **said)
        return [(piece.table, piece.shape.role, piece.rows.column("micro_ts").to_pylist()) for piece in made]

    before, after = int(MIDNIGHT * 1_000_000) - 1, int(MIDNIGHT * 1_000_000)
    assert split() == [
        ("sip_capture_call_20261119", "sip_capture", [after, after]),
        ("sip_capture_call_20261118", "sip_capture", [before]),
        ("rtcp_19", "report_capture", [after, after]),
        ("rtcp_18", "report_capture", [before]),
    ]
    assert split(table="own_%H") == [
        ("own_00", "sip_capture", [after, after]),
        ("own_23", "sip_capture", [before]),
        ("own_00", "report_capture", [after, after]),
        ("own_23", "report_capture", [before]),
    ]


def test_rows_keep_their_order_within_a_table() -> None:
    made = [packet(captagent_id=number, time=NOON + number % 3 * 86_400) for number in range(50)]
    for piece in pieces(made, {"table": "t_%d"}):
        numbers = [int(node) for node in piece.rows.column("node").to_pylist()]
        assert numbers == sorted(numbers)


@pytest.mark.parametrize(
    "name", ["x; DROP TABLE y", 'a"b', "sqlite_master", "", "é", "a%%", "a%%d", "1a", "a" * 64, "a\0"]
)
def test_a_table_that_no_name_can_be_is_told(name: str) -> None:
    layout = Opensips(OpensipsTables())
    records = pa.concat_batches([batch([packet()]), batch([packet()], table=name), batch([packet()], table="mine")])
    unfit = layout.unfit(records)
    assert unfit is not None
    assert unfit.to_pylist() == [None, "bad table name", None]
    assert [(piece.table, piece.rows.num_rows) for piece in layout.pieces(records)] == [("sip_capture", 1), ("mine", 1)]
    assert layout.unfit(batch([packet()], table="mine")) is None
    assert layout.unfit(batch([packet()])) is None


def test_columns_may_have_other_names() -> None:
    tables = {"columns": {"callid": "call_id", "msg": "Body"}, "indexes": ["callid", "date"]}
    layout = Opensips(OpensipsTables.model_validate(tables))
    shapes = {shape.role: shape for _, shape in layout.tables}
    assert shapes["sip_capture"].indexes == (("call_id",), ("date",))
    assert shapes["sip_trace"].indexes == (("trace_attrs",), ("time_stamp",), ("from_ip",), ("call_id",))
    assert row(packet(), tables)["call_id"] == "call-1@a"
    assert row(packet(), tables, direction="in")["Body"] == FULL
    assert row(packet(b"x", proto_type=5), tables)["Body"] == b"x"


@pytest.mark.parametrize(
    ("tables", "text"),
    [
        ({"columns": {"calid": "x"}}, "there is no column calid in these tables; they have auth, auth_user, callid"),
        ({"columns": {"callid": "MSG"}}, "two columns of a table would have the name msg"),
        ({"columns": {"callid": "ID"}}, "two columns of a table would have the name id"),
        ({"columns": {"callid": "x%d"}}, "'x%d' is no name of a column"),
        ({"indexes": ["msg"]}, "there can be none of msg"),
        ({"indexes": ["callid", "callid"]}, "named twice"),
    ],
)
def test_names_that_cannot_be(tables: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Opensips(OpensipsTables.model_validate(tables))


def _columns(shape: Shape, kind: Type) -> set[str]:
    return {column.name for column in shape.columns if column.type is kind}


def test_the_shapes_of_the_tables() -> None:
    for report, count in (("homer5", 12), ("homer6", 17)):
        layout = Opensips(OpensipsTables.model_validate({"report": report}))
        shapes = {template.template: shape for template, shape in layout.tables}
        assert [(name, len(shape.columns)) for name, shape in shapes.items()] == [
            ("sip_capture", 44), ("report_capture", count), ("sip_trace", 15),
        ]  # fmt: skip
        for shape in shapes.values():
            assert len(_columns(shape, Type.MESSAGE)) == 1
            assert {name for index in shape.indexes for name in index} <= {column.name for column in shape.columns}
            assert all(column.size for column in shape.columns if column.type is Type.TEXT)


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.hep")), ids=lambda path: path.stem)
def test_packets_of_real_senders(path: Path) -> None:
    said = json.loads(path.with_suffix(".json").read_text())
    (piece,) = pieces([path.read_bytes()])
    (found,) = piece.rows.to_pylist()
    assert found["source_ip"] == said.get("src_ip", "")
    assert found["destination_ip"] == said.get("dst_ip", "")
    assert (found["source_port"], found["destination_port"]) == (said.get("src_port", 0), said.get("dst_port", 0))
    assert found["proto"] == said.get("proto_id", 0)
    assert found["family"] == (10 if ":" in said.get("src_ip", "") else 2)
    assert found["node"] == str(said.get("node_name", said.get("captagent_id", "")))
    assert found["correlation_id"] == said.get("correlation_id", "")
    seconds = said.get("timestamp") or ARRIVAL
    assert found["micro_ts"] == int(seconds * 1_000_000) + said.get("timestamp_us", 0)
    assert found["date"] == datetime.datetime.fromtimestamp(int(seconds), datetime.UTC).replace(tzinfo=None)
    message = found["msg"] or b""
    kept = message.rstrip(b"\0") if said["version"] < 3 else message
    assert hashlib.sha256(kept).hexdigest() == said["payload_sha256"]
    first = said["payload_first_line"]
    if first.endswith("SIP/2.0") or first.startswith("SIP/2.0"):
        assert piece.table == "sip_capture"
        words = first.split()
        assert found["method"] == words[1 if words[0] == "SIP/2.0" else 0]
        assert found["type"] == (2 if words[0] == "SIP/2.0" else 1)
        assert found["ruri"] == ("" if words[0] == "SIP/2.0" else words[1])
    elif piece.table == "report_capture":
        assert found["type"] == said.get("proto_type", 0)


payloads = st.binary(max_size=60) | st.builds(
    lambda user, tail: b"INVITE sip:" + user + b"@x SIP/2.0\r\nCall-ID: " + tail + b"\r\nX-OIP: " + tail + b"\r\n\r\n",
    st.binary(max_size=400), st.binary(max_size=300),
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(st.lists(payloads, min_size=1, max_size=6), st.sampled_from([None, "in"]), st.sampled_from(["homer5", "homer6"]))
def test_every_record_is_one_row_whatever_its_bytes(bodies: list[bytes], direction: str | None, report: str) -> None:
    said = {} if direction is None else {"direction": direction}
    made = pieces([packet(body, proto_type=100) for body in bodies], {"report": report, "table": "t_%S"}, **said)
    assert sum(piece.rows.num_rows for piece in made) == len(bodies)
    stored = Counter[bytes]()
    for piece in made:
        (name,) = _columns(piece.shape, Type.MESSAGE)
        stored.update(message or b"" for message in piece.rows.column(name).to_pylist())
    assert stored == Counter(bodies)
