"""Metrics of outlets: destinations, their nodes, and stores, as the books have them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import Metric

from hepswitch.books import Snapshot
from hepswitch.control.metrics.families import Family, Group

STATES = ("active", "inactive", "probing", "disabled", "paused", "closed")
"""Of a node (`destinations.hep_node`)."""

ACCOUNT = {
    "accepted": "Packets taken over.",
    "delivered": "Packets handed on.",
}
WAITING = {
    "queued": "Packets waiting in memory.",
    "spooled": "Packets waiting on disk.",
}
REASONS = {
    "discarded": "Packets lost after being taken over, by reason.",
    "refused": "Packets offered and not taken over, by reason.",
}

OutletRows = dict[tuple[str, ...], dict[str, Any]]
"""Rows of the books by the values of their labels."""


def _account(group: Group, prefix: str, *labels: str) -> dict[str, Family]:
    """What every outlet and node has: accepted = delivered + queued + spooled + discarded."""
    return (
        {key: group.counter(f"{prefix}_{key}_total", text, *labels) for key, text in ACCOUNT.items()}
        | {key: group.gauge(f"{prefix}_{key}", text, *labels) for key, text in WAITING.items()}
        | {key: group.counter(f"{prefix}_{key}_total", text, *labels, "reason") for key, text in REASONS.items()}
    )


LAG = "Seconds that the oldest packet waiting here has waited."

DESTINATIONS = Group("Destinations")
OF_DESTINATIONS = _account(DESTINATIONS, "hepswitch_destination", "destination") | {
    "lag": DESTINATIONS.gauge("hepswitch_destination_lag_seconds", LAG, "destination"),
    "fallback": DESTINATIONS.counter(
        "hepswitch_destination_fallback_total", "Packets that the fallback took instead.", "destination"
    ),
    "policy_errors": DESTINATIONS.counter(
        "hepswitch_destination_policy_errors_total", "How often a policy of the script failed.", "destination"
    ),
}

NODES = Group("Nodes of destinations", "Label `node` is the node's URL.")
OF_NODES = _account(NODES, "hepswitch_node", "destination", "node") | {
    "lag": NODES.gauge("hepswitch_node_lag_seconds", LAG, "destination", "node"),
    "reconnects": NODES.counter(
        "hepswitch_node_reconnects_total", "How often it was reached again after it had been away.", "destination", "node"
    ),
    "spool_bytes": NODES.gauge("hepswitch_node_spool_bytes", "Bytes of its spool on disk.", "destination", "node"),
    "spool_limit": NODES.gauge(
        "hepswitch_node_spool_limit_bytes", "Bytes that its spool may have, in all workers.", "destination", "node"
    ),
    "probes": NODES.counter("hepswitch_node_probes_total", "Keep-alive packets sent.", "destination", "node"),
    "replayed": NODES.counter(
        "hepswitch_node_replayed_total",
        "Packets sent again although delivered, since the far end may have lost them.", "destination", "node",
    ),
}  # fmt: skip
UP = NODES.gauge("hepswitch_node_up", "1 while the node is active.", "destination", "node")
STATE = NODES.gauge(
    "hepswitch_node_state", "1 for each state that the node has (in some worker).", "destination", "node", "state"
)

STORES = Group("Stores")
OF_STORES = _account(STORES, "hepswitch_store", "store") | {
    "lag": STORES.gauge("hepswitch_store_lag_seconds", LAG, "store"),
    "spool_bytes": STORES.gauge(
        "hepswitch_store_spool_bytes",
        "Bytes of its journals on disk; a segment goes when all of it is in the database.",
        "store",
    ),
    "spool_limit": STORES.gauge(
        "hepswitch_store_spool_limit_bytes", "Bytes that these journals may have, in all workers.", "store"
    ),
}
STORE_UP = STORES.gauge("hepswitch_store_up", "1 while the store takes packets.", "store")


def collect(book: Snapshot) -> Iterator[Metric]:
    """All of them out of the books."""
    yield from _rows(OF_DESTINATIONS, {(name,): row for name, row in book["destinations"].items()})
    nodes: OutletRows = {
        (name, url): node for name, row in book["destinations"].items() for url, node in row.get("nodes", {}).items()
    }
    yield from _rows(OF_NODES, nodes)
    states = {of: node["state"].split(",") for of, node in nodes.items()}
    yield UP.of((of, float(said == ["active"])) for of, said in states.items())
    yield STATE.of(((*of, state), float(state in said)) for of, said in states.items() for state in STATES)
    yield from _rows(OF_STORES, {(name,): row for name, row in book["stores"].items()})
    yield STORE_UP.of(((name,), float(row.get("state", "active") == "active")) for name, row in book["stores"].items())


def _rows(families: dict[str, Family], rows: OutletRows) -> Iterator[Metric]:
    """A sample for each row that has the key; of what is counted by reason, one for each reason."""
    for key, family in families.items():
        if key in REASONS:
            yield family.of(((*of, why), count) for of, row in rows.items() for why, count in row[key].items())
        else:
            yield family.of((of, row[key]) for of, row in rows.items() if key in row)
