"""Layout "homer5": the tables of Homer 5 as heplify-server fills them in MySQL, one of each kind a day (UTC).

| table | rows | columns |
| --- | --- | --- |
| `sip_capture_call_%Y%m%d` | SIP whose CSeq has a method of a call | 39 of OpenSIPS' `sip_capture` |
| `sip_capture_registration_%Y%m%d` | SIP whose CSeq has REGISTER | the same |
| `sip_capture_rest_%Y%m%d` | other SIP | the same |
| `rtcp_capture_all_%Y%m%d` | RTCP (5) | OpenSIPS' `report_capture` for Homer 5 |
| `dns_capture_all_%Y%m%d` | DNS (53) | the same |
| `logs_capture_all_%Y%m%d` | logs (100) | the same |
| `report_capture_all_%Y%m%d` | what else is no SIP | the same |

As there: `correlation_id` of SIP is the Call-ID when the agent sent none, `node` is the agent's name or number. Not as
there: a message is not cut at 3000 bytes, a packet without a correlation id is kept, and tables have no partitions: a day
is one table. SIP that was traced is SIP here. Indexes are those of Homer 5. Not here: DDL (`databases.mysql_tables`).
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from hepswitch.databases.layouts import fills, opensips
from hepswitch.databases.layouts.columns import Filled, FilledTable
from hepswitch.databases.layouts.shape import Piece
from hepswitch.databases.layouts.tables import Values, misnamed, where

LEFT_OUT = {"originator_ip", "originator_port", "custom_field1", "custom_field2", "custom_field3"}
"""Columns of OpenSIPS that Homer 5 does not have."""

EXTRAS = tuple(name for name in opensips.EXTRAS if name not in ("direction", "header:X-OIP"))

SIP_KINDS = ("call", "registration", "rest")
CALL = ("INVITE", "ACK", "BYE", "CANCEL", "UPDATE", "PRACK", "REFER", "INFO", "NOTIFY")
REPORTS = {5: "rtcp", 53: "dns", 100: "logs"}
"""What has a table of its own, by `proto_type`."""

SIP_INDEXES = tuple(
    (name,) for name in ("date", "callid", "callid_aleg", "ruri_user", "from_user", "to_user", "pid_user", "auth_user")
)
REPORT_INDEXES = (("date",), ("correlation_id",))


class Homer5:
    """The layout. It has nothing to configure."""

    extras = EXTRAS

    def __init__(self) -> None:
        self._sip = {kind: _table(f"sip_capture_{kind}", _sip_columns(), SIP_INDEXES) for kind in SIP_KINDS}
        columns = opensips.homer5_report(fills.agent_name)
        self._reports = {
            kind: _table(f"{kind}_capture_all", columns, REPORT_INDEXES) for kind in (*REPORTS.values(), "report")
        }
        self.tables = [(each.template, each.shape) for each in (*self._sip.values(), *self._reports.values())]
        """Names of the tables, which are dated, with their shapes."""

    def pieces(self, batch: pa.RecordBatch) -> list[Piece]:
        """The rows of a batch, by table."""
        reasons = self.unfit(batch)
        if reasons is not None:
            batch = batch.filter(reasons.is_null())
        is_sip = fills.is_sip(batch)
        is_report: Values = pc.invert(is_sip)
        pieces: list[Piece] = []
        for tables, belongs, kind_of in ((self._sip, is_sip, _sip_kind), (self._reports, is_report, _report_kind)):
            records = where(batch, belongs)
            kinds = kind_of(records)
            for kind in kinds.unique().to_pylist():
                of_kind: Values = pc.is_in(kinds, value_set=pa.array([kind]))
                pieces += tables[kind].pieces(where(records, of_kind))
        return pieces

    def unfit(self, batch: pa.RecordBatch) -> pa.StringArray | None:
        """Records that have no row: a route gave them a table that cannot be."""
        return misnamed(batch)


def _table(role: str, columns: list[Filled], indexes: tuple[tuple[str, ...], ...]) -> FilledTable:
    return FilledTable(role, f"{role}_%Y%m%d", columns, indexes, {})


def _sip_columns() -> list[Filled]:
    columns = [each for each in opensips.sip_capture(fills.agent_name) if each.column.name not in LEFT_OUT]
    correlation = fills.first("correlation_id", "call_id")
    return [each._replace(fill=correlation) if each.column.name == "correlation_id" else each for each in columns]


def _sip_kind(records: pa.RecordBatch) -> Values:
    """Which of `SIP_KINDS` each message is, by the method of its CSeq; without one, by its own."""
    method: Values = pc.coalesce(records.column("cseq_method"), records.column("method"))
    is_call: Values = pc.is_in(method, value_set=pa.array(CALL))
    is_registration: Values = pc.is_in(method, value_set=pa.array(["REGISTER"]))
    return pc.if_else(is_call, "call", pc.if_else(is_registration, "registration", "rest"))


def _report_kind(records: pa.RecordBatch) -> Values:
    return _REPORT_KINDS.take(records.column("proto_type")).fill_null("report")


_REPORT_KINDS = pa.array([REPORTS.get(number, "report") for number in range(256)], pa.string())
