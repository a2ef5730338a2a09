"""Layout "homer7": the tables of heplify-server in PostgreSQL, so that Homer 7's page works on top.

| packets | table | `sid` | `data_header` |
| --- | --- | --- | --- |
| SIP by CSeq's method: those of `CALL_METHODS` | `hep_proto_1_call` | Call-ID | `headers`, `custom_headers` |
| … REGISTER | `hep_proto_1_registration` | | |
| … others, and what has neither CSeq nor method | `hep_proto_1_default` | | |
| types 5, 53, 100 | `hep_proto_5_default` … | correlation id | `node`, `proto` |
| ISUP, type 54 | `hep_proto_54_default` | point codes and CIC | `cic`, `dpc`, `opc`, `msg_name` … |
| other types | `hep_proto_35_default` | correlation id | `node`, `proto`; the payload with `force_payload` |

A table that the route gave is taken when it is one of these. Keys and types of JSON are heplify-server's, with what it gets
wrong put right: `protocolFamily` is 2 or 10 in every version of HEP, the agent's name is escaped, the capture password is
left out, `hep_proto_53_default` exists. Nothing is left out that it drops: SIP without a Call-ID has the correlation id as
`sid`; whatever has neither has an empty one. `user_agent` is Server's value where there is no User-Agent. ISUP without a
proper JSON payload has the header of the other types. NUL is left out everywhere, bytes that are not UTF-8 are U+FFFD.

Not here: partitions and indexes (`databases.partitions`), the bytes of COPY (`databases.copy`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from hepswitch.databases.json_objects import json_objects
from hepswitch.databases.layouts import fills
from hepswitch.databases.layouts.fills import Fill, of
from hepswitch.databases.layouts.json_payloads import isup, json_object
from hepswitch.databases.layouts.shape import Column, Piece, Shape, Type
from hepswitch.databases.layouts.tables import Values
from hepswitch.destinations.layout_tables import Homer7Tables, SipHeader

Step = Literal["sip", "qos", "log", "isup"]
Keep = Literal["call", "registration", "default", "qos", "log", "isup"]


class Parent(NamedTuple):
    """A table, and which keys of the configuration say how it is partitioned and how long it is kept."""

    step: Step
    keep: Keep


PARENTS: Final[dict[str, Parent]] = {
    "hep_proto_1_call": Parent("sip", "call"),
    "hep_proto_1_registration": Parent("sip", "registration"),
    "hep_proto_1_default": Parent("sip", "default"),
    "hep_proto_5_default": Parent("qos", "qos"),
    "hep_proto_35_default": Parent("qos", "qos"),
    "hep_proto_53_default": Parent("qos", "qos"),
    "hep_proto_54_default": Parent("isup", "isup"),
    "hep_proto_100_default": Parent("log", "log"),
}
"""All tables that there are."""

SHAPE: Final = Shape(
    "homer7",
    (
        Column("sid", Type.TEXT, default=""),
        Column("create_date", Type.MOMENT),
        Column("protocol_header", Type.JSON),
        Column("data_header", Type.JSON),
        Column("raw", Type.MESSAGE, default=""),
    ),
)
"""Of each of them."""

NO_TABLE: Final = "no table of layout homer7"
TOO_LONG: Final = "longer than an index of PostgreSQL takes"
"""Why a record has no row."""

LONGEST_KEY: Final = 2600
"""Bytes: an entry of a B-tree has at most 2704, of which some are not the value's."""

CALL_METHODS: Final = ("INVITE", "ACK", "BYE", "CANCEL", "UPDATE", "PRACK", "REFER", "INFO", "NOTIFY")

SIP, RTCP, REPORT, DNS, ISUP, LOG = 1, 5, 35, 53, 54, 100

SIP_HEADERS: Final[dict[SipHeader, Fill]] = {
    "ruri_user": of("ruri_user"), "ruri_domain": of("ruri_domain"),
    "from_user": of("from_user"), "from_domain": of("from_domain"), "from_tag": of("from_tag"),
    "to_user": of("to_user"), "to_domain": of("to_domain"), "to_tag": of("to_tag"),
    "callid": of("call_id"), "cseq": of("cseq_value"), "method": fills.method_or_status, "user_agent": of("user_agent"),
    "via": of("via"), "contact_user": of("contact_user"), "contact_domain": of("contact_ip"),
    "pid_user": of("pid_user"), "auth_user": of("auth_user"), "server": of("header:Server"),
    "content_type": of("content_type"), "reason": of("reason_header"), "diversion": of("header:Diversion"),
    "expires": of("header:Expires"), "callid_aleg": of("callid_aleg"),
}  # fmt: skip
"""What fills a key of `data_header`."""

