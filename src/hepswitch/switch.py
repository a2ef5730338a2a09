"""The switch: joins sources, route and outlets. The flow of one worker on one screen.

    socket → source → Batch → Flow → route → outlet → far end

Not here: processes (`supervisor`, `worker`), HTTP (`control`), and anything about one kind of source or destination.
"""

from __future__ import annotations

import asyncio
import functools
import mmap
import socket
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import structlog

from hepswitch import books, logs, state
from hepswitch.config import Config
from hepswitch.destinations.hep import HepDestination, HepOutlet
from hepswitch.destinations.hep_node import HepNode
from hepswitch.destinations.outlet import open_all
from hepswitch.destinations.sets import Sets
from hepswitch.filters.python import compile_value
from hepswitch.means import Means
from hepswitch.metering.meter import Meter
from hepswitch.net.resolve import Resolver
from hepswitch.net.sockets import descriptors_beside
from hepswitch.routes import Routes, check_policies, load_routes
from hepswitch.routing import script
from hepswitch.routing.flow import Flow
from hepswitch.routing.gate import Gate
from hepswitch.routing.guards import NUMBERED, build_gate
from hepswitch.routing.packet import CAPTURE_OFF, Context, Packet
from hepswitch.routing.receipts import Receipts, shared_memory
from hepswitch.routing.replays import Replays
from hepswitch.sources.inlet import MAX_CONNECTIONS, Inlet, Patient, Places, Source
from hepswitch.sources.ways import WAYS
from hepswitch.state.watch import ListWatch
from hepswitch.tracing.bus import Bus
from hepswitch.tracing.dynamic import TraceStart
from hepswitch.tracing.sharing import Sharing
from hepswitch.tracing.table import CallTable
from hepswitch.tracing.taps import Taps, Watching
from hepswitch.tracing.targets import Targets
from hepswitch.tracing.tracer import Tracer
from hepswitch.tracing.traces import Traces
from hepswitch.units import Endpoint

log = structlog.get_logger("hepswitch.switch")

LOG_EVERY = 10.0
"""Seconds between two log lines about the same line of a route and kind of error."""

SWEEP = 1.0
"""Seconds between two looks for traces, traced calls and measured ones that are over."""

RESERVE, OUTLET_RESERVE = 128, 8
"""Descriptors kept from connections: for the process and its route script, and for each node and store."""

RELOADED = ("hep_route", "destinations", "rule", "lists", "masks", "access", "limits", "traces", "tracer", "metrics")
"""Keys of the configuration that a running switch takes over (of `metrics` the targets); the others need a restart."""


