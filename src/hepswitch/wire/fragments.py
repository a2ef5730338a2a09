"""Datagrams that came in fragments, put together (RFC 791 section 3.2, RFC 8200 section 4.5).

Of overlapping fragments the one that begins earlier counts. Bounded in number, in bytes and in time of capture. What is
given up is counted if its first fragment is there, which says the ports. The others are mostly of datagrams that nobody
wants: a filter in front (`net.packet_filter`) holds back their first fragments, and cannot tell the rest. They make room
first. Not here: IP headers (`wire.ip`).
"""

from __future__ import annotations

from collections import Counter

MOST_PARTIAL = 256
"""Datagrams that are waiting for fragments at one time; the oldest is given up first."""
MOST_FRAGMENTS = 1024
"""Of one datagram: 64 bytes each."""
MOST_HELD = 8 << 20
"""Bytes of all of them."""
PATIENCE_US = 30_000_000
"""From the first fragment seen to the last; RFC 791 has 15 s, RFC 8200 60 s."""

INCOMPLETE = "incomplete fragments"

Key = tuple[bytes, bytes, int, int]
"""Source and destination address, protocol, identification."""


class _Partial:
    __slots__ = ("held", "parts", "since_us", "size")

    def __init__(self, since_us: int) -> None:
        self.parts: dict[int, bytes] = {}
        self.held = 0
        self.size = -1
        self.since_us = since_us

    @property
    def begun(self) -> bool:
        """Whether its first fragment is there."""
        return 0 in self.parts

    def add(self, offset: int, more: bool, data: bytes) -> bytes | None:
        """The whole datagram once every part is there."""
        if offset + len(data) > 65_535 or len(self.parts) == MOST_FRAGMENTS or offset in self.parts:
            return None
        self.parts[offset] = data
        self.held += len(data)
        if not more:
            self.size = offset + len(data)
        if self.size < 0 or self.held < self.size:
            return None
        whole = bytearray()
        for start in sorted(self.parts):
            if start > len(whole):
                return None
            whole += self.parts[start][len(whole) - start :] if start < len(whole) else self.parts[start]
        return bytes(whole[: self.size]) if len(whole) >= self.size else None


class Fragments:
    """The datagrams of a capture that are not whole yet. `losses` is told of those that are given up."""

    def __init__(self, losses: Counter[str]) -> None:
        self._losses = losses
        self._partial: dict[Key, _Partial] = {}  # the one begun first stands first
        self._held = 0

    def __len__(self) -> int:
        return len(self._partial)

    def add(self, time_us: int, key: Key, offset: int, more: bool, data: bytes) -> bytes | None:
        """The whole datagram that this fragment completes, or None."""
        partial = self._partial.get(key)
        if partial is not None and time_us - partial.since_us > PATIENCE_US:  # the identification is used again
            self._give_up(key)
            partial = None
        if partial is None:
            partial = self._partial[key] = _Partial(time_us)
        before = partial.held
        whole = partial.add(offset, more, data)
        self._held += partial.held - before
        if whole is not None:
            self._forget(key)
        while len(self._partial) > MOST_PARTIAL or self._held > MOST_HELD:
            without = (key for key, partial in self._partial.items() if not partial.begun)
            self._give_up(next(without, None) or next(iter(self._partial)))
        return whole

    def expire(self, time_us: int) -> None:
        """Give up what has waited too long at this time of capture."""
        for key in [key for key, partial in self._partial.items() if time_us - partial.since_us > PATIENCE_US]:
            self._give_up(key)

    def finish(self) -> None:
        """At the end of the capture nothing is waited for."""
        for key in list(self._partial):
            self._give_up(key)

    def _give_up(self, key: Key) -> None:
        if self._partial[key].begun:
            self._losses[INCOMPLETE] += 1
        self._forget(key)

    def _forget(self, key: Key) -> None:
        self._held -= self._partial.pop(key).held
