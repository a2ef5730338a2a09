"""The table of live calls: by Call-ID, and for b2b sessions by every name that ties their legs together. Bounded.

A call that is over, or silent for too long, is forgotten in `sweep`. When the table is full the oldest call gives way, and
that is counted: its trace is cut short. Several workers have copies of it: what others have to be told of is noted in
`changed`, and what is worth looking back for in `news`. Not here: what a call is (`calls`), who tells whom (`sharing`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from hepswitch.tracing.calls import Begun, Call, CallState, Ends, Identity, short
from hepswitch.tracing.marks import Order
from hepswitch.wire.hep import Hep
from hepswitch.wire.sip import Sip

MOST_NAMES = 64
"""Call-IDs and other names of one session; further legs are not recognised."""

MOST_NAMESAKES = 64
"""Calls with one Call-ID: each of its messages is compared with all of them."""

TELL_EVERY = 1.0
"""Seconds after which others are told that a call is still heard of, if nothing else is to be said about it."""


class Session:
    """Dialogs that belong together: the legs of a B2BUA. `names` are Call-IDs, correlation ids, values of leg headers."""

    __slots__ = ("legs", "names")

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.legs: list[Call] = []


class CallTable:
    """At most `most` live calls. `leg_headers`: SIP headers that hold the Call-ID of another leg (or a name of the session).

    `max_age`: see `Call`. `worker`: its number; `shared`: others have copies of the calls.
    """

    def __init__(
        self, most: int, max_age: float, leg_headers: Iterable[str] = (), *, worker: int = 0, shared: bool = False
    ) -> None:
        self._most = most
        self._max_age = max_age
        self._leg_headers = tuple(leg_headers)
        self._worker = worker
        self._shared = shared
        self._calls: dict[Call, Session | None] = {}  # in the order in which they began
        self._by_id: dict[str, list[Call]] = {}
        self._sessions: dict[str, Session] = {}
        self.evicted = Counter[str]()
        self.changed: dict[Call, None] = {}
        self.news: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(self._calls)

    @property
    def begun_here(self) -> int:
        """How many of the calls began in this worker."""
        return sum(self._is_ours(call) for call in self._calls)

    def configure(self, most: int, max_age: float, leg_headers: Iterable[str]) -> None:
        """Go by other settings; what lives goes on."""
        self._most, self._max_age, self._leg_headers = most, max_age, tuple(leg_headers)

    # ── beginning ──────────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self, packet: Hep, sip: Sip, order: Order, now: float, *, dialog: bool, b2b: bool) -> Call:
        """Trace by `order` the dialog or transaction that `sip`, a request with a Call-ID, belongs to: it."""
        identity = Identity(short(sip.call_id), short(sip.from_tag), None if dialog else sip.cseq)
        ends = self._ends(packet, sip)
        call = self._known(identity)
        if call is None:
            call = self._add(identity, ends)
        elif ends.begun < call.ends.begun:
            call.ends = ends
            self._note(call)
        call.track(sip, now)
        if order not in call.orders and call.add(order, ends.begun):
            call.count(order)
            self._note(call, fresh=True)
        if b2b and self._calls[call] is None:
            self._tie(call, Session())
        session = self._calls[call]
        if b2b and session is not None:
            self._learn(session, self.names(packet, sip))
            self._spread(session)
        return call

    def _known(self, identity: Identity) -> Call | None:
        known = self._by_id.get(identity.call_id, ())
        return next((call for call in known if call.identity == identity), None)

    def _add(self, identity: Identity, ends: Ends) -> Call:
        while len(self._calls) >= self._most:
            self._evict(next(iter(self._calls)), "table full")
        namesakes = self._by_id.get(identity.call_id, [])
        if len(namesakes) >= MOST_NAMESAKES:
            self._evict(namesakes[0], "too many of one Call-ID")
        call = Call(identity, ends, self._max_age)
        self._calls[call] = None
        self._by_id.setdefault(identity.call_id, []).append(call)
        return call

    def _ends(self, packet: Hep, sip: Sip) -> Ends:
        hops = sum(value.count(",") + 1 for value in sip.headers("Via"))
        begun = hops, packet.time_us, self._worker
        return Ends(begun, (packet.src_ip, packet.src_port), (packet.dst_ip, packet.dst_port))

    def _evict(self, call: Call, reason: str) -> None:
        if self._is_ours(call):
            self.evicted[reason] += 1
        self._remove(call)

    def _is_ours(self, call: Call) -> bool:
        return call.ends.begun[2] == self._worker

    def _note(self, call: Call, *, fresh: bool = False) -> None:
        """The call is to be told to others; `fresh`: by an order that is new, what has gone through is to be traced too."""
        if not self._shared:
            return
        self.changed[call] = None
        if fresh:
            session = self._calls[call]
            self.news.update(dict.fromkeys((call.identity.call_id, *(session.names if session is not None else ()))))

    # ── sessions ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _tie(self, call: Call, session: Session) -> Session:
        """Make the call a leg of `session`, with all legs that it had already; the session that this gives."""
        own = self._calls[call]
        if own is session:
            return session
        for leg in [call] if own is None else list(own.legs):
            self._calls[leg] = session
            session.legs.append(leg)
        for name in () if own is None else own.names:
            session.names.add(name)
            self._sessions[name] = session
        return session

    def _learn(self, session: Session, names: Iterable[str]) -> None:
        """The names by which other legs can be recognised. One that another session has makes them one."""
        for name in names:
            known = self._sessions.get(name)
            if known is not None:
                if known is not session:
                    self._tie(known.legs[0], session)
            elif len(session.names) < MOST_NAMES:
                session.names.add(name)
                self._sessions[name] = session
                if self._shared:
                    self.news[name] = None

    def _spread(self, session: Session) -> None:
        """The orders of one leg are those of all."""
        orders: dict[Order, Begun] = {}
        for leg in session.legs:
            for order, begun in leg.orders.items():
                orders[order] = min(begun, orders.get(order, begun))
        for leg in session.legs:
            for order, begun in orders.items():
                if leg.add(order, begun):
                    self._note(leg, fresh=True)

    def names(self, packet: Hep, sip: Sip) -> Iterator[str]:
        """The names that an INVITE gives its dialog and others."""
        yield short(sip.call_id)
        if identity := correlation(packet):
            yield short(identity)
        for header in self._leg_headers:
            for value in sip.headers(header):
                if value.strip():
                    yield short(value.strip())

    def more_names(self, packet: Hep, sip: Sip | None) -> list[str]:
        """The names other than its Call-ID if this is an INVITE that may begin another leg."""
        if sip is None or not _begins_dialog(sip):
            return []
        return list(dict.fromkeys(self.names(packet, sip)))[1:]

    # ── finding ────────────────────────────────────────────────────────────────────────────────────────────────────

    def may_know(self, sip: Sip) -> bool:
        """False when a SIP message certainly belongs to no call here: most do not, and that is found out fast."""
        return bool(self._sessions) or short(sip.call_id) in self._by_id

    def of_message(self, packet: Hep, sip: Sip, now: float) -> list[Call]:
        """The calls that a SIP message belongs to, with their state brought up to date."""
        known = self._by_id.get(short(sip.call_id), ())
        calls = [call for call in known if call.owns(sip)]
        for call in calls:
            if call.track(sip, now) or (self._shared and now - call.told >= TELL_EVERY):
                self._note(call)
        if self._sessions and sip.call_id and _begins_dialog(sip):
            calls += self._new_leg(packet, sip, now, calls)
        return calls

    def _new_leg(self, packet: Hep, sip: Sip, now: float, calls: list[Call]) -> list[Call]:
        """An INVITE that a name in it ties to a session begins another leg of it."""
        names = list(self.names(packet, sip))
        session = next((self._sessions[name] for name in names if name in self._sessions), None)
        if session is None:
            return []
        self._learn(session, names)
        identity = Identity(short(sip.call_id), short(sip.from_tag), None)
        leg = self._known(identity)
        if len(session.legs) >= MOST_NAMES or (leg is not None and self._calls[leg] is session):
            return []
        if leg is None:
            leg = self._add(identity, self._ends(packet, sip))
            leg.track(sip, now)
        self._tie(leg, session)
        self._spread(session)
        self._note(leg)
        return [] if leg in calls else [leg]

    def of_identity(self, identity: str) -> Sequence[Call]:
        """The calls that something other than SIP (RTCP, a log …) with this correlation id belongs to."""
        name = short(identity)
        known = self._by_id.get(name)
        if known:
            return known
        session = self._sessions.get(name)
        return session.legs[:1] if session is not None else ()

    # ── copies of other workers ────────────────────────────────────────────────────────────────────────────────────

    def join(self, identity: Identity, state: CallState, orders: Mapping[Order, Begun], names: Iterable[str]) -> None:
        """Know what another worker knows of a call: its state, its orders, the names of its session (if there is one)."""
        before = dict(self.changed)
        call = self._known(identity)
        if call is None:
            call = self._add(identity, state.ends)
        call.join(state)
        for order, begun in orders.items():
            if call.add(order, begun):
                self._note(call, fresh=True)
        if names := list(names):
            session = self._calls[call]
            self._learn(self._tie(call, Session()) if session is None else session, names)
            joined = self._calls[call]
            assert joined is not None
            self._spread(joined)
        self.changed = before  # others have been told, or will find out alike

    def names_of(self, call: Call) -> Iterable[str]:
        """The names of the session that the call is a leg of."""
        session = self._calls[call]
        return () if session is None else session.names

    # ── ending ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def sweep(self, now: float) -> None:
        """Forget the calls whose time is over, and those that nobody traces any more."""
        for call in [call for call in self._calls if call.deadline <= now or not any(o.trace.on for o in call.orders)]:
            self._remove(call)

    def _remove(self, call: Call) -> None:
        session = self._calls.pop(call)
        self.changed.pop(call, None)
        name = call.identity.call_id
        self._by_id[name].remove(call)
        if not self._by_id[name]:
            del self._by_id[name]
        if session is not None:
            session.legs.remove(call)
            if not session.legs:
                for known in session.names:
                    del self._sessions[known]


def correlation(packet: Hep) -> str:
    """The packet's correlation id as text; "" when it has none."""
    octets = packet.correlation_id
    return octets.decode("utf-8", "surrogateescape") if octets else ""


def _begins_dialog(sip: Sip) -> bool:
    return sip.is_request and sip.method == "INVITE" and not sip.to_tag
