"""Media: which call the RTCP at an address belongs to, learnt from the session descriptions in SIP (RFC 8866, 3605, 5761).

Nothing is read before somebody asks: descriptions are kept as they are until the first RTCP comes, so where no RTCP is
captured they cost next to nothing. Bounded. Not here: reading a description (`wire.sdp`) or RTCP (`wire.rtcp`).
"""

from __future__ import annotations

import socket
from collections import deque
from functools import lru_cache

from hepswitch.wire import sdp

MOST_MEDIA = 65_536
"""Addresses that are remembered; the one learnt first is forgotten first."""
MOST_UNREAD = 4 << 20
"""Bytes of descriptions that nobody has asked for yet; the oldest is forgotten first. The first RTCP waits until all are
read, and everything else with it."""
ENTRY = 150
"""Bytes that remembering a description takes beside its own."""
LONGEST_CALL_ID = 1024
"""Bytes; a longer one is no use to anybody."""
LONGEST_ADDRESS = 45
"""Characters: IPv4 within IPv6. What is longer is not looked at, and not remembered."""


class Media:
    """(address, port) → Call-ID of everything that the calls' descriptions say about RTCP."""

    def __init__(self) -> None:
        self._calls: dict[tuple[bytes, int], bytes] = {}
        self._unread: deque[tuple[bytes, bytes]] = deque()
        self._held = 0

    def __len__(self) -> int:
        """Addresses, and descriptions that were not read yet."""
        return len(self._calls) + len(self._unread)

    def learn(self, call_id: bytes, body: bytes) -> None:
        """A SIP message of the call `call_id` had this body with a session description in it, offer or answer."""
        if len(call_id) > LONGEST_CALL_ID:
            return
        self._unread.append((call_id, body))
        self._held += ENTRY + len(call_id) + len(body)
        while self._held > MOST_UNREAD:
            self._next()

    def call_of(self, src: bytes, src_port: int, dst: bytes, dst_port: int) -> bytes | None:
        """The Call-ID of RTCP between packed addresses: by where it goes, else by where it comes from."""
        while self._unread:
            self._read(*self._next())
        return self._calls.get((dst, dst_port)) or self._calls.get((src, src_port))

    def _next(self) -> tuple[bytes, bytes]:
        call_id, body = self._unread.popleft()
        self._held -= ENTRY + len(call_id) + len(body)
        return call_id, body

    def _read(self, call_id: bytes, body: bytes) -> None:
        described = sdp.parse(body)
        for address, port in described.rtcp_addresses if described is not None else ():
            packed = _packed(address) if len(address) <= LONGEST_ADDRESS else None
            if packed is None:
                continue
            self._calls.pop((packed, port), None)
            self._calls[packed, port] = call_id
            if len(self._calls) > MOST_MEDIA:
                del self._calls[next(iter(self._calls))]


@lru_cache(4096)
def _packed(address: str) -> bytes | None:
    """None for a host name: nobody can say what it was at the time."""
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except (OSError, ValueError):
        return None
