"""What the files given to `decode` and `replay` hold: captures, HEP packets end to end, or one HEP datagram.

Not here: decoding HEP (`wire.hep`), sending, printing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from hepswitch.wire.errors import WireError

HEAD = 4
"""Bytes that tell what a file is."""

_MAGIC = (b"HEP3", b"EEP3")
_LARGEST_DATAGRAM = 65_535


def hep_packets(file: BinaryIO, head: bytes = b"") -> Iterator[tuple[int, bytes]]:
    """(offset, packet) of HEPv3 packets end to end, or the one packet of any version that the file is.

    `head`: the first bytes, when they were read already. A packet that the file cuts off is given as far as it goes.
    Raises WireError where no packet begins.
    """
    at = 0
    head += file.read(6 - len(head))
    while head:
        if head[:4] in _MAGIC and len(head) == 6:
            size = int.from_bytes(head[4:6], "big")
            if size < 6:
                raise WireError(at + 4, "bad length")
            packet = head + file.read(size - 6)
        elif at == 0:
            packet = head + file.read(_LARGEST_DATAGRAM + 1 - len(head))
            if len(packet) > _LARGEST_DATAGRAM:
                raise WireError(0, "bad magic")
        else:
            raise WireError(at, "bad magic")
        yield at, packet
        at += len(packet)
        head = file.read(6)
