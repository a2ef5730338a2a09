"""Who sends packets: the agents of several workers as one list (`GET /api/v1/agents`).

One agent's datagrams are spread over all workers, so each has a part of its figures. They begin anew with a worker that is
started again; what was counted for good is in the books. Not here: how agents are known and measured (`metering.agents`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from hepswitch import books


class Agent(Struct, frozen=True):
    """Who sends packets. Times are ISO 8601, UTC; `rate` is packets a second of the last few; `types` packets by protocol
    type; `skew` how far its clock is ahead of ours, seconds, null when it sends no time, or that of a recording."""

    captagent_id: int
    node_name: str
    src_ip: str
    listener: str
    versions: list[int]
    packets: int
    bytes: int
    rate: float
    types: dict[str, int]
    skew: float | None
    first_seen: str
    last_seen: str


class AgentList(Struct, frozen=True):
    """Agents, who sends most comes first, and how many gave way to others (`metrics.agents`)."""

    agents: list[Agent]
    forgotten: int


_IDENTITY = ("captagent_id", "node_name", "src_ip", "listener")


def merged(answers: Iterable[dict[str, Any]]) -> AgentList:
    """The agents of all workers, out of their answers to `agents`."""
    agents: dict[tuple[Any, ...], dict[str, Any]] = {}
    forgotten = 0
    for answer in answers:
        forgotten += answer["forgotten"]
        for row in answer["agents"]:
            key = tuple(row[name] for name in _IDENTITY)
            agents[key] = _joined(agents[key], row) if key in agents else row
    found = sorted(agents.values(), key=lambda row: (-row["rate"], -row["packets"]))
    return AgentList([_said(row) for row in found], forgotten)


def _joined(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    timed = left["timed"] + right["timed"]
    return left | {
        "versions": sorted({*left["versions"], *right["versions"]}),
        **{name: left[name] + right[name] for name in ("packets", "bytes", "rate")},
        "types": books.add(left["types"], right["types"]),
        "timed": timed,
        "skew": (left["skew"] * left["timed"] + right["skew"] * right["timed"]) / timed if timed else 0.0,
        "first_seen": min(left["first_seen"], right["first_seen"]),
        "last_seen": max(left["last_seen"], right["last_seen"]),
    }


def _said(row: dict[str, Any]) -> Agent:
    return Agent(
        **{name: row[name] for name in (*_IDENTITY, "versions", "packets", "bytes", "types")},
        rate=round(row["rate"], 1),
        skew=round(row["skew"], 3) if row["timed"] else None,
        first_seen=_time(row["first_seen"]),
        last_seen=_time(row["last_seen"]),
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