class Switch:
    """One worker's flow. `sockets` are bound already: those of each of `config.endpoints`; `memory` (of
    `config.shared_room` bytes) is what the workers share, and `bus` is how they talk; None: there is but one."""

    def __init__(
        self,
        config: Config,
        sockets: list[list[socket.socket]],
        worker: int,
        memory: mmap.mmap | None = None,
        bus: Bus | None = None,
    ) -> None:
        self.config = config
        self.routed = books.Routed()
        self._worker = worker
        self._memory = memoryview(bytearray(config.shared_room) if memory is None else memory)
        self._resolver = Resolver(config.dns.servers, config.dns.timeout)
        self._lists = ListWatch(state.current())
        self._means = Means(config, state.current())
        self.sets = Sets(config.destinations, functools.partial(self._destination, config, self._means), config.drain)
        self.stores = {name: table.build(name, worker, config.spool_dir) for name, table in config.stores.items()}
        self._outlets: list[Any] = []
        self._replays: Replays | None = None
        self._receipts: Receipts | None = None
        if any(endpoint.scheme in NUMBERED for endpoint in config.endpoints):
            self._replays = Replays(shared_memory(config.spool_dir), worker)
            self._receipts = Receipts(self._replays, config.spool_dir, worker, self.stores, self._promises)
        default = next(iter(self.stores.values()), None)
        targets = Targets(
            self.sets.outlets, self.stores, self._resolver, config.switch_id, config.drain, self._outlets_changed
        )
        self.traces = Traces(targets)
        settings = config.tracer
        shared = bus is not None
        calls = CallTable(settings.calls, settings.max_age, settings.leg_headers, worker=worker, shared=shared)
        self.tracer = Tracer(self.traces, calls, on=settings.on)
        self._bus = bus
        if bus is not None:
            self.tracer.share(Sharing(worker, bus, self.traces, calls), settings.look_back)
        self.context = Context(self.sets.outlets, self.stores, default, self.routed, self._means.masks, self.tracer)
        self.taps = Taps(self.context)
        self.flow = Flow(self.context, self._route_raised)
        self.meter = self.flow.meter = self._meter()
        self._rule_hits = Counter[str]()
        self._routes = Routes()
        self._take(load_routes(config, self._means.lists))
        self._bound = [
            (WAYS[endpoint.scheme].name(endpoint, own), endpoint, own)
            for endpoint, own in zip(config.endpoints, sockets, strict=True)
        ]
        self.gate: Gate | None = None
        self._guarded: books.Snapshot = {}
        self._guard(self._gate(config))
        self._places = _places(config)
        self.listeners: list[books.Listener] = []
        self._sources: list[Source] = []
        for name, endpoint, own in self._bound:
            self._add_source(name, endpoint, own)
        self._paused = False
        self._throttle = logs.Throttle(LOG_EVERY)

    def _destination(self, config: Config, means: Means, name: str, table: HepDestination) -> HepOutlet:
        return HepOutlet(
            name,
            table,
            _spool_dirs(config, name, self._worker),
            value_of=compile_value,
            switch_id=config.switch_id,
            treat=means.treat(name),
            resolver=self._resolver,
        )

    def _meter(self) -> Meter:
        table = self.config.metrics
        calls = self._memory[self.config.duplicates.room :] if table.sip else None
        meter = Meter(table.agents, table.nodes, calls)
        meter.tell_apart(meter.prepare(table.targets))
        return meter

    def _gate(self, config: Config) -> Gate | None:
        return build_gate(
            config.access,
            config.limits,
            config.duplicates,
            {name: endpoint for name, endpoint, _ in self._bound},
            workers=config.workers,
            switch_id=config.switch_id,
            memory=self._memory[: self.config.duplicates.room],
            replays=self._replays,
        )

    def _guard(self, gate: Gate | None) -> None:
        """Let in what `gate` lets in, from now on."""
        if self.gate is not None:
            self._guarded = books.add(self._guarded, self.gate.account())
        self.gate = self.flow.gate = gate

    def _allowed(self, listener: str, ip: str) -> bool:
        """May `ip` connect to a listener?"""
        door = self.gate.access.get(listener) if self.gate is not None else None
        return door is None or door.permits(ip)

    def _add_source(self, name: str, endpoint: Endpoint, sockets: list[socket.socket]) -> None:
        way = WAYS[endpoint.scheme]
        inlet = Inlet(
            endpoint=endpoint,
            sockets=sockets,
            listener=books.Listener(name, keyless=way.KEYLESS),
            flow=self.flow,
            after=self.flush,
            written=self.written,
            allowed=functools.partial(self._allowed, name),
            places=self._places,
            worker=self._worker,
            reader=len(self.listeners) % self.config.workers,
            folder=self.config.spool_dir,
            **({} if self._receipts is None else {"receipt": self._receipts.ask}),
        )
        self.listeners.append(inlet.listener)
        self._sources.append(way.source(inlet))

    # ── the route ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _take(self, routes: Routes) -> None:
        """Route by `routes` from now on."""
        if self._routes.rules is not None and routes is not self._routes:
            self._rule_hits.update(self._routes.rules.hits)
        self._routes = routes
        self.flow.hep_route, self.flow.sip_route = routes.hep, routes.sip
        for name, table in self.sets.tables.items():
            self.sets.outlets[name].set_policy(routes.policies.get(table.policy.removeprefix("script:")))

    def _route_raised(self, packet: Packet, error: BaseException) -> None:
        """The route raised: count, log, and do with the packet what `on_error` says."""
        self.routed.errors += 1
        path = self.config.hep_route.script or Path("route")
        unsaid = self._throttle.due(script.place(path, error))
        if unsaid is not None:
            log.error(
                "route raised",
                where=script.where(path, error),
                errors=self.routed.errors,
                not_logged=unsaid,
                on_error=self.config.hep_route.on_error,
            )
        if self.config.hep_route.on_error == "drop":
            packet.drop("route error")
        elif not packet.stored and self.context.default_store is not None:
            packet.store()

    # ── life ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def open(self, *, again: bool = False) -> None:
        """Open the outlets. `again`: this worker replaces one that died, and packets matter more than targets of traces."""
        self._outlets_changed()
        await open_all(self._outlets)
        if self._receipts is not None:
            self._receipts.open()
        self.traces.change(await self.traces.prepare(self.config.traces, whatever=again))
        self.tracer.changed()
        if self._bus is not None:
            self._bus.listen(asyncio.get_running_loop(), self.tracer.hear, self.flush)

    async def start(self) -> None:
        """Listen."""
        self._lists.start()
        loop = asyncio.get_running_loop()
        self._sweeping = loop.create_task(self._sweep())
        for source in self._sources:
            await source.start(loop)

    async def stop(self) -> None:
        """Stop listening, take what has arrived already, and let the outlets drain for the configured time."""
        await self._lists.stop()
        self._sweeping.cancel()
        await asyncio.gather(*(source.stop() for source in self._sources))
        if self.tracer.sharing is not None and self._bus is not None:
            await self.tracer.sharing.finish()
            self._bus.close()
        self.flush()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.sets.close())
            group.create_task(self.traces.targets.close())
            for store in self.stores.values():
                group.create_task(store.close(self.config.drain))
        if self._receipts is not None:
            self._receipts.close()

    async def reload(self, config: Config, *, route: bool = True) -> None:
        """Go on with the keys RELOADED of `config`, while packets flow. `route`: load the route file, look at the lists.

        Raises ScriptError, ListError, OSError or ValueError; what was wrong is not taken over.
        """
        means = Means(config, state.current(), self._means)
        if route:
            self._lists.look()
            routes = load_routes(config, means.lists)
        else:
            routes = self._routes
            check_policies(config, routes.policies)
        guarded = (config.access, config.limits) != (self.config.access, self.config.limits)
        gate = self._gate(config) if guarded else self.gate
        targets = self.meter.prepare(config.metrics.targets)
        traces = await self.traces.prepare(config.traces)
        try:
            plan = await self.sets.prepare(config.destinations, functools.partial(self._destination, config, means))
        except BaseException:
            self.traces.abandon(traces)
            raise
        # All is at hand. From here on nothing waits: no packet meets some of the old and some of the new.
        self.sets.change(plan)
        for name, outlet in self.sets.outlets.items():
            outlet.treat = means.treat(name)
        self.context.masks.clear()
        self.context.masks.update(means.masks)
        if guarded:
            self._guard(gate)
        self.meter.tell_apart(targets)
        self.traces.change(traces)
        self.traces.relist(means.lists)
        self.taps.relist(means.lists)
        self.tracer.configure(config.tracer, self.config.tracer)
        self.config, self._means = config, means
        self._take(routes)
        self._outlets_changed()

    def _outlets_changed(self) -> None:
        waited_for: list[Any] = [*self.sets.outlets.values(), *self.stores.values()]
        for outlet in waited_for:
            outlet.on_pressure = self._pressure
        self._outlets = [*waited_for, *self.traces.targets.outlets]
        self._pressure()

    async def _sweep(self) -> None:
        """End what has been traced for long enough, and what is measured and over."""
        while True:
            await asyncio.sleep(SWEEP)
            self.tracer.sweep()
            self.meter.sweep(self._worker, self.config.workers)

    async def start_trace(self, start: TraceStart, number: int) -> None:
        """Start a dynamic trace, which all workers know by `number`. Raises ValueError or OSError saying why not."""
        await self.traces.start(start, self._means.lists, number)
        self.tracer.changed()

    def stop_trace(self, id: str) -> None:
        """Stop the dynamic traces of this id, if there are any left."""
        self.traces.stop(id)
        self.tracer.changed()

    def set_tracing(self, on: bool, id: str | None) -> None:
        """Switch all traces of the file on or off, or one of them. Raises LookupError."""
        if id is None:
            self.tracer.on = on
        else:
            self.traces.switch(id, on)
        self.tracer.changed()

    def watch(self, watching: Watching) -> None:
        """Somebody watches. Raises ValueError when the filter is none."""
        self.taps.watch(watching, self._means.lists)

    def flush(self) -> None:
        """After the batches of one wake-up: outlets hand on what they hold."""
        for outlet in self._outlets:
            outlet.flush()
        if self._receipts is not None:
            self._receipts.note()

    def _promises(self) -> list[tuple[HepNode, int]]:
        return [promise for outlet in self.sets.outlets.values() for promise in outlet.promises()]

    def written(self) -> Awaitable[bool]:
        """Waits until all that the stores took so far is written (`Inlet`)."""
        return _all_true([waits for store in self.stores.values() if (waits := store.written()) is not None])

    def _pressure(self) -> None:
        """An outlet became full or has room again: streams stop or go on reading. Datagrams cannot wait.

        A destination is full only while its far end reads (`HepOutlet`). Of the stores the default one alone is waited
        for: what another one cannot write must not hold up everything else.
        """
        default = self.context.default_store
        full = any(outlet.full for outlet in self.sets.outlets.values()) or (default is not None and default.full)
        if full == self._paused:
            return
        self._paused = full
        for source in self._sources:
            if isinstance(source, Patient):
                source.pause() if full else source.resume()

    # ── the books ──────────────────────────────────────────────────────────────────────────────────────────────────

    def snapshot(self) -> books.Snapshot:
        """This worker's books, as they are between two batches."""
        return {
            "received": {listener.url: listener.snapshot() for listener in self.listeners},
            "routed": self.routed.snapshot(),
            "destinations": self.sets.account() | self.traces.targets.account(),
            "stores": {name: self._store_row(name) for name in self.stores},
            "traces": self.traces.account(),
            "tracer": self.tracer.account(),
            "rules": dict(self._rule_hits + Counter(self._routes.rules.hits if self._routes.rules else {})),
            "script": state.snapshot(),
            "guards": books.add(self._guarded, self.gate.account() if self.gate is not None else {}),
            "meter": self.meter.snapshot(),
        }

    def _store_row(self, name: str) -> books.Snapshot:
        row = self.stores[name].account()
        if held := self.context.held[name]:
            row["refused"] = books.add(row["refused"], {CAPTURE_OFF: held})
        return row


async def _all_true(futures: list[asyncio.Future[bool]]) -> bool:
    if futures:
        await asyncio.wait(futures)
    return all(future.result() for future in futures)


def _places(config: Config) -> Places:
    """For connections of agents, so many that descriptors are left for what the outlets open and roll."""
    outlets = sum(len(table.urls) for table in config.destinations.values()) + len(config.stores)
    return Places(min(MAX_CONNECTIONS, descriptors_beside(RESERVE + OUTLET_RESERVE * outlets)))


def _spool_dirs(config: Config, name: str, worker: int) -> list[Path]:
    """This worker's spool of a destination first, then those left by workers that no longer exist."""
    root = config.spool_dir / name
    own = root / f"w{worker}"
    left = [
        path
        for path in sorted(root.glob("w*"))
        if path.name[1:].isdigit()
        and int(path.name[1:]) >= config.workers
        and int(path.name[1:]) % config.workers == worker
    ]
    return [own, *left]
