"""The one record schema: what is known of each packet that is stored. The lake has these columns; layouts of databases map
from them, and may ask for some more that are read out of the same record (`EXTRAS`).

Not here: how they are filled (`rows`).
"""

from __future__ import annotations

import pyarrow as pa

TIME = pa.timestamp("us", "UTC")
MILLISECONDS = pa.timestamp("ms", "UTC")

COLUMNS: list[tuple[str, pa.DataType, str]] = [
    ("ts", TIME, "when the packet was captured, by its own clock; when it arrived, if it carries no time"),
    ("call_id", pa.string(), "SIP Call-ID; null when the payload is not SIP"),
    (
        "correlation_id",
        pa.string(),
        "correlation id as sent (chunk 0x11), or as the route gave it; null when there is none",
    ),
    (
        "proto_type",
        pa.uint8(),
        "what the payload is (chunk 0x0b): 1 SIP, 5 RTCP, 100 log …; 1 for all that was read as SIP",
    ),
    ("src_ip", pa.string(), "captured source address"),
    ("src_port", pa.uint16(), "captured source port"),
    ("dst_ip", pa.string(), "captured destination address"),
    ("dst_port", pa.uint16(), "captured destination port"),
    ("proto_id", pa.uint8(), "IP protocol (chunk 0x02): 6 TCP, 17 UDP, 22 TLS …"),
    ("captagent_id", pa.uint32(), "capture agent's number (chunk 0x0c)"),
    ("node_name", pa.string(), "capture agent's name (chunk 0x13)"),
    ("method", pa.string(), "request's method; null for replies (see cseq_method)"),
    ("status", pa.uint16(), "reply's status code; null for requests"),
    ("reason", pa.string(), "reply's reason phrase"),
    ("cseq", pa.uint32(), "CSeq number"),
    ("cseq_method", pa.string(), "CSeq method"),
    ("ruri_user", pa.string(), "user of the request URI"),
    ("ruri_domain", pa.string(), "host of the request URI"),
    ("from_user", pa.string(), "user of From"),
    ("from_domain", pa.string(), "host of From"),
    ("from_tag", pa.string(), "tag of From"),
    ("to_user", pa.string(), "user of To"),
    ("to_domain", pa.string(), "host of To"),
    ("to_tag", pa.string(), "tag of To"),
    ("via_branch", pa.string(), "branch of the topmost Via"),
    ("contact_user", pa.string(), "user of the first Contact"),
    ("pid_user", pa.string(), "user of P-Asserted-Identity, else of P-Preferred-Identity"),
    ("auth_user", pa.string(), "username of Proxy-Authorization, else of Authorization"),
    ("user_agent", pa.string(), "User-Agent, else Server"),
    ("content_type", pa.string(), "Content-Type"),
    ("reason_header", pa.string(), "Reason header"),
    ("callid_aleg", pa.string(), "X-CID: the Call-ID of the other leg"),
    ("vlan_id", pa.uint16(), "VLAN (chunk 0x12)"),
    ("hep_version", pa.uint8(), "1, 2 or 3: as the route left the packet"),
    ("received_ts", MILLISECONDS, "when the packet arrived here, to the millisecond"),
    ("received_ip", pa.string(), "who sent it to us: address"),
    ("received_port", pa.uint16(), "who sent it to us: port"),
    (
        "store_table",
        pa.string(),
        "table= of store(), its strftime fields filled in from ts (UTC; from the arrival if that is a year away)",
    ),
    ("custom_field1", pa.string(), "custom_field1= of store(); attrs= of trace()"),
    ("custom_field2", pa.string(), "custom_field2= of store()"),
    ("custom_field3", pa.string(), "custom_field3= of store()"),
    (
        "chunks",
        pa.binary(),
        "HEP chunks without a column, as they were, end to end; the authentication key is left out",
    ),
    ("payload", pa.binary(), "the captured payload, inflated if it came compressed"),
]

"""Name, type and meaning of each column, in order."""

SCHEMA = pa.schema([pa.field(name, kind, nullable=name not in ("ts", "received_ts")) for name, kind, _ in COLUMNS])
"""The lake's schema."""

EXTRAS = {
    "direction": "which way a traced packet went: in or out; null when it was not traced",
    "ruri": "Request-URI",
    "via": "topmost Via",
    "cseq_value": "CSeq, whole",
    "contact_ip": "host of the first Contact",
    "contact_port": "port of the first Contact",
}
"""Columns that a layout may ask for beside `SCHEMA`; and any header field, `header:NAME`. Null when absent."""

HEADER = "header:"


def extra_field(name: str) -> pa.Field[pa.DataType]:
    """The field of an extra column. ValueError when there is none of that name."""
    if name not in EXTRAS and not name.removeprefix(HEADER) != name:
        raise ValueError(f"there is no column {name}")
    return pa.field(name, pa.uint16() if name == "contact_port" else pa.string())
