"""A captured packet as text, as OpenSIPS' tracer writes it to files and to syslog:

    in udp 2026-11-23 06:01:02 192.0.2.1:5060 -> 192.0.2.2:5060
    INVITE sip:bob@example.com SIP/2.0
    …

The first word is the direction, the second the transport of SIP (udp, tcp, tls, ws, sctp). Packets that are no SIP are
written too, with their type as the second word (rtcp, log, mos-full …, else its number). IPv6 addresses stand in brackets.
The payload follows byte for byte, of SIP that came wrapped in JSON the message; nothing in it is escaped. The format has
no lengths: a message may hold a line that looks like another one's head. Programs should rather read a `pcap` or a store.
"""

from __future__ import annotations

from hepswitch.destinations.writer import Direction
from hepswitch.wire.hep import Hep

SIP_TYPES = (None, 0, 1, 50)
"""Types that a packet with SIP may have: none, 0, SIP and SIP-JSON."""


def head(packet: Hep, direction: Direction, stamp: str = "") -> str:
    """The head line without its end; `stamp`: the time as text, left out when empty."""
    kind = packet.proto_id if packet.proto_type in SIP_TYPES else packet.proto_type
    word = "any" if kind is None else str(kind).lower()
    source, target = end(packet.src_ip, packet.src_port), end(packet.dst_ip, packet.dst_port)
    return f"{direction} {word} {stamp} {source} -> {target}" if stamp else f"{direction} {word} {source} -> {target}"


def end(ip: str | None, port: int | None) -> str:
    """One end as `ip:port`, 0.0.0.0:0 when the packet does not say."""
    ip = ip or "0.0.0.0"
    return f"[{ip}]:{port or 0}" if ":" in ip else f"{ip}:{port or 0}"


def message(packet: Hep) -> bytes:
    """The SIP message, else the payload; empty when there is none that can be read."""
    sip = packet.sip
    return sip.raw if sip is not None else packet.payload or b""
