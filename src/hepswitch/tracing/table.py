"""The table of live calls: by Call-ID, and for b2b sessions by every name that ties their legs together. Bounded.

A call that is over, or silent for too long, is forgotten in `sweep`. When the table is full the oldest call gives way, and
that is counted: its trace is cut short. Not here: what a call is (`calls`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from hepswitch.tracing.calls import Call
from hepswitch.tracing.marks import Order
from hepswitch.wire.hep import Hep
from hepswitch.wire.sip import Sip

LONGEST_NAME = 256
"""Characters of a Call-ID that are kept; a longer one is known by its hash."""

MOST_NAMES = 64
"""Call-IDs and other names of one session; further legs are not recognised."""


class Session:
    """Dialogs that belong together: the legs of a B2BUA. `names` are Call-IDs, correlation ids, values of leg headers."""

    __slots__ = ("legs", "names")

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.legs: list[Call] = []


class CallTable:
    """At most `most` live calls. `leg_headers`: SIP headers that hold the Call-ID of another leg (or a name of the session).

    `max_age`: see `Call`.
    """

    def __init__(self, most: int, max_age: float, leg_headers: Iterable[str] = ()) -> None:
        self._most = most
        self._max_age = max_age
        self._leg_headers = tuple(leg_headers)
        self._calls: dict[Call, Session | None] = {}  # in the order in which they began
        self._by_id: dict[str, list[Call]] = {}
        self._sessions: dict[str, Session] = {}
        self.evicted = Counter[str]()

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(self._calls)

    def configure(self, most: int, max_age: float, leg_headers: Iterable[str]) -> None:
        """Go by other settings; what lives goes on."""
        self._most, self._max_age, self._leg_headers = most, max_age, tuple(leg_headers)

    # ── beginning ──────────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self, packet: Hep, sip: Sip, order: Order, now: float, *, dialog: bool, b2b: bool) -> tuple[Call, bool]:
        """Trace by `order` the dialog or transaction that `sip`, a request with a Call-ID, belongs to: (it, whether that is
        new)."""
        call = self._known(sip, dialog=dialog)
        if call is None:
            call = self._add(packet, sip, now, dialog=dialog, session=Session() if b2b else None)
        elif b2b and self._calls[call] is None:
            self._join(call, Session())
        added = call.add(order)
        session = self._calls[call]
        if b2b and session is not None:
            for leg in session.legs:
                leg.add(order)
            self._learn(session, packet, sip)
        return call, added

    def _known(self, sip: Sip, *, dialog: bool) -> Call | None:
        for call in self._by_id.get(_name(sip.call_id), ()):
            if (call.cseq is None) is dialog and call.owns(sip):
                return call
        return None

    def _add(self, packet: Hep, sip: Sip, now: float, *, dialog: bool, session: Session | None) -> Call:
        while len(self._calls) >= self._most:
            self._remove(next(iter(self._calls)))
            self.evicted["table full"] += 1
        call = Call(packet, sip, dialog=dialog, now=now, max_age=self._max_age)
        self._calls[call] = None
        self._by_id.setdefault(_name(call.call_id), []).append(call)
        if session is not None:
            self._join(call, session)
        return call

    def _join(self, call: Call, session: Session) -> None:
        self._calls[call] = session
        session.legs.append(call)

    def _learn(self, session: Session, packet: Hep, sip: Sip) -> None:
        """The names in an INVITE by which its other legs can be recognised."""
        for name in self._names(packet, sip):
            if len(session.names) < MOST_NAMES and name not in self._sessions:
                session.names.add(name)
                self._sessions[name] = session

    def _names(self, packet: Hep, sip: Sip) -> Iterator[str]:
        yield _name(sip.call_id)
        if identity := correlation(packet):
            yield _name(identity)
        for header in self._leg_headers:
            for value in sip.headers(header):
                if value.strip():
                    yield _name(value.strip())

    # ── finding ────────────────────────────────────────────────────────────────────────────────────────────────────

    def may_know(self, sip: Sip) -> bool:
        """False when a SIP message certainly belongs to no call here: most do not, and that is found out fast."""
        return bool(self._sessions) or _name(sip.call_id) in self._by_id

    def of_message(self, packet: Hep, sip: Sip, now: float) -> list[Call]:
        """The calls that a SIP message belongs to, with their state brought up to date."""
        known = self._by_id.get(_name(sip.call_id), ())
        calls = [call for call in known if call.owns(sip)]
        for call in calls:
            call.track(sip, now)
        if self._sessions and sip.is_request and sip.method == "INVITE" and not sip.to_tag and sip.call_id:
            calls += self._new_leg(packet, sip, now, calls)
        return calls

    def _new_leg(self, packet: Hep, sip: Sip, now: float, calls: list[Call]) -> list[Call]:
        """An INVITE that a name in it ties to a session begins another leg of it."""
        session = next((self._sessions[name] for name in self._names(packet, sip) if name in self._sessions), None)
        if session is None:
            return []
        self._learn(session, packet, sip)
        if any(self._calls[call] is session for call in calls) or len(session.legs) >= MOST_NAMES:
            return []
        orders = session.legs[0].orders
        leg = self._known(sip, dialog=True)
        new = leg is None
        if leg is None:
            leg = self._add(packet, sip, now, dialog=True, session=session)
        elif self._calls[leg] is None:
            self._join(leg, session)
        for order in orders:
            leg.add(order)
        return [leg] if new else []

    def of_identity(self, identity: str) -> Sequence[Call]:
        """The calls that something other than SIP (RTCP, a log …) with this correlation id belongs to."""
        name = _name(identity)
        known = self._by_id.get(name)
        if known:
            return known
        session = self._sessions.get(name)
        return session.legs[:1] if session is not None else ()

    # ── ending ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def sweep(self, now: float) -> None:
        """Forget the calls whose time is over, and those that nobody traces any more."""
        for call in [call for call in self._calls if call.deadline <= now or not any(o.trace.on for o in call.orders)]:
            self._remove(call)

    def _remove(self, call: Call) -> None:
        session = self._calls.pop(call)
        name = _name(call.call_id)
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


def _name(text: str | None) -> str:
    if text is None:
        return ""
    if len(text) <= LONGEST_NAME:
        return text
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
