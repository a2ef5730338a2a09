"""The views of layout "opensips": `sip_capture`, `report_capture` with either set of columns, `sip_trace`.

What these tables do not keep is null: the agent's number where `node` has its name and the other way round, the VLAN, HEP
version and sender, chunks without a column; in `sip_trace` the correlation id and the agent, too.
Not here: what the tables are (`layouts.opensips`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hepswitch.databases.dialects import Dialect
from hepswitch.databases.layouts.opensips import Opensips
from hepswitch.databases.layouts.shape import Shape
from hepswitch.databases.views.view import (
    IN_ONE_LINE,
    LARGEST,
    NEVER,
    OF_SIP,
    PORT,
    SECOND,
    SIP,
    Clock,
    Constant,
    Held,
    Kind,
    View,
    address,
    agent,
    micros,
    number,
    octets,
)
from hepswitch.destinations.layout_tables import OpensipsTables
from hepswitch.lake.reader import Row
from hepswitch.lake.rows import EPOCH
from hepswitch.wire.chunks import IP_PROTOCOLS

_NUMBERS = {name.lower(): number for number, name in IP_PROTOCOLS.items()}
_CUSTOM = ("custom_field1", "custom_field2", "custom_field3")

_CAPTURE_TEXTS = {
    "call_id": "callid", "correlation_id": "correlation_id", "callid_aleg": "callid_aleg", "method": "method",
    "reason": "reply_reason", "ruri_user": "ruri_user", "ruri_domain": "ruri_domain", "from_user": "from_user",
    "from_domain": "from_domain", "from_tag": "from_tag", "to_user": "to_user", "to_domain": "to_domain",
    "to_tag": "to_tag", "via_branch": "via_1_branch", "contact_user": "contact_user", "pid_user": "pid_user",
    "auth_user": "auth_user", "user_agent": "user_agent", "content_type": "content_type", "reason_header": "reason",
    "src_ip": "source_ip", "dst_ip": "destination_ip", **{name: name for name in _CUSTOM},
}  # fmt: skip
_ENDS = {"src_port": "source_port", "dst_port": "destination_port", "proto_id": "proto"}
_CAPTURE_PICKED = (
    "date", "micro_ts", "correlation_id", "source_ip", "source_port", "destination_ip", "destination_port", "proto", "node",
    "msg", *_CUSTOM,
)  # fmt: skip
_REPORT_TEXTS = {"correlation_id": "correlation_id", "src_ip": "source_ip", "dst_ip": "destination_ip"}
_HOMER6_TEXTS = _REPORT_TEXTS | {"correlation_id": "transaction_id"}
_REPORT_NUMBERS = _ENDS | {"proto_type": "type"}
_REPORT_PICKED = (
    "date", "micro_ts", "correlation_id", "source_ip", "source_port", "destination_ip", "destination_port", "proto", "type",
    "node", "msg",
)  # fmt: skip
_HOMER6_PICKED = (
    "tss", "tsu", "transaction_id", "source_ip", "source_port", "destination_ip", "destination_port", "proto", "type",
    "node", "capt_id", "data",
)  # fmt: skip
_TRACE_TEXTS = {
    "call_id": "callid", "method": "method", "from_tag": "fromtag", "src_ip": "from_ip", "dst_ip": "to_ip",
    "custom_field1": "trace_attrs",
}  # fmt: skip
_TRACE_PICKED = (
    "time_stamp", "time_us", "from_proto", "from_ip", "from_port", "to_ip", "to_port", "trace_attrs", "msg",
)  # fmt: skip


def views(tables: OpensipsTables, dialect: Dialect) -> list[View]:
    """The views of the layout's tables, with the names that their columns have here."""
    shapes = {shape.role: shape for _, shape in Opensips(tables).tables}
    names = tables.columns
    capture, trace = _Columns(shapes["sip_capture"], names, dialect), _Columns(shapes["sip_trace"], names, dialect)
    report = _Columns(shapes["report_capture"], names, dialect)
    return [
        _sip_capture(capture, tables.node),
        _homer5(report, tables.node) if tables.report == "homer5" else _homer6(report, tables.node),
        _sip_trace(trace),
    ]


class _Columns:
    """The columns of a shape by the names that the layout gives them."""

    def __init__(self, shape: Shape, names: Mapping[str, str], dialect: Dialect) -> None:
        self._sizes = {column.name: column.size for column in shape.columns}
        self._names = names
        self.dialect = dialect

    def of(self, name: str) -> str:
        return self._names.get(name, name)

    def picked(self, names: tuple[str, ...]) -> dict[str, str]:
        return {name: self.of(name) for name in names}

    def texts(self, names: Mapping[str, str], kind: Kind = Kind.TEXT) -> dict[str, Held | Constant]:
        """The lake's columns by the layout's, quoted, as what they are."""
        return {lake: self._held(name, kind) for lake, name in names.items()}

    def _held(self, name: str, kind: Kind) -> Held:
        column = self.of(name)
        size = self._sizes[column] if kind is Kind.TEXT else 0
        return Held(self.dialect.quoted(column), column, kind, size)

    def clock(self, name: str) -> Clock:
        return Clock(self.of(name), SECOND, self.dialect.second, _second)


