"""Testing a route: build packets, run the route file over them, see what it did with each. For people who write routes.

    from hepswitch.testing import RouteTest, invite

    def test_calls_go_to_homer():
        route = RouteTest("route.py", destinations=["homer"], stores=["lake"])
        assert route.run(invite()).relayed_to == ["homer"]

The route runs in the real flow with the real tracer; only the destinations, stores and targets of traces are stand-ins that
write down what they get. Not here: far
ends, queues and spools, and what `on_error` does with a packet whose route raised.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hepswitch import books, config, state
from hepswitch.means import Means
from hepswitch.routes import HepRoute, Routes, SipRoute, load_routes
from hepswitch.routing import script
from hepswitch.routing.flow import Flow
from hepswitch.routing.packet import Context, Message, Packet
from hepswitch.state.registry import refresh
from hepswitch.tracing.marks import Mark
from hepswitch.tracing.table import CallTable
from hepswitch.tracing.targets import Target, Targets
from hepswitch.tracing.tracer import Tracer
from hepswitch.tracing.traces import Trace, TracerTable, Traces
from hepswitch.wire.batch import Batch
from hepswitch.wire.hep import Hep

__all__ = ["Outcome", "Relayed", "RouteTest", "Stored", "Traced", "hep_packet", "invite", "rtcp", "sip"]

ADDRESSES: Mapping[str, Any] = {"src_ip": "192.0.2.1", "dst_ip": "192.0.2.2", "src_port": 5060, "dst_port": 5060}
CAPTURED = 1_700_000_000.25
"""When packets built here were captured, seconds since 1970: 2023-11-14 22:13:20 UTC, so that names of tables are known."""

PHRASES = {100: "Trying", 180: "Ringing", 183: "Session Progress", 200: "OK", 404: "Not Found", 486: "Busy Here",
           487: "Request Terminated", 503: "Service Unavailable"}  # fmt: skip

Mode = Literal["sip", "script"]


# ── packets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def hep_packet(payload: bytes | str = b"", **chunks: Any) -> Hep:
    """A HEP packet with any chunks by name, `version` and `time` among them; whatever is not given has a usual value."""
    return Hep.new(payload, **{**ADDRESSES, "time": CAPTURED, "captagent_id": 2001, **chunks})


def sip(
    start: str | int,
    *,
    call_id: str = "c1",
    from_user: str = "alice",
    to_user: str = "bob",
    domain: str = "example.com",
    from_tag: str = "a",
    to_tag: str | None = None,
    cseq: int = 1,
    cseq_method: str | None = None,
    headers: Mapping[str, str] | None = None,
    body: str | bytes = b"",
    **chunks: Any,
) -> Hep:
    """A captured SIP message: `sip("BYE")` a request, `sip(486)` a reply (to an INVITE unless `cseq_method` says else).

    `headers` are put in, or instead of the message's own of the same name. A body is SDP unless Content-Type says else.
    `chunks` are those of the HEP packet around it.
    """
    octets = body.encode() if isinstance(body, str) else body
    if isinstance(start, int):
        first, method = f"SIP/2.0 {start} {PHRASES.get(start, 'Reply')}", cseq_method or "INVITE"
    else:
        first, method = f"{start} sip:{to_user}@{domain} SIP/2.0", cseq_method or start
    lines = {
        "Via": "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1",
        "From": f"<sip:{from_user}@{domain}>;tag={from_tag}",
        "To": f"<sip:{to_user}@{domain}>" + (f";tag={to_tag}" if to_tag else ""),
        "Call-ID": call_id,
        "CSeq": f"{cseq} {method}",
        **({"Content-Type": "application/sdp"} if octets else {}),
        **(headers or {}),
        "Content-Length": str(len(octets)),
    }
    head = "\r\n".join([first, *(f"{name}: {value}" for name, value in lines.items()), "", ""])
    return hep_packet(head.encode("utf-8", "surrogateescape") + octets, **{"proto_type": 1, **chunks})


def invite(**options: Any) -> Hep:
    """A captured INVITE that begins a call; options as for `sip`."""
    return sip("INVITE", **options)


def rtcp(correlation_id: str = "c1", *, lost: int = 0, jitter: int = 0, **chunks: Any) -> Hep:
    """A captured RTCP receiver report of the call `correlation_id`, as JSON, the way agents send it.

    `lost` is in packets, `jitter` in units of the RTP clock.
    """
    block = {"source_ssrc": 4711, "fraction_lost": 0, "packets_lost": lost, "highest_seq_no": 1000, "ia_jitter": jitter,
             "lsr": 0, "dlsr": 0}  # fmt: skip
    report = {"type": 201, "ssrc": 815, "report_count": 1, "report_blocks": [block]}
    return hep_packet(json.dumps(report), **{"proto_type": 5, "correlation_id": correlation_id.encode(), **chunks})


# ── what a route did ─────────────────────────────────────────────────────────────────────────────────────────────────


class Relayed(NamedTuple):
    """A packet as a destination got it."""

    name: str
    hep: Hep


class Stored(NamedTuple):
    """A packet as a store got it; `options` are those of `store()` and `report()` that were given."""

    name: str
    hep: Hep
    options: dict[str, Any]


class Traced(NamedTuple):
    """A packet as the destinations of a trace got it; `attrs` is what the trace said about it."""

    id: str
    hep: Hep
    attrs: str | None


@dataclass
class Outcome:
    """What became of one packet."""

    relayed: list[Relayed] = field(default_factory=list)
    stored: list[Stored] = field(default_factory=list)
    traced: list[Traced] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Destinations and stores that were asked and did not take it, by name."""
    dropped: str | None = None
    """The reason of `drop()`."""
    resumed: bool = False
    """The SIP route ran."""
    unrouted: bool = False
    """Neither taken by anybody nor dropped by name."""
    error: BaseException | None = None
    """What the route raised."""
    tags: set[str] = field(default_factory=set)

    @property
    def relayed_to(self) -> list[str]:
        """The names of the destinations that took it, in order."""
        return [relayed.name for relayed in self.relayed]

    @property
    def stored_in(self) -> list[str]:
        """The names of the stores that took it, in order."""
        return [stored.name for stored in self.stored]

    @property
    def traced_by(self) -> list[str]:
        """The ids of the traces that the packet went to, in order."""
        return [traced.id for traced in self.traced]

    def __repr__(self) -> str:
        """In words, without what did not happen."""
        said = [f"relayed to {one.name}" for one in self.relayed]
        said += [f"stored in {one.name}" + (f" {one.options}" if one.options else "") for one in self.stored]
        said += [f"traced by {one.id}" for one in self.traced]
        said += [f"refused by {name}" for name in self.refused]
        said += [f"dropped: {self.dropped}"] if self.dropped is not None else []
        said += ["unrouted"] if self.unrouted else []
        said += [f"raised {self.error!r}"] if self.error is not None else []
        said += [f"tagged {', '.join(sorted(self.tags))}"] if self.tags else []
        return f"<Outcome: {'; '.join(said)}>"


