"""Marks: what a packet bears that is to be traced, and on whose behalf.

Not here: which packets get one (`tracer`, `calls`), and what a mark leads to (`traces`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from hepswitch.tracing.words import Side, Types

if TYPE_CHECKING:
    from hepswitch.tracing.traces import Trace

Direction = Literal["in", "out"]
"""To or from the node between caller and callee: the one that the traced request was sent to."""


class Order(NamedTuple):
    """What one `trace()`, or a dynamic trace, asked for. `correlation_id` replaces that of the packets."""

    trace: Trace
    types: Types
    side: Side = "both"
    attrs: str | None = None
    correlation_id: bytes | None = None


class Mark(NamedTuple):
    """On a packet: an order, and which way the packet went."""

    order: Order
    direction: Direction = "in"
