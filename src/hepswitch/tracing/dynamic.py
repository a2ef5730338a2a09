"""Dynamic traces: started while the switch runs, by conditions, for a time or a number of packets.

Not here: who asks for one (`control`), what tracing means (`tracer`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from ipaddress import ip_network
from typing import Annotated, Any

from msgspec import Meta, Struct

from hepswitch.filters import compile_filter
from hepswitch.filters.language import parse
from hepswitch.routing.packet import Packet
from hepswitch.tracing.words import Scope, Side, Types, parse_flags, parse_scope, parse_types
from hepswitch.units import MOST_SECONDS
from hepswitch.wire.sip import Sip

Text = Annotated[str, Meta(max_length=8192)]


class TraceStart(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A trace to start: what is wanted, and where it goes (`to`, as in `[traces.NAME]`).

    `filter` is a condition; `caller` (user or user@domain of From), `callee` (of the Request-URI) and `ip` (captured source
    address, or a network) are conditions too, and all that are given must hold. An empty `types` means all. It ends after
    `seconds`, or when it has sent `packets`; None: when it is stopped.
    """

    id: Annotated[str, Meta(max_length=100)]
    to: Annotated[list[Annotated[str, Meta(min_length=1, max_length=4096)]], Meta(min_length=1, max_length=16)]
    filter: Text | None = None
    caller: Text | None = None
    callee: Text | None = None
    ip: Text | None = None
    scope: Text = "dialog"
    types: Text = ""
    seconds: Annotated[float, Meta(gt=0, le=MOST_SECONDS)] | None = None
    packets: Annotated[int, Meta(gt=0, le=2**63 - 1)] | None = None
    attrs: Text | None = None
    correlation_id: Text | None = None
    flags: Text = ""

    @property
    def condition(self) -> str | None:
        """All conditions as one text of the filter language; None: every packet."""
        said = [f"({self.filter})"] if self.filter else []
        said += [
            f"{field} = {_quoted(value)}"
            for field, value in (("caller", self.caller), ("callee", self.callee))
            if value is not None
        ]
        said += [f"src_ip in {_network(self.ip)}"] if self.ip is not None else []
        return " and ".join(said) or None


class Watch:
    """What a dynamic trace looks for. Raises ValueError (FilterError too) for words that mean nothing."""

    def __init__(self, start: TraceStart, lists: Mapping[str, Container[str]]) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", start.id):
            raise ValueError(f"{start.id!r} is no id of a trace: letters, digits, _, . and -, the first no . or -")
        self.scope: Scope = parse_scope(start.scope)
        self.types: Types = parse_types(start.types) if start.types else None
        self.side: Side = parse_flags(start.flags)
        self.start = start
        if start.filter:
            parse(start.filter, lists)  # by itself: its brackets must not reach out of those that are put around it
        said = start.condition
        self._condition: Callable[[Any], bool] | None = None if said is None else compile_filter(said, lists)

    def wants(self, packet: Packet, sip: Sip | None) -> bool:
        """Whether a trace begins with this packet. A dialog begins with its first INVITE, a transaction with a request."""
        if self.scope == "message":
            pass
        elif self.scope == "transaction":
            if sip is None or not sip.is_request:
                return False
        elif sip is None or sip.method != "INVITE" or sip.to_tag:
            return False
        return self._condition is None or self._condition(packet)


def _network(text: str) -> str:
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        raise ValueError(
            f"{text!r} is no IP address and no network: write for example 10.0.0.1 or 10.0.0.0/8"
        ) from None


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
