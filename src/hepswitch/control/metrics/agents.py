"""Metrics of single capture agents: when they were last seen, and how their clocks are. Packets by agent are in `traffic`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from prometheus_client.core import Metric

from hepswitch.control.agents import AgentList
from hepswitch.control.metrics.families import Group

AGENTS = Group(
    "Agents", "Who sends: of each capture id, node name, address and listener one, as many as `agents` of `[metrics]` allows."
)
_IDENTITY = ("captagent_id", "node_name", "src_ip", "listener")
LAST_SEEN = AGENTS.gauge("hepswitch_agent_last_seen_timestamp_seconds", "When its last packet came.", *_IDENTITY)
SKEW = AGENTS.gauge(
    "hepswitch_agent_clock_skew_seconds",
    "How far its clock is ahead of ours; not told of one that sends no time, or that of a recording.", *_IDENTITY,
)  # fmt: skip


def collect(known: AgentList) -> Iterator[Metric]:
    """All of them."""
    rows = [((str(each.captagent_id), each.node_name, each.src_ip, each.listener), each) for each in known.agents]
    yield LAST_SEEN.of((labels, datetime.fromisoformat(each.last_seen).timestamp()) for labels, each in rows)
    yield SKEW.of((labels, each.skew) for labels, each in rows if each.skew is not None)