@dataclass
class _StandIn:
    """A destination or store: what the flow sees of an outlet is `offer`."""

    name: str
    refusing: set[str]
    outcome: Outcome

    def offer(self, packet: Hep, **options: Any) -> bool:
        if self.name in self.refusing:
            self.outcome.refused.append(self.name)
            return False
        self.take(packet.copy(), {key: value for key, value in options.items() if value is not None})
        return True

    def take(self, hep: Hep, options: dict[str, Any]) -> None:
        raise NotImplementedError


@dataclass
class _Destination(_StandIn):
    treat: Callable[[Hep], Hep | str] | None = None

    def offer(self, packet: Hep, **options: Any) -> bool:
        own = packet if self.treat is None else self.treat(packet)
        if isinstance(own, str):
            self.outcome.refused.append(f"{self.name} ({own})")
            return False
        return super().offer(own, **options)

    def take(self, hep: Hep, options: dict[str, Any]) -> None:
        self.outcome.relayed.append(Relayed(self.name, hep))


class _Store(_StandIn):
    def take(self, hep: Hep, options: dict[str, Any]) -> None:
        self.outcome.stored.append(Stored(self.name, hep, options))


class _TraceTarget(Target):
    """What a trace sends to: one for each, so that each is seen."""

    def __init__(self, id: str) -> None:
        super().__init__(id, lambda: None, lambda *_: True)
        self.outcome = Outcome()

    def give(self, packet: Packet, mark: Mark) -> bool:
        self.outcome.traced.append(Traced(self.name, packet.copy(), mark.order.attrs))
        return True


