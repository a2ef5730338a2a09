"""The views of layout "homer7": SIP, ISUP, and what else is in Homer's tables.

What these do not keep is null: the agent's number where `captureId` is its name and the other way round, the VLAN, HEP
version and sender, chunks without a column, custom fields, and a correlation id that is the Call-ID (Homer puts that where
there is none). With `aleg_ids` the id of the other leg is shown as the correlation id, as in Homer. A payload that became
`data_header` (`force_payload`) comes back as PostgreSQL writes JSON. SIP is looked for in the tables of SIP.
Not here: what the tables are (`layouts.homer7`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any

import msgspec

from hepswitch.databases.dialects import Dialect
from hepswitch.databases.views.view import (
    IDENTITY,
    IN_ONE_LINE,
    NEVER,
    OF_SIP,
    PORT,
    Clock,
    Constant,
    Held,
    Kind,
    View,
    address,
    agent,
    number,
    octets,
)
from hepswitch.destinations.layout_tables import Homer7Tables
from hepswitch.lake.reader import Row
from hepswitch.lake.rows import MICROSECOND

SIP_TABLES, ISUP_TABLES = r"hep_proto_1_\w+", r"hep_proto_54_\w+"

_KNOWN_BY = frozenset(("sid", "create_date", "protocol_header", "data_header", "raw"))
_PICKED = {name: name for name in ("protocol_header", "data_header", "raw")}
_SIP_KEYS = {
    "ruri_user": "ruri_user", "ruri_domain": "ruri_domain", "from_user": "from_user", "from_domain": "from_domain",
    "from_tag": "from_tag", "to_user": "to_user", "to_domain": "to_domain", "to_tag": "to_tag", "method": "method",
    "user_agent": "user_agent", "contact_user": "contact_user", "pid_user": "pid_user", "auth_user": "auth_user",
    "content_type": "content_type", "reason_header": "reason", "callid_aleg": "callid_aleg",
}  # fmt: skip
"""The lake's columns, and the keys of `data_header` that have them, where they are configured."""
_NUMBERS = {"src_port": "srcPort", "dst_port": "dstPort", "proto_id": "protocol", "proto_type": "payloadType"}
_NOT_KEPT = ("custom_field1", "custom_field2", "custom_field3")
_NODE_AND_PROTO = {"node", "proto"}


def views(tables: Homer7Tables, dialect: Dialect) -> list[View]:
    """The views of Homer's tables."""
    clock = Clock(
        "create_date", MICROSECOND, lambda moment: moment.astimezone(UTC), lambda value: value.astimezone(UTC)
    )
    sid = Held(dialect.quoted("sid"), "sid")
    ends: dict[str, Held | Constant] = {"src_ip": _of_protocol("srcIp"), "dst_ip": _of_protocol("dstIp")}
    ends |= {lake: _number_of_protocol(key) for lake, key in _NUMBERS.items()}
    ends |= dict.fromkeys(_NOT_KEPT, NEVER)
    no_sip: dict[str, Held | Constant] = dict.fromkeys(OF_SIP, NEVER)
    of_id = _of_protocol("correlation_id")
    raw = Held(dialect.quoted("raw"), "raw", Kind.INSIDE)
    sip = ends | dict.fromkeys(IN_ONE_LINE, raw) | _of_headers(tables)
    sip |= {IDENTITY: sid, "call_id": sid, "correlation_id": of_id}
    isup = ends | no_sip | {IDENTITY: of_id, "correlation_id": of_id}
    other = ends | no_sip | {IDENTITY: sid, "correlation_id": sid}

    def row(got: Mapping[str, Any]) -> Row:
        return _row(got, tables.force_payload)

    return [
        View(_KNOWN_BY, clock, _PICKED, sip, ("call_id",), row, SIP_TABLES),
        View(_KNOWN_BY, clock, _PICKED, isup, (), row, ISUP_TABLES),
        View(_KNOWN_BY, clock, _PICKED, other, ("correlation_id",), row, r"hep_proto_\w+"),
    ]


def _of_headers(tables: Homer7Tables) -> dict[str, Held | Constant]:
    """What the configured keys of `data_header` have."""
    found: dict[str, Held | Constant] = {
        lake: Held(f"data_header->>'{key}'", "data_header") for lake, key in _SIP_KEYS.items() if key in tables.headers
    }
    if "method" in tables.headers:
        found["status"] = Held("data_header->>'method'", "data_header", Kind.CODE)
    return found


def _of_protocol(key: str) -> Held:
    return Held(f"protocol_header->>'{key}'", "protocol_header")


def _number_of_protocol(key: str) -> Held:
    return Held(f"(protocol_header->>'{key}')::int", "protocol_header", Kind.NUMBER)


def _row(got: Mapping[str, Any], forced: tuple[int, ...]) -> Row:
    header = msgspec.json.decode(got["protocol_header"])
    kind = header.get("payloadType")
    payload = octets(got["raw"])
    if kind in forced and payload and _is_header(payload):
        payload = octets(got["data_header"])
    correlation_id = header.get("correlation_id") or None
    if correlation_id is not None and correlation_id == _call_id(got["data_header"]):
        correlation_id = None
    return {
        "ts": got["moment"].astimezone(UTC),
        "proto_type": number(kind, 0xFF),
        "correlation_id": correlation_id,
        "payload": payload or None,
        "proto_id": number(header.get("protocol"), 0xFF),
        "src_ip": address(header.get("srcIp")),
        "src_port": number(header.get("srcPort"), PORT),
        "dst_ip": address(header.get("dstIp")),
        "dst_port": number(header.get("dstPort"), PORT),
        **agent(header.get("captureId")),
    }


def _call_id(data_header: str) -> str | None:
    """The Call-ID that is in `data_header`, or what stands for it in ISUP."""
    found: str | None = msgspec.json.decode(data_header).get("callid")
    return found


def _is_header(payload: bytes) -> bool:
    """Is it the `data_header` of what is no SIP?"""
    try:
        found = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return isinstance(found, dict) and found.keys() == _NODE_AND_PROTO
