"""What layouts of databases have in the configuration: `[stores.NAME.opensips]`, `[stores.NAME.homer7]`.

Not here: the stores (`databases`), rows (`hepswitch.databases.layouts`).
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field

from hepswitch.destinations.dated import Dated
from hepswitch.tables import Duration, Table


def table_name(text: str) -> str:
    """The name of a table, with or without date fields. ValueError when it is none that can be used."""
    if not re.fullmatch(r"(?!sqlite_)[A-Za-z_][A-Za-z0-9_%]{0,62}", text, re.IGNORECASE | re.ASCII) or "%%" in text:
        raise ValueError(
            f"{text!r} is no name of a table: at most 63 letters, digits, _ and fields such as %Y%m%d, not sqlite_ in front"
        )
    Dated(text)
    return text


TableName = Annotated[str, AfterValidator(table_name)]


class OpensipsTables(Table):
    """`[stores.NAME.opensips]`: the tables of layout "opensips"."""

    table: TableName = Field(
        "sip_capture", description="SIP that a route stored (`sip_capture`); strftime fields in UTC."
    )
    report_table: TableName = Field("report_capture", description="What is no SIP: RTCP, logs … (`report_capture`).")
    trace_table: TableName = Field("sip_trace", description="SIP that was traced (`sip_trace`).")
    report: Literal["homer5", "homer6"] = Field("homer5", description="The columns of `report_table`.")
    node: str = Field(
        "", description="OpenSIPS' `capture_node`: column `node` is NODE:CAPTAGENT_ID. Empty: the agent's name."
    )
    columns: dict[str, TableName] = Field(
        {}, description='Other names of columns, as OpenSIPS\' `…_column`: { callid = "call_id" }.'
    )
    indexes: tuple[str, ...] = Field(
        ("date", "callid"),
        description="Columns of `table` with an index each, once it is made. OpenSIPS' own DDL has date, callid,"
        " callid_aleg, ruri_user, from_user, to_user, pid_user, auth_user: more to search by, and slower to store.",
    )


SipHeader = Literal[
    "ruri_user", "ruri_domain", "from_user", "from_domain", "from_tag", "to_user", "to_domain", "to_tag", "callid", "cseq",
    "method", "user_agent", "via", "contact_user", "contact_domain", "pid_user", "auth_user", "server", "content_type",
    "reason", "diversion", "expires", "callid_aleg",
]  # fmt: skip
"""Keys of a SIP message in Homer's `data_header`, heplify-server's `SIPHeader`."""


def _step(seconds: float) -> float:
    if seconds < 300 or seconds % 60 or 86_400 % seconds:
        raise ValueError("a step divides the day, from 5m to 24h: write for example 30m, 2h or 6h")
    return seconds


Step = Annotated[Duration, AfterValidator(_step)]


def _aleg_id(text: str) -> str:
    name, comma, pattern = text.partition(",")
    if not re.fullmatch(r"[A-Za-z0-9.!%*_+`'~-]+", name):
        raise ValueError(
            f'{text!r} names no header: write for example "X-CID" or "P-Charging-Vector,icid-value=([^;]+)"'
        )
    if comma:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        if groups != 1:
            raise ValueError(f"{pattern!r} has {groups} groups: put what identifies the other leg in one pair of ( )")
    return text


def _index(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,23}", text):
        raise ValueError(f"{text!r} is no field with an index: at most 24 letters, digits and _, for example from_user")
    return text


def _custom_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, key in headers.items():
        _aleg_id(name)
        if key in get_args(SipHeader) or not key or "\0" in key or list(headers.values()).count(key) > 1:
            raise ValueError(f'{{ "{name}" = {key!r} }}: a header needs a key of its own, for example "x_cid"')
    return headers


def _shared_table(number: int) -> int:
    if number in (1, 5, 53, 54, 100):
        raise ValueError(f"type {number} has a table of its own, with a header that Homer knows: leave it out")
    return number


class Homer7Tables(Table):
    """`[stores.NAME.homer7]`: the tables of layout "homer7"."""

    headers: tuple[SipHeader, ...] = Field(
        (
            "ruri_user",
            "ruri_domain",
            "from_user",
            "from_tag",
            "to_user",
            "to_tag",
            "callid",
            "cseq",
            "method",
            "user_agent",
        ),
        description="Keys of a SIP message in `data_header` (heplify-server's SIPHeader).",
    )
    custom_headers: Annotated[dict[str, str], AfterValidator(_custom_headers)] = Field(
        {},
        max_length=32,
        description='Further SIP headers and their keys: { "X-CID" = "x_cid" }. Homer searches keys of letters and _.',
    )
    aleg_ids: tuple[Annotated[str, AfterValidator(_aleg_id)], ...] = Field(
        (),
        max_length=16,
        description='Headers with the id of the other leg, for `correlation_id` of SIP without one (chunk 0x11): "X-CID", '
        'or "HEADER,REGEX" with one group (RE2). The first that says something.',
    )
    force_aleg_id: bool = Field(False, description="`aleg_ids` go before chunk 0x11.")
    force_payload: tuple[Annotated[int, Field(ge=0, le=255), AfterValidator(_shared_table)], ...] = Field(
        (),
        description="Protocol types without a table of their own whose JSON payload becomes `data_header`, and is searched "
        "there (heplify-server's ForceHEPPayload).",
    )
    indexes: Literal["homer", "small"] | tuple[Annotated[str, AfterValidator(_index)], ...] = Field(
        "homer",
        description='"homer": those of heplify-server, 5 to 13 a partition; "small": create_date and sid, several times '
        "the speed of storing, but Homer's searches by user, address or correlation id read whole partitions; or a list "
        "of fields.",
    )
    indexes_when_closed: bool = Field(
        False,
        description="A partition has the small index set until its time is over; the rest is built then, without blocking.",
    )
    brin: bool = Field(False, description="The index of create_date is BRIN: a thousandth of the size, coarser.")
    step_sip: Step = Field(7200.0, description="Time in a partition of hep_proto_1_* (heplify-server's DBPartSip).")
    step_qos: Step = Field(21600.0, description="… of hep_proto_5_, 35_ and 53_default (DBPartQos).")
    step_log: Step = Field(7200.0, description="… of hep_proto_100_default (DBPartLog).")
    step_isup: Step = Field(21600.0, description="… of hep_proto_54_default (DBPartIsup).")
    ahead: Annotated[Duration, Field(ge=3600, le=7 * 86400)] = Field(
        86400.0, description="Partitions are made so long before their time."
    )
    keep: Duration = Field(14 * 86400.0, description="Partitions are dropped so long after their time; 0: never.")
    keep_call: Duration | None = Field(None, description="The same for hep_proto_1_call.")
    keep_registration: Duration | None = Field(None, description="… for hep_proto_1_registration.")
    keep_default: Duration | None = Field(None, description="… for hep_proto_1_default.")
    keep_qos: Duration | None = Field(None, description="… for hep_proto_5_, 35_ and 53_default.")
    keep_log: Duration | None = Field(None, description="… for hep_proto_100_default.")
    keep_isup: Duration | None = Field(None, description="… for hep_proto_54_default.")
