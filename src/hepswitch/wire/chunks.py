"""The table of HEP chunks: what each number is called, how its value is written, and what it means.

Decoding, encoding and the documentation go by it. Source: HEP3 Network Protocol Specification rev. 37, and the names
that OpenSIPS gives in its scripts. Not here: reading and writing packets (`hep`).
"""

from __future__ import annotations

from typing import ClassVar, Final, NamedTuple, Self

TYPES: Final = (
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "inet4-addr",
    "inet6-addr",
    "utf8-string",
    "octet-string",
)


class Chunk(NamedTuple):
    """A chunk of vendor 0. `type` is one of `TYPES`."""

    id: int
    name: str
    type: str
    doc: str


GENERIC: Final = (
    Chunk(0x01, "proto_family", "uint8", "IP family: 2 IPv4, 10 IPv6"),
    Chunk(0x02, "proto_id", "uint8", "IP protocol: 6 TCP, 17 UDP, 132 SCTP; 22 TLS and 50 WS by convention"),
    Chunk(0x03, "src_ip", "inet4-addr", "captured source address, IPv4"),
    Chunk(0x04, "dst_ip", "inet4-addr", "captured destination address, IPv4"),
    Chunk(0x05, "src_ip", "inet6-addr", "captured source address, IPv6"),
    Chunk(0x06, "dst_ip", "inet6-addr", "captured destination address, IPv6"),
    Chunk(0x07, "src_port", "uint16", "captured source port"),
    Chunk(0x08, "dst_port", "uint16", "captured destination port"),
    Chunk(0x09, "timestamp", "uint32", "time of capture, seconds since 1970 (UTC)"),
    Chunk(0x0A, "timestamp_us", "uint32", "time of capture, microseconds to add"),
    Chunk(0x0B, "proto_type", "uint8", "what the payload is: 1 SIP, 5 RTCP, 100 log …"),
    Chunk(0x0C, "captagent_id", "uint32", "number of the capture agent"),
    Chunk(0x0D, "keep_alive", "uint16", "keep-alive timer, seconds"),
    Chunk(0x0E, "auth_key", "octet-string", "authentication key, plain text"),
    Chunk(0x0F, "payload", "octet-string", "captured payload"),
    Chunk(0x10, "compressed_payload", "octet-string", "captured payload: gzip, zlib or raw deflate"),
    Chunk(0x11, "correlation_id", "octet-string", "internal correlation id, usually the Call-ID"),
    Chunk(0x12, "vlan_id", "uint16", "VLAN"),
    Chunk(0x13, "node_name", "utf8-string", "name of the capture agent"),
    Chunk(0x14, "src_mac", "uint64", "source MAC address"),
    Chunk(0x15, "dst_mac", "uint64", "destination MAC address"),
    Chunk(0x16, "ethernet_type", "uint16", "Ethernet type"),
    Chunk(0x17, "tcp_flags", "uint8", "TCP flags"),
    Chunk(0x18, "ip_tos", "uint8", "IP type of service"),
    Chunk(0x20, "mos", "uint16", "MOS, in practice times 100"),
    Chunk(0x21, "r_factor", "uint16", "R-factor"),
    Chunk(0x22, "geo_location", "octet-string", "place"),
    Chunk(0x23, "jitter", "uint32", "jitter"),
    Chunk(0x24, "transaction_type", "octet-string", "call, registration …"),
    Chunk(0x25, "json_keys", "octet-string", "JSON keys of the payload"),
    Chunk(0x26, "tag_values", "octet-string", "values of tags"),
    Chunk(0x27, "tag_type", "uint16", "type of tag"),
    Chunk(0x28, "event_type", "uint16", "1 recording, 2 recording by lawful interception"),
    Chunk(0x29, "group_id", "octet-string", "group"),
)

by_id: Final[dict[int, Chunk]] = {chunk.id: chunk for chunk in GENERIC}

# An address has one name and two chunks: the IPv4 one stands here, `hep` picks by the value.
by_name: Final[dict[str, Chunk]] = {chunk.name: chunk for chunk in reversed(GENERIC)}

VENDORS: Final = {
    0: "generic",
    1: "FreeSWITCH",
    2: "Kamailio",
    3: "OpenSIPS",
    4: "Asterisk",
    5: "Homer",
    6: "SipXecs",
    7: "Yeti",
    8: "Genesys",
    0x4853: "hepswitch",
}

TRAIL: Final = (0x4853, 0x7F01)
"""Vendor and number of the chunk that a switch adds to what it passes on: its id, 4 bytes. One for each switch passed.

The number is high because heplify-server, heplify, Homer and OpenSIPS ignore the vendor: a low one would be taken for a
generic chunk.
"""

