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
_GZIP = b"\x1f\x8b"
_LARGEST_DATAGRAM = 65_535
_OLD_HEADER = 16
_OLD_PROTOCOLS = (6, 17, 22, 50, 132)


def looks_like_hep(data: bytes) -> bool:
    """Whether a datagram begins like HEP: v3 by its magic (or gzip, which some agents pack it in), v1/v2 by the header."""
    if data[:4] in _MAGIC or data[:2] == _GZIP:
        return True
    return len(data) >= _OLD_HEADER and data[0] in (1, 2) and data[2] in (2, 10) and data[3] in _OLD_PROTOCOLS


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
