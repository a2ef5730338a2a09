"""What every outlet shares: opening many at once, the pause between two attempts, the sum of its nodes' books, and what
removed nodes left.

Not here: which node gets a packet (`balance`), and how it is sent (`udp_node`, `stream_node`).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
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


SUMS = ("accepted", "delivered", "queued", "spooled")
REASONS = ("discarded", "refused")


class Opens(Protocol):
    """An outlet, or a node of one."""

    async def open(self) -> None: ...
    async def close(self, limit: float, /) -> None: ...


async def open_all(those: Collection[Opens]) -> None:
    """Open them all at once: each may have to wait for a name server. When one cannot be opened, those that could be are
    closed again and its OSError is raised."""
    results = await asyncio.gather(*(each.open() for each in those), return_exceptions=True)
    troubles = [result for result in results if result is not None]
    if troubles:
        opened = [each for each, result in zip(those, results, strict=True) if result is None]
        await asyncio.gather(*(each.close(0.0) for each in opened))
        raise troubles[0]


class Row(Protocol):
    """The books of one node, as they are at this moment."""

    url: str

    def account(self) -> Snapshot: ...


def total(nodes: Iterable[Row], refused: Mapping[str, int]) -> Snapshot:
    """An outlet's row: the sum of its nodes', with theirs under `nodes`; `refused` is what no node took, by reason."""
    rows = {node.url: node.account() for node in nodes}
    row: Snapshot = {key: sum(node[key] for node in rows.values()) for key in SUMS}
    for key in REASONS:
        reasons = Counter[str](refused if key == "refused" else {})
        for node in rows.values():
            reasons.update(node[key])
        row[key] = dict(reasons)
    return row | {"nodes": rows}


class Removed:
    """The books of nodes that are no more, as one row: totals never step back, and the books balance without them."""

    url = "removed nodes"

    def __init__(self) -> None:
        self.count = 0
        self._sums = Counter[str]()
        self._reasons = {key: Counter[str]() for key in REASONS}
        self._spooled = Counter[str]()

    def add(self, row: Snapshot, url: str) -> None:
        """The node `url` is gone; `row` are its last books."""
        self.count += 1
        for key in SUMS:
            self._sums[key] += row[key]
        for key in REASONS:
            self._reasons[key].update(row[key])
        self._spooled[url] += row["spooled"]

    def adopted(self, url: str) -> None:
        """The node `url` is back and has taken over what was spooled for it, in its own books."""
        back = self._spooled.pop(url, 0)
        self._sums["accepted"] -= back
        self._sums["spooled"] -= back

    def account(self) -> Snapshot:
        """The row."""
        sums = {key: self._sums[key] for key in SUMS}
        return {"state": "closed", "probes": 0} | sums | {key: dict(self._reasons[key]) for key in REASONS}
