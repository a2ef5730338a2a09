"""Layout homer7: rows as heplify-server writes them, found by the queries of Homer's page, on a real PostgreSQL."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import asyncpg
import pyarrow as pa
import pytest
from pydantic import ValidationError

from batches import batch_of
from hepswitch.databases.layouts.homer7 import NO_TABLE, PARENTS, SIP_HEADERS, TOO_LONG, Homer7
from hepswitch.databases.partitions import TENDING
from hepswitch.databases.postgres import PostgresServer, ddl
from hepswitch.databases.server import ContentError, Mark
from hepswitch.destinations.databases import PostgresStore
from hepswitch.destinations.layout_tables import Homer7Tables, SipHeader
from hepswitch.wire.hep import Hep
from servers import Postgres

CALL_ID = "12013223@200.57.7.195"
SECOND = 1_795_000_000
MOMENT = datetime(2026, 11, 18, 11, 6, 40, 250_000, UTC)
ALICE, BOB = "200.57.7.195", "200.57.7.204"


def packet(payload: bytes, kind: int = 1, *, back: bool = False, **chunks: Any) -> Hep:
    """A packet from Alice to Bob, or back."""
    src, dst = (BOB, ALICE) if back else (ALICE, BOB)
    about = {"src_ip": src, "dst_ip": dst, "src_port": 5061, "dst_port": 5060, "proto_id": 17, "proto_type": kind}
    return Hep.new(payload, **(about | {"timestamp": SECOND, "timestamp_us": 250_000, "captagent_id": 2001} | chunks))


def sip(first: str, cseq: str = "1 INVITE", more: str = "", call_id: str = CALL_ID, to_tag: str = "") -> bytes:
    tag = f";tag={to_tag}" if to_tag else ""
    return (
        f"{first}\r\nVia: SIP/2.0/UDP {ALICE};branch=z9hG4bK1\r\nFrom: <sip:1001@atlanta.example.com>;tag=f1\r\n"
        f"To: <sip:1002@biloxi.example.com>{tag}\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\n{more}\r\n"
    ).encode()


INVITE = sip("INVITE sip:1002@biloxi.example.com SIP/2.0", more="User-Agent: Nero SIPPS 2.0\r\nX-CID: the-other\r\n")
TRYING = sip("SIP/2.0 100 Trying")
OK = sip("SIP/2.0 200 OK", to_tag="t2", more="Server: SER 0.9\r\n")
DIALOG = [
    packet(INVITE),
    packet(TRYING, back=True, timestamp_us=260_000),
    packet(sip("SIP/2.0 180 Ringing", to_tag="t2"), back=True, timestamp_us=300_000),
    packet(sip("SIP/2.0 183 Session Progress", to_tag="t2"), back=True, timestamp_us=310_000),
    packet(OK, back=True, timestamp_us=320_000),
    packet(sip("ACK sip:1002@biloxi.example.com SIP/2.0", "1 ACK", to_tag="t2"), timestamp_us=330_000),
    packet(sip("INFO sip:1002@biloxi.example.com SIP/2.0", "2 INFO", to_tag="t2"), timestamp_us=340_000),
    packet(sip("SIP/2.0 200 OK", "2 INFO", to_tag="t2"), back=True, timestamp_us=350_000),
    packet(sip("UPDATE sip:1002@biloxi.example.com SIP/2.0", "3 UPDATE", to_tag="t2"), timestamp_us=360_000),
    packet(sip("SIP/2.0 200 OK", "3 UPDATE", to_tag="t2"), back=True, timestamp_us=370_000),
    packet(sip("BYE sip:1002@biloxi.example.com SIP/2.0", "4 BYE", to_tag="t2"), timestamp_us=380_000),
    packet(sip("SIP/2.0 200 OK", "4 BYE", to_tag="t2"), back=True, timestamp_us=390_000),
]
REGISTER = packet(sip("REGISTER sip:atlanta.example.com SIP/2.0", "7 REGISTER", call_id="reg-1"))
REGISTERED = packet(sip("SIP/2.0 200 OK", "7 REGISTER", call_id="reg-1"), back=True)
OPTIONS = packet(sip("OPTIONS sip:biloxi.example.com SIP/2.0", "9 OPTIONS", call_id="opt-1"))
RTCP_JSON = b'{"sender_information":{"packets":250},"ssrc":1111,"type":200,"report_blocks":[{"fraction_lost":0}]}'
RTCP = packet(RTCP_JSON, 5, correlation_id=CALL_ID.encode(), node_name="edge-1")
LOG = packet(b"2026 proxy: call accepted", 100, correlation_id=CALL_ID.encode())
ISUP_JSON = (
    b'{"cic":2056,"dpc":141,"opc":12,"msg_type":1,"msg_name":"Initial address","called_number":{"inn":0,"num":"8100"},'
    b'"calling_number":{"screened":3,"num":"301234567"}}'
)
ISUP = packet(ISUP_JSON, 54)


def homer7(**tables: Any) -> Homer7:
    return Homer7(Homer7Tables(**tables))


def rows(layout: Homer7, *packets: Hep, **said: Any) -> list[tuple[str, dict[str, Any]]]:
    """(table, row) of each, with JSON read."""
    found = []
    for piece in layout.pieces(batch_of(packets, layout.extras, **said)):
        assert piece.rows.schema.names == ["sid", "create_date", "protocol_header", "data_header", "raw"]
        assert not any(column.null_count for column in piece.rows.columns)
        for row in piece.rows.to_pylist():
            headers = {name: json.loads(row[name]) for name in ("protocol_header", "data_header")}
            found.append((piece.table, row | headers))
    return found


def data(layout: Homer7, one: Hep) -> dict[str, Any]:
    ((_, row),) = rows(layout, one)
    return row["data_header"]


# ── rows ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


PROTOCOL_HEADER = {
    "protocolFamily": 2, "protocol": 17, "srcIp": ALICE, "dstIp": BOB, "srcPort": 5061, "dstPort": 5060,
    "timeSeconds": SECOND, "timeUseconds": 250_000, "payloadType": 1, "captureId": "2001", "correlation_id": CALL_ID,
}  # fmt: skip
"""Written by hand from what heplify-server writes."""


def test_golden_rows_of_sip() -> None:
    reply = PROTOCOL_HEADER | {"srcIp": BOB, "dstIp": ALICE, "timeUseconds": 320_000}
    assert rows(homer7(), DIALOG[0], DIALOG[4]) == [
        ("hep_proto_1_call", {
            "sid": CALL_ID, "create_date": MOMENT, "protocol_header": PROTOCOL_HEADER, "raw": INVITE,
            "data_header": {
                "ruri_user": "1002", "ruri_domain": "biloxi.example.com", "from_user": "1001", "from_tag": "f1",
                "to_user": "1002", "to_tag": "", "callid": CALL_ID, "cseq": "1 INVITE", "method": "INVITE",
                "user_agent": "Nero SIPPS 2.0",
            },
        }),
        ("hep_proto_1_call", {
            "sid": CALL_ID, "create_date": MOMENT + timedelta(microseconds=70_000), "protocol_header": reply, "raw": OK,
            "data_header": {
                "ruri_user": "", "ruri_domain": "", "from_user": "1001", "from_tag": "f1", "to_user": "1002",
                "to_tag": "t2", "callid": CALL_ID, "cseq": "1 INVITE", "method": "200", "user_agent": "SER 0.9",
            },
        }),
    ]  # fmt: skip


def test_keys_are_in_the_order_of_heplify_server() -> None:
    (piece,) = homer7().pieces(batch_of(DIALOG[:1], homer7().extras))
    assert list(json.loads(piece.rows.column("protocol_header")[0].as_py())) == list(PROTOCOL_HEADER)
    assert list(json.loads(piece.rows.column("data_header")[0].as_py())) == list(Homer7Tables().headers)


def test_golden_row_of_isup() -> None:
    header = PROTOCOL_HEADER | {"payloadType": 54, "correlation_id": "12:141:2056"}
    assert rows(homer7(), ISUP) == [
        ("hep_proto_54_default", {
            "sid": "12:141:2056", "create_date": MOMENT, "protocol_header": header, "raw": ISUP_JSON,
            "data_header": {
                "cic": 2056, "dpc": 141, "opc": 12, "msg_name": "Initial address", "called_number": "8100",
                "calling_number": "301234567", "callid": "12:141:2056",
            },
        }),
    ]  # fmt: skip


@pytest.mark.parametrize("payload", [b"", b"no JSON", b"[1]", b'{"cic":', b"\xff{}", b"[" * 60_000, b'{"a":1e999}'])
def test_isup_that_is_no_json_object_is_kept_as_other_types_are(payload: bytes) -> None:
    ((table, row),) = rows(homer7(), packet(payload, 54, correlation_id=b"x"))
    assert (table, row["sid"], row["raw"]) == ("hep_proto_54_default", "x", payload)
    assert row["data_header"] == {"node": "2001", "proto": "54"}


def test_isup_of_other_types_than_expected() -> None:
    strange = (
        b'{"cic":"x","dpc":true,"opc":null,"msg_name":{},"called_number":"8100","calling_number":{"num":["\\u0000"]}}'
    )
    assert data(homer7(), packet(strange, 54)) == {
        "cic": 0, "dpc": 0, "opc": 0, "msg_name": "", "called_number": "", "calling_number": "", "callid": "0:0:0",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "table", "proto"),
    [
        (5, "hep_proto_5_default", "rtcp"),
        (34, "hep_proto_35_default", "rtpagent"),
        (35, "hep_proto_35_default", "rtcpxr"),
        (38, "hep_proto_35_default", "horaclifix"),
        (53, "hep_proto_53_default", "dns"),
        (56, "hep_proto_35_default", "56"),
        (100, "hep_proto_100_default", "log"),
        (255, "hep_proto_35_default", "255"),
        (0, "hep_proto_35_default", "0"),
    ],
)
def test_golden_rows_of_other_types(kind: int, table: str, proto: str) -> None:
    named = packet(b"payload", kind, correlation_id=CALL_ID.encode(), node_name="edge-1", dst_port=5005)
    header = PROTOCOL_HEADER | {"payloadType": kind, "captureId": "edge-1", "dstPort": 5005}
    row = {"sid": CALL_ID, "create_date": MOMENT, "protocol_header": header, "raw": b"payload"}
    assert rows(homer7(), named) == [(table, row | {"data_header": {"node": "edge-1", "proto": proto}})]


@pytest.mark.parametrize(
    ("first", "cseq", "table"),
    [
        *[
            (f"{m} sip:a@b SIP/2.0", f"1 {m}", "hep_proto_1_call")
            for m in ("ACK", "PRACK", "REFER", "NOTIFY", "CANCEL")
        ],
        *[(f"{m} sip:a@b SIP/2.0", f"1 {m}", "hep_proto_1_default") for m in ("SUBSCRIBE", "PUBLISH", "MESSAGE")],
        ("SIP/2.0 401 Unauthorized", "1 REGISTER", "hep_proto_1_registration"),
        ("SIP/2.0 200 OK", "1 OPTIONS", "hep_proto_1_default"),
        ("SIP/2.0 200 OK", "1", "hep_proto_1_default"),
        ("INVITE sip:a@b SIP/2.0", "", "hep_proto_1_call"),
    ],
)
def test_the_profile_is_that_of_the_cseq_method(first: str, cseq: str, table: str) -> None:
    assert rows(homer7(), packet(sip(first, cseq)))[0][0] == table


def test_nothing_is_dropped_that_heplify_server_drops() -> None:
    no_call_id = INVITE.replace(b"Call-ID", b"X-ID")
    sids = [
        packet(no_call_id), packet(no_call_id, correlation_id=b"c"), packet(b"garbage", 1), packet(b"", 1),
        packet(b"log", 100), packet(b"log", 100, correlation_id=b""),
    ]  # fmt: skip
    found = [(table, row["sid"]) for table, row in rows(homer7(), *sids)]
    assert sorted(found) == [
        ("hep_proto_100_default", ""), ("hep_proto_100_default", ""),
        ("hep_proto_1_call", ""), ("hep_proto_1_call", "c"),
        ("hep_proto_1_default", ""), ("hep_proto_1_default", ""),
    ]  # fmt: skip


def test_what_a_packet_does_not_say_has_a_value_all_the_same() -> None:
    ((_, row),) = rows(homer7(), Hep.new(b"x", proto_type=100, timestamp=SECOND))
    assert row["protocol_header"] == {
        "protocolFamily": 2, "protocol": 17, "srcIp": "", "dstIp": "", "srcPort": 0, "dstPort": 0, "timeSeconds": SECOND,
        "timeUseconds": 0, "payloadType": 100, "captureId": "0", "correlation_id": "",
    }  # fmt: skip


def test_ipv6_is_family_10() -> None:
    ((_, row),) = rows(homer7(), packet(INVITE, src_ip="2001:db8::1", dst_ip="2001:db8::2"))
    about = {key: row["protocol_header"][key] for key in ("protocolFamily", "srcIp", "dstIp")}
    assert about == {"protocolFamily": 10, "srcIp": "2001:db8::1", "dstIp": "2001:db8::2"}


# ── what the configuration changes ─────────────────────────────────────────────────────────────────────────────────────


def test_every_key_that_may_be_configured_has_a_value() -> None:
    assert set(SIP_HEADERS) == set(get_args(SipHeader))
    more = (
        "Contact: <sip:c@192.0.2.9:5070>\r\nP-Asserted-Identity: <sip:+49@x>\r\nX-CID: leg\r\n"
        "Server: S\r\nDiversion: <sip:d@x>\r\n"
        'Authorization: Digest username="alice"\r\nContent-Type: text/plain\r\nReason: Q.850;cause=16\r\nExpires: 60\r\n'
    )
    every = homer7(headers=get_args(SipHeader), custom_headers={"x-cid": "x_cid", "X-None": "none"})
    assert data(every, packet(sip("INVITE sip:r@rd SIP/2.0", more=more))) == {
        "ruri_user": "r", "ruri_domain": "rd", "from_user": "1001", "from_domain": "atlanta.example.com", "from_tag": "f1",
        "to_user": "1002", "to_domain": "biloxi.example.com", "to_tag": "", "callid": CALL_ID, "cseq": "1 INVITE",
        "method": "INVITE", "user_agent": "S", "via": f"SIP/2.0/UDP {ALICE};branch=z9hG4bK1", "contact_user": "c",
        "contact_domain": "192.0.2.9", "pid_user": "+49", "auth_user": "alice", "server": "S", "content_type": "text/plain",
        "reason": "Q.850;cause=16", "diversion": "<sip:d@x>", "expires": "60", "callid_aleg": "leg", "x_cid": "leg",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("tables", "chunk", "expected"),
    [
        ({"aleg_ids": ["X-CID"]}, None, "the-other"),
        ({"aleg_ids": ["X-CID"]}, b"given", "given"),
        ({"aleg_ids": ["X-CID"], "force_aleg_id": True}, b"given", "the-other"),
        ({"aleg_ids": ["X-None", "X-CID"]}, None, "the-other"),
        ({"aleg_ids": ["X-None"]}, None, CALL_ID),
        ({"aleg_ids": ["X-None"], "force_aleg_id": True}, b"given", "given"),
        ({"aleg_ids": ["X-CID,the-(.+)"]}, None, "other"),
        ({"aleg_ids": ["X-CID,(?i)^THE-(o?)"]}, None, "o"),
        ({"aleg_ids": ["X-CID,no-(.+)"]}, None, CALL_ID),
        ({}, b"", CALL_ID),
    ],
)
def test_the_other_leg(tables: dict[str, Any], chunk: bytes | None, expected: str) -> None:
    more = {} if chunk is None else {"correlation_id": chunk}
    ((_, row),) = rows(homer7(**tables), packet(INVITE, **more))
    assert (row["protocol_header"]["correlation_id"], row["sid"]) == (expected, CALL_ID)


def test_forced_payloads() -> None:
    layout = homer7(force_payload=[34, 56])
    node = {"node": "2001", "proto": "rtpagent"}
    ((_, row),) = rows(layout, packet(b'{"MOS": 4.41, "CALL": "a\\u0000b\\\\u0000\\\\\\u0000"}', 34))
    assert row["data_header"] == {"MOS": 4.41, "CALL": "ab\\u0000\\"}
    assert json.loads(row["raw"]) == node
    for broken in (b'{"MOS":', b"[1]", b'"text"', b'{"a":"\\ud800"}', b'{"a":"\xff"}', b"{}\0"):
        ((_, row),) = rows(layout, packet(broken, 34))
        assert (row["data_header"], row["raw"]) == (node, broken)
    assert data(layout, packet(b"{}", 38)) == {"node": "2001", "proto": "horaclifix"}


def test_a_table_that_the_route_names() -> None:
    layout = homer7()
    found = rows(layout, DIALOG[0], LOG, table="hep_proto_35_default")
    assert [(table, next(iter(row["data_header"]))) for table, row in found] == [
        ("hep_proto_35_default", "ruri_user"), ("hep_proto_35_default", "node"),
    ]  # fmt: skip
    named = batch_of([DIALOG[0]], layout.extras, table="fraud_%Y")
    assert layout.unfit(named) == pa.array([NO_TABLE])
    assert layout.pieces(named) == []
    mixed = pa.concat_batches([named, batch_of([LOG], layout.extras)])
    assert layout.unfit(mixed) == pa.array([NO_TABLE, None])
    assert [piece.table for piece in layout.pieces(mixed)] == ["hep_proto_100_default"]


def test_texts_that_no_index_takes() -> None:
    long = sip(f"INVITE sip:{'1' * 3000}@x SIP/2.0")
    layout, small = homer7(), homer7(indexes="small")
    batch = batch_of([packet(long), *DIALOG[:1], packet(sip("BYE sip:a@b SIP/2.0", call_id="c" * 2601))], layout.extras)
    assert layout.unfit(batch) == pa.array([TOO_LONG, None, TOO_LONG])
    assert small.unfit(batch) == pa.array([None, None, TOO_LONG])
    assert sum(len(piece.rows) for piece in layout.pieces(batch)) == 1
    assert layout.unfit(batch.slice(1, 1)) is None


def test_an_empty_batch_has_no_rows() -> None:
    layout = homer7()
    assert layout.pieces(batch_of([], layout.extras)) == []


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"headers": ["callid", "x"]}, "ruri_user"),
        ({"custom_headers": {"X-CID": "callid"}}, "a key of its own"),
        ({"custom_headers": {"X-CID": "a", "X-B": "a"}}, "a key of its own"),
        ({"custom_headers": {"X CID": "a"}}, "names no header"),
        ({"aleg_ids": ["X-CID,("]}, "no regular expression"),
        ({"aleg_ids": ["X-CID,(a)(b)"]}, "2 groups"),
        ({"force_payload": [5]}, "a table of its own"),
        ({"indexes": ["a'b"]}, "no field with an index"),
        ({"step_sip": "7h"}, "divides the day"),
        ({"step_log": "1m"}, "divides the day"),
    ],
)
def test_what_cannot_be_configured(tables: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Homer7Tables(**tables)


def test_what_the_layout_refuses() -> None:
    with pytest.raises(ValueError, match=r"no field x_cid: a key of `headers`"):
        homer7(indexes=["sid", "x_cid"])
    with pytest.raises(ValueError, match="invalid perl operator"):
        homer7(aleg_ids=["X-CID,(?<=a)(b)"])


# ── in PostgreSQL ──────────────────────────────────────────────────────────────────────────────────────────────────────


_frames = itertools.count()


def store(database: str, create: bool = True, **tables: Any) -> PostgresStore:
    return PostgresStore(
        url=database, layout="homer7", create=create, homer7=Homer7Tables(**({"ahead": "1h"} | tables))
    )


@pytest.fixture
async def homer(database: str) -> AsyncIterator[PostgresServer]:
    opened = PostgresServer(store(database, keep="31d"))
    await opened.open()
    yield opened
    await opened.close()


async def load(server: PostgresServer, *packets: Hep) -> None:
    frame = next(_frames)
    await server.load(batch_of(packets, server.layout.extras), Mark("0" * 32, frame, frame + 1, 0))


@pytest.fixture
def recent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packets of this module are of a moment ago, for the partitions."""
    monkeypatch.setattr("hepswitch.databases.partitions.datetime", _Clock)


