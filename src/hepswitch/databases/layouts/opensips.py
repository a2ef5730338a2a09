"""Layout "opensips": the tables of OpenSIPS' modules sipcapture and tracer.

| table (key) | rows | columns |
| --- | --- | --- |
| `sip_capture` (`table`) | SIP that a route stored | those that `sip_capture()` writes, and `diversion` of its DDL |
| `report_capture` (`report_table`) | what is no SIP | 12 (`report = "homer5"`) or 17 (`"homer6"`) |
| `sip_trace` (`trace_table`) | SIP that was traced | version 5, and `time_us` (µs since 1970) |

A query for OpenSIPS' tables works here. What OpenSIPS leaves empty or gets wrong is right: `contact_user`, `auth`
(Proxy-Authorization, else Authorization) and `diversion` are filled; `proto` is the IP protocol's number and IPv6 addresses
are whole in reports, too; `date`, `time_stamp` and the dates in names of tables are UTC; the DDL has all columns. `method`
of a reply is its status code in `sip_capture`, that of its CSeq in `sip_trace`. `node` is `NODE:CAPTAGENT_ID` when `node`
is configured, else the agent's name, else its number. `capture_ip` is the agent's address as it reached the switch.

A text longer than its column is cut: `msg` has all of it. What a packet does not say is an empty text or 0, as there;
custom fields and `trace_attrs` that nobody gave are null. Not here: types and DDL of a server (`databases.postgres` …).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from hepswitch.databases.layouts import fills
from hepswitch.databases.layouts.columns import Filled, FilledTable, message, moment, number, text
from hepswitch.databases.layouts.fills import Fill, first
from hepswitch.databases.layouts.shape import Piece, Type
from hepswitch.databases.layouts.tables import Values, misnamed, where
from hepswitch.databases.server import MARKS
from hepswitch.destinations.layout_tables import OpensipsTables
from hepswitch.wire.chunks import IP_PROTOCOLS

EXTRAS = (
    "direction", "ruri", "via", "cseq_value", "contact_ip", "contact_port", "header:Authorization", "header:Diversion",
    "header:P-RTP-Stat", "header:Proxy-Authorization", "header:X-OIP", "header:X-RTP-Stat",
)  # fmt: skip

EXTRA_CORRELATION = 0x65
"""The chunk in which OpenSIPS puts further correlation ids, as a JSON object."""


class Opensips:
    """The layout for the tables of `[stores.NAME.opensips]`. ValueError when `columns` or `indexes` cannot be."""

    extras: Sequence[str] = EXTRAS

    def __init__(self, tables: OpensipsTables) -> None:
        node = fills.capture_node(tables.node) if tables.node else fills.agent_name
        name = fills.constant(tables.node) if tables.node else fills.agent_name
        report = homer5_report(node) if tables.report == "homer5" else _homer6(name)
        capture, trace = sip_capture(node), _sip_trace()
        _check(tables.columns, (capture, report, trace))
        _check_indexes(tables.indexes, capture)
        _check_tables(tables)
        names = tables.columns
        indexes = [(name,) for name in tables.indexes]
        self._capture = FilledTable("sip_capture", tables.table, capture, indexes, names)
        self._report = FilledTable("report_capture", tables.report_table, report, REPORT_INDEXES[tables.report], names)
        self._trace = FilledTable("sip_trace", tables.trace_table, trace, TRACE_INDEXES, names)
        self.tables = [(each.template, each.shape) for each in (self._capture, self._report, self._trace)]
        """Names of the tables, which may be dated, with their shapes."""

    def pieces(self, batch: pa.RecordBatch) -> list[Piece]:
        """The rows of a batch, by table."""
        reasons = self.unfit(batch)
        if reasons is not None:
            batch = batch.filter(reasons.is_null())
        is_sip = fills.is_sip(batch)
        is_traced: Values = pc.and_(is_sip, batch.column("direction").is_valid())
        kinds: tuple[tuple[FilledTable, Values], ...] = (
            (self._capture, pc.and_not(is_sip, is_traced)),
            (self._report, pc.invert(is_sip)),
            (self._trace, is_traced),
        )
        pieces: list[Piece] = []
        for table, belongs in kinds:
            if belongs.true_count:
                pieces += table.pieces(where(batch, belongs))
        return pieces

    def unfit(self, batch: pa.RecordBatch) -> pa.StringArray | None:
        """Records that have no row: a route gave them a table that cannot be."""
        return misnamed(batch)


def _check(names: Mapping[str, str], tables: Sequence[Sequence[Filled]]) -> None:
    """Other names of columns must be for columns that there are, and leave each a name of its own."""
    kept = [[each.column.name for each in table] for table in tables]
    known = {name for table in kept for name in table}
    if unknown := sorted(names.keys() - known):
        raise ValueError(
            f"columns: there is no column {', '.join(unknown)} in these tables; they have {', '.join(sorted(known))}"
        )
    if dated := sorted(name for name in names.values() if "%" in name):
        raise ValueError(f"columns: {dated[0]!r} is no name of a column: it cannot have fields such as %Y")
    for table in kept:
        final = ["id", *(names.get(name, name).lower() for name in table)]
        if twice := sorted({name for name in final if final.count(name) > 1}):
            raise ValueError(f"columns: two columns of a table would have the name {', '.join(twice)}")


def _check_tables(tables: OpensipsTables) -> None:
    """Tables may be one and the same, as far as their columns go together; but not that of the marks."""
    if MARKS in (tables.table.lower(), tables.report_table.lower(), tables.trace_table.lower()):
        raise ValueError(f"{MARKS} is the table of the batches that were loaded: give yours another name")


def _check_indexes(indexes: Sequence[str], table: Sequence[Filled]) -> None:
    """Indexes must be of columns that there are, under OpenSIPS' names, and that fit into one."""
    fit = [each.column.name for each in table if each.column.type is not Type.MESSAGE]
    if unfit := [name for name in indexes if name not in fit]:
        raise ValueError(f"indexes: there can be none of {', '.join(unfit)}; of these there can: {', '.join(fit)}")
    if len(set(indexes)) < len(indexes):
        raise ValueError("indexes: a column is named twice")


