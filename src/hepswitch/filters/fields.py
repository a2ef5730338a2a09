"""The fields that a condition can name: what each is called, which type it has, where it comes from. The one such table.

The parser (`language`), both back ends (`python`, `sql`) and the reference page go by it. Not here: what may be done with a
field (`language`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from hepswitch.wire import chunks

Kind = Literal["number", "payload type", "IP protocol", "text", "octets", "address", "yes/no"]
"""A payload type and an IP protocol are numbers that have names; octets are bytes that compare as UTF-8 text."""

Owner = Literal["packet", "sip", "received", "tags"]
"""What a field is an attribute of: the HEP packet, the SIP message in it, how it came in, the tags that a route gave it."""


@dataclass(frozen=True, slots=True)
class Field:
    """A name in a condition.

    `attribute` is the name at the owner. `lake` is the column of the view `messages` that holds the value, or, for what has
    no column of its own, the column it can be read from: `payload` or `chunks`; None when a lake does not keep it.
    `any_of`: the field stands for any of these fields. `domain`: a value `user@domain` also means this field.
    `call` is how a field that takes arguments is written.
    """

    name: str
    kind: Kind
    doc: str
    owner: Owner
    attribute: str
    lake: str | None = None
    any_of: tuple[str, ...] = ()
    domain: str | None = None
    call: str = ""


@dataclass(frozen=True, slots=True)
class Ref:
    """A field as a condition uses it, with its arguments: a header's name, a chunk's (number, type, vendor), a tag."""

    field: Field
    kind: Kind
    arguments: tuple[str | int | None, ...] = ()


KINDS: Final[dict[str, Kind]] = {
    "uint8": "number",
    "uint16": "number",
    "uint32": "number",
    "uint64": "number",
    "inet4-addr": "address",
    "inet6-addr": "address",
    "utf8-string": "text",
    "octet-string": "octets",
}
"""The kind of a field by its chunk's type."""

NAMES: Final[dict[Kind, dict[int, str]]] = {
    "payload type": chunks.PROTO_TYPES,
    "IP protocol": chunks.IP_PROTOCOLS,
}
"""The kinds whose numbers have names."""

COLUMN_CHUNKS: Final = 0x13
"""Generic chunks up to this number are in columns of a lake or not kept; those above are in its column `chunks`."""

_COLUMNS: Final = (
    "proto_id", "src_ip", "dst_ip", "src_port", "dst_port", "proto_type", "captagent_id", "payload", "correlation_id",
    "vlan_id", "node_name",
)  # fmt: skip


def _chunk(chunk: chunks.Chunk) -> Field:
    kind = KINDS[chunk.type]
    if chunk.name == "proto_type":
        kind = "payload type"
    elif chunk.name == "proto_id":
        kind = "IP protocol"
    lake = chunk.name if chunk.name in _COLUMNS else None
    if chunk.id > COLUMN_CHUNKS or chunk.name == "keep_alive":
        lake = "chunks"
    doc = chunk.doc.removesuffix(", IPv4")
    return Field(chunk.name, kind, f"{doc} (chunk 0x{chunk.id:02x})", "packet", chunk.name, lake)


def _sip(name: str, doc: str, kind: Kind = "text", lake: str | None = "") -> Field:
    return Field(f"sip.{name}", kind, doc, "sip", name, name if lake == "" else lake)


def _received(name: str, kind: Kind, doc: str, lake: str | None = None) -> Field:
    return Field(f"received.{name}", kind, doc, "received", name, lake)


SIP: Final = Field("sip", "yes/no", "the payload is SIP", "packet", "sip", "payload")

HEADER: Final = Field(
    "sip.header", "text", "the first header field of that name, in long or compact form, in any case",
    "sip", "header", "payload", call='sip.header("X-Tenant")',
)  # fmt: skip

CHUNK: Final = Field(
    "chunk", "octets",
    "a chunk by number. Without `vendor`: the generic one, else the first of any vendor. Without `type`: the "
    "specification's for generic chunks, else octets",
    "packet", "get", "chunks", call='chunk(0x30, vendor=3, type="uint32")',
)  # fmt: skip

TAG: Final = Field("tag", "yes/no", "the route tagged the packet so", "tags", "tags", call='tag("lab")')

FUNCTIONS: Final[dict[str, Field]] = {field.name: field for field in (HEADER, CHUNK, TAG)}
"""Fields that take arguments, by name."""

FIELDS: Final[dict[str, Field]] = {
    field.name: field
    for field in (
        *map(_chunk, (chunks.by_name[name] for name in dict.fromkeys(one.name for one in chunks.GENERIC))),
        Field("version", "number", "HEP version: 1, 2 or 3", "packet", "version", "hep_version"),
        _received("src_ip", "address", "who sent us the packet: address", "received_ip"),
        _received("src_port", "number", "who sent us the packet: port", "received_port"),
        _received("dst_ip", "address", "our listener's address"),
        _received("dst_port", "number", "our listener's port"),
        _received("transport", "text", "udp, tcp or tls"),
        SIP,
        _sip("is_request", "the message is a request", "yes/no", "method"),
        _sip("method", "request's method; absent in replies (see sip.cseq_method)"),
        _sip("status", "reply's status code; absent in requests", "number"),
        _sip("reason", "reply's reason phrase"),
        _sip("ruri", "request URI", lake="payload"),
        _sip("ruri_user", "user of the request URI"),
        _sip("ruri_domain", "host of the request URI"),
        _sip("call_id", "Call-ID"),
        _sip("cseq", "CSeq number", "number"),
        _sip("cseq_method", "CSeq method"),
        _sip("from_user", "user of From"),
        _sip("from_domain", "host of From"),
        _sip("from_tag", "tag of From"),
        _sip("to_user", "user of To"),
        _sip("to_domain", "host of To"),
        _sip("to_tag", "tag of To"),
        _sip("via_branch", "branch of the topmost Via"),
        _sip("contact_user", "user of the first Contact"),
        _sip("pid_user", "user of P-Asserted-Identity, else of P-Preferred-Identity"),
        _sip("auth_user", "username of Proxy-Authorization, else of Authorization"),
        _sip("user_agent", "User-Agent, else Server"),
        _sip("content_type", "Content-Type"),
        _sip("body", "the body", "octets", "payload"),
        Field("ip", "address", "captured source or destination address", "packet", "", any_of=("src_ip", "dst_ip")),
        Field(
            "user", "text", "user of From, To, the request URI or P-Asserted-Identity", "sip", "",
            any_of=("sip.from_user", "sip.to_user", "sip.ruri_user", "sip.pid_user"),
        ),
        Field(
            "caller", "text", "sip.from_user; `alice@example.com` compares sip.from_domain too", "sip", "",
            any_of=("sip.from_user",), domain="sip.from_domain",
        ),
        Field(
            "callee", "text", "sip.ruri_user; `alice@example.com` compares sip.ruri_domain too", "sip", "",
            any_of=("sip.ruri_user",), domain="sip.ruri_domain",
        ),
    )
}  # fmt: skip
"""Every field without arguments, by name, in the order of the reference page."""
