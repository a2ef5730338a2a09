"""What is shown of a packet that goes by: one JSON object, made at once, since the packet is gone a moment later.

    {"at", "src_ip", "src_port", "dst_ip", "dst_port", "proto_id", "proto_type", "captagent_id", "node_name", "method",
     "status", "reason", "cseq_method", "from_user", "to_user", "call_id", "correlation_id", "size", "outcome"}

`at` is the packet's time in ISO 8601 (UTC), `size` the bytes of its payload, `outcome` what became of it (`Packet.became`).
With payloads also `payload`, or `payload_base64` when it is no UTF-8, and `"cut": true` when it is longer than MOST_PAYLOAD
and cut there. Whatever is in a packet, a row is valid UTF-8 and bounded. Not here: who wants it (`taps`).
"""

from __future__ import annotations

import codecs
import time
from base64 import b64encode
from functools import lru_cache

import msgspec
from msgspec import UNSET, Struct, UnsetType

from hepswitch.books import label
from hepswitch.routing.packet import Packet

MOST_TEXT = 200
"""Characters of one field."""

MOST_PAYLOAD = 64 << 10
"""Bytes of a payload."""


class Row(Struct):
    """A packet that went by."""

    at: str
    src_ip: str | None
    src_port: int | None
    dst_ip: str | None
    dst_port: int | None
    proto_id: int | None
    proto_type: int | None
    captagent_id: int | None
    node_name: str | None
    method: str | None
    status: int | None
    reason: str | None
    cseq_method: str | None
    from_user: str | None
    to_user: str | None
    call_id: str | None
    correlation_id: str | None
    size: int
    outcome: str
    payload: str | UnsetType = UNSET
    payload_base64: str | UnsetType = UNSET
    cut: bool | UnsetType = UNSET


_encode = msgspec.json.Encoder().encode


def row_of(packet: Packet, payload: bool) -> bytes:
    """The packet as JSON, with its payload or without."""
    sip = packet.sip
    octets = packet.payload or b""
    correlation_id = packet.correlation_id
    row = Row(
        _iso(packet.time_us),
        packet.src_ip,
        packet.src_port,
        packet.dst_ip,
        packet.dst_port,
        _number(packet.proto_id),
        _number(packet.proto_type),
        packet.captagent_id,
        _text(packet.node_name),
        None if sip is None else _text(sip.method),
        None if sip is None else sip.status,
        None if sip is None else _text(sip.reason),
        None if sip is None else _text(sip.cseq_method),
        None if sip is None else _text(sip.from_user),
        None if sip is None else _text(sip.to_user),
        None if sip is None else _text(sip.call_id),
        None if correlation_id is None else correlation_id[:MOST_TEXT].decode("utf-8", "replace"),
        len(octets),
        _text(packet.became) or "",
    )
    if payload:
        _show(row, octets)
    return _encode(row)


def _show(row: Row, octets: bytes) -> None:
    if len(octets) > MOST_PAYLOAD:
        octets, row.cut = octets[:MOST_PAYLOAD], True
    try:
        # Not final: a character may be cut in two.
        row.payload = codecs.utf_8_decode(octets, "strict", row.cut is not True)[0]
    except UnicodeDecodeError:
        row.payload_base64 = b64encode(octets).decode()


def _text(text: str | None) -> str | None:
    return text if text is None or (len(text) <= MOST_TEXT and text.isascii()) else label(text, MOST_TEXT)


def _number(number: int | None) -> int | None:
    return None if number is None else int(number)


def _iso(time_us: int) -> str:
    seconds, fraction = divmod(time_us, 1_000_000)
    return f"{_second(seconds)}.{fraction:06}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
