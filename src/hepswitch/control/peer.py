"""Whose program is at the other end of a connection from this machine, as the kernel's table of TCP connections says.

Loopback alone tells no more than that it is somebody here. A change can write files as the user of the switch and send
calls anywhere, so it is not for everybody with a login. Not here: what follows from it (`control.origin`).
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

TABLES = Path("/proc/net")

ESTABLISHED = "01"
NOBODY = "0"
"""The inode of a connection that its program has closed: then the kernel may say that it is root's."""


def user_of(peer: tuple[str, int], here: tuple[str, int]) -> int | None:
    """The user id of who connected from `peer` to `here` (address and port); None when that cannot be seen any more."""
    for name, local, remote in _spellings(peer, here):
        with contextlib.suppress(OSError), (TABLES / name).open() as table:
            for line in table:
                words = line.split()
                if words[1:4] == [local, remote, ESTABLISHED] and words[9] != NOBODY:
                    return int(words[7])
    return None


def _spellings(peer: tuple[str, int], here: tuple[str, int]) -> Iterator[tuple[str, str, str]]:
    """The tables that may have the connection, and what the peer's end and ours are called there."""
    try:
        packed = [(socket.inet_pton(socket.AF_INET, host), port) for host, port in (peer, here)]
        yield "tcp", _spelled(*packed[0]), _spelled(*packed[1])
        ends = [(bytes(10) + b"\xff\xff" + four, port) for four, port in packed]  # by a socket for both kinds
    except OSError:
        ends = [(socket.inet_pton(socket.AF_INET6, host.partition("%")[0]), port) for host, port in (peer, here)]
    yield "tcp6", _spelled(*ends[0]), _spelled(*ends[1])


def _spelled(address: bytes, port: int) -> str:
    """Words of 32 bits as this machine reads them."""
    return "".join(f"{word:08X}" for (word,) in struct.iter_unpack("=I", address)) + f":{port:04X}"
