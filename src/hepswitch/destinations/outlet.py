"""What every outlet shares: the pause between two attempts, and the sum of its nodes' books.

Not here: which node gets a packet (`balance`), and how it is sent (`udp_node`, `stream_node`).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol

from hepswitch.books import Snapshot

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0


class Backoff:
    """Seconds to wait before the next attempt: doubling from 0.1 to 10, each shortened by up to half at random.

    The jitter keeps many switches from meeting a far end that has just come back at the same moment.
    """

    def __init__(self, first: float = FIRST_PAUSE, longest: float = LONGEST_PAUSE) -> None:
        self._first = first
        self._longest = longest
        self.attempts = 0

    def next(self) -> float:
        """The next pause, in seconds."""
        pause = min(self._longest, self._first * 2.0 ** min(self.attempts, 30))
        self.attempts += 1
        return pause * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """It worked: begin again with the shortest pause."""
        self.attempts = 0


class Row(Protocol):
    """The books of one node, as they are at this moment."""

    url: str

    def account(self) -> Snapshot: ...


def total(nodes: Iterable[Row], refused: Mapping[str, int]) -> Snapshot:
    """An outlet's row: the sum of its nodes', with theirs under `nodes`; `refused` is what no node took, by reason."""
    rows = {node.url: node.account() for node in nodes}
    row: Snapshot = {
        key: sum(node[key] for node in rows.values()) for key in ("accepted", "delivered", "queued", "spooled")
    }
    for key, start in (("discarded", {}), ("refused", refused)):
        reasons = Counter[str](start)
        for node in rows.values():
            reasons.update(node[key])
        row[key] = dict(reasons)
    return row | {"nodes": rows}
