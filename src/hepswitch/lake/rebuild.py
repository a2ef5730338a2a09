"""A row of the lake back into a HEPv3 packet with the same content, for replay.

Chunks come in the order of their numbers, then the payload, then those without a column as they were. Not here: reading
rows (`reader`).
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from hepswitch.lake.rows import unix_us
from hepswitch.wire.values import deflate

LARGEST = 0xFFFF
IPV4, IPV6 = 2, 10


def packet(row: Mapping[str, Any]) -> bytes:
    """The HEPv3 packet of a row that has all columns. A payload too big for one packet is compressed (chunk 0x10).

    Raises ValueError when it does not fit even so, or has something that no packet can carry.
    """
    for compress in (False, True):
        chunks = list(_chunks(row, compress))
        others = row["chunks"] or b""
        size = 6 + sum(6 + len(value) for _, value in chunks) + len(others)
        if size <= LARGEST:
            body = b"".join(struct.pack(">HHH", 0, chunk, len(value) + 6) + value for chunk, value in chunks)
            return b"HEP3" + struct.pack(">H", size) + body + others
    raise ValueError(f"{size} bytes do not fit into a HEP packet, even with the payload compressed")


def _chunks(row: Mapping[str, Any], compress: bool) -> Iterator[tuple[int, bytes]]:
    addresses = [(3, 5, row["src_ip"]), (4, 6, row["dst_ip"])]
    six = any(":" in text for _, _, text in addresses if text)
    if row["src_ip"] or row["dst_ip"]:
        yield 0x01, bytes([IPV6 if six else IPV4])
    yield from _number(row, "proto_id", 0x02, ">B")
    for four, other, text in addresses:
        if text:
            yield (other if six else four), _packed(text)
    yield from _number(row, "src_port", 0x07, ">H")
    yield from _number(row, "dst_port", 0x08, ">H")
    seconds, microseconds = divmod(unix_us(row["ts"]), 1_000_000)
    yield 0x09, struct.pack(">I", seconds)
    yield 0x0A, struct.pack(">I", microseconds)
    yield from _number(row, "proto_type", 0x0B, ">B")
    yield from _number(row, "captagent_id", 0x0C, ">I")
    if row["correlation_id"] is not None:
        yield 0x11, row["correlation_id"].encode()
    yield from _number(row, "vlan_id", 0x12, ">H")
    if row["node_name"] is not None:
        yield 0x13, row["node_name"].encode()
    if (payload := row["payload"]) is not None:
        yield (0x10, deflate(payload)) if compress else (0x0F, payload)


@lru_cache(maxsize=4096)
def _packed(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def _number(row: Mapping[str, Any], name: str, chunk: int, form: str) -> Iterator[tuple[int, bytes]]:
    if row[name] is not None:
        yield chunk, struct.pack(form, row[name])
