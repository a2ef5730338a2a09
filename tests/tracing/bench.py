"""A tracer in a real flow, between a route and stores that write down what they get. Time passes when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

from hepswitch import books
from hepswitch.routing.flow import Flow
from hepswitch.routing.packet import Context
from hepswitch.testing import sip
from hepswitch.tracing.dynamic import TraceStart
from hepswitch.tracing.table import CallTable
from hepswitch.tracing.targets import Targets
from hepswitch.tracing.tracer import Tracer
from hepswitch.tracing.traces import Traces, TraceTable
from hepswitch.wire.batch import Batch
from hepswitch.wire.hep import Hep


class Got(NamedTuple):
    """A packet as an outlet got it, and what was said with it."""

    hep: Hep
    said: dict[str, Any]

    @property
    def line(self) -> str:
        """The start line, or the payload."""
        return (self.hep.payload or b"").partition(b"\r\n")[0].decode()


class Outlet:
    """A store or destination that takes all or nothing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.takes = True
        self.got: list[Got] = []

    def offer(self, packet: Hep, **said: Any) -> bool:
        if self.takes:
            self.got.append(Got(packet.copy(), {key: value for key, value in said.items() if value is not None}))
        return self.takes

    @property
    def lines(self) -> list[str]:
        return [got.line for got in self.got]


class Bench:
    """`traces`: trace id → names of outlets, which are stores; `homer` is a HEP destination."""

    def __init__(
        self, traces: Mapping[str, list[str]], hep_route: Any = None, sip_route: Any = None, **table: Any
    ) -> None:
        names = {name for to in traces.values() for name in to} | {"lake"}
        self.stores = {name: Outlet(name) for name in names - {"homer"}}
        self.homer = Outlet("homer")
        self.now = 1000.0
        self.errors: list[BaseException] = []
        self.routed = books.Routed()
        self.listener = books.Listener("udp://127.0.0.1:9060")
        self.traces = Traces(Targets({"homer": self.homer}, self.stores, None, 0, 0.0))
        self.table = CallTable(**{"most": 100, "max_age": 3600.0} | table)
        self.tracer = Tracer(self.traces, self.table, clock=lambda: self.now)
        tables = {
            name: TraceTable(to=[f"destination:{n}" if n == "homer" else f"store:{n}" for n in to])
            for name, to in traces.items()
        }
        self.traces.change(asyncio.run(self.traces.prepare(tables)))
        self.masks: dict[str, Any] = {}
        self.context = context = Context({"homer": self.homer}, self.stores, None, self.routed, self.masks, self.tracer)
        route = hep_route or (None if sip_route else lambda hep: None)
        self.flow = Flow(context, lambda _, error: self.errors.append(error), route, sip_route)

    def run(self, *packets: Hep) -> None:
        self.flow(Batch.of([bytes(packet) for packet in packets], self.listener, ("192.0.2.9", 4000)))
        assert not self.errors

    def start(self, id: str = "t1", to: str = "store:lake", **wanted: Any) -> None:
        asyncio.run(self.traces.start(TraceStart(id, [to], **wanted), {}))
        self.tracer.changed()

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds
        self.tracer.sweep()

    def __getitem__(self, name: str) -> Outlet:
        return self.stores[name]


CALLER, PROXY, CALLEE = "192.0.2.1", "192.0.2.2", "192.0.2.3"


def hop(packet: str | int, src: str = CALLER, dst: str = PROXY, branch: str = "z9hG4bK1", **options: Any) -> Hep:
    """A message between two hosts, on the hop with this branch."""
    headers = {"Via": f"SIP/2.0/UDP {src}:5060;branch={branch}", **options.pop("headers", {})}
    return sip(packet, src_ip=src, dst_ip=dst, headers=headers, **options)
