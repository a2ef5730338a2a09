"""The receipt: what a switch answers on the connection of a numbered destination (`chunks.NUMBER`).

A HEPv3 packet with that chunk alone: the packet of this name and number, and all that came before it on this connection,
need not come again. Not here: when that is so (`routing.receipts`).
"""

from __future__ import annotations

import struct

from hepswitch.wire.chunks import NUMBER
from hepswitch.wire.hep import Hep

HEAD = struct.pack(">4sHHHH", b"HEP3", 28, *NUMBER, 22)


def write(queue: int, number: int) -> bytes:
    """The receipt for a packet and those before it."""
    return HEAD + struct.pack(">QQ", queue, number)


def number_in(frame: bytes) -> bytes:
    """The 16 bytes of the number; empty when the packet is no receipt. Raises WireError when it is no HEP."""
    value = Hep(frame).get(NUMBER[1], type="octet-string", vendor=NUMBER[0])
    return value if isinstance(value, bytes) and len(value) == 16 else b""
