"""The tracer of one worker: puts marks on packets before the route, takes the route's orders, and hands over behind it.

Packets are told apart as they came in, and handed to the targets as the route left them: what it masks is masked there too.
With several workers it looks back: what one of them has read may belong to a call whose beginning another one reads a moment
later. Then a trace may begin with messages of its call that came up to `look_back` before its order.
Not here: the loop that calls it (`routing.flow`), which traces there are (`traces`), how long a call lives (`calls`), what
workers tell each other (`sharing`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from hepswitch.books import Snapshot
from hepswitch.routing.look_back import Kept, LookBack
from hepswitch.routing.packet import Packet, RouteError, TracerBase
from hepswitch.tracing.calls import Call, short
from hepswitch.tracing.marks import Given, Mark, Order
from hepswitch.tracing.sharing import Sharing
from hepswitch.tracing.table import CallTable, correlation
from hepswitch.tracing.traces import Trace, TracerTable, Traces
from hepswitch.tracing.words import SIP, Scope, parse_flags, parse_scope, parse_types
from hepswitch.wire.hep import Hep
from hepswitch.wire.sip import Sip

MOST_KEPT = 64 << 20
"""Bytes of packets that are kept to look back at."""

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
        self.sharing: Sharing | None = None
        self._past: LookBack | None = None

    def share(self, sharing: Sharing, look_back: float) -> None:
        """Have calls in common with other workers, and look back so many seconds."""
        self.sharing = sharing
        self._past = LookBack(look_back, MOST_KEPT, self._clock, short, self.calls.more_names)
        self.changed()

    def configure(self, settings: TracerTable, before: TracerTable) -> None:
        """Go by other settings; the switch, too, if the file has changed its mind."""
        self.calls.configure(settings.calls, settings.max_age, settings.leg_headers)
        if self._past is not None:
            self._past.seconds = settings.look_back
        if settings.on != before.on:
            self.on = settings.on
        self.changed()

    def changed(self) -> None:
        """Traces were started, stopped, switched or configured anew."""
        self._dynamic = tuple(self.traces.dynamic)
        if self.sharing is not None:
            self.sharing.look_again()
            self._keep()
            self._settle()
        self._look_busy()

    def _look_busy(self) -> None:
        self.busy = bool(self._dynamic) or len(self.calls) > 0

    def _keep(self) -> None:
        """Keep packets while there is a trace that may ask for them."""
        past = self._past
        on = bool(self._dynamic) or (self.on and any(trace.on for trace in self.traces.configured.values()))
        if past is not None and not (on and past.seconds):
            past.clear()
            past = None
        self.look_back = past

    def sweep(self) -> None:
        """Once a second: end what is over."""
        self.traces.expire()
        self.calls.sweep(self._clock())
        self.changed()

    def account(self) -> Snapshot:
        """`calls`: those that began here and are traced now; `evicted` ones, cut short; messages `untold` to other workers;
        packets `forgotten` before the time to look back was over."""
        return {
            "calls": self.calls.begun_here,
            "evicted": dict(self.calls.evicted),
            "untold": {} if self.sharing is None else dict(self.sharing.bus.untold),
            "forgotten": 0 if self._past is None else self._past.forgotten,
        }

    # ── before the route ───────────────────────────────────────────────────────────────────────────────────────────

    def enter(self, packet: Packet) -> None:
        """Mark the packet if it belongs to a live call, or if a dynamic trace wants it."""
        sip = packet.sip
        marks: list[Mark] = []
        for call in self._calls_of(packet, sip):
            call.mark(packet, marks)
        for trace in self._dynamic:
            watch = trace.watch
            if watch is not None and trace.on and watch.wants(packet, sip):
                self._begin(packet, sip, watch.scope, trace.order, marks, self._clock())
        if marks:
            packet.marks = marks
        self._settle()

    def _calls_of(self, packet: Hep, sip: Sip | None, at: float | None = None) -> Sequence[Call]:
        """The calls that a packet belongs to, which was read `at` that time; None: now."""
        calls = self.calls
        if sip is not None:
            return calls.of_message(packet, sip, self._clock() if at is None else at) if calls.may_know(sip) else ()
        identity = correlation(packet)
        return calls.of_identity(identity) if identity else ()

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
        self._settle()
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
        call = self.calls.begin(packet, sip, order, now, dialog=dialog, b2b=dialog and scope == "b2b")
        call.mark(packet, marks)
        self.busy = True

    # ── behind the route ───────────────────────────────────────────────────────────────────────────────────────────

    def leave(self, packet: Packet) -> bool:
        """Hand the packet to the targets of its marks: one copy to each, however many traces lead there.

        False when none took it.
        """
        marks, packet.marks = packet.marks, None
        sip = packet.sip
        given, counted = packet.given = packet.given or Given(set(), set())
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
                if self.sharing is not None:
                    self.sharing.spend(trace)
        return taken

    # ── with other workers ─────────────────────────────────────────────────────────────────────────────────────────

    def hear(self, message: bytes) -> None:
        """Another worker has said something."""
        assert self.sharing is not None
        self.sharing.hear(message)
        self._settle()
        self._look_busy()

    def _settle(self) -> None:
        """Tell others what has changed, and trace what has gone through and is known to belong to a call since."""
        calls = self.calls
        while self.sharing is not None and (calls.changed or calls.news):
            self.sharing.tell()
            news, calls.news = calls.news, {}
            if self._past is not None:
                for kept in chain.from_iterable(map(self._past.of, news)):
                    self._look_at(kept)

    def _look_at(self, kept: Kept) -> None:
        """Trace a packet that has gone through, as far as it has not been."""
        before = kept.before()
        marks: list[Mark] = []
        for call in self._calls_of(before, before.sip, kept.at):
            call.mark(before, marks)
        if not marks:
            return
        packet = kept.packet()
        packet.marks = marks
        if self.leave(packet):
            kept.taken()
        kept.given = packet.given