class _Clock(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return MOMENT.astimezone(tz)


AROUND = "create_date BETWEEN '2026-11-18 11:00:00+00' AND '2026-11-18 11:15:00+00'"


@pytest.mark.usefixtures("recent")
async def test_the_queries_of_homers_page(homer: PostgresServer) -> None:
    """Search, transaction, QoS and logs of a call; registrations."""
    await homer.maintain()
    other_leg = packet(sip("INVITE sip:x@y SIP/2.0", call_id="b-leg"), correlation_id=CALL_ID.encode())
    await load(homer, *DIALOG, REGISTER, REGISTERED, OPTIONS, RTCP, LOG, ISUP, other_leg)

    async def sids(table: str, condition: str, *values: Any) -> list[str]:
        query = f"SELECT sid FROM {table} WHERE {AROUND} AND {condition} ORDER BY create_date, id LIMIT 200"
        return [row["sid"] for row in await homer.rows(query, values)]

    calls = "hep_proto_1_call"
    assert await sids(calls, "data_header->>'callid' = $1", CALL_ID) == [CALL_ID] * 12
    assert await sids(calls, "data_header->>'from_user' LIKE $1", "100%") == [CALL_ID, "b-leg", *[CALL_ID] * 11]
    assert await sids(calls, "data_header->>'method' = '200'") == [CALL_ID] * 4
    assert await sids(
        calls, "(protocol_header->>'srcPort')::int = $1 AND protocol_header->>'srcIp' = $2", 5061, BOB
    ) == ([CALL_ID] * 7)
    assert await sids(calls, "protocol_header->>'correlation_id' = $1 AND sid <> $1", CALL_ID) == ["b-leg"]
    assert await sids(calls, "raw ILIKE $1", "%nero sipps%") == [CALL_ID]
    assert await sids("hep_proto_1_registration", "data_header->>'from_user' = $1", "1001") == ["reg-1"] * 2
    assert await sids("hep_proto_1_default", "data_header->>'method' = 'OPTIONS'") == ["opt-1"]
    assert await sids("hep_proto_54_default", "data_header->>'cic' = '2056'") == ["12:141:2056"]

    flow = await homer.rows(
        "SELECT data_header->>'method' AS method FROM hep_proto_1_call WHERE sid = ANY ($1) ORDER BY create_date",
        [[CALL_ID]],
    )
    assert [row["method"] for row in flow] == [
        "INVITE", "100", "180", "183", "200", "ACK", "INFO", "200", "UPDATE", "200", "BYE", "200",
    ]  # fmt: skip
    tabs = [
        await homer.rows(f"SELECT raw FROM {table} WHERE sid = ANY ($1)", [[CALL_ID]])
        for table in ("hep_proto_5_default", "hep_proto_35_default", "hep_proto_100_default")
    ]
    assert tabs == [[{"raw": RTCP_JSON.decode()}], [], [{"raw": "2026 proxy: call accepted"}]]

    plan = await homer.rows(f"EXPLAIN SELECT 1 FROM hep_proto_1_call WHERE {AROUND} AND data_header->>'callid' = 'x'")
    text = "\n".join(row["QUERY PLAN"] for row in plan)
    assert "hep_proto_1_call_20261118_1000" in text
    assert "_other" not in text
    seconds, micros = (f"(protocol_header->>'time{unit}')::int" for unit in ("Seconds", "Useconds"))
    disagree = f"create_date <> to_timestamp({seconds}) + {micros} * '1us'::interval"
    assert await homer.rows(f"SELECT count(*) FROM hep_proto_1_call WHERE {disagree}") == [{"count": 0}]


HOSTILE = [
    'quote " and \\ backslash', "NUL \0 here", "\\u0000 is text", "'); DROP TABLE hep_proto_1_call; --", "{\"a\": 1}",
    "tab\tand \x01\x1f\x7f", "Grüße 漢字 📞", "\\", '"', "%s $1 \\N",
]  # fmt: skip


@pytest.mark.usefixtures("recent")
async def test_hostile_names_and_headers(homer: PostgresServer) -> None:
    packets = []
    for text in HOSTILE:
        line = text.encode().replace(b"\r", b"").replace(b"\n", b"")
        payload = INVITE.replace(b"Nero SIPPS 2.0", line + b" \xff\xfe") + b"body \0 \xc3\x28"
        packets.append(packet(payload, node_name=text.encode(), correlation_id=text.encode()))
    await load(homer, *packets, packet(b"\0\xff" * 30_000, 100, correlation_id=b"big"))
    found = await homer.rows("SELECT protocol_header, data_header, raw FROM hep_proto_1_call ORDER BY id")
    for row, text in zip(found, HOSTILE, strict=True):
        clean = text.replace("\0", "")
        protocol, headers = json.loads(row["protocol_header"]), json.loads(row["data_header"])
        assert (protocol["captureId"], protocol["correlation_id"]) == (clean, clean)
        assert headers["user_agent"] == f"{clean} \ufffd\ufffd"
        assert row["raw"] == INVITE.decode().replace("Nero SIPPS 2.0", f"{clean} \ufffd\ufffd") + "body  \ufffd("
    assert await homer.rows("SELECT raw FROM hep_proto_100_default") == [{"raw": "\ufffd" * 30_000}]


async def test_late_early_and_2044(database: str) -> None:
    now = int(datetime.now(UTC).timestamp())
    times = {"now": now, "late": now - 3 * 86_400, "early": now + 3600, "2044": 2_335_219_200, "1970": 1}
    server = PostgresServer(store(database))
    await server.open()
    await load(
        server, *[packet(sip("BYE sip:a@b SIP/2.0", "1 BYE", call_id=name), timestamp=at) for name, at in times.items()]
    )
    found = await server.rows("SELECT sid, create_date, tableoid::regclass::text AS place FROM hep_proto_1_call")
    assert {row["sid"]: int(row["create_date"].timestamp()) for row in found} == times
    others = {row["sid"] for row in found if row["place"].endswith("_other")}
    assert others == {"2044", "1970"}
    await server.maintain()
    assert await server.rows("SELECT count(*) FROM hep_proto_1_call") == [{"count": 5}]
    await server.close()


@pytest.mark.usefixtures("recent")
async def test_a_text_that_no_index_takes_is_of_the_row(database: str) -> None:
    """Beyond what the layout can see: inside of JSON that was forced. ISUP is looked into: nothing long is searched by."""
    from random import Random

    server = PostgresServer(store(database, indexes=["sid", "node", "called_number"], force_payload=[99]))
    await server.open()
    long = Random(1).randbytes(4000).hex().encode()
    with pytest.raises(ContentError, match="index row"):
        await load(server, packet(b'{"node":"%b"}' % long, 99))
    await load(server, packet(b'{"cic":7,"called_number":{"num":"%b"}}' % long, 54))
    found = await server.rows(
        "SELECT data_header->>'cic' AS c, data_header->>'called_number' AS n FROM hep_proto_54_default"
    )
    assert found == [{"c": "7", "n": ""}]
    await server.close()


async def test_without_create_the_printed_statements_do(database: str) -> None:
    mine = store(database, create=False)
    server = PostgresServer(mine)
    await server.open()
    with pytest.raises(OSError, match="has no table hep_proto_100_default: make it"):
        await load(server, LOG)
    connection = await asyncpg.connect(database)
    await connection.execute(ddl(mine))
    await connection.close()
    await server.open()
    await load(server, LOG, RTCP, ISUP, *DIALOG)
    total = " + ".join(f"(SELECT count(*) FROM {parent})" for parent in PARENTS)
    assert await server.rows(f"SELECT {total} AS total") == [{"total": 15}]
    await server.close()


async def test_two_stores_and_a_database_that_is_made_anew(database: str, postgres_server: Postgres) -> None:
    one, two = PostgresServer(store(database)), PostgresServer(store(database))
    for each in (one, two):
        await each.open()
        await each.maintain()
        await load(each, *DIALOG)
    assert await two.rows("SELECT count(*) FROM hep_proto_1_call") == [{"count": 24}]
    await one.close()
    await two.close()
    connection = await asyncpg.connect(postgres_server.url)
    name = database.rpartition("/")[2]
    await connection.execute(f"DROP DATABASE {name}")
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    await one.open()
    await load(one, *DIALOG)
    assert await one.rows("SELECT count(*) FROM hep_proto_1_call") == [{"count": 12}]
    await one.close()


async def test_a_server_that_crashes_while_one_is_at_its_partitions(database: str, postgres_server: Postgres) -> None:
    one, two = PostgresServer(store(database)), PostgresServer(store(database))
    await one.open()
    await load(one, *DIALOG)
    tender = await asyncpg.connect(database)
    await tender.execute("SELECT pg_advisory_lock($1)", TENDING)
    postgres_server.stop("immediate")
    with pytest.raises(OSError, match="PostgreSQL 127"):
        await one.maintain()
    postgres_server.start()
    await tender.close()
    for each in (one, two):
        await each.open()
        await each.maintain()
    await load(two, *DIALOG)
    assert await one.rows("SELECT count(*) FROM hep_proto_1_call") == [{"count": 24}]
    assert (await one.rows("SELECT count(*) FROM hep_proto_53_default"))[0]["count"] == 0
    await one.close()
    await two.close()