class RouteTest:
    """A route file with stand-ins for the `destinations` and `stores` of these names; the first store is the default one.
    `traces` are ids of traces; traced calls live on from one packet to the next.

    `refusing` names those that take nothing, as when they are full or away; it may be changed between two packets. Each
    RouteTest has its own `state` (tables, counters, lists); `clock` (monotonic seconds) lets a test pass the time of tables.
    `mode` is that of `[hep_route]`; unless given, "script" when the file has a HEP route. ScriptError says what is
    wrong with the file.
    """

    def __init__(
        self,
        path: str | Path,
        destinations: Iterable[str] = (),
        stores: Iterable[str] = (),
        refusing: Iterable[str] = (),
        mode: Mode | None = None,
        clock: Callable[[], float] = time.monotonic,
        traces: Iterable[str] = (),
    ) -> None:
        file, names = Path(path), (tuple(destinations), tuple(stores))
        ids = tuple(traces)

        def load() -> Routes:
            loaded = script.load(file, *names, ids)
            return Routes(None if mode == "sip" else loaded.hep_route, loaded.sip_route, None, loaded.policies)

        tracer = _tracer(ids, TracerTable(), clock)
        self._prepare(load, *names, refusing, state.State(clock), {}, {}, tracer)

    @classmethod
    def from_config(
        cls, path: str | Path, refusing: Iterable[str] = (), clock: Callable[[], float] = time.monotonic
    ) -> RouteTest:
        """The rules, script and mode of a configuration file, with its lists, masks and treatments, and stand-ins for its
        destinations and stores. Raises ConfigError, ScriptError, ListError.
        """
        return cls.of(config.load(Path(path), environment={}), refusing, clock)

    @classmethod
    def of(
        cls, settings: config.Config, refusing: Iterable[str] = (), clock: Callable[[], float] = time.monotonic
    ) -> RouteTest:
        """The same for a configuration that is read already."""
        own = state.State(clock)
        means = Means(settings, own)
        test = cls.__new__(cls)
        test._prepare(
            lambda: load_routes(settings, means.lists),
            tuple(settings.destinations),
            tuple(settings.stores),
            refusing,
            own,
            means.masks,
            {name: treat for name in settings.destinations if (treat := means.treat(name)) is not None},
            _tracer(settings.traces, settings.tracer, clock),
        )
        return test

    def _prepare(
        self,
        load: Callable[[], Routes],
        destinations: tuple[str, ...],
        stores: tuple[str, ...],
        refusing: Iterable[str],
        own: state.State,
        masks: Mapping[str, Callable[[Hep], object]],
        treats: Mapping[str, Callable[[Hep], Hep | str]],
        tracer: Tracer,
    ) -> None:
        self._tracer = tracer
        self.refusing = set(refusing)
        self.state = own
        self._load = load
        self._destinations, self._stores, self._masks, self._treats = destinations, stores, dict(masks), treats
        if unknown := self.refusing - {*destinations, *stores}:
            raise ValueError(f"refusing names {', '.join(sorted(unknown))}, which is no destination and no store")
        self.reload()

    def reload(self) -> None:
        """Load the file and changed lists again, as SIGHUP does; `state` stays. ScriptError leaves the old routes."""
        refresh(self.state.lists())
        with state.using(self.state):
            self.routes = self._load()

    def value(self, name: str, **labels: object) -> float:
        """What the script's counter or gauge `name` stands at."""
        return self.state.value(name, **labels)

    def run(
        self,
        packet: Hep | bytes,
        received: tuple[str, int] = ("192.0.2.9", 4000),
        listener: str = "udp://0.0.0.0:9060",
    ) -> Outcome:
        """Send one packet through the route, as `received` from this address and port on this listener.

        WireError when bytes are no HEP packet: no route would see them.
        """
        outcome, routed = Outcome(), books.Routed()
        for trace in self._tracer.traces.configured.values():
            for target in trace.targets:
                assert isinstance(target, _TraceTarget)
                target.outcome = outcome
        self._tracer.sweep()

        def raised(_: Packet, error: BaseException) -> None:
            outcome.error = error

        flow = Flow(self._context(outcome, routed), raised, *self._watched(outcome))
        octets = bytes(packet)
        Hep(octets)  # or WireError
        with state.using(self.state):
            flow(Batch.of([octets], books.Listener(listener), received))
        outcome.dropped = next(iter(routed.dropped), None)
        outcome.unrouted = bool(routed.unrouted) and outcome.error is None
        return outcome

    def _context(self, outcome: Outcome, routed: books.Routed) -> Context:
        destinations = {
            name: _Destination(name, self.refusing, outcome, self._treats.get(name)) for name in self._destinations
        }
        stores = {name: _Store(name, self.refusing, outcome) for name in self._stores}
        return Context(destinations, stores, next(iter(stores.values()), None), routed, self._masks, self._tracer)

    def _watched(self, outcome: Outcome) -> tuple[HepRoute | None, SipRoute | None]:
        """The routes, with an eye on them."""
        hep, sip = self.routes.hep, self.routes.sip

        def hep_route(packet: Packet) -> None:
            assert hep is not None
            try:
                hep(packet)
            finally:
                outcome.tags.update(packet.tags)

        def sip_route(message: Message) -> None:
            assert sip is not None
            outcome.resumed = True
            try:
                sip(message)
            finally:
                outcome.tags.update(message.hep.tags)

        return hep_route if hep is not None else None, sip_route if sip is not None else None


def _tracer(ids: Iterable[str], settings: TracerTable, clock: Callable[[], float]) -> Tracer:
    """A tracer for traces of these ids."""
    traces = Traces(Targets({}, {}, None, 0, 0.0))
    traces.configured.update({id: Trace(id, [_TraceTarget(id)]) for id in ids})
    calls = CallTable(settings.calls, settings.max_age, settings.leg_headers)
    return Tracer(traces, calls, on=settings.on, clock=clock)
