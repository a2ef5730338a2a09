"""Calls as files: pcap and pcapng (`lake.captures`), text, JSON. Written while they are read, so a file may be large.

Not here: which packets (`ladders.rows_of`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import BinaryIO

from msgspec.json import encode

from hepswitch.lake import captures
from hepswitch.lake.ladder import endpoint
from hepswitch.lake.reader import Row
from hepswitch.lake.rows import packet_id, plain
from hepswitch.queries.line import Head
from hepswitch.queries.questions import MEDIA_TYPES, Export
from hepswitch.wire.chunks import IP_PROTOCOLS, PROTO_TYPES

ENDINGS = {"text": "txt"}

LONGEST_NAME = 64

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


def head(asked: Export) -> Head:
    """What the answer is."""
    name = file_name(asked.call_id[0] if len(asked.call_id) == 1 else f"{len(asked.call_id)}-calls")
    return Head(200, MEDIA_TYPES[asked.format], f"{name}.{ENDINGS.get(asked.format, asked.format)}")


def file_name(call_id: str) -> str:
    """A name for a file about a call that is safe in a header and on any disk, whatever the Call-ID."""
    return _UNSAFE.sub("-", call_id)[:LONGEST_NAME].strip("-") or "call"


def write(file: BinaryIO, rows: Iterable[Row], form: str) -> None:
    """Write the packets as `form` has them."""
    match form:
        case "pcap" | "pcapng":
            captures.write(file, rows, form)
        case "json":
            _write_json(file, rows)
        case _:
            _write_text(file, rows)


def _write_json(file: BinaryIO, rows: Iterable[Row]) -> None:
    """An array of packets with all their columns, one a line."""
    separator = b"[\n"
    for row in rows:
        file.write(separator + encode(plain({"id": packet_id(row), **row})))
        separator = b",\n"
    file.write(b"\n]\n" if separator == b",\n" else b"[]\n")


def _write_text(file: BinaryIO, rows: Iterable[Row]) -> None:
    """Each packet as it is below a line that says when it went from where to where."""
    for row in rows:
        kind = PROTO_TYPES.get(row["proto_type"], f"type {row['proto_type']}")
        proto = IP_PROTOCOLS.get(row["proto_id"], "") if row["proto_id"] is not None else ""
        ends = [endpoint(row[f"{side}_ip"] or "?", row[f"{side}_port"]) for side in ("src", "dst")]
        moment: datetime = row["ts"]
        line = f"── {plain(moment)}  {ends[0]} → {ends[1]}  {' '.join(filter(None, (proto, kind)))}\n"
        file.write(line.encode("utf-8", "replace") + (row["payload"] or b"").rstrip(b"\r\n") + b"\n\n")
