"""Who sends packets: the agents of several workers as one list (`GET /api/v1/agents`).

One agent's datagrams are spread over all workers, so each has a part of its figures. They begin anew with a worker that is
started again; what was counted for good is in the books. Not here: how agents are known and measured (`metering.agents`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from hepswitch import books

_IDENTITY = ("captagent_id", "node_name", "src_ip", "listener")


def merged(answers: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """`{"agents": […], "forgotten": n}` of the answers of all workers; who sends most comes first."""
    agents: dict[tuple[Any, ...], dict[str, Any]] = {}
    forgotten = 0
    for answer in answers:
        forgotten += answer["forgotten"]
        for row in answer["agents"]:
            key = tuple(row[name] for name in _IDENTITY)
            agents[key] = _joined(agents[key], row) if key in agents else row
    found = sorted(agents.values(), key=lambda row: (-row["rate"], -row["packets"]))
    return {"agents": [_said(row) for row in found], "forgotten": forgotten}


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


def _said(row: dict[str, Any]) -> dict[str, Any]:
    """The row as the API gives it."""
    said = {name: value for name, value in row.items() if name != "timed"}
    return said | {
        "rate": round(row["rate"], 1),
        "skew": round(row["skew"], 3) if row["timed"] else None,
        "first_seen": _time(row["first_seen"]),
        "last_seen": _time(row["last_seen"]),
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
