"""The traces of one worker, those of the file and dynamic ones, with their targets and what they have sent.

A trace that was stopped keeps its figures in the books; its own targets are closed when nobody else needs them. Not here:
which packets are traced (`tracer`), what a target is (`targets`).
"""

from __future__ import annotations

import time
from collections.abc import Container, Mapping
from typing import NamedTuple

import structlog
from pydantic import Field

from hepswitch.books import Snapshot, fold_oldest
from hepswitch.logs import words
from hepswitch.tables import Duration, Table
from hepswitch.tracing.dynamic import TraceStart, Watch
from hepswitch.tracing.marks import Order
from hepswitch.tracing.targets import Target, Targets, TargetText
from hepswitch.wire.sip import Sip

log = structlog.get_logger("hepswitch.tracing")

MOST_PAST = 1000
"""Ids of ended traces whose figures are kept apart in the books."""

OTHERS = "(earlier traces)"


class TraceTable(Table):
    """`[traces.NAME]`: where packets go that are traced under this id."""

    to: list[TargetText] = Field(
        min_length=1,
        max_length=16,
        description='Any mix of "store:NAME", "destination:NAME", "sip:HOST[:PORT][;transport=tcp]", '
        '"hep:HOST[:PORT][;transport=udp;version=3]", "file:PATH", "pcap:PATH", "syslog[:FACILITY[:LEVEL]]". '
        "Each gets one copy of a packet, however many traces lead there.",
    )
    on: bool = Field(True, description="Whether it is switched on at the start.")


class TracerTable(Table):
    """`[tracer]`: tracing as a whole."""

    on: bool = Field(
        True, description="The switch for all traces of the file at the start. Dynamic ones do not ask it."
    )
    calls: int = Field(
        10_000, ge=1, le=1_000_000, description="Transactions and dialogs traced at one time, for each worker."
    )
    max_age: Duration = Field(
        43_200.0, gt=0, description="How long an answered call may be silent when it has no session timer (RFC 4028)."
    )
    leg_headers: list[str] = Field(
        ["X-CID"],
        description="SIP headers that name another leg of a call, by its Call-ID or by a name of their own (scope b2b).",
    )
    look_back: Duration = Field(
        1.0,
        ge=0,
        le=60,
        description="With several workers: how long each keeps what it has read, because another one may be about to begin "
        "a trace that it belongs to. 0: not at all, and what was read too early is not traced.",
    )


class Trace:
    """A trace id. `watch`: what a dynamic one looks for; None for one of the file, which routes begin.

    `key` is what all workers know it by: the name of one of the file, the `number` of a dynamic one.
    """

    __slots__ = (
        "calls", "id", "key", "left", "on", "order", "packets", "refused", "replies", "requests", "targets", "until",
        "watch",
    )  # fmt: skip

    def __init__(
        self, id: str, targets: list[Target], *, on: bool = True, watch: Watch | None = None, number: int = 0
    ) -> None:
        self.id = id
        self.key: str | int = id if watch is None else number
        self.targets = targets
        self.on = on
        self.watch = watch
        self.packets = self.requests = self.replies = self.refused = self.calls = 0
        self.left: int | None = None
        self.until: float | None = None
        if watch is not None:
            start = watch.start
            self.left = start.packets
            self.until = None if start.seconds is None else time.time() + start.seconds
            identity = start.correlation_id
            octets = None if identity is None else identity.encode("utf-8", "surrogateescape")
            self.order = Order(self, watch.types, watch.side, start.attrs, octets)

    def count(self, sip: Sip | None) -> None:
        """A packet was handed to the targets."""
        self.packets += 1
        if sip is not None:
            if sip.is_request:
                self.requests += 1
            else:
                self.replies += 1
        self.spend(1)

    def spend(self, packets: int) -> None:
        """So many were sent of those that it may send, here or in another worker."""
        if self.left is not None:
            self.left -= packets
            if self.left <= 0:
                self.on = False

    def account(self) -> Snapshot:
        """The trace's row in the books. `calls`: transactions and dialogs begun; `refused`: copies that no target took."""
        return {
            "state": "on" if self.on else "off",
            "packets": self.packets,
            "requests": self.requests,
            "replies": self.replies,
            "calls": self.calls,
            "refused": self.refused,
        }


class Plan(NamedTuple):
    """The traces of the file as they are going to be, with their targets open."""

    tables: Mapping[str, TraceTable]
    targets: dict[str, list[Target]]