# ── what fills a column ────────────────────────────────────────────────────────────────────────────────────────────────


_TRANSPORTS = pa.array([IP_PROTOCOLS.get(number, str(number)).lower() for number in range(256)], pa.string())


def _transport(records: pa.RecordBatch) -> Values:
    """udp, tcp, tls …; other protocols by number; "any" when the packet does not say, as OpenSIPS' trace_local_ip."""
    return _TRANSPORTS.take(records.column("proto_id")).fill_null("any")


def _event(records: pa.RecordBatch) -> Values:
    """The value of the key "Event" of a payload that is a JSON object."""
    payloads: Values = records.column("payload")
    may_have: Values = pc.match_substring(payloads, '"Event"')
    if not may_have.true_count:
        return pa.nulls(len(payloads), pa.string())
    found = zip(may_have, payloads, strict=True)
    return pa.array([_event_of(payload.as_py()) if may.as_py() else None for may, payload in found], pa.string())


def _payload_size(records: pa.RecordBatch) -> Values:
    payloads: Values = records.column("payload")
    return pc.binary_length(payloads)


class _Event(msgspec.Struct):
    Event: Any = None


def _event_of(payload: bytes) -> str | None:
    try:
        event = msgspec.json.decode(payload, type=_Event).Event
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # no JSON object after all
    return event if isinstance(event, str) else None


def _extra_correlation(records: pa.RecordBatch) -> Values:
    chunks = records.column("chunks")
    if chunks.null_count == len(chunks):
        return pa.nulls(len(chunks), pa.string())
    return pa.array([each and _chunk(each, EXTRA_CORRELATION) for each in chunks.to_pylist()], pa.string())


def _chunk(chunks: bytes, wanted: int) -> str | None:
    """The text of the first chunk of that number without a vendor, among chunks end to end as the record has them."""
    at = 0
    while at + 6 <= len(chunks):
        size = int.from_bytes(chunks[at + 4 : at + 6], "big")
        if chunks[at : at + 4] == wanted.to_bytes(4, "big"):
            return chunks[at + 6 : at + size].decode("utf-8", "replace")
        at += max(size, 6)
    return None


