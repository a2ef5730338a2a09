"""The books as statistics of OpenSIPS: `group:name` → number. They only grow, and are never reset; gauges are in GAUGES.

Not here: how they are asked for (`mi_commands`), metrics (`control.metrics`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hepswitch.books import Snapshot

ACCOUNT = ("accepted", "delivered", "queued", "spooled", "discarded", "refused")

GAUGES = {
    "core:timestamp",
    "hep:connections",
    "hepswitch:balanced",
    *(f"hepswitch:{kind}_{key}" for kind in ("destinations", "stores") for key in ("queued", "spooled")),
}
"""What may fall."""


def statistics(book: Snapshot) -> dict[str, int]:
    """All of them, in the order of their groups."""
    listeners, routed = book["received"].values(), book["routed"]
    stores = book["stores"].values()
    return {
        "core:timestamp": int(book["uptime"]),
        "sipcapture:captured_requests": routed["captured_requests"],
        "sipcapture:captured_replies": routed["captured_replies"],
        "tracer:traced_requests": _sum(book["traces"].values(), "requests"),
        "tracer:traced_replies": _sum(book["traces"].values(), "replies"),
        **{
            f"hep:{name}": _sum(listeners, key)
            for name, key in (
                ("received_packets", "packets"),
                ("received_bytes", "bytes"),
                ("malformed", "malformed"),
                ("refused", "refused"),
                ("kernel_drops", "kernel_drops"),
                ("connections", "connections"),
            )
        },
        "hepswitch:routed": routed["packets"],
        "hepswitch:dropped": sum(routed["dropped"].values()),
        "hepswitch:unrouted": routed["unrouted"],
        "hepswitch:route_errors": routed["errors"],
        **{f"hepswitch:destinations_{key}": _sum(book["destinations"].values(), key) for key in ACCOUNT},
        **{f"hepswitch:stores_{key}": _sum(stores, key) for key in ACCOUNT},
        "hepswitch:balanced": int(book["balanced"]),
    }


def chosen(known: Mapping[str, int], wanted: Iterable[str]) -> dict[str, int]:
    """Those that `wanted` names: "all", a group ("tracer:"), or one, with its group or without, in any case."""
    found: dict[str, int] = {}
    for words in wanted:
        word = words.lower()
        for name, number in known.items():
            group, _, short = name.partition(":")
            if word in ("all", f"{group}:", name, short):
                found[name] = number
    return found


def _sum(rows: Iterable[Mapping[str, Any]], key: str) -> int:
    """The sum over rows of a number, or of numbers by reason."""
    values = [row[key] for row in rows]
    return sum(sum(value.values()) if isinstance(value, dict) else value for value in values)