EXTRAS: Final[dict[SipHeader, str]] = {
    "cseq": "cseq_value", "via": "via", "contact_domain": "contact_ip",
    "server": "header:Server", "diversion": "header:Diversion", "expires": "header:Expires",
}  # fmt: skip
"""The columns beside the record schema that a key needs."""

ISUP_KEYS: Final = ("cic", "dpc", "opc", "msg_name", "called_number", "calling_number", "callid")

PROTOCOL_KEYS: Final = (
    "srcIp",
    "dstIp",
    "srcPort",
    "dstPort",
    "protocol",
    "payloadType",
    "captureId",
    "correlation_id",
)
"""Keys of `protocol_header` that may have an index."""

SMALL_INDEXES: Final = ("create_date", "sid")
_INDEXES = (*SMALL_INDEXES, "srcIp", "dstIp", "correlation_id")
_HOMER_INDEXES: Final[dict[Step, tuple[str, ...]]] = {
    "sip": (
        *_INDEXES, "ruri_domain", "ruri_user", "from_user", "to_user", "pid_user", "auth_user", "callid", "method",
    ),
    "qos": _INDEXES,
    "log": _INDEXES,
    "isup": (
        *SMALL_INDEXES, "correlation_id", "called_number", "calling_number", "opc", "dpc", "cic", "msg_name", "callid",
    ),
}  # fmt: skip

_PROTO_NAMES = {SIP: "sip", RTCP: "rtcp", 34: "rtpagent", REPORT: "rtcpxr", 38: "horaclifix", DNS: "dns", LOG: "log"}
_PROTOS: Values = pa.array([_PROTO_NAMES.get(number, str(number)) for number in range(256)])

_NAMES = list(PARENTS)
_NAME_ARRAY = pa.array(_NAMES)
_CALL, _REGISTRATION = pa.scalar(0, pa.int8()), pa.scalar(1, pa.int8())
_CALL_METHODS = pa.array(CALL_METHODS)


def _table_of_type(number: int) -> int:
    name = f"hep_proto_{number}_default"
    return _NAMES.index(name if name in PARENTS else "hep_proto_35_default")


_TABLES: Values = pa.array([_table_of_type(number) for number in range(256)], pa.int8())
"""By protocol type, its table's place in `PARENTS`; of SIP what is neither call nor registration."""


def indexes(tables: Homer7Tables, parent: str) -> tuple[str, ...]:
    """The fields with an index in the partitions of a table."""
    step = PARENTS[parent].step
    match tables.indexes:
        case "homer":
            return _HOMER_INDEXES[step]
        case "small":
            return SMALL_INDEXES
        case fields:
            known = {*SMALL_INDEXES, *PROTOCOL_KEYS, *_data_keys(tables, step)}
            return tuple(field for field in fields if field in known)


def _data_keys(tables: Homer7Tables, step: Step) -> tuple[str, ...]:
    match step:
        case "sip":
            return (*tables.headers, *tables.custom_headers.values())
        case "isup":
            return ISUP_KEYS
        case _:
            return ("node", "proto")


