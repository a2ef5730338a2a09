"""What tunnels carry, as mirrors are sent over networks: GRE (RFC 2784, 2890), ERSPAN in it, VXLAN (RFC 7348).

Each function gives the inner packet from its IP header on, with its VLAN. Not here: IP in IP, which has no header of its own
(`wire.ip`).
"""

from __future__ import annotations

from hepswitch.wire.link import network_behind

VXLAN_PORT = 4789

Inner = tuple[bytes, int]
"""The packet, and the innermost VLAN id (-1 when there is none)."""

_CHECKSUM, _ROUTING, _KEY, _SEQUENCE, _VERSION = 0x8000, 0x4000, 0x2000, 0x1000, 0x0007
_BRIDGED = 0x6558
_ERSPAN, _ERSPAN_3 = 0x88BE, 0x22EB
_ETHERNET_FRAME, _IP_PACKET = 0, 2


def gre(data: bytes, vlan: int) -> Inner | None:
    """What follows the GRE header at the beginning of `data`; None when it is no IP or Ethernet, or cut off."""
    if len(data) < 4:
        return None
    flags, kind = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
    if flags & (_ROUTING | _VERSION):  # source routing (RFC 1701) is long gone, version 1 is PPTP
        return None
    at = 4 + sum(4 for flag in (_CHECKSUM, _KEY, _SEQUENCE) if flags & flag)
    if kind == _ERSPAN:
        # Type I has neither a sequence number nor a header of its own.
        return _erspan_2(data[at:], vlan) if flags & _SEQUENCE else _behind(_BRIDGED, data[at:], vlan)
    if kind == _ERSPAN_3:
        return _erspan_3(data[at:], vlan)
    return _behind(kind, data[at:], vlan)


def vxlan(payload: bytes, vlan: int) -> Inner | None:
    """What a UDP payload to port 4789 carries; None when it is no VXLAN."""
    return _behind(_BRIDGED, payload[8:], vlan) if len(payload) > 8 and payload[0] & 0x08 else None


def _erspan_2(data: bytes, vlan: int) -> Inner | None:
    """draft-foschiano-erspan section 4.2: version 1, VLAN, class, …, session; index."""
    return _behind(_BRIDGED, data[8:], _said(data, vlan)) if len(data) > 8 and data[0] >> 4 == 1 else None


def _erspan_3(data: bytes, vlan: int) -> Inner | None:
    """Section 4.3: version 2, VLAN, …; time stamp; group; …, frame type, …, whether 8 bytes of the platform follow."""
    if len(data) < 12 or data[0] >> 4 != 2:
        return None
    kind, inner = data[10] >> 2 & 0x1F, data[20 if data[11] & 1 else 12 :]
    if kind == _IP_PACKET and inner:
        return inner, _said(data, vlan)
    return _behind(_BRIDGED, inner, _said(data, vlan)) if kind == _ETHERNET_FRAME else None


def _said(header: bytes, vlan: int) -> int:
    """The VLAN that an ERSPAN header says the frame was of; 0 is none."""
    return (int.from_bytes(header[:2], "big") & 0xFFF) or vlan


def _behind(kind: int, data: bytes, vlan: int) -> Inner | None:
    at, vlan = network_behind(kind, data, vlan)
    return (data[at:], vlan) if at >= 0 else None
