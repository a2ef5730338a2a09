"""What the workers tell each other about traced calls, so that each traces the messages that it happens to read.

Datagrams are spread over the workers at random, connections by chance: the messages of one call are read by several. So
every worker has a copy of every call, and whenever one of them changes, it tells the others all that it knows of it. Copies
that are told to each other become alike in any order (`calls`), and whoever missed something learns it the next time.

A worker that was started again asks the others for all calls before it reads its first packet. What its predecessor had
begun and not yet told (microseconds) is lost with it, like the packets that it had in hand. At the end no worker closes
its outlets before all have said that they have read their last packet.

Not here: how messages get there (`bus`), what is done with packets that have gone through already (`tracer`).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable

import structlog
from msgspec import Struct, msgpack

from hepswitch.tracing.bus import Bus
from hepswitch.tracing.calls import Begun, Call, CallState, Identity
from hepswitch.tracing.marks import Order
from hepswitch.tracing.table import CallTable
from hepswitch.tracing.traces import Trace, Traces
from hepswitch.tracing.words import Side

log = structlog.get_logger("hepswitch.tracing")

PATIENCE = 2.0
"""Seconds to wait for the other workers, at the start and at the end."""

EARLY = 10.0
"""Seconds that a call waits for its trace: workers are told one after the other that it was started."""

MOST_EARLY = 10_000
"""Calls that wait for their traces."""


class OrderTold(Struct, array_like=True, frozen=True):
    """An order. `trace`: a name of the file, or the number of a dynamic trace."""

    trace: str | int
    types: frozenset[int] | None
    side: Side
    attrs: bytes | None
    correlation_id: bytes | None
    begun: Begun


class CallTold(Struct, array_like=True, frozen=True, tag=1):
    """All about a call. `names`: those of the session that it is a leg of, if it is one."""

    identity: Identity
    state: CallState
    orders: list[OrderTold]
    names: list[str]


class Spent(Struct, array_like=True, frozen=True, tag=2):
    """A dynamic trace has sent so many packets of those that it may send."""

    trace: int
    packets: int


class Asked(Struct, array_like=True, frozen=True, tag=3):
    """A worker was started again and wants to know all calls. `token` tells its answers from those to a predecessor."""

    worker: int
    token: int


class Answered(Struct, array_like=True, frozen=True, tag=4):
    """All calls have been told."""

    worker: int
    token: int


class Finished(Struct, array_like=True, frozen=True, tag=5):
    """A worker has read its last packet."""

    worker: int


Message = CallTold | Spent | Asked | Answered | Finished

encode = msgpack.Encoder().encode
decode = msgpack.Decoder(Message).decode


class Sharing:
    """Shares the `calls` and the limits of `traces` with the other workers on `bus`. `worker` is the number of this one."""

    def __init__(
        self, worker: int, bus: Bus, traces: Traces, calls: CallTable, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.bus = bus
        self._worker = worker
        self._traces = traces
        self._calls = calls
        self._clock = clock
        self._early: deque[tuple[float, CallTold]] = deque()
        self._token = time.monotonic_ns()
        self._answered: set[int] = set()
        self._finished: set[int] = set()
        self._came = asyncio.Event()

    # ── telling ────────────────────────────────────────────────────────────────────────────────────────────────────

    def tell(self) -> None:
        """Tell the others of the calls that have changed."""
        changed, self._calls.changed = self._calls.changed, {}
        now = self._clock()
        for call in changed:
            call.told = now
            self.bus.tell_all(encode(self._told(call)))

    def spend(self, trace: Trace) -> None:
        """A packet was sent for a dynamic trace that may send a certain number."""
        if trace.left is not None and isinstance(trace.key, int):
            self.bus.tell_all(encode(Spent(trace.key, 1)))

    def _told(self, call: Call) -> CallTold:
        orders = [
            OrderTold(order.trace.key, order.types, order.side, _octets(order.attrs), order.correlation_id, begun)
            for order, begun in call.orders.items()
            if order.trace.on
        ]
        return CallTold(call.identity, call.state, orders, list(self._calls.names_of(call)))

    # ── hearing ────────────────────────────────────────────────────────────────────────────────────────────────────

    def hear(self, octets: bytes) -> None:
        """Another worker has said something."""
        match decode(octets):
            case CallTold() as told:
                self._take(told)
            case Spent(number, packets):
                trace = self._traces.find(number)
                if trace is not None:
                    trace.spend(packets)
            case Asked(worker, token):
                for call in self._calls:
                    self.bus.tell(worker, encode(self._told(call)))
                self.bus.tell(worker, encode(Answered(self._worker, token)))
            case Answered(worker, token):
                if token == self._token:
                    self._answered.add(worker)
                    self._came.set()
            case Finished(worker):
                self._finished.add(worker)
                self._came.set()

    def _take(self, told: CallTold) -> None:
        if not self._join(told):
            return
        if len(self._early) < MOST_EARLY:
            self._early.append((self._clock() + EARLY, told))
        else:
            self.bus.untold["too many wait for a trace"] += 1

    def _join(self, told: CallTold) -> bool:
        """Know the call as far as its traces are known. True when one of them is not known here (yet)."""
        orders: dict[Order, Begun] = {}
        for order in told.orders:
            trace = self._traces.find(order.trace)
            if trace is not None:
                known = Order(trace, order.types, order.side, _text(order.attrs), order.correlation_id)
                orders[known] = order.begun
        if orders:
            self._calls.join(told.identity, told.state, orders, told.names)
        return len(orders) < len(told.orders)

    def look_again(self) -> None:
        """Traces were started or configured anew: there may be one that calls have waited for."""
        now = self._clock()
        self._early = deque((until, told) for until, told in self._early if until > now and self._join(told))

    # ── beginning and end ──────────────────────────────────────────────────────────────────────────────────────────

    async def catch_up(self) -> None:
        """Learn all calls from the others, after a start in the middle."""
        self.bus.tell_all(encode(Asked(self._worker, self._token)))
        await self._wait(lambda: self._answered, "answer: its traced calls may be missed")

    async def finish(self) -> None:
        """The last packet has been read: wait until that is so everywhere."""
        self.bus.tell_all(encode(Finished(self._worker)))
        await self._wait(lambda: self._finished, "finish: what it reads now may be missed in traces")

    async def _wait(self, who: Callable[[], Iterable[int]], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not self.bus.others <= set(who()):
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            late = sorted(self.bus.others - set(who()))
            self.bus.untold["worker does not answer"] += len(late)
            log.warning(f"another worker does not {what}", workers=late, waited=PATIENCE)


def _octets(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8", "surrogateescape")


def _text(octets: bytes | None) -> str | None:
    return None if octets is None else octets.decode("utf-8", "surrogateescape")
