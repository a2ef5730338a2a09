"""How long the oldest packet has been waiting, out of two numbers that only grow: how many came, how many are done with.

Packets are done with in the order in which they came, so whoever looks now and then at both numbers knows the age of the
oldest to within the time between two looks, and no packet pays for it. What an outlet finds on disk at its start came then,
as far as this can know. Not here: the numbers (`books`, `databases.gauge`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from typing import Any

FINENESS = 1 / 256
"""Packets that came within this part of the age at that time count as having come together, with the first of them. So an
outage of days is remembered in some thousand looks."""

Place = tuple[str, str, str]
"""Where packets wait: "destinations" or "stores" of the books, the outlet's name, and its node's or ""."""


class Waiting:
    """The packets that wait in one place."""

    def __init__(self) -> None:
        self._came = 0
        self._looks: deque[tuple[float, int]] = deque()

    def look(self, came: int, done: int, now: float) -> float:
        """So many `came` and are `done` with at the time `now`; gives the seconds that the oldest of the others waits."""
        looks = self._looks
        if came < self._came:  # another process counts anew; what waits on disk is what waited before
            since = looks[0][0] if looks else now
            looks.clear()
            looks.append((since, came))
        elif came > self._came:
            together = bool(looks) and now - looks[-1][0] < (now - looks[0][0]) * FINENESS
            looks.append((looks.pop()[0] if together else now, came))
        self._came = came
        while looks and looks[0][1] <= done:
            looks.popleft()
        return now - looks[0][0] if looks else 0.0


class Ages:
    """The ages of the oldest packets in all outlets and nodes of one worker."""

    def __init__(self) -> None:
        self._places: dict[Place, Waiting] = {}
        self._ages: dict[Place, float] = {}

    def look(self, book: dict[str, Any], now: float) -> None:
        """`book`: what the worker says at the time `now`. Places that it does not name any more are forgotten."""
        places = dict(_accounts(book))
        self._places = {place: self._places.get(place) or Waiting() for place in places}
        self._ages = {
            place: self._places[place].look(row["accepted"], row["accepted"] - row["queued"] - row["spooled"], now)
            for place, row in places.items()
        }

    def of(self, place: Place) -> float:
        """Seconds; 0.0 where nothing waits."""
        return self._ages.get(place, 0.0)


def with_lags(book: dict[str, Any], workers: Collection[Ages]) -> dict[str, Any]:
    """The books with `lag` in each row of an outlet or node: seconds that the oldest packet there waits in any worker, or
    what the row says itself, if that is more."""

    def dated(row: dict[str, Any], place: Place) -> dict[str, Any]:
        lag = max([row.get("lag", 0.0), *(ages.of(place) for ages in workers)])
        return row | {"lag": round(lag, 3)}

    def outlet(kind: str, name: str, row: dict[str, Any]) -> dict[str, Any]:
        nodes = {url: dated(node, (kind, name, url)) for url, node in row.get("nodes", {}).items()}
        return dated(row, (kind, name, "")) | ({"nodes": nodes} if nodes else {})

    kinds = ("destinations", "stores")
    return book | {kind: {name: outlet(kind, name, row) for name, row in book[kind].items()} for kind in kinds}


def _accounts(book: dict[str, Any]) -> Iterator[tuple[Place, dict[str, Any]]]:
    for kind in ("destinations", "stores"):
        for name, row in book[kind].items():
            nodes = row.get("nodes", {})
            for url, node in nodes.items():
                yield (kind, name, url), node
            yield (kind, name, ""), row