NUMBER: Final = (0x4853, 0x7F02)
"""Vendor and number of the chunk by which a `numbered` destination lets the next switch recognise what comes again: the name
of the sender's queue, 8 bytes drawn by chance, and the packet's number in it, 8 bytes, from 1. It goes one hop."""

PROTO_TYPES: Final = {
    1: "SIP",
    2: "XMPP",
    3: "SDP",
    4: "RTP",
    5: "RTCP",
    6: "MGCP",
    7: "MEGACO",
    8: "M2UA",
    9: "M3UA",
    10: "IAX",
    11: "H322",
    12: "H321",
    13: "M2PA",
    32: "REPORT",
    34: "MOS-full",
    35: "MOS-short",
    38: "QOS",
    50: "SIP-JSON",
    53: "DNS",
    54: "ISUP",
    55: "RTSP",
    56: "DIAMETER",
    57: "GSM-MAP",
    58: "RTCP-PION",
    60: "CDR",
    61: "Verto",
    86: "XLOG",
    87: "MI",
    88: "REST",
    89: "NET",
    96: "CONTROL",
    99: "REPORT",
    100: "LOG",
}

IP_PROTOCOLS: Final = {6: "TCP", 17: "UDP", 22: "TLS", 50: "WS", 132: "SCTP"}

IP_FAMILIES: Final = {2: "AF_INET", 10: "AF_INET6"} | dict.fromkeys((23, 24, 28, 30), "AF_INET6")
"""Linux's numbers first, which packets should hold; then what other systems write."""

OPENSIPS_NUMBERS: Final = {id: by_id[id].name for id in (*range(0x01, 0x0D), 0x0F, 0x10)}
"""The chunks that OpenSIPS' scripts know by name: there a number of these means the same as the name."""


class Named(int):
    """A number in a chunk that compares with its name too, whatever its case.

    `str()` gives the name, or the number when it has none.
    """

    __slots__ = ()
    _what: ClassVar[str]
    _names: ClassVar[dict[int, str]]
    _spelt: ClassVar[dict[str, tuple[int, ...]]]  # names as written above (looked up first) and folded

    def __init_subclass__(cls, *, what: str, names: dict[int, str], also: dict[str, int] | None = None) -> None:
        cls._what, cls._names, cls._spelt = what, names, {}
        for number, name in [*names.items(), *((number, name) for name, number in (also or {}).items())]:
            for spelling in {name, name.casefold()}:
                cls._spelt[spelling] = (*cls._spelt.get(spelling, ()), number)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            numbers = self._spelt.get(other) or self._spelt.get(other.casefold(), ())
            return int(self) in numbers
        return int.__eq__(self, other) is True

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = int.__hash__

    def __str__(self) -> str:
        return self._names.get(int(self)) or int.__repr__(self)

    def __format__(self, spec: str) -> str:
        return format(int(self), spec) if spec[-1:] in tuple("dxXob") else format(str(self), spec)

    @classmethod
    def named(cls, name: str) -> Self:
        """The number called `name` (any case), the first of several. ValueError when none is."""
        return cls(cls.all_named(name)[0])

    @classmethod
    def all_named(cls, name: str) -> tuple[int, ...]:
        """Every number called `name` (any case). ValueError when none is."""
        numbers = cls._spelt.get(name.casefold())
        if numbers is None:
            known = ", ".join(dict.fromkeys(cls._names.values()))
            raise ValueError(f"no {cls._what} is called {name!r}: use its number, or one of {known}")
        return numbers


class ProtoFamily(Named, what="IP family", names=IP_FAMILIES):
    """An IP family (chunk 0x01): a number that compares with its name too, "AF_INET" or "AF_INET6"."""

    __slots__ = ()


class ProtoId(Named, what="IP protocol", names=IP_PROTOCOLS, also={"WSS": 50}):
    """An IP protocol (chunk 0x02): a number that compares with its name too, such as "UDP". "WSS" is "WS": one number."""

    __slots__ = ()


# What OpenSIPS' hep_get() says beyond the names above.
_OPENSIPS_TYPES: Final = {"reserved": 0, "MEGACO(H.248)": 7, "M2UA(SS7/SIGTRAN)": 8, "M3UA(SS7/SIGTRAN)": 9}


class ProtoType(Named, what="protocol type", names=PROTO_TYPES, also=_OPENSIPS_TYPES):
    """A protocol type (chunk 0x0b): a number that compares with its name too, such as "RTCP"."""

    __slots__ = ()


NAMED: Final[dict[int, type[Named]]] = {0x01: ProtoFamily, 0x02: ProtoId, 0x0B: ProtoType}
"""By chunk: what its values are called."""
