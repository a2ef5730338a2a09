"""Rows as others get them: as JSON can hold them, and by a name of their own.

Not here: finding rows (`reader`), what a call makes of them (`calls`, `ladder`).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

_NAMED_BY = (
    "ts", "received_ts", "received_ip", "received_port", "captagent_id", "node_name", "proto_id", "proto_type",
    "src_ip", "src_port", "dst_ip", "dst_port", "call_id", "correlation_id",
)  # fmt: skip
"""Columns that make a packet this one, beside its payload. Every kind of store has them, or null, whenever it is asked."""


def unix_us(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - EPOCH) // MICROSECOND


def packet_id(row: Mapping[str, Any]) -> str:
    """A name of the packet that is the same whenever it is asked for, wherever it lies: of what it says and how it came.

    Packets that are the same in all of that have the same name. It begins with the packet's time, by which it is found.
    """
    digest = blake2b(repr([row[name] for name in _NAMED_BY]).encode("utf-8", "backslashreplace"), digest_size=12)
    digest.update(row["payload"] or b"")
    return f"{unix_us(row['ts']):x}-{digest.hexdigest()}"


def moment_of(packet_id: str) -> datetime | None:
    """The time of the packet with that name; None when no packet is called so."""
    try:
        return EPOCH + int(packet_id.partition("-")[0], 16) * MICROSECOND
    except (ValueError, OverflowError):
        return None


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: times as ISO 8601, octets as text where they are UTF-8, else as `<name>_base64`."""
    if isinstance(value, dict):
        return dict(_item(name, item) for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value


def _item(name: str, value: Any) -> tuple[str, Any]:
    if isinstance(value, bytes):
        try:
            return name, value.decode()
        except UnicodeDecodeError:
            return f"{name}_base64", b64encode(value).decode()
    return name, plain(value)