# ── the tables ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _ends(size: int) -> list[Filled]:
    """Between whom, as `sip_capture` and `report_capture` have it."""
    return [
        text("source_ip", size, "src_ip"),
        number("source_port", "src_port"),
        text("destination_ip", size, "dst_ip"),
        number("destination_port", "dst_port"),
    ]


def sip_capture(node: Fill) -> list[Filled]:
    """The columns of `sip_capture`. Homer 5 has most of them, too."""
    return [
        moment("date"),
        number("micro_ts", fills.micros, Type.BIG),
        text("method", 50, fills.method_or_status),
        text("reply_reason", 100, "reason"),
        text("ruri", 256, "ruri"),
        text("ruri_user", 100, "ruri_user"),
        text("ruri_domain", 150, "ruri_domain"),
        text("from_user", 100, "from_user"),
        text("from_domain", 150, "from_domain"),
        text("from_tag", 128, "from_tag"),
        text("to_user", 100, "to_user"),
        text("to_domain", 150, "to_domain"),
        text("to_tag", 128, "to_tag"),
        text("pid_user", 100, "pid_user"),
        text("contact_user", 120, "contact_user"),
        text("auth_user", 120, "auth_user"),
        text("callid", 255, "call_id"),
        text("callid_aleg", 255, "callid_aleg"),
        text("via_1", 256, "via"),
        text("via_1_branch", 128, "via_branch"),
        text("cseq", 50, "cseq_value"),
        text("diversion", 256, "header:Diversion"),
        text("reason", 200, "reason_header"),
        text("content_type", 256, "content_type"),
        text("auth", 512, first("header:Proxy-Authorization", "header:Authorization")),
        text("user_agent", 256, "user_agent"),
        *_ends(50),
        text("contact_ip", 100, "contact_ip"),
        number("contact_port", "contact_port"),
        text("originator_ip", 60, fills.originator_ip),
        number("originator_port", fills.originator_port),
        text("correlation_id", 256, "correlation_id"),
        number("proto", "proto_id"),
        number("family", fills.family),
        text("rtp_stat", 256, first("header:X-RTP-Stat", "header:P-RTP-Stat")),
        number("type", fills.request_or_reply),
        text("node", 125, node),
        message("msg"),
        *(text(name, 255, name, None) for name in ("custom_field1", "custom_field2", "custom_field3")),
    ]


REPORT_INDEXES = {"homer5": (("date",), ("correlation_id",)), "homer6": (("tss",), ("transaction_id",))}


def _packet() -> list[Filled]:
    return [*_ends(60), number("proto", "proto_id"), number("family", fills.family), number("type", "proto_type")]


def homer5_report(node: Fill) -> list[Filled]:
    """The columns of `report_capture` and of Homer 5's tables for what is no SIP."""
    return [
        moment("date"),
        number("micro_ts", fills.micros, Type.BIG),
        text("correlation_id", 256, "correlation_id"),
        *_packet(),
        text("node", 125, node),
        message("msg"),
    ]


def _homer6(node: Fill) -> list[Filled]:
    return [
        number("tss", fills.second_number, Type.BIG),
        number("tsu", fills.micros_of_second),
        text("transaction_id", 256, "correlation_id"),
        *_packet(),
        text("node", 125, node),
        message("data"),
        number("payload_len", _payload_size),
        text("correlation_id", 1024, _extra_correlation),
        text("capture_ip", 60, "received_ip"),
        number("capt_id", "captagent_id", Type.BIG),
        text("event", 256, _event),
    ]


TRACE_INDEXES = (("trace_attrs",), ("time_stamp",), ("from_ip",), ("callid",))


def _sip_trace() -> list[Filled]:
    return [
        moment("time_stamp"),
        text("callid", 255, "call_id"),
        text("trace_attrs", 255, "custom_field1", None),
        message("msg"),
        text("method", 32, first("method", "cseq_method")),
        text("status", 255, fills.status),
        text("from_proto", 5, _transport),
        text("from_ip", 50, "src_ip"),
        number("from_port", "src_port"),
        text("to_proto", 5, _transport),
        text("to_ip", 50, "dst_ip"),
        number("to_port", "dst_port"),
        text("fromtag", 128, "from_tag"),
        text("direction", 4, "direction"),
        number("time_us", fills.micros, Type.BIG),
    ]