class Homer7:
    """The layout for `[stores.NAME.homer7]`. ValueError for fields and regular expressions that cannot be."""

    def __init__(self, tables: Homer7Tables) -> None:
        indexed = {field for parent in PARENTS for field in indexes(tables, parent)}
        if tables.indexes not in ("homer", "small") and (
            unknown := [each for each in tables.indexes if each not in indexed]
        ):
            raise ValueError(
                f"indexes: there is no field {', '.join(unknown)}: a key of `headers` or `custom_headers`, of ISUP's "
                f"({', '.join(ISUP_KEYS)}), {', '.join((*SMALL_INDEXES, *PROTOCOL_KEYS))}"
            )
        self._sip: list[tuple[str, Fill, str | None]] = [(key, SIP_HEADERS[key], '""') for key in tables.headers]
        self._sip += [(key, of(f"header:{name}"), None) for name, key in tables.custom_headers.items()]
        self._legs = [_other_leg(text) for text in tables.aleg_ids]
        self._leg_first = tables.force_aleg_id
        self._forced = pa.array(sorted(set(tables.force_payload)), pa.uint8())
        wanted = [EXTRAS[key] for key in tables.headers if key in EXTRAS]
        wanted += [f"header:{text.partition(',')[0]}" for text in (*tables.custom_headers, *tables.aleg_ids)]
        self.extras: Sequence[str] = tuple(dict.fromkeys(wanted))
        self._keys: list[Fill] = [of("call_id"), of("correlation_id")]
        self._keys += [fill for key, fill, _ in self._sip if key in indexed]
        self._keys += self._legs if "correlation_id" in indexed else []
        self._keys += [of("node_name")] if indexed & {"node", "captureId"} else []

    def pieces(self, batch: pa.RecordBatch) -> list[Piece]:
        """The rows of a batch, by table; several pieces of a table where its rows are of several kinds."""
        reasons = self.unfit(batch)
        if reasons is not None:
            batch = batch.filter(reasons.is_null())
        types: Values = batch.column("proto_type").fill_null(0)
        tables = _tables(batch, types)
        is_sip, is_isup = _equal(types, SIP), _equal(types, ISUP)
        is_forced = pc.is_in(types, self._forced)
        is_other = pc.invert(pc.or_(pc.or_(is_sip, is_isup), is_forced))
        kinds = (
            (is_sip, self._of_sip),
            (is_isup, self._of_isup),
            (is_forced, self._of_forced),
            (is_other, self._of_other),
        )
        pieces: list[Piece] = []
        for is_kind, rows_of in kinds:
            for place in pc.unique(tables.filter(is_kind)).to_pylist():
                belongs: Values = pc.and_(is_kind, _equal(tables, place))
                records = batch if belongs.true_count == len(batch) else batch.filter(belongs)
                pieces.append(Piece(_NAMES[place], SHAPE, rows_of(records)))
        return pieces

    def unfit(self, batch: pa.RecordBatch) -> pa.StringArray | None:
        """Records that have no row: a route gave them another table, or a text is too long for its index."""
        named: Values = batch.column("store_table")
        no_table: Values = pc.and_(named.is_valid(), pc.invert(pc.is_in(named, _NAME_ARRAY)))
        too_long: Values = pa.repeat(False, len(batch))
        for key in self._keys:
            lengths: Values = pc.binary_length(key(batch))
            is_long: Values = pc.greater(lengths, pa.scalar(LONGEST_KEY))
            too_long = pc.or_(too_long, is_long.fill_null(False))
        if not no_table.true_count and not too_long.true_count:
            return None
        reasons: pa.StringArray = pc.if_else(no_table, NO_TABLE, pc.if_else(too_long, TOO_LONG, _NO_TEXT))
        return reasons

    # ── rows ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _of_sip(self, records: pa.RecordBatch) -> pa.RecordBatch:
        """Rows of SIP, and of what only claims to be."""
        said = _said(records.column("correlation_id"))
        legs = [leg(records) for leg in self._legs]
        call_id: Values = records.column("call_id")
        correlation_id = pc.coalesce(*legs, said, call_id) if self._leg_first else pc.coalesce(said, *legs, call_id)
        members = [(key, fill(records), absent) for key, fill, absent in self._sip]
        return _rows(
            records,
            sid=pc.coalesce(call_id, said, ""),
            protocol_header=_protocol_header(records, correlation_id),
            data_header=json_objects(members, len(records)),
        )

    def _of_other(self, records: pa.RecordBatch) -> pa.RecordBatch:
        """Rows of what has a name of its protocol and nothing else."""
        correlation_id: Values = records.column("correlation_id")
        return _rows(
            records,
            sid=pc.coalesce(correlation_id, ""),
            protocol_header=_protocol_header(records, correlation_id),
            data_header=_data_header(records),
        )

    def _of_forced(self, records: pa.RecordBatch) -> pa.RecordBatch:
        """Rows with JSON for a payload, which becomes the header; the header becomes the payload."""
        rows = self._of_other(records)
        payloads: Values = pa.array(
            [json_object(payload) for payload in records.column("payload").to_pylist()], pa.string()
        )
        headers: Values = rows.column("data_header")
        as_raw: Values = headers.cast(pa.binary())
        raw: Values = pc.if_else(payloads.is_valid(), as_raw, rows.column("raw"))
        return _replaced(rows, data_header=pc.coalesce(payloads, headers), raw=raw)

    def _of_isup(self, records: pa.RecordBatch) -> pa.RecordBatch:
        """Rows of ISUP as JSON."""
        rows = self._of_other(records)
        found = [isup(payload) for payload in records.column("payload").to_pylist()]
        headers: Values = pa.array([each and msgspec.json.encode(each).decode() for each in found], pa.string())
        call_ids: Values = pa.array([each and each["callid"] for each in found], pa.string())
        correlation_id = pc.coalesce(_said(records.column("correlation_id")), call_ids)
        return _replaced(
            rows,
            sid=pc.coalesce(call_ids, rows.column("sid")),
            protocol_header=_protocol_header(records, correlation_id),
            data_header=pc.coalesce(headers, rows.column("data_header")),
        )