class Traces:
    """The traces of the file by id, always in the same dict `configured`, and the `dynamic` ones."""

    def __init__(self, targets: Targets) -> None:
        self.configured: dict[str, Trace] = {}
        self.dynamic: list[Trace] = []
        self.targets = targets
        self._tables: dict[str, TraceTable] = {}
        self._past: dict[str, Snapshot] = {}

    # ── those of the file ──────────────────────────────────────────────────────────────────────────────────────────

    async def prepare(self, tables: Mapping[str, TraceTable], *, whatever: bool = False) -> Plan:
        """Make the targets of `tables` ready. Raises OSError or ValueError: then nothing has changed.

        `whatever`: a target that cannot be had is left out, and logged.
        """
        plan = Plan(dict(tables), {})
        try:
            for name, table in tables.items():
                plan.targets[name] = []
                for text in table.to:
                    try:
                        plan.targets[name] += await self.targets.acquire([text])
                    except OSError as error:
                        if not whatever:
                            raise OSError(f"traces.{name}.to: {words(error)}") from error
                        log.error("trace goes on without a target", trace=name, error=words(error))
        except BaseException:
            self.abandon(plan)
            raise
        return plan

    def abandon(self, plan: Plan) -> None:
        """What was made ready is not wanted."""
        for targets in plan.targets.values():
            self.targets.release(targets)

    def change(self, plan: Plan) -> None:
        """The traces of the file as they were made ready, at once. One that stays goes on with its calls and its switch."""
        for name, targets in plan.targets.items():
            known = self.configured.get(name)
            if known is None:
                self.configured[name] = Trace(name, targets, on=plan.tables[name].on)
                continue
            self.targets.release(known.targets)
            known.targets = targets
            if plan.tables[name].on != self._tables[name].on:
                known.on = plan.tables[name].on
        for name in self._tables.keys() - plan.tables.keys():
            self._end(self.configured.pop(name))
        self._tables = dict(plan.tables)

    # ── dynamic ones ───────────────────────────────────────────────────────────────────────────────────────────────

    def find(self, key: str | int) -> Trace | None:
        """The trace that all workers know by this key, if it is there."""
        if isinstance(key, str):
            return self.configured.get(key)
        return next((trace for trace in self.dynamic if trace.key == key), None)

    async def start(self, start: TraceStart, lists: Mapping[str, Container[str]], number: int = 0) -> None:
        """Start a dynamic trace. Raises ValueError for words that mean nothing, OSError for a target that cannot be had.

        `number`: that of this start, the same in all workers.
        """
        watch = Watch(start, lists)
        self.targets.check(start.to)
        targets = await self.targets.acquire(start.to)
        self.dynamic.append(Trace(start.id, targets, watch=watch, number=number))
        log.info("trace started", trace=start.id, to=start.to, filter=start.condition, scope=watch.scope)

    def relist(self, lists: Mapping[str, Container[str]]) -> None:
        """The lists that conditions speak of have changed. One whose list is gone goes by the old one."""
        for trace in self.dynamic:
            assert trace.watch is not None
            try:
                trace.watch = Watch(trace.watch.start, lists)
            except ValueError as error:
                log.warning("condition of a trace stays as it was", trace=trace.id, error=str(error))

    def stop(self, id: str) -> int:
        """Stop the dynamic traces called `id`, at once; how many there were."""
        return self._end_those([trace for trace in self.dynamic if trace.id == id])

    def expire(self) -> None:
        """End the dynamic traces whose time is over, or that have sent what was asked for."""
        now = time.time()
        self._end_those([t for t in self.dynamic if not t.on or (t.until is not None and t.until <= now)])

    def _end_those(self, those: list[Trace]) -> int:
        for trace in those:
            self.dynamic.remove(trace)
            self._end(trace)
        return len(those)

    def _end(self, trace: Trace) -> None:
        trace.on = False
        self.targets.release(trace.targets)
        trace.targets = []
        self._put(self._past, trace)
        fold_oldest(self._past, MOST_PAST, OTHERS, _sum)
        log.info("trace ended", trace=trace.id, packets=trace.packets)

    # ── switches and books ─────────────────────────────────────────────────────────────────────────────────────────

    def switch(self, id: str, on: bool) -> None:
        """Switch a trace of the file on or off. LookupError when there is none of this id."""
        trace = self.configured.get(id)
        if trace is None:
            known = ", ".join(self.configured) or "there is none"
            raise LookupError(f"no trace of the configuration is named {id!r}: {known}")
        trace.on = on

    def account(self) -> dict[str, Snapshot]:
        """The row of every trace id that there is or was."""
        rows = dict(self._past)
        for trace in (*self.configured.values(), *self.dynamic):
            self._put(rows, trace)
        return rows

    @staticmethod
    def _put(rows: dict[str, Snapshot], trace: Trace) -> None:
        rows[trace.id] = _sum(rows.pop(trace.id, None), trace.account())


def _sum(before: Snapshot | None, row: Snapshot) -> Snapshot:
    """Figures add up; the state is that of the later one."""
    if before is None:
        return row
    return {key: value if isinstance(value, str) else before[key] + value for key, value in row.items()}
