"""Metrics of the packets themselves: by node, type and version, SIP messages, calls, registrations and their delays.

Where heplify-server has a name it is that name, so that dashboards for Homer go on working. Not here: reports of quality
(`quality`), how all this is measured (`hepswitch.metering`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

from prometheus_client.core import Metric

from hepswitch.control.metrics.families import Family, Group
from hepswitch.metering.means import values
from hepswitch.metering.tally import BOUNDS

PACKETS = Group(
    "Packets by agent",
    "`node_id` is a capture agent's node name, else its capture id; `type` the protocol type in heplify-server's words, else its "
    "number. See `[metrics]`.",
)
OF_NODES = PACKETS.counter("heplify_packets_total", "Packets that got to the route, by node and type.", "node_id", "type")
# heplify-server shows the size of the last packet; of several workers only a mean can be made.
SIZE = PACKETS.gauge("heplify_packets_size", "Mean bytes of the payloads, by node and type.", "node_id", "type")
OF_VERSIONS = PACKETS.counter(
    "hepswitch_packets_total", "Packets that got to the route, by listener, HEP version and type.", "listener", "version", "type"
)
AGENTS = PACKETS.gauge("hepswitch_agents", "Capture agents that are known, in each worker one by one.")
FORGOTTEN = PACKETS.counter("hepswitch_agents_forgotten_total", "Capture agents that gave way to others: see metrics.agents.")
ROUTE_SECONDS = PACKETS.counter(
    "hepswitch_route_seconds_total", "Time spent in the route and in the actions that it calls, from a sample of the packets."
)

_TARGET = ("target_name", "direction")

SIP = Group(
    "SIP messages and calls",
    "A message counts once for each transaction, however often it was captured. `target_name` and `direction` (src, dst) are "
    'those of `[metrics.targets]`; other traffic is "unknown". With targets `node_id` is empty, as in heplify-server. '
    "ASR = answered / attempts; SER = answered / (attempts - redirected) and SEER = (answered + user) / (attempts - "
    "redirected) of RFC 6076; NER = (answered + user + canceled) / attempts.",
)
# A counter by its nature; as a counter it would have to be called …_total, and dashboards know it by this name.
MESSAGES = SIP.gauge(
    "heplify_method_response", "SIP requests and replies; `response` is a method or a status, `method` that of CSeq.",
    *_TARGET, "node_id", "response", "method",
)  # fmt: skip
REASONS = SIP.counter(
    "heplify_reason_isup_total", "Q.850 causes in the header Reason.", "target_name", "cause", "method"
)
KPI = {
    name: SIP.gauge(name, f"{text}, mean of about the last minute, ns.", "target_name", "node_id")
    for name, text in {
        "heplify_kpi_srd": "Session request delay",
        "heplify_kpi_rrd": "Registration request delay",
    }.items()
}
OF_CALLS = {
    "attempts": SIP.counter("hepswitch_sip_attempts_total", "Calls that were tried.", *_TARGET),
    "registrations": SIP.counter("hepswitch_sip_registrations_total", "Registrations that were tried.", *_TARGET),
}
BY_OUTCOME = {
    "outcomes": SIP.counter(
        "hepswitch_sip_outcomes_total",
        "What came of calls: answered (2xx), user (480 486 600 603), canceled (487), redirected (3xx), ineffective (408 500 503 "
        "504), client, server, global (other 4xx, 5xx, 6xx), unfinished.", *_TARGET, "outcome",
    ),
    "registered": SIP.counter(
        "hepswitch_sip_registration_outcomes_total", "What came of registrations: registered, failed, unfinished.",
        *_TARGET, "outcome",
    ),
    "retransmissions": SIP.counter(
        "hepswitch_sip_retransmissions_total", "Messages that the same agent saw again on the same hop.", *_TARGET, "kind"
    ),
}  # fmt: skip
DELAYS = {
    "setup": SIP.histogram(
        "hepswitch_sip_setup_seconds", "From INVITE to the first reply that rings or answers (RFC 6076 4.3).", *_TARGET
    ),
    "registration": SIP.histogram(
        "hepswitch_sip_registration_seconds", "From REGISTER to its success (RFC 6076 4.1).", *_TARGET
    ),
    "duration": SIP.histogram("hepswitch_sip_call_seconds", "From answer to BYE (RFC 6076 4.5).", *_TARGET),
}
ACTIVE = SIP.gauge("hepswitch_sip_calls_active", "Answered calls without BYE, looked for every few seconds.")
EVICTED = SIP.counter(
    "hepswitch_sip_evicted_total", "Transactions and calls that gave way too early: raise metrics.transactions."
)
UNREADABLE = SIP.counter("hepswitch_sip_unreadable_total", "SIP packets that are no SIP, or lack Call-ID or method.")


def collect(meter: dict[str, Any]) -> Iterator[Metric]:
    """All of them, out of `meter` of the books; nothing when no worker has spoken yet."""
    if not meter:
        return
    nodes = [((node, kind), row) for node, kinds in meter["nodes"].items() for kind, row in kinds.items()]
    yield OF_NODES.of((labels, row["packets"]) for labels, row in nodes)
    yield SIZE.of((labels, row["bytes"] / row["packets"]) for labels, row in nodes)
    yield OF_VERSIONS.of(
        ((listener, version, kind), number)
        for listener, versions in meter["listeners"].items()
        for version, kinds in versions.items()
        for kind, number in kinds.items()
    )
    yield AGENTS.alone(meter["agents"]["known"])
    yield FORGOTTEN.alone(meter["agents"]["forgotten"])
    yield ROUTE_SECONDS.alone(meter["route_seconds"])
    if "sip" in meter:
        yield from _sip(meter["sip"])
        for name, family in KPI.items():
            yield family.of(means(family, meter["means"].get(name, {})))


def means(family: Family, snapshot: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], float]]:
    """Samples of a gauge that is a mean (`metering.means`)."""
    for labels, value in values(snapshot).items():
        said = dict(parse_qsl(labels, keep_blank_values=True))
        yield tuple(said[label] for label in family.labels), value


def _sip(sip: dict[str, Any]) -> Iterator[Metric]:
    yield MESSAGES.of(
        ((target, direction, node, response, method), number)
        for target, directions in sip["messages"].items()
        for direction, nodes in directions.items()
        for node, methods in nodes.items()
        for method, responses in methods.items()
        for response, number in responses.items()
    )
    yield REASONS.of(
        ((target, cause, response), number)
        for target, causes in sip["reasons"].items()
        for cause, responses in causes.items()
        for response, number in responses.items()
    )
    rows = [((target, direction), row) for target, of in sip["calls"].items() for direction, row in of.items()]
    for key, family in OF_CALLS.items():
        yield family.of((labels, row[key]) for labels, row in rows)
    for key, family in BY_OUTCOME.items():
        yield family.of(((*labels, word), number) for labels, row in rows for word, number in row[key].items())
    for bounds, (key, family) in zip(BOUNDS, DELAYS.items(), strict=True):
        yield family.spread((labels, bounds, [*row[key]["counts"].values()], row[key]["sum"]) for labels, row in rows)
    yield ACTIVE.alone(sip["active"])
    yield EVICTED.alone(sip["evicted"])
    yield UNREADABLE.alone(sip["unreadable"])
