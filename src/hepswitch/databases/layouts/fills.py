"""What fills columns: functions from records to the values of one column, in the words of OpenSIPS' `sip_capture`.

Several layouts want the same of a record: Homer 5 took these columns over. Not here: the columns (`columns`).
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from hepswitch.databases.layouts.tables import Values

Fill = Callable[[pa.RecordBatch], Values]

REQUEST, REPLY = 1, 2
AF_INET, AF_INET6 = 2, 10

_NO_TEXT = pa.scalar(None, pa.string())


def of(name: str) -> Fill:
    """The column of that name."""
    return lambda records: records.column(name)


def first(*names: str) -> Fill:
    """For each record the first of these columns that says something."""

    def fill(records: pa.RecordBatch) -> Values:
        columns = [records.column(name) for name in names]
        said = [column for column in columns if column.null_count < len(column)]
        return pc.coalesce(*said) if len(said) > 1 else (said or columns)[0]

    return fill


def micros(records: pa.RecordBatch) -> Values:
    """µs since 1970."""
    return records.column("ts").cast(pa.int64())


def second_number(records: pa.RecordBatch) -> Values:
    """Whole seconds since 1970."""
    return pc.divide(micros(records), 1_000_000)


def micros_of_second(records: pa.RecordBatch) -> Values:
    """µs since then."""
    return pc.subtract(micros(records), pc.multiply(second_number(records), 1_000_000))


def second(records: pa.RecordBatch) -> Values:
    """The second, in UTC."""
    return second_number(records).cast(pa.timestamp("s"))


def is_sip(records: pa.RecordBatch) -> Values:
    """Was the payload read as SIP? (`proto_type` tells what the agent thinks of it.)"""
    request, reply, call = (records.column(name).is_valid() for name in ("method", "status", "call_id"))
    return pc.or_(pc.or_(request, reply), call)


def status(records: pa.RecordBatch) -> Values:
    """A reply's status code."""
    return records.column("status").cast(pa.string())


def method_or_status(records: pa.RecordBatch) -> Values:
    """A request's method, a reply's status code."""
    return pc.coalesce(records.column("method"), status(records))


def request_or_reply(records: pa.RecordBatch) -> Values:
    """`REQUEST` or `REPLY`."""
    return pc.if_else(records.column("method").is_valid(), REQUEST, REPLY)


def family(records: pa.RecordBatch) -> Values:
    """Of the addresses, by Linux's numbers; null when there are none."""
    addresses: Values = pc.coalesce(records.column("src_ip"), records.column("dst_ip"))
    return pc.if_else(pc.match_substring(addresses, ":"), AF_INET6, AF_INET)


def agent_name(records: pa.RecordBatch) -> Values:
    """What the agent calls itself, else its number."""
    return pc.coalesce(records.column("node_name"), records.column("captagent_id").cast(pa.string()))


def capture_node(name: str) -> Fill:
    """`NAME:CAPTAGENT_ID`, or `NAME` when the packet does not say its agent's number."""

    def fill(records: pa.RecordBatch) -> Values:
        parts: list[Values] = [name, records.column("captagent_id").cast(pa.string()), ":"]
        return pc.binary_join_element_wise(*parts, null_handling="skip")

    return fill


def constant(text: str) -> Fill:
    """The same for all."""
    return lambda records: pa.repeat(text, len(records))


_ORIGINATOR = r"^(?:\[(?P<six>[^\]]*)\]|(?P<four>[^:\[]*))(?::(?P<port>[0-9]{1,5}))?$"
"""X-OIP: address:port, an IPv6 address in brackets. One without is all address."""


def originator_ip(records: pa.RecordBatch) -> Values:
    """The address in X-OIP."""
    value = records.column("header:X-OIP")
    if value.null_count == len(value):
        return value
    parts: Values = pc.extract_regex(value, _ORIGINATOR)
    address = [pc.struct_field(parts, name) for name in ("six", "four")]
    return pc.coalesce(pc.binary_join_element_wise(*address, ""), value)


def originator_port(records: pa.RecordBatch) -> Values:
    """The port in X-OIP."""
    value = records.column("header:X-OIP")
    if value.null_count == len(value):
        return pa.nulls(len(value), pa.int32())
    port: Values = pc.struct_field(pc.extract_regex(value, _ORIGINATOR), "port")
    return pc.if_else(pc.equal(port, pa.scalar("")), _NO_TEXT, port).cast(pa.int32())
