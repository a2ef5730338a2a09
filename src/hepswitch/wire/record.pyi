from typing import Any, NamedTuple

from hepswitch.wire.frames import Frames
from hepswitch.wire.hep import Hep

class StoredPacket(NamedTuple):
    """A record in Python's words. `meta` is None when there is none; `sender_ip` is "" when nobody knows the sender."""

    arrival_us: int
    sender_ip: str
    sender_port: int
    meta: dict[str, Any] | None
    hep: bytes

def write(
    frames: Frames,
    hep: Hep,
    sender_ip: str = "",
    sender_port: int = 0,
    meta: dict[str, Any] | None = None,
    mark: bytes | None = None,
) -> None:
    """Append the record of `hep`, as it is now, to `frames`. `meta` is a dict, or None; `mark` (16 bytes) that of the
    message whose first packet it is. ValueError for a bad address or mark."""

def read(data: bytes | bytearray | memoryview) -> StoredPacket:
    """The record in `data` (bytes-like). WireError when it contradicts itself."""

def marks_in(data: memoryview, lengths: memoryview) -> list[bytes]:
    """The marks that the records in `data`, end to end, bear; `lengths` (u32) of them. What is no record bears none."""
