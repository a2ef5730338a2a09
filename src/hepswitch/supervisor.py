"""The supervisor: binds the sockets, starts workers and what tends the stores, restarts what died, and adds up the books.

It holds every listening socket, so a worker that dies loses no datagram that the kernel has queued. One worker or many:
the same code. Not here: the processes (`processes`), packets (`switch`), HTTP (`control.http`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Collection, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import structlog
from msgspec import structs

from hepswitch import __version__, books, logs
from hepswitch.config import Config, ConfigError, load, recheck
from hepswitch.control.agents import AgentList
from hepswitch.control.agents import merged as merged_agents
from hepswitch.control.dispatcher import Changes, checked, merged
from hepswitch.control.hints import hints
from hepswitch.control.http import Control
from hepswitch.control.live import Live
from hepswitch.control.observer import Observer
from hepswitch.control.protocol import ProcessInfo, Reloaded, Status
from hepswitch.control.refusal import RefusedError
from hepswitch.control.traces import TracesAtRunTime
from hepswitch.control.vitals import Vitals
from hepswitch.crew import Crew
from hepswitch.databases.gauge import Gauge
from hepswitch.destinations import figures
from hepswitch.destinations.figures import UPLOADS, UploaderFigures
from hepswitch.destinations.hep import FORGOTTEN_HINT
from hepswitch.destinations.loaded import LoadedStore, spool_of
from hepswitch.destinations.sets import NodeChange
from hepswitch.destinations.stores import searchable, uploading
from hepswitch.identity import switch_id
from hepswitch.logs import words
from hepswitch.net.sockets import raise_descriptor_limit
from hepswitch.processes import Attendant, BusEnds, Worker, attendants
from hepswitch.queries.library import Library
from hepswitch.sources.ways import WAYS
from hepswitch.switch import RELOADED
from hepswitch.tables import REVEALED
from hepswitch.tracing.bus import make_pairs
from hepswitch.tracing.dynamic import TraceStart
from hepswitch.tracing.taps import Found, Watching
from hepswitch.units import Endpoint

log = structlog.get_logger("hepswitch.supervisor")


class Supervisor:
    """The running switch: `await run()` returns when SIGINT or SIGTERM came and everything is drained.

    `path`: the file that `config` was read from, for a reload; None: there was none.
    """

    def __init__(self, config: Config, path: Path | None = None) -> None:
        self.config = _identified(config)
        self._path = path
        self._changes = Changes()
        self._traces = TracesAtRunTime(config.tracer.on)
        self._changing = asyncio.Lock()
        self._started = asyncio.Event()
        self.capturing = True
        self.live = Live(self)
        self.urls: list[str] = []
        self.control_url = ""
        self._clock = books.Clock()
        self._crew = Crew()
        self._attendants: list[Attendant] = []
        self._gauges = {
            name: Gauge(spool_of(config.spool_dir, name), store.spool)
            for name, store in config.stores.items()
            if isinstance(store, LoadedStore)
        }
        self._uploading = uploading(config.stores)
        self._stopping = asyncio.Event()
        self._sockets: list[list[list[socket.socket]]] = [[] for _ in range(config.workers)]
        self._observer = Observer(config, self.processes, [gauge.look for gauge in self._gauges.values()])

    def bind(self) -> None:
        """Bind every listener. Raises ConfigError naming all that cannot be had."""
        raise_descriptor_limit()  # the workers inherit it
        mistakes = []
        for endpoint in self.config.endpoints:
            try:
                self._bind(endpoint)
            except OSError as error:
                mistakes.append(words(error))
        if mistakes:
            raise ConfigError("\n".join(mistakes))

    def _bind(self, endpoint: Endpoint) -> None:
        way = WAYS[endpoint.scheme]
        shares = way.bind(endpoint, self.config.workers, self.config.receive_buffer)
        for of_worker, sockets in zip(self._sockets, shares, strict=True):
            of_worker.append(sockets)
        self.urls.append(way.name(endpoint, shares[0]))
        self._observer.bound(self.urls[-1], chain(*shares))

    async def run(self) -> None:
        """Serve until told to stop."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, self._stopping.set)
        async with asyncio.TaskGroup() as tasks, contextlib.AsyncExitStack() as stack:
            loop.add_signal_handler(signal.SIGHUP, lambda: tasks.create_task(self._hang_up()))
            self._report_forgotten_spools()
            self._library = await stack.enter_async_context(
                Library(
                    searchable(self.config.stores),
                    self.config.control.query_timeout,
                    self.config.control.query_processes,
                    self.config.control.query_memory,
                    (self.config.log.level, self.config.log.format),
                )
            )
            self._control = Control(self, self._library, self.config.control)
            self.control_url = await stack.enter_async_context(self._control)
            memory = self._shared_memory(stack)
            bus = self._bus(stack)
            self._crew = crew = Crew([Worker(n, sockets, memory, bus) for n, sockets in enumerate(self._sockets)])
            await crew.start(self.config)
            self._started.set()
            cares = [tasks.create_task(crew.care(worker, self._restart)) for worker in crew.workers]
            stores = self.config.stores.items()
            self._attendants = [each for name, store in stores for each in attendants(name, store, self.config)]
            cares += [tasks.create_task(each.run()) for each in self._attendants]
            cares.append(tasks.create_task(self._observer.watch()))
            cares.append(tasks.create_task(self.live.run()))
            also = {"control_also": self._control.urls[1:]} if len(self._control.urls) > 1 else {}
            log.info("listening", on=self.urls, control=self.control_url, workers=self.config.workers, **also)
            await self._stopping.wait()
            log.info("stopping")
            await crew.end(self.config.drain)
            for care in cares:
                care.cancel()
        for of_worker in self._sockets:
            for sock in chain(*of_worker):
                sock.close()
        log.info("stopped", balanced=self.total()["balanced"])

    def _shared_memory(self, stack: contextlib.AsyncExitStack) -> int | None:
        """The file of the memory in which workers recognise each other's duplicates and calls; it outlives a worker that
        dies."""
        if not self.config.shared_room:
            return None
        memory = os.memfd_create("hepswitch")
        stack.callback(os.close, memory)
        os.ftruncate(memory, self.config.shared_room)
        return memory

    def _bus(self, stack: contextlib.AsyncExitStack) -> list[BusEnds]:
        """The ends of the bus between the workers; what is said to a worker that dies waits there for the next one."""
        if self.config.workers == 1:
            return []
        pairs = make_pairs(self.config.workers)
        for sock in chain(*pairs):
            stack.callback(sock.close)
        return [(ear.fileno(), mouth.fileno()) for ear, mouth in pairs]

    def _report_forgotten_spools(self) -> None:
        """A destination or store that was taken out of the configuration may have left packets on disk: say so."""
        known = {*self.config.destinations, *(spool_of(Path(), name).name for name in self._gauges)}
        for path in sorted(self.config.spool_dir.glob("*/w*")):
            if path.parent.name not in known:
                log.warning("spool of what is not configured", folder=str(path), hint=FORGOTTEN_HINT)

    async def _restart(self, worker: Worker) -> None:
        """Start a worker that died with what holds now. Raises WorkerError."""
        async with self._changing:
            await worker.start(self.config, self._said())

    # ── what control asks for ──────────────────────────────────────────────────────────────────────────────────────

    async def stats(self) -> books.Snapshot:
        """The books of all workers, now."""
        await self._crew.look()
        return self.total()

    def total(self) -> books.Snapshot:
        """The books as last seen."""
        book = self._crew.book()
        for name, gauge in self._gauges.items():
            if name in book["stores"]:
                book["stores"][name] = gauge.complete(book["stores"][name])
        for name, path in self._uploading.items():
            if name in book["stores"]:
                book["stores"][name]["uploads"] = figures.read(path, UploaderFigures, UPLOADS).row()
        return books.close(self._crew.with_lags(book), self._clock.uptime)

    async def vitals(self) -> Vitals:
        """How the processes, sockets and disks are."""
        return await self._observer.vitals(self.capturing)

    async def dispatcher(self) -> dict[str, Any]:
        """The sets and nodes of all workers as one."""
        await self._started.wait()
        return merged(answer["sets"] for answer in await self._crew.ask(do="dispatcher") if "sets" in answer)

    async def agents(self) -> AgentList:
        """Who sends packets: the agents of all workers as one."""
        return merged_agents(answer for answer in await self._crew.ask(do="agents") if "agents" in answer)

    async def set_node(self, change: NodeChange) -> None:
        """Make the change in every worker, and in those that will be started. Raises RefusedError."""
        await self._started.wait()
        async with self._changing:
            change = checked(change, self.config.destinations)
            late = await self._crew.tell(do="set_node", change=change)
            self._changes.remember(change)
        log.info("node changed", **structs.asdict(change))
        _complain(late)

    async def set_capture(self, on: bool) -> None:
        """Let all workers, and those that will be started, put packets into stores, or not. Raises RefusedError."""
        await self._started.wait()
        async with self._changing:
            late = await self._crew.tell(do="capture", on=on)
            self.capturing = on
        log.info("capturing", on=on)
        _complain(late)

    def processes(self) -> list[ProcessInfo]:
        """The processes that there are at this moment."""
        own = ProcessInfo(os.getpid(), "supervisor")
        others: list[Worker | Attendant] = [*self._crew.workers, *self._attendants]
        running = [ProcessInfo(each.pid, each.name, each.starts - 1) for each in others if each.pid is not None]
        return [own, *running, *(ProcessInfo(*each) for each in self._library.processes())]

    async def status(self) -> Status:
        """The switch itself."""
        book = await self.stats()
        return Status(
            version=__version__,
            uptime=book["uptime"],
            capturing=self.capturing,
            tracing=self._traces.on,
            workers=len(self._crew.workers),
            processes=self.processes(),
            listeners=self.urls,
            hints=list(hints(book, self.config)),
        )

    def missing(self) -> list[str]:
        """What is missing, in words, before packets can be taken; nothing when they are."""
        if not self._started.is_set():
            return ["the workers are starting"]
        if self._stopping.is_set():
            return ["the switch is stopping"]
        return self._crew.missing()

    def configuration(self) -> dict[str, Any]:
        """The configuration as JSON can hold it, without its secrets."""
        return self.config.model_dump(mode="json")

    def _said(self) -> dict[str, Any]:
        """What was said at run time and holds on, for a worker that is started again."""
        return {
            "nodes": list(self._changes),
            "capturing": self.capturing,
            "traces": self._traces.said(self.total()),
            "watching": self.live.watching,
        }

    async def events(self) -> list[logs.Event]:
        """The latest warnings and errors of all processes, the newest first."""
        await self._crew.hear()
        return logs.recent.latest()

    async def traces(self) -> dict[str, Any]:
        """Every trace with its figures."""
        return self._traces.info(self.config, await self.stats())

    async def start_trace(self, start: TraceStart) -> None:
        """Start a dynamic trace in every worker, and in those that will be started. Raises RefusedError."""
        await self._started.wait()
        async with self._changing:
            book = await self.stats()
            self._traces.check(start, self.config, book)
            number = self._traces.number()
            late = await self._crew.tell(do="start_trace", start=start, number=number)
            self._traces.remember(start, number, book)
        _complain(late)

    async def stop_trace(self, id: str) -> None:
        """Stop the dynamic traces of this id. Raises RefusedError."""
        await self._started.wait()
        async with self._changing:
            self._traces.check_stop(id, self.config)
            late = await self._crew.tell(do="stop_trace", id=id)
            self._traces.forget(id)
        _complain(late)

    async def set_tracing(self, on: bool, id: str | None = None) -> None:
        """Switch all traces of the file on or off, or the one called `id`. Raises RefusedError."""
        await self._started.wait()
        async with self._changing:
            self._traces.check_switch(id, self.config)
            late = await self._crew.tell(do="set_tracing", on=on, id=id)
            self._traces.switch(on, id)
        log.info("tracing switched", trace=id or "all of the configuration", on=on)
        _complain(late)

    async def watch(self, watching: Watching) -> None:
        """Let every worker, and those that will be started, look for packets. Raises RefusedError."""
        await self._started.wait()
        async with self._changing:
            await self._crew.watch(watching)

    async def watched(self, ids: Sequence[int]) -> tuple[list[dict[int, Found]], bool]:
        """What each worker has found since it was asked last, and whether all have answered."""
        return await self._crew.watched(ids)

    def list_names(self) -> Collection[str]:
        """The lists that a filter may name."""
        return self.config.lists

    async def reload(self, only: Collection[str] = RELOADED) -> Reloaded:
        """Read the file again and let every worker go on with what it says under the keys `only`.

        Raises RefusedError with every mistake; everything is as it was then, unless it says that other workers took it.
        """
        await self._started.wait()
        async with self._changing:
            try:
                config = _identified(load(self._path), self.config.switch_id)
                differing = [key for key in Config.model_fields if getattr(config, key) != getattr(self.config, key)]
                new = self.config.model_copy(update={key: getattr(config, key) for key in only})
                recheck(new)
                self._renew_certificates()
                changes = self._changes.after_reload(self.config.destinations, new.destinations)
                told = new.model_dump(mode="json", context=REVEALED)
                late = await self._crew.tell(do="reload", config=told, route="hep_route" in only, changes=list(changes))
            except (ConfigError, RefusedError) as error:
                log.error("not reloaded; what was loaded before goes on", errors=str(error).splitlines())
                raise RefusedError(str(error)) from error
            self._traces.after_reload(self.config, new)
            self.config, self._changes = new, changes
        done = Reloaded(
            changed=[key for key in differing if key in only], restart=[key for key in differing if key not in RELOADED]
        )
        log.info("reloaded", **structs.asdict(done))
        _complain(late)
        return done

    def _renew_certificates(self) -> None:
        """Of the control listener. Raises ConfigError."""
        try:
            self._control.renew_certificates()
        except (OSError, ValueError) as error:
            raise ConfigError(f"control.listen: {words(error)}") from error

    async def _hang_up(self) -> None:
        """SIGHUP came."""
        try:
            await self.reload()
        except RefusedError:
            pass  # logged
        except Exception:
            log.exception("reload failed")  # a switch that works must not end for it


def _identified(config: Config, known: int = 0) -> Config:
    """With the id that packets get when they are relayed: the `known` one if there is one. Who relays nothing needs none."""
    if config.switch_id or not (known or config.destinations or config.traces):
        return config
    return config.model_copy(update={"switch_id": known or switch_id(config.spool_dir)})


def _complain(late: list[str]) -> None:
    if late:
        log.error("not every worker took it over", errors=late)
        raise RefusedError("\n".join([*late, "the other workers took it over: mend this and do it again"]))
