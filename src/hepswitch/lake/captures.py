"""Packets of a store as a capture file: SIP messages with the addresses, ports and times at which they were captured.

Not here: which packets (`reader`), files (`cli.export`, `queries.export`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import BinaryIO, Literal

from hepswitch.lake.ladder import SIP
from hepswitch.lake.reader import Row
from hepswitch.lake.rows import unix_us
from hepswitch.wire.chunks import PROTO_TYPES
from hepswitch.wire.ip import UDP, FrameBuilder
from hepswitch.wire.pcap import Writer
from hepswitch.wire.values import unwrap

Form = Literal["pcap", "pcapng"]


def fits(row: Row) -> bool:
    """Only what was a packet on the wire, as it was, can be one again."""
    return row["proto_type"] == SIP and bool(row["payload"]) and bool(row["src_ip"]) and bool(row["dst_ip"])


def write(file: BinaryIO, rows: Iterable[Row], form: Form) -> tuple[int, Counter[str]]:
    """Write what fits: messages written, and what was left out by kind. TLS and WebSocket become plain TCP."""
    writer = Writer(file, form)
    builder = FrameBuilder()
    count = 0
    left_out: Counter[str] = Counter()
    for row in rows:
        if not fits(row):
            kind = row["proto_type"]
            name = PROTO_TYPES.get(kind, f"type {kind}")
            left_out["SIP without addresses or payload" if kind == SIP else f"{name} (text, not packets)"] += 1
            continue
        ends = row["src_ip"], row["src_port"] or 0, row["dst_ip"], row["dst_port"] or 0
        payload = row["payload"]
        message = unwrap(payload) if payload.startswith(b"{") else None
        for frame in builder.frames(row["proto_id"] or UDP, *ends, message or payload):
            writer.write(unix_us(row["ts"]), frame)
        count += 1
    return count, left_out