def _sip_capture(columns: _Columns, node: str) -> View:
    def row(got: Mapping[str, Any]) -> Row:
        return {
            "ts": _moment(got["micro_ts"], got["date"]),
            "proto_type": SIP,
            "correlation_id": got["correlation_id"] or None,
            "payload": octets(got["msg"]),
            **_agent(got["node"], node),
            **_ends(got),
            **{name: got[name] for name in _CUSTOM},
        }

    held = columns.texts(_CAPTURE_TEXTS) | columns.texts(_ENDS, Kind.NUMBER)
    held |= columns.texts({"status": "method"}, Kind.CODE) | {"proto_type": Constant(SIP)}
    known_by = frozenset(map(columns.of, ("date", "micro_ts", "callid", "source_ip", "destination_ip", "msg")))
    return View(known_by, columns.clock("date"), columns.picked(_CAPTURE_PICKED), held, ("call_id",), row)


def _homer5(columns: _Columns, node: str) -> View:
    def row(got: Mapping[str, Any]) -> Row:
        return {
            "ts": _moment(got["micro_ts"], got["date"]),
            "proto_type": got["type"],
            "correlation_id": got["correlation_id"] or None,
            "payload": octets(got["msg"]),
            **_agent(got["node"], node),
            **_ends(got),
        }

    known_by = frozenset(map(columns.of, ("date", "micro_ts", "correlation_id", "type", "source_ip", "msg")))
    held = _not_sip(columns, _REPORT_TEXTS)
    return View(known_by, columns.clock("date"), columns.picked(_REPORT_PICKED), held, ("correlation_id",), row)


def _homer6(columns: _Columns, node: str) -> View:
    def row(got: Mapping[str, Any]) -> Row:
        return {
            "ts": EPOCH + timedelta(seconds=got["tss"], microseconds=got["tsu"]),
            "proto_type": got["type"],
            "correlation_id": got["transaction_id"] or None,
            "payload": octets(got["data"]),
            **_agent(got["node"], node),
            "captagent_id": number(got["capt_id"], LARGEST),
            **_ends(got),
        }

    clock = Clock(columns.of("tss"), SECOND, lambda moment: (moment - EPOCH) // SECOND, _second)
    known_by = frozenset(map(columns.of, ("tss", "tsu", "transaction_id", "type", "data")))
    held = _not_sip(columns, _HOMER6_TEXTS)
    return View(known_by, clock, columns.picked(_HOMER6_PICKED), held, ("correlation_id",), row)


def _sip_trace(columns: _Columns) -> View:
    def row(got: Mapping[str, Any]) -> Row:
        return {
            "ts": _moment(got["time_us"], got["time_stamp"]),
            "proto_type": SIP,
            "payload": octets(got["msg"]),
            "proto_id": _protocol(got["from_proto"]),
            "src_ip": address(got["from_ip"]),
            "src_port": number(got["from_port"], PORT),
            "dst_ip": address(got["to_ip"]),
            "dst_port": number(got["to_port"], PORT),
            "custom_field1": got["trace_attrs"],
        }

    held = columns.texts(dict.fromkeys(IN_ONE_LINE, "msg"), Kind.INSIDE) | columns.texts(_TRACE_TEXTS)
    held |= columns.texts({"src_port": "from_port", "dst_port": "to_port"}, Kind.NUMBER)
    held |= columns.texts({"status": "status"}, Kind.CODE)
    held |= {"proto_type": Constant(SIP)} | dict.fromkeys(("correlation_id", "custom_field2", "custom_field3"), NEVER)
    known_by = frozenset(map(columns.of, ("time_stamp", "callid", "from_ip", "to_ip", "msg")))
    return View(known_by, columns.clock("time_stamp"), columns.picked(_TRACE_PICKED), held, ("call_id",), row)


def _not_sip(columns: _Columns, texts: Mapping[str, str]) -> dict[str, Held | Constant]:
    held = columns.texts(texts) | columns.texts(_REPORT_NUMBERS, Kind.NUMBER)
    return held | dict.fromkeys((*OF_SIP, *_CUSTOM), NEVER)


def _ends(got: Mapping[str, Any]) -> Row:
    return {
        "src_ip": address(got["source_ip"]),
        "src_port": number(got["source_port"], PORT),
        "dst_ip": address(got["destination_ip"]),
        "dst_port": number(got["destination_port"], PORT),
        "proto_id": number(got["proto"], 0xFF),
    }


def _agent(node: str | None, ours: str) -> Row:
    """The agent out of `OURS:NUMBER`, where the configuration has such a name, else out of its number or name."""
    text = node or ""
    if not ours:
        return agent(text)
    return agent(text.removeprefix(f"{ours}:") if text != ours else None)


def _protocol(text: str | None) -> int | None:
    name = (text or "").lower()
    return _NUMBERS.get(name) or number(name if name.isascii() and name.isdigit() else 0, 0xFF)


def _moment(after: int | None, second: Any) -> datetime:
    """The moment to the microsecond, or to the second in rows that others have written."""
    return micros(after) if after else _second(second)


def _second(value: Any) -> datetime:
    """What a column of whole seconds gives: a moment, text or seconds since 1970."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        return EPOCH + timedelta(seconds=int(value))
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
