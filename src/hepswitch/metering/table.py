"""`[metrics]`: what is measured of the packets, and under which labels."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from hepswitch.metering.calls import room
from hepswitch.networks import network
from hepswitch.tables import Table

MOST_TARGETS = 250
"""Targets that can be told apart; a running switch has a few more places, for the names of reloads."""


def _network(text: str) -> str:
    return str(network(text))


class MetricsTable(Table):
    """`[metrics]`: what `/metrics` and `hepswitch stats` say about the packets themselves.

    Labels are bounded: whatever a packet says, it makes no more series than `nodes` and the targets allow.
    """

    agents: int = Field(
        1000,
        ge=1,
        le=10_000,
        description="Capture agents that are remembered (capture id, node name, address, listener). Of more, the one that "
        "has not sent for longest is forgotten; its packets stay counted.",
    )
    nodes: int = Field(
        200,
        ge=1,
        le=10_000,
        description="Node names (else capture ids) that get a label `node_id` of their own, the first ones seen. What "
        'others send is counted under "other".',
    )
    sip: bool = Field(
        True,
        description="Read SIP, RTCP and quality reports: methods, responses, call attempts and their outcomes, delays, "
        "registrations, loss, jitter, MOS. Without it only agents and packets are counted. Needs a restart, like all "
        "of [metrics] but the targets.",
    )
    transactions: int = Field(
        131_072,
        ge=1024,
        le=1 << 24,
        description="SIP transactions and calls under way that are remembered, by all workers together (73 bytes each). "
        "When there are more, the ones that end soonest are forgotten and counted as evicted.",
    )
    targets: dict[
        Annotated[str, Field(min_length=1, max_length=100)], list[Annotated[str, AfterValidator(_network)]]
    ] = Field(
        {},
        max_length=MOST_TARGETS,
        description="Names for networks of your signalling, as Homer's PromTargetIP and PromTargetName: "
        '`carrier = ["192.0.2.0/24", "2001:db8::1"]`. SIP is then counted for each target and direction (label '
        'target_name), other traffic as "unknown". The most specific network counts. Taken over by a reload.',
    )

    @model_validator(mode="after")
    def _a_network_has_one_name(self) -> MetricsTable:
        owners: dict[str, str] = {}
        for name, networks in self.targets.items():
            for each in networks:
                if owners.setdefault(each, name) != name:
                    raise ValueError(f"targets: {each} is in {owners[each]} and in {name}: leave it in one of them")
        return self

    @property
    def room(self) -> int:
        """Bytes of memory that all workers share; 0 when SIP is not read."""
        return room(self.transactions) if self.sip else 0
