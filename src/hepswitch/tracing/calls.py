"""Live calls: the transactions and dialogs that are being traced, by what their messages look like on the way.

A dialog is known by its Call-ID and the tag of who called: one of the two tags of each of its messages is that one, in
whatever branch of a fork and from whichever side. A transaction is known by its CSeq and the tag of who sent its request, so
that CANCEL, ACK and every branch belong to it. How long one lives follows from the timers of RFC 3261 (sections 13, 16.6
and 17, T1 = 500 ms) and from Session-Expires (RFC 4028).

Not here: which messages begin one (`tracer`), and how many there may be (`table`).
"""

from __future__ import annotations

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


class Call:
    """A transaction (`cseq` is its number) or a dialog (`cseq` is None) that is traced by `orders`.

    `sip` is the request that it begins with and `packet` what carries it; `now` and `deadline` are monotonic seconds.
    `max_age`: how long an answered call without a session timer may be silent.
    """

    __slots__ = (
        "_among", "_caller", "_hub", "_max_age", "_open", "_said_goodbye", "_session", "_talking", "call_id", "cseq",
        "deadline", "orders", "tag",
    )  # fmt: skip

    def __init__(self, packet: Hep, sip: Sip, *, dialog: bool, now: float, max_age: float) -> None:
        self.call_id = sip.call_id or ""
        self.tag = sip.from_tag
        self.cseq = None if dialog else sip.cseq
        self.orders: list[Order] = []
        self.deadline = now
        self._max_age = max_age
        self._caller = packet.src_ip, packet.src_port
        self._hub = packet.dst_ip, packet.dst_port
        self._among = packet.src_ip == packet.dst_ip  # on one machine ports tell who is who
        self._open: set[str | None] = set()  # branches of INVITEs without a final reply
        self._talking: set[str | None] = set()  # tags of callees who have answered
        self._said_goodbye: set[str | None] = set()
        self._session: float | None = None  # seconds by Session-Expires
        self.track(sip, now)

    def add(self, order: Order) -> bool:
        """Trace by this order too. False when it does so already, or is traced by too many."""
        if order in self.orders or len(self.orders) >= MOST_ORDERS:
            return False
        self.orders.append(order)
        return True

    def owns(self, sip: Sip) -> bool:
        """Whether a message with this Call-ID belongs here."""
        if self.cseq is None:
            return self.tag in (sip.from_tag, sip.to_tag)
        return sip.cseq == self.cseq and sip.from_tag == self.tag

    # ── how long it lives ──────────────────────────────────────────────────────────────────────────────────────────

    def track(self, sip: Sip, now: float) -> None:
        """A message of this call has come."""
        if sip.is_request:
            self._request(sip)
        else:
            self._reply(sip)
        if self._talking:
            left = self._max_age if self._session is None else min(self._session + LINGER, self._max_age)
        else:
            left = RINGING if self._open else LINGER
        self.deadline = now + left

    def _request(self, sip: Sip) -> None:
        if sip.method == "INVITE":
            _remember(self._open, sip.via_branch)
        elif sip.method == "BYE" and self.cseq is None:
            callee = self._callee(sip)
            self._talking.discard(callee)
            _remember(self._said_goodbye, callee)

    def _reply(self, sip: Sip) -> None:
        status = sip.status or 0
        if status < 200:
            return
        if sip.cseq_method == "INVITE":
            self._open.discard(sip.via_branch)
        if self.cseq is not None or status >= 300 or sip.cseq_method not in ("INVITE", "UPDATE"):
            return
        callee = self._callee(sip)
        if sip.cseq_method == "INVITE" and callee not in self._said_goodbye:
            _remember(self._talking, callee)
        self._session = _seconds(sip.header("Session-Expires"))

    def _callee(self, sip: Sip) -> str | None:
        return sip.to_tag if sip.from_tag == self.tag else sip.from_tag

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
        if self._among:
            return self._caller in ((packet.src_ip, packet.src_port), (packet.dst_ip, packet.dst_port))
        return self._caller[0] in (packet.src_ip, packet.dst_ip)

    def _direction(self, packet: Hep) -> Direction:
        if self._among:
            return "out" if (packet.src_ip, packet.src_port) == self._hub else "in"
        return "out" if packet.src_ip == self._hub[0] else "in"


def _remember(tags: set[str | None], tag: str | None) -> None:
    if len(tags) < MOST_FORKS:
        tags.add(tag)


def _seconds(session_expires: str | None) -> float | None:
    """`1800;refresher=uas` → 1800.0; None when there is no session timer."""
    number = (session_expires or "").partition(";")[0].strip()
    return float(number) if number.isascii() and number.isdigit() and 0 < len(number) <= 9 and int(number) else None
