"""Live calls: the transactions and dialogs that are being traced, by what their messages look like on the way.

A dialog is known by its Call-ID and the tag of who called: one of the two tags of each of its messages is that one, in
whatever branch of a fork and from whichever side. A transaction is known by its CSeq and the tag of who sent its request, so
that CANCEL, ACK and every branch belong to it. How long one lives follows from the timers of RFC 3261 (sections 13, 16.6
and 17, T1 = 500 ms) and from Session-Expires (RFC 4028).

What a call remembers only grows, by sets and latest times, so that the copies of it in several workers become alike when
they are joined, in whatever order and however often that happens (`CallState`, `sharing`).

Not here: which messages begin one (`tracer`), and how many there may be (`table`).
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from msgspec import Struct

from hepswitch.tracing.marks import Direction, Mark, Order
from hepswitch.tracing.words import SIP
from hepswitch.wire.hep import Hep
from hepswitch.wire.sip import Sip

LINGER = 64 * 0.5
"""Seconds in which messages may be sent again, and late ones follow, when all is said (timers B, F, H, J, L)."""

RINGING = 180.0 + LINGER
"""Seconds that an INVITE may wait for the next provisional reply (timer C) before nobody waits for a final one."""

MOST_FORKS = 64
"""Branches, and dialogs of one INVITE, that are told apart."""

MOST_ORDERS = 16
"""Traces of one call."""

LONGEST_NAME = 256
"""Characters of a Call-ID, tag or branch that are kept; a longer one, or one beyond ASCII, is known by its hash."""

Begun = tuple[int, int, int]
"""Where something began: Via headers of the request, its capture time (µs), the worker. Of two the smaller one counts: the
hop nearest to the caller, and of that the first."""


class Identity(NamedTuple):
    """What a call is known by. `cseq` is None for a dialog; `tag` is that of who called, or sent the request."""

    call_id: str
    tag: str
    cseq: int | None


class Ends(NamedTuple):
    """Between whom a call began: (IP, port) of who sent the request, and of who got it."""

    begun: Begun
    caller: tuple[str | None, int | None]
    hub: tuple[str | None, int | None]


class CallState(Struct, array_like=True, frozen=True):
    """All that one copy of a call knows of its state. Times are monotonic seconds, the same for all processes."""

    ends: Ends
    opened: frozenset[str]
    closed: frozenset[str]
    talked: frozenset[str]
    said_goodbye: frozenset[str]
    session: tuple[float, float | None]
    heard: float


class Call:
    """A transaction or a dialog that is traced by `orders`, each with where it was given.

    `counted` are the orders that count it as begun here; `told` is when other workers were told of it last. `deadline`:
    monotonic seconds. `max_age`: how long an answered call without a session timer may be silent.
    """

    __slots__ = (
        "_closed", "_heard", "_max_age", "_opened", "_said_goodbye", "_session", "_talked", "counted", "deadline",
        "ends", "identity", "orders", "told",
    )  # fmt: skip

    def __init__(self, identity: Identity, ends: Ends, max_age: float) -> None:
        self.identity = identity
        self.ends = ends
        self.orders: dict[Order, Begun] = {}
        self.counted: set[Order] = set()
        self.deadline = self.told = self._heard = 0.0
        self._max_age = max_age
        self._opened: set[str] = set()  # INVITEs by CSeq and branch
        self._closed: set[str] = set()  # those of them that have got a final reply
        self._talked: set[str] = set()  # tags of callees who have answered
        self._said_goodbye: set[str] = set()
        self._session: tuple[float, float | None] = (0.0, None)  # seconds by Session-Expires, and when that was said

    def add(self, order: Order, begun: Begun) -> bool:
        """Trace by this order too. False when it does so already, or is traced by too many.

        What was given earlier elsewhere is not counted here any more.
        """
        known = self.orders.get(order)
        if known is None:
            if len(self.orders) >= MOST_ORDERS:
                return False
            self.orders[order] = begun
        elif begun < known:
            self.orders[order] = begun
            if order in self.counted:
                self.counted.remove(order)
                order.trace.calls -= 1
        if len(self.orders) > 1:  # who comes first says with what attributes a target gets a packet: alike everywhere
            self.orders = dict(sorted(self.orders.items(), key=lambda given: given[1]))
        return known is None

    def count(self, order: Order) -> None:
        """The order began this call here."""
        self.counted.add(order)
        order.trace.calls += 1

    def owns(self, sip: Sip) -> bool:
        """Whether a message with this Call-ID belongs here."""
        _, tag, cseq = self.identity
        if cseq is None:
            return short(sip.from_tag) == tag or short(sip.to_tag) == tag
        return sip.cseq == cseq and short(sip.from_tag) == tag

    # ── how long it lives ──────────────────────────────────────────────────────────────────────────────────────────

    def track(self, sip: Sip, now: float) -> bool:
        """A message of this call has come: whether that changes more than the time."""
        changed = self._request(sip) if sip.is_request else self._reply(sip, now)
        self._hear(now)
        return changed

    def _request(self, sip: Sip) -> bool:
        if sip.method == "INVITE":
            return _remember(self._opened, _transaction(sip))
        if sip.method == "BYE" and self.identity.cseq is None:
            return _remember(self._said_goodbye, self._callee(sip))
        return False

    def _reply(self, sip: Sip, now: float) -> bool:
        status = sip.status or 0
        if status < 200:
            return False
        invited = sip.cseq_method == "INVITE"
        changed = invited and _remember(self._closed, _transaction(sip))
        if self.identity.cseq is not None or status >= 300 or sip.cseq_method not in ("INVITE", "UPDATE"):
            return changed
        if invited:
            changed |= _remember(self._talked, self._callee(sip))
        before, session = self._session, _seconds(sip.header("Session-Expires"))
        if now >= before[0]:
            self._session = now, session
        return changed or self._session[1] != before[1]

    def _callee(self, sip: Sip) -> str:
        tags = short(sip.from_tag), short(sip.to_tag)
        return tags[1] if tags[0] == self.identity.tag else tags[0]

    def _hear(self, now: float) -> None:
        self._heard = max(self._heard, now)
        if self._talked - self._said_goodbye:
            session = self._session[1]
            left = self._max_age if session is None else min(session + LINGER, self._max_age)
        else:
            left = RINGING if self._opened - self._closed else LINGER
        self.deadline = self._heard + left

    # ── its copies ─────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def state(self) -> CallState:
        """What there is to tell to its copies."""
        return CallState(
            self.ends,
            frozenset(self._opened),
            frozenset(self._closed),
            frozenset(self._talked),
            frozenset(self._said_goodbye),
            self._session,
            self._heard,
        )

    def join(self, state: CallState) -> None:
        """Know what another copy knows, too."""
        self.ends = min(self.ends, state.ends, key=lambda ends: ends.begun)
        for known, more in (
            (self._opened, state.opened),
            (self._closed, state.closed),
            (self._talked, state.talked),
            (self._said_goodbye, state.said_goodbye),
        ):
            for word in more:
                _remember(known, word)
        self._session = max(self._session, state.session, key=lambda said: said[0])
        self._hear(state.heard)

    # ── what its packets are marked with ───────────────────────────────────────────────────────────────────────────

    def mark(self, packet: Hep, marks: list[Mark]) -> None:
        """Put on the packet, by adding to its `marks`, what the orders ask for."""
        kind = packet.proto_type
        sip = packet.sip is not None
        mark: Mark
        for order in self.orders:
            if order.types is not None and (SIP if sip else kind) not in order.types:
                continue
            if sip and order.side != "both" and (order.side == "caller") is not self._on_callers_side(packet):
                continue
            mark = Mark(order, self._direction(packet))
            if mark not in marks:
                marks.append(mark)

    def _on_callers_side(self, packet: Hep) -> bool:
        """Between the one who sent the request and the first who got it. The far port may be another one (Contact, TCP)."""
        caller = self.ends.caller
        if self._among:
            return caller in ((packet.src_ip, packet.src_port), (packet.dst_ip, packet.dst_port))
        return caller[0] in (packet.src_ip, packet.dst_ip)

    def _direction(self, packet: Hep) -> Direction:
        hub = self.ends.hub
        if self._among:
            return "out" if (packet.src_ip, packet.src_port) == hub else "in"
        return "out" if packet.src_ip == hub[0] else "in"

    @property
    def _among(self) -> bool:
        """On one machine ports tell who is who."""
        return self.ends.caller[0] == self.ends.hub[0]


def short(text: str | None) -> str:
    """A Call-ID, tag or branch as it is kept."""
    if text is None:
        return ""
    if len(text) <= LONGEST_NAME and text.isascii():
        return text
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _transaction(sip: Sip) -> str:
    return f"{sip.cseq} {short(sip.via_branch)}"


def _remember(words: set[str], word: str) -> bool:
    """True when that is new, and is remembered."""
    if word in words or len(words) >= MOST_FORKS:
        return False
    words.add(word)
    return True


def _seconds(session_expires: str | None) -> float | None:
    """`1800;refresher=uas` → 1800.0; None when there is no session timer."""
    number = (session_expires or "").partition(";")[0].strip()
    return float(number) if number.isascii() and number.isdigit() and 0 < len(number) <= 9 and int(number) else None
