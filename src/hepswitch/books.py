"""The books: what became of every packet. Plain integers, summed at any moment, never reset while running.

Every packet received is malformed, refused or routed; every packet that an outlet accepted is delivered, queued,
spooled or discarded with a reason. `balanced` says that both hold. One Books lives in each worker; `merge` adds the
snapshots of several workers (DESIGN §7 fixes the keys). Not here: metrics text, HTTP, logs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Snapshot = dict[str, Any]
"""`Books.snapshot()`: the JSON of `hepswitch stats --json`."""


MOST_LABEL = 100
"""Characters of a reason or another label that packets or scripts make up; the rest is cut off."""


def label(text: str, most: int = MOST_LABEL) -> str:
    """`text` as the books can carry it: bounded, and without what UTF-8 cannot say (captured text may hold any byte)."""
    return text[:most].encode("utf-8", "replace").decode()


@dataclass(slots=True)
class Listener:
    """What one listener read. `refused` counts by reason what was read but not let into the route.

    `keyless`: what comes here has no place for an authentication key, so none is asked for.
    """

    url: str
    keyless: bool = False
    packets: int = 0
    bytes: int = 0
    malformed: int = 0
    malformed_reasons: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    kernel_drops: int = 0
    connections: int = 0
    connections_refused: int = 0
    interruptions: int = 0
    """How often the interface of a mirror went down or away."""
    frames: int = 0
    """Captured frames that were looked at, whatever they hold."""
    truncated: int = 0
    """Messages of which the capture held the beginning only: they are kept."""
    state: str = ""
    """Of a stream that is consumed here: "active", or what hinders it."""
    waiting: int = 0
    """Messages that a stream still has for this listener, or has not heard that they are written."""
    redelivered: int = 0
    """Messages that a stream gave more than once."""

    def snapshot(self) -> Snapshot:
        return {
            "packets": self.packets,
            "bytes": self.bytes,
            "malformed": self.malformed,
            "malformed_reasons": dict(self.malformed_reasons),
            "refused": dict(self.refused),
            "kernel_drops": self.kernel_drops,
            "connections": self.connections,
            "connections_refused": self.connections_refused,
            "interruptions": self.interruptions,
            "frames": self.frames,
            "truncated": self.truncated,
        } | ({"state": self.state, "waiting": self.waiting, "redelivered": self.redelivered} if self.state else {})


@dataclass(slots=True)
class Routed:
    """What the route did: `unrouted` packets were neither sent anywhere nor dropped by name."""

    packets: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    unrouted: int = 0
    errors: int = 0
    overwritten: int = 0
    """Payloads that a mask could not read and overwrote as a whole."""
    captured_requests: int = 0
    captured_replies: int = 0
    """SIP that the route put into stores, as OpenSIPS counts it; what it reported or traced is neither."""

    def snapshot(self) -> Snapshot:
        return {
            "packets": self.packets,
            "dropped": dict(self.dropped),
            "unrouted": self.unrouted,
            "errors": self.errors,
            "overwritten": self.overwritten,
            "captured_requests": self.captured_requests,
            "captured_replies": self.captured_replies,
        }


@dataclass(slots=True)
class Account:
    """accepted = delivered + queued + spooled + Σ discarded, of one outlet or one node of it.

    `queued` and `spooled` are gauges: they fall when packets are delivered or discarded. `refused` counts by reason
    what was offered and never accepted: the route was told so by False.
    """

    accepted: int = 0
    delivered: int = 0
    queued: int = 0
    spooled: int = 0
    discarded: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    state: str = ""

    def snapshot(self) -> Snapshot:
        row: Snapshot = {
            "accepted": self.accepted,
            "delivered": self.delivered,
            "queued": self.queued,
            "spooled": self.spooled,
            "discarded": dict(self.discarded),
            "refused": dict(self.refused),
        }
        return row | {"state": self.state} if self.state else row


def _balanced(book: Snapshot) -> bool:
    received = book["received"].values()
    read = sum(row["packets"] for row in received)
    explained = sum(row["malformed"] + sum(row["refused"].values()) for row in received)
    if read != explained + book["routed"]["packets"]:
        return False
    outlets = [*book["destinations"].values(), *book["stores"].values()]
    accounts = outlets + [node for outlet in outlets for node in outlet.get("nodes", {}).values()]
    return all(
        row["accepted"] == row["delivered"] + row["queued"] + row["spooled"] + sum(row["discarded"].values())
        for row in accounts
    )


def close(book: Snapshot, uptime: float) -> Snapshot:
    """The snapshot with `uptime` (seconds) and `balanced` filled in."""
    return book | {"uptime": round(uptime, 3), "balanced": _balanced(book)}


def empty() -> Snapshot:
    """The books of a switch that has done nothing yet."""
    return {
        "received": {},
        "routed": Routed().snapshot(),
        "destinations": {},
        "stores": {},
        "traces": {},
        "tracer": {"calls": 0, "evicted": {}, "untold": {}, "forgotten": 0},
        "rules": {},
        "script": {"counters": {}, "gauges": {}, "tables": {}},
        "guards": {},
        "meter": {},
    }


def merge(books: list[Snapshot]) -> Snapshot:
    """The sum of several snapshots: numbers add, the keys of both sides are kept, a state that differs is joined."""
    total = empty()
    for book in books:
        total = add(total, {key: book[key] for key in total})
    return total


def hand_over(row: Snapshot, reason: str) -> None:
    """Make `row` (an outlet's, with its nodes) that of one who is gone: what it had in memory is discarded for `reason`,
    what it had on disk its successor finds and accounts for."""
    for account in [row, *row.get("nodes", {}).values()]:
        account["accepted"] -= account["spooled"]
        if account["queued"]:
            account["discarded"][reason] = account["discarded"].get(reason, 0) + account["queued"]
        account["queued"] = account["spooled"] = 0
        for gauge in ("spool_bytes", "spool_limit"):
            account.pop(gauge, None)


def fold_oldest(
    rows: dict[str, Snapshot], most: int, others: str, add_rows: Callable[[Snapshot | None, Snapshot], Snapshot]
) -> None:
    """Keep `most` rows of what is gone: older ones are summed up by `add_rows` in the row `others`, which counts as one."""
    while len(rows) > most:
        oldest = next(name for name in rows if name != others)
        rows[others] = add_rows(rows.get(others), rows.pop(oldest))


def add(left: Any, right: Any) -> Any:
    """The sum of two rows or books."""
    if isinstance(left, dict):
        keys = dict.fromkeys([*left, *right])
        return {
            key: add(left[key], right[key]) if key in left and key in right else left.get(key, right.get(key))
            for key in keys
        }
    if isinstance(left, str):
        return left if left == right else ",".join(sorted({*left.split(","), *right.split(",")}))
    return left + right


class Clock:
    """Seconds since the switch started, for `uptime`."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    @property
    def uptime(self) -> float:
        return time.monotonic() - self._started
