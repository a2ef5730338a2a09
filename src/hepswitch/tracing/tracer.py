"""The tracer of one worker: puts marks on packets before the route, takes the route's orders, and hands over behind it.

Packets are told apart as they came in, and handed to the targets as the route left them: what it masks is masked there too.
Not here: the loop that calls it (`routing.flow`), which traces there are (`traces`), how long a call lives (`calls`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from hepswitch.routing.packet import Packet, RouteError, TracerBase
from hepswitch.tracing.marks import Mark, Order
from hepswitch.tracing.table import CallTable, correlation
from hepswitch.tracing.traces import Trace, TracerTable, Traces
from hepswitch.tracing.words import SIP, Scope, parse_flags, parse_scope, parse_types
from hepswitch.wire.sip import Sip

MOST_SPELLINGS = 1000
"""Distinct arguments of trace() whose meaning is remembered; a script may build them from packet data."""


class Tracer(TracerBase):
    """Marks packets by the live `calls` and by the dynamic ones of `traces`; routes name those of the file.

    `on`: the switch for all traces of the file; dynamic ones do not ask it. `clock`: monotonic seconds.
    """

    def __init__(
        self, traces: Traces, calls: CallTable, *, on: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self.on = on
        self.calls = calls
        self.traces = traces
        self._clock = clock
        self._dynamic: tuple[Trace, ...] = ()
        self._spellings: dict[tuple[Any, ...], tuple[Scope | None, Any, Any]] = {}

    def configure(self, settings: TracerTable, before: TracerTable) -> None:
        """Go by other settings; the switch, too, if the file has changed its mind."""
        self.calls.configure(settings.calls, settings.max_age, settings.leg_headers)
        if settings.on != before.on:
            self.on = settings.on
        self.changed()

    def changed(self) -> None:
        """Traces were started, stopped or configured anew."""
        self._dynamic = tuple(self.traces.dynamic)
        self.busy = bool(self._dynamic) or len(self.calls) > 0

    def sweep(self) -> None:
        """Once a second: end what is over."""
        self.traces.expire()
        self.calls.sweep(self._clock())
        self.changed()

    # ── before the route ───────────────────────────────────────────────────────────────────────────────────────────

    def enter(self, packet: Packet) -> None:
        """Mark the packet if it belongs to a live call, or if a dynamic trace wants it."""
        sip = packet.sip
        calls = self.calls
        if sip is None:
            identity = correlation(packet)
            found = calls.of_identity(identity) if identity else ()
        else:
            found = calls.of_message(packet, sip, self._clock()) if calls.may_know(sip) else ()
        marks: list[Mark] = []
        for call in found:
            call.mark(packet, marks)
        for trace in self._dynamic:
            watch = trace.watch
            if watch is not None and trace.on and watch.wants(packet, sip):
                self._begin(packet, sip, watch.scope, trace.order, marks, self._clock())
        if marks:
            packet.marks = marks

    # ── in the route ───────────────────────────────────────────────────────────────────────────────────────────────

    def trace(
        self,
        packet: Packet,
        sip: Sip | None,
        name: str,
        scope: str | None,
        types: str | None,
        attrs: str | None,
        flags: str,
        correlation_id: str | bytes | None,
    ) -> bool:
        """`Packet.trace`. `sip`: the message as it came in."""
        trace = self.traces.configured.get(name)
        if trace is None:
            known = ", ".join(sorted(self.traces.configured)) or "none"
            raise RouteError(f"no trace is named {name!r}; configured: {known}. Add [traces.{name}] or mend the route")
        wanted, kinds, side = self._meaning(scope, types, flags)
        if not (self.on and trace.on):
            return False
        if types is None and sip is None:
            kinds = None  # nothing was said: this packet is meant, whatever it is
        if isinstance(correlation_id, str):
            correlation_id = correlation_id.encode("utf-8", "surrogateescape")
        order = Order(trace, kinds, side, attrs, correlation_id or None)
        marks = packet.marks if packet.marks is not None else []
        if wanted is None:
            wanted = "dialog" if sip is not None and sip.method == "INVITE" else "transaction"
        self._begin(packet, sip, wanted, order, marks, self._clock())
        packet.marks = marks or None
        return True

    def _meaning(self, scope: str | None, types: str | None, flags: str) -> tuple[Scope | None, Any, Any]:
        """The arguments of trace() read. ValueError says what is wrong with them."""
        spelling = scope, types, flags
        known = self._spellings.get(spelling)
        if known is None:
            known = (
                None if scope is None else parse_scope(scope),
                frozenset((SIP,)) if types is None else parse_types(types),
                parse_flags(flags),
            )
            if len(self._spellings) >= MOST_SPELLINGS:
                self._spellings.clear()
            self._spellings[spelling] = known
        return known

    def _begin(
        self, packet: Packet, sip: Sip | None, scope: Scope, order: Order, marks: list[Mark], now: float
    ) -> None:
        """Trace from this packet on as far as `scope` goes: a dialog begins with an INVITE, a transaction with a request."""
        if sip is None or not sip.is_request or sip.call_id is None or scope == "message":
            mark = Mark(order)
            kind = packet.proto_type if sip is None else SIP
            if mark not in marks and (order.types is None or kind in order.types):
                marks.append(mark)
            return
        dialog = scope in ("dialog", "b2b") and sip.method == "INVITE" and not sip.to_tag
        call, new = self.calls.begin(packet, sip, order, now, dialog=dialog, b2b=dialog and scope == "b2b")
        call.mark(packet, marks)
        order.trace.calls += new
        self.busy = True

    # ── behind the route ───────────────────────────────────────────────────────────────────────────────────────────

    def leave(self, packet: Packet) -> bool:
        """Hand the packet to the targets of its marks: one copy to each, however many traces lead there.

        False when none took it.
        """
        marks, packet.marks = packet.marks, None
        sip = packet.sip
        given: set[str] = set()
        counted: set[str] = set()
        taken = False
        for mark in marks or ():
            trace = mark.order.trace
            if not trace.on or not (self.on or trace.watch is not None):
                continue
            for target in trace.targets:
                if target.name in given:
                    continue
                given.add(target.name)
                if target.give(packet, mark):
                    taken = True
                else:
                    trace.refused += 1
            if trace.id not in counted:
                counted.add(trace.id)
                trace.count(sip)
        return taken
