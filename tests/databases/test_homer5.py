"""Homer 5's tables: which there are, which row a packet becomes, and in which table."""

from typing import Any

import pyarrow as pa
import pytest

from batches import batch_of
from hepswitch.databases.layouts.homer5 import Homer5
from hepswitch.databases.layouts.opensips import Opensips
from hepswitch.databases.layouts.shape import Piece
from hepswitch.destinations.layout_tables import OpensipsTables
from traffic import Message, calls, hep

A, B = ("10.0.0.1", 5060), ("10.0.0.2", 5062)
MIDNIGHT = 1_795_132_800.0  # 2026-11-20

COLUMNS = [
    "date", "micro_ts", "method", "reply_reason", "ruri", "ruri_user", "ruri_domain", "from_user", "from_domain", "from_tag",
    "to_user", "to_domain", "to_tag", "pid_user", "contact_user", "auth_user", "callid", "callid_aleg", "via_1",
    "via_1_branch", "cseq", "diversion", "reason", "content_type", "auth", "user_agent", "source_ip", "source_port",
    "destination_ip", "destination_port", "contact_ip", "contact_port", "proto", "family", "rtp_stat", "type", "node",
    "correlation_id", "msg",
]  # fmt: skip
REPORT = [
    "date", "micro_ts", "correlation_id", "source_ip", "source_port", "destination_ip", "destination_port", "proto",
    "family", "type", "node", "msg",
]  # fmt: skip

INVITE = (
    b"INVITE sip:bob@biloxi.example.com SIP/2.0\r\nVia: SIP/2.0/UDP pc33.example.com;branch=z9hG4bKx\r\n"
    b"To: Bob <sip:bob@biloxi.example.com>\r\nFrom: Alice <sip:alice@atlanta.example.com>;tag=88sja8x\r\n"
    b"Call-ID: 987asjd97y7atg\r\nCSeq: 986759 INVITE\r\nContact: <sip:alice-c@10.1.1.1:5071>\r\n"
    b"Diversion: <sip:carol@example.com>\r\nX-CID: other-leg\r\nUser-Agent: Softphone\r\n\r\n"
)


def message(cseq: str, start: str = "SIP/2.0 200 OK") -> bytes:
    return f"{start}\r\nCall-ID: c1\r\nCSeq: {cseq}\r\n\r\n".encode()


def packet(payload: bytes, proto_type: int = 1, correlation_id: bytes = b"", time: float = MIDNIGHT) -> bytes:
    return hep(Message(time, A, B, payload), proto_type=proto_type, correlation_id=correlation_id)


def pieces(*packets: bytes, **said: Any) -> list[Piece]:
    layout = Homer5()
    return layout.pieces(batch_of(packets, layout.extras, **said))


def rows(*packets: bytes, **said: Any) -> dict[str, list[dict[str, Any]]]:
    return {piece.table: piece.rows.to_pylist() for piece in pieces(*packets, **said)}


def test_the_tables_and_their_columns() -> None:
    shapes = {name.template: [column.name for column in shape.columns] for name, shape in Homer5().tables}
    sip = dict.fromkeys((f"sip_capture_{kind}_%Y%m%d" for kind in ("call", "registration", "rest")), COLUMNS)
    reports = dict.fromkeys((f"{kind}_capture_all_%Y%m%d" for kind in ("rtcp", "dns", "logs", "report")), REPORT)
    assert {name: sorted(columns) for name, columns in shapes.items()} == {
        name: sorted(columns) for name, columns in {**sip, **reports}.items()
    }
    assert len(COLUMNS) == 39


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        *((message(f"1 {method}"), "call") for method in ("INVITE", "ACK", "BYE", "CANCEL", "UPDATE", "PRACK")),
        *((message(f"1 {method}"), "call") for method in ("REFER", "INFO", "NOTIFY")),
        (message("1 REGISTER"), "registration"),
        (message("1 REGISTER", "REGISTER sip:example.com SIP/2.0"), "registration"),
        *((message(f"1 {method}"), "rest") for method in ("OPTIONS", "SUBSCRIBE", "PUBLISH", "MESSAGE", "FOO")),
        (b"BYE sip:b@example.com SIP/2.0\r\nCall-ID: c1\r\n\r\n", "call"),
        (b"SIP/2.0 200 OK\r\nCall-ID: c1\r\n\r\n", "rest"),
    ],
)
def test_sip_by_the_method_of_its_cseq(payload: bytes, kind: str) -> None:
    assert list(rows(packet(payload))) == [f"sip_capture_{kind}_20261120"]


@pytest.mark.parametrize(("number", "kind"), [(5, "rtcp"), (53, "dns"), (100, "logs"), (34, "report"), (38, "report")])
def test_what_is_no_sip_by_its_type(number: int, kind: str) -> None:
    [(table, [row])] = rows(packet(b"{}", number, b"c1")).items()
    assert table == f"{kind}_capture_all_20261120"
    assert (row["type"], row["correlation_id"], row["msg"]) == (number, "c1", b"{}")


def test_a_row_of_sip() -> None:
    [[row]] = rows(packet(INVITE)).values()
    said = {
        "method": "INVITE", "ruri": "sip:bob@biloxi.example.com", "ruri_user": "bob", "from_user": "alice",
        "to_domain": "biloxi.example.com", "callid": "987asjd97y7atg", "correlation_id": "987asjd97y7atg",
        "callid_aleg": "other-leg", "cseq": "986759 INVITE", "diversion": "<sip:carol@example.com>",
        "contact_user": "alice-c", "contact_ip": "10.1.1.1", "contact_port": 5071, "user_agent": "Softphone",
        "via_1": "SIP/2.0/UDP pc33.example.com;branch=z9hG4bKx", "via_1_branch": "z9hG4bKx", "msg": INVITE,
        "micro_ts": int(MIDNIGHT) * 1_000_000, "source_ip": "10.0.0.1", "destination_port": 5062, "proto": 17,
        "family": 2, "type": 1, "node": "edge-7",
    }  # fmt: skip
    assert {name: row[name] for name in said} == said


def test_the_correlation_id_that_the_agent_sent_goes_first() -> None:
    [[row]] = rows(packet(INVITE, correlation_id=b"sent")).values()
    assert row["correlation_id"] == "sent"


def test_the_rest_is_as_opensips_has_it() -> None:
    layout = Opensips(OpensipsTables())
    packets = [hep(each, correlation_id=b"c1") for each in calls(20)]
    [theirs] = layout.pieces(batch_of(packets, layout.extras))
    [ours] = pieces(*packets)
    assert ours.rows == theirs.rows.select(ours.rows.schema.names)


def test_midnight_and_tables_that_a_route_named() -> None:
    made = rows(packet(INVITE, time=MIDNIGHT - 0.1), packet(INVITE), packet(b"x", 100, b"c1"))
    assert sorted(made) == ["logs_capture_all_20261120", "sip_capture_call_20261119", "sip_capture_call_20261120"]
    assert list(rows(packet(INVITE), table="mine")) == ["mine"]
    assert list(rows(packet(INVITE), direction="in")) == ["sip_capture_call_20261120"]  # traced: SIP like any


def test_a_bad_name_has_no_row() -> None:
    layout = Homer5()
    batch = batch_of([packet(INVITE)], layout.extras, table="a`b")
    assert layout.unfit(batch) == pa.array(["bad table name"])
    assert layout.pieces(batch) == []
