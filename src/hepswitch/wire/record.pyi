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
    frames: Frames, hep: Hep, sender_ip: str = "", sender_port: int = 0, meta: dict[str, Any] | None = None
) -> None:
    """Append the record of `hep`, as it is now, to `frames`. `meta` is a dict, or None. ValueError for a bad address."""

def read(data: bytes | bytearray | memoryview) -> StoredPacket:
    """The record in `data` (bytes-like). WireError when it contradicts itself."""