_NO_TEXT = pa.scalar(None, pa.string())


def _equal(column: Values, value: str | int) -> Values:
    return pc.equal(column, pa.scalar(value, column.type))


def _tables(records: pa.RecordBatch, types: Values) -> Values:
    """For each record the place of its table in `PARENTS`."""
    usual: Values = _TABLES.take(types)
    method: Values = pc.coalesce(records.column("cseq_method"), records.column("method"))
    is_sip: Values = _equal(types, SIP)
    is_call = pc.and_(is_sip, pc.is_in(method, _CALL_METHODS))
    is_registration = pc.and_(is_sip, _equal(method, "REGISTER").fill_null(False))
    usual = pc.if_else(is_call, _CALL, pc.if_else(is_registration, _REGISTRATION, usual))
    named: Values = records.column("store_table")
    if named.null_count == len(named):
        return usual
    return pc.coalesce(pc.index_in(named, _NAME_ARRAY).cast(pa.int8()), usual)


def _rows(records: pa.RecordBatch, **columns: Values) -> pa.RecordBatch:
    columns["create_date"] = records.column("ts")
    columns["raw"] = records.column("payload").fill_null(b"")
    names = [column.name for column in SHAPE.columns]
    return pa.RecordBatch.from_arrays([columns[name] for name in names], names)


def _replaced(rows: pa.RecordBatch, **columns: Values) -> pa.RecordBatch:
    names = rows.schema.names
    return pa.RecordBatch.from_arrays([columns.get(name, rows.column(name)) for name in names], names)


def _said(column: Values) -> Values:
    """The texts that say something."""
    return pc.if_else(_equal(column, ""), _NO_TEXT, column)


def _node(records: pa.RecordBatch) -> Values:
    return pc.coalesce(_said(records.column("node_name")), records.column("captagent_id").cast(pa.string()), "0")


def _protocol_header(records: pa.RecordBatch, correlation_id: Values) -> Values:
    return json_objects(
        [
            ("protocolFamily", fills.family(records), "2"),
            ("protocol", records.column("proto_id"), "0"),
            ("srcIp", records.column("src_ip"), '""'),
            ("dstIp", records.column("dst_ip"), '""'),
            ("srcPort", records.column("src_port"), "0"),
            ("dstPort", records.column("dst_port"), "0"),
            ("timeSeconds", fills.second_number(records), None),
            ("timeUseconds", fills.micros_of_second(records), None),
            ("payloadType", records.column("proto_type"), "0"),
            ("captureId", _node(records), None),
            ("correlation_id", correlation_id, '""'),
        ],
        len(records),
    )


def _data_header(records: pa.RecordBatch) -> Values:
    protos: Values = _PROTOS.take(records.column("proto_type").fill_null(0))
    return json_objects([("node", _node(records), None), ("proto", protos, None)], len(records))


def _other_leg(text: str) -> Fill:
    """What an entry of `aleg_ids` finds in the records: a header's value, or what its expression's group matched there."""
    name, comma, pattern = text.partition(",")
    column = f"header:{name}"
    if not comma:
        return lambda records: _said(records.column(column))
    around = f"(?s)^.*?(?:{pattern}).*$"
    pc.replace_substring_regex(pa.array([""]), around, r"\1")  # ArrowInvalid now rather than with every batch

    def fill(records: pa.RecordBatch) -> Values:
        value: Values = records.column(column)
        group = pc.replace_substring_regex(value, around, r"\1")
        return _said(pc.if_else(pc.match_substring_regex(value, around), group, _NO_TEXT))

    return fill
