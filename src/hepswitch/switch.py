"""The switch: joins sources, route and outlets. The flow of one worker on one screen.

    socket → source → Batch → Flow → route → outlet → far end

Not here: processes (`supervisor`, `worker`), HTTP (`control`), and anything about one kind of source or destination.
"""

from __future__ import annotations

import asyncio
import mmap
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from hepswitch import books, state
from hepswitch.config import Config
from hepswitch.destinations.hep import HepDestination, HepOutlet
from hepswitch.destinations.lake import LakeOutlet
from hepswitch.destinations.outlet import open_all
from hepswitch.destinations.sets import Sets
from hepswitch.net.resolve import Resolver
from hepswitch.net.tls import server_context
from hepswitch.routing import script
from hepswitch.routing.flow import Flow
from hepswitch.routing.guards import build_gate
from hepswitch.routing.packet import Context, Packet
from hepswitch.sources.hep_tcp import TcpSource
from hepswitch.sources.hep_udp import UdpSource
from hepswitch.state.watch import ListWatch
from hepswitch.units import Endpoint

log = structlog.get_logger("hepswitch.switch")

LOG_EVERY = 10.0
"""Seconds between two log lines about the same error of a route."""

RELOADED = ("hep_route", "destinations")
"""Keys of the configuration that a running switch takes over; the others need a restart."""

Route = Callable[..., Any]


class Switch:
    """One worker's flow. `sockets` are bound already, in the order of `config.endpoints`; `memory` (of
    `config.duplicates.room` bytes) is what the workers share."""

    def __init__(
        self, config: Config, sockets: list[socket.socket], worker: int, memory: mmap.mmap | None = None
    ) -> None:
        self.config = config
        self.routed = books.Routed()
        self._resolver = Resolver(config.dns.servers, config.dns.timeout)
        self._worker = worker
        self.sets = Sets(config.destinations, self._destination, config.drain)
        self.stores = {name: LakeOutlet(name, table, worker) for name, table in config.stores.items()}
        self._outlets: list[Any] = []
        self.context = Context(self.sets.outlets, self.stores, next(iter(self.stores.values()), None), self.routed)
        self.flow = Flow(self.context, self._route_raised)
        self._lists = ListWatch(state.current())
        self.flow.hep_route, self.flow.sip_route = self._routes(config)
        bound = [
            (_listener_name(endpoint, sock), endpoint, sock)
            for endpoint, sock in zip(config.endpoints, sockets, strict=True)
        ]
        names = {name: endpoint for name, endpoint, _ in bound}
        self.gate = self.flow.gate = build_gate(
            config.access, config.limits, config.duplicates, names, workers=config.workers, memory=memory
        )
        self.listeners: list[books.Listener] = []
        self._sources: list[UdpSource | TcpSource] = []
        for name, endpoint, sock in bound:
            self._add_source(books.Listener(name), endpoint, sock)
        self._paused = False
        self._logged: dict[str, float] = {}

    def _destination(self, name: str, table: HepDestination) -> HepOutlet:
        return HepOutlet(name, table, _spool_dirs(self.config, name, self._worker), resolver=self._resolver)

    def _add_source(self, listener: books.Listener, endpoint: Endpoint, sock: socket.socket) -> None:
        self.listeners.append(listener)
        if endpoint.scheme == "udp":
            self._sources.append(UdpSource(sock, listener, self.flow, after=self.flush))
        else:
            tls = server_context(endpoint) if endpoint.scheme == "tls" else None
            door = self.gate.access.get(listener.url) if self.gate is not None else None
            allowed = door.permits if door is not None else None
            self._sources.append(TcpSource(sock, listener, self.flow, after=self.flush, tls=tls, allowed=allowed))

    # ── the route ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _routes(self, config: Config) -> tuple[Route | None, Route | None]:
        """The HEP route and the SIP route that `config` asks for, loaded now. Raises ScriptError."""
        table = config.hep_route
        if table.script is None:
            return None, None
        loaded = script.load(table.script, config.destinations, self.stores)
        if table.mode == "script" and loaded.hep_route is None:
            raise script.ScriptError(f'{table.script}: mode = "script" needs a function marked @hep_route')
        if table.mode == "sip" and loaded.sip_route is None:
            raise script.ScriptError(f'{table.script}: mode = "sip" needs a function marked @sip_route')
        return loaded.hep_route if table.mode == "script" else None, loaded.sip_route

    def _route_raised(self, packet: Packet, error: Exception) -> None:
        """The route raised: count, log, and do with the packet what `on_error` says."""
        self.routed.errors += 1
        place = script.where(self.config.hep_route.script or Path("route"), error)
        now = asyncio.get_running_loop().time()
        if now - self._logged.get(place, -LOG_EVERY) >= LOG_EVERY:
            if len(self._logged) > 1000:
                self._logged.clear()
            self._logged[place] = now
            log.error(
                "route raised",
                where=place,
                errors=self.routed.errors,
                on_error=self.config.hep_route.on_error,
            )
        if self.config.hep_route.on_error == "drop":
            packet.drop("route error")
        elif not packet.stored and self.context.default_store is not None:
            packet.store()

    # ── life ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Open the outlets, then listen."""
        self._outlets_changed()
        await open_all(self._outlets)
        self._lists.start()
        loop = asyncio.get_running_loop()
        for source in self._sources:
            await source.start(loop)

    async def stop(self) -> None:
        """Stop listening, take what has arrived already, and let the outlets drain for the configured time."""
        await self._lists.stop()
        for source in self._sources:
            await source.stop()
        self.flush()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.sets.close())
            for store in self.stores.values():
                group.create_task(store.close(self.config.drain))

    async def reload(self, config: Config, *, route: bool = True) -> None:
        """Go on with the keys RELOADED of `config`, while packets flow. `route`: load the route file, look at the lists.

        Raises ScriptError, OSError or ValueError; what was wrong is not taken over.
        """
        if route:
            self._lists.look()
        routes = self._routes(config) if route else (self.flow.hep_route, self.flow.sip_route)
        await self.sets.reload(config.destinations)
        self.flow.hep_route, self.flow.sip_route = routes
        self.config = config
        self._outlets_changed()

    def _outlets_changed(self) -> None:
        self._outlets = [*self.sets.outlets.values(), *self.stores.values()]
        for outlet in self._outlets:
            outlet.on_pressure = self._pressure
        self._pressure()

    def flush(self) -> None:
        """After the batches of one wake-up: outlets hand on what they hold."""
        for outlet in self._outlets:
            outlet.flush()

    def _pressure(self) -> None:
        """An outlet became full or has room again: streams stop or go on reading. Datagrams cannot wait."""
        full = any(outlet.full for outlet in self._outlets)
        if full == self._paused:
            return
        self._paused = full
        for source in self._sources:
            if isinstance(source, TcpSource):
                source.pause() if full else source.resume()

    # ── the books ──────────────────────────────────────────────────────────────────────────────────────────────────

    def snapshot(self) -> books.Snapshot:
        """This worker's books, as they are between two batches."""
        return {
            "received": {listener.url: listener.snapshot() for listener in self.listeners},
            "routed": self.routed.snapshot(),
            "destinations": self.sets.account(),
            "stores": {name: outlet.account() for name, outlet in self.stores.items()},
            "traces": {},
            "script": state.snapshot(),
            "guards": self.gate.account() if self.gate is not None else {},
        }


def _listener_name(endpoint: Endpoint, sock: socket.socket) -> str:
    """What a listener is called in the books: with the port that it got."""
    return str(Endpoint(endpoint.scheme, endpoint.host, sock.getsockname()[1]))


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
