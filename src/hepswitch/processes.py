"""The processes that the supervisor starts: workers, which take packets, and those that tend stores.

One object each, over all restarts of its process. Whatever a process says or does, the worst that comes of it here is a
WorkerError. Not here: when to start one again (`supervisor`), and what they do (`worker`,
`lake.keeper`, `lake.uploader`, `databases.loader`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar

import structlog
from msgspec import Struct
from msgspec.json import decode, encode

from hepswitch import books
from hepswitch.config import Config
from hepswitch.destinations.lake import LakeStore
from hepswitch.destinations.loaded import LoadedStore, spool_of
from hepswitch.logs import Event, recent, words
from hepswitch.tables import REVEALED, revealed
from hepswitch.tracing.taps import Found
from hepswitch.waiting import Ages

log = structlog.get_logger("hepswitch.supervisor")

LINE_LIMIT = 16 << 20
"""Bytes of one answer."""

ANSWER_TIMEOUT = 10.0
START_TIMEOUT = 20.0
"""Seconds for a worker to start, or to take over a configuration."""

PATIENCE = 10.0
"""Seconds beyond `drain` that an attendant may take to end."""

PAUSE = 5.0
"""Seconds before an attendant that died is started again."""


BusEnds = tuple[int, int]
"""Descriptors of a worker's ear, and of the mouth that others speak into (`tracing.bus`)."""


T = TypeVar("T")


class _Events(Struct):
    events: list[Event]


class _Watched(Struct):
    watched: dict[int, Found]


class WorkerError(Exception):
    """A worker could not start, does not answer as it should, or is gone."""


class Worker:
    """One worker process and the line to it. `bus`: the ends for all workers; none when there is but one."""

    def __init__(
        self, number: int, sockets: list[list[socket.socket]], memory: int | None = None, bus: Sequence[BusEnds] = ()
    ) -> None:
        self.number = number
        self.name = f"worker {number}"
        self.last = books.empty()
        self.ages = Ages()
        self.starts = 0
        self.listening = False
        """False while it is being started, or there is none: it answers nothing then."""
        self._sockets = sockets
        self._memory = memory
        self._bus = bus
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None
        self._turn = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """Its process id; None while there is no process."""
        return _pid(self._process)

    async def start(self, config: Config, said: Mapping[str, Any] | None = None) -> None:
        """Start the process and wait until it listens. Raises WorkerError with its own words; no process is left then."""
        first = {
            "config": config.model_dump(mode="json", context=REVEALED),
            "worker": self.number,
            "said": said,
            "memory": self._memory,
            "bus": self._bus,
        }
        shared = [*([] if self._memory is None else [self._memory]), *chain(*self._bus)]
        self.starts += 1
        self.listening = False
        step = "starting its process"
        try:
            async with asyncio.timeout(START_TIMEOUT):
                ours, theirs = socket.socketpair()
                with theirs:
                    numbers = [[sock.fileno() for sock in sockets] for sockets in self._sockets]
                    try:
                        self._process = await asyncio.create_subprocess_exec(
                            sys.executable, "-m", "hepswitch.worker", str(theirs.fileno()),
                            pass_fds=[theirs.fileno(), *chain(*numbers), *shared], stdin=asyncio.subprocess.DEVNULL,
                        )  # fmt: skip
                    except BaseException:
                        ours.close()
                        raise
                step = "opening the line to it"
                ours.setblocking(False)
                self._reader, self._writer = await asyncio.open_connection(sock=ours, limit=LINE_LIMIT)
                step = "waiting for it to listen"
                answer = await self.ask(timeout=None, sockets=numbers, **first)
        except TimeoutError:
            await self.kill()
            raise WorkerError(
                f"worker {self.number} did not start within {START_TIMEOUT:g} s: stuck at {step}"
            ) from None
        except OSError as error:
            await self.kill()
            raise WorkerError(f"worker {self.number} cannot be started ({step}): {words(error)}") from error
        except BaseException:
            await self.kill()
            raise
        if "error" in answer:
            await self._end_itself()
            raise WorkerError(answer["error"])
        self.listening = True

    async def kill(self) -> int | None:
        """End the process if it still runs; its exit status."""
        if self._writer is not None:
            self._writer.close()
        if self._process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        return await self._process.wait()

    async def _end_itself(self) -> None:
        """Wait for the process, which is about to end; kill it if it does not."""
        if self._process is not None:
            await _wait(self._process, ANSWER_TIMEOUT)
        await self.kill()

    async def ask(self, timeout: float | None = ANSWER_TIMEOUT, **message: Any) -> dict[str, Any]:  # noqa: ASYNC109
        """One request, one answer. Raises WorkerError when the worker is gone, or its answer is no answer."""
        answer = await self._ask(dict[str, Any], timeout, message)
        if "stats" in answer:
            self.last = answer["stats"]
            self.ages.look(self.last, time.monotonic())
        return answer

    async def events(self) -> list[Event]:
        """What it has warned of since this was asked last. Raises WorkerError."""
        return (await self._ask(_Events, ANSWER_TIMEOUT, {"do": "events"})).events

    async def watched(self, ids: Sequence[int]) -> dict[int, Found]:
        """What its taps of these ids have found; it takes away all others. Rows stay the JSON that they are. Raises
        WorkerError."""
        return (await self._ask(_Watched, ANSWER_TIMEOUT, {"do": "watched", "ids": ids})).watched

    async def _ask(self, kind: type[T], timeout: float | None, message: Mapping[str, Any]) -> T:  # noqa: ASYNC109
        async with self._turn:
            if self._writer is None or self._writer.is_closing():
                raise WorkerError(f"worker {self.number} ended")
            try:
                self._writer.write(encode(message) + b"\n")
                async with asyncio.timeout(timeout):
                    line = await self._reader.readline()
                answer = decode(line, type=kind) if line else None
            except BaseException as error:
                self._writer.close()  # a late answer must not be taken for that to another question
                if isinstance(error, (OSError, ValueError)):
                    raise WorkerError(f"worker {self.number} does not answer: {error!r}") from error
                raise
        if answer is None:
            raise WorkerError(f"worker {self.number} ended")
        return answer

    async def end(self, drain: float) -> None:
        """Tell the worker to stop, wait while it drains, kill it if it does not end."""
        with contextlib.suppress(WorkerError):
            await self.ask(timeout=drain + ANSWER_TIMEOUT, do="stop")
        await self._end_itself()

    def died(self) -> books.Snapshot:
        """The books of the dead process as far as they are known: what it had queued is gone, what it had spooled its
        successor will find on disk and account for.

        What is kept as its `last`, until the successor speaks, are the drops that the kernel counts with the sockets: the
        successor reports them again."""
        last, self.last = self.last, books.empty()
        for url, listener in last["received"].items():
            self.last["received"][url] = books.Listener(url, kernel_drops=listener["kernel_drops"]).snapshot()
            listener["kernel_drops"] = listener["connections"] = 0
        for row in (*last["destinations"].values(), *last["stores"].values()):
            books.hand_over(row, "worker died")
        if meter := last["meter"]:
            meter["agents"]["known"] = 0
            meter["means"] = {}
            meter.get("sip", {})["active"] = 0
        script = last["script"]
        script["gauges"] = {}
        last["tracer"]["calls"] = 0
        for counter in script["counters"].values():
            counter.pop("help", None)  # the successor says it, in the words of its own script
        for table in script["tables"].values():
            table["entries"] = 0
        return last


class Attendant:
    """A process beside the workers that looks after the store `name`, and ends when its standard input does.

    `role` is what it is to the store, `module` what it runs, `charge` the first line that it reads.
    """

    def __init__(self, role: str, name: str, module: str, charge: bytes, config: Config) -> None:
        self.name = f"{role} of {name}"
        self._role = role
        self._store = name
        self._module = module
        self._charge = charge
        self._log = (config.log.level, config.log.format)
        self._patience = config.drain + PATIENCE
        self._process: asyncio.subprocess.Process | None = None
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """Its process id; None while there is no process."""
        return _pid(self._process)

    async def run(self) -> None:
        """Run it, start it again when it died. When cancelled: let it end, or kill it when that takes too long."""
        while True:
            try:
                status: object = await self._once()
            except OSError as error:
                status = words(error)
            log.error(f"{self._role} died", store=self._store, status=status, restart_in=PAUSE)
            await asyncio.sleep(PAUSE)

    async def _once(self) -> int:
        self.starts += 1
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", self._module, *self._log,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LINE_LIMIT,
        )  # fmt: skip
        assert process.stdin is not None
        hearing = asyncio.create_task(self._hear(process.stdout))
        try:
            process.stdin.write(self._charge + b"\n")
            with contextlib.suppress(ConnectionError):
                await process.stdin.drain()
            return await process.wait()
        except asyncio.CancelledError:
            process.stdin.close()
            if not await _wait(process, self._patience):
                log.error(f"{self._role} does not end; killed", store=self._store, after=self._patience)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            raise
        finally:
            await hearing

    async def _hear(self, warnings: asyncio.StreamReader | None) -> None:
        """Keep what it warns of. To the end: it must not wait for us with a full pipe."""
        assert warnings is not None
        async for line in warnings:
            try:
                recent.heard([decode(line, type=Event)], self.name)
            except ValueError:  # a library has printed something
                log.warning("a process said what is no event", process=self.name, line=line[:200])


def attendants(name: str, store: LakeStore | LoadedStore, config: Config) -> list[Attendant]:
    """The processes that look after a store: what the workers write into journals is only half of it."""
    if isinstance(store, LakeStore):
        keeper = Attendant("keeper", name, "hepswitch.lake.keeper", store.model_dump_json().encode(), config)
        return [keeper] if store.remote is None else [keeper, _uploader(name, store, config)]
    charge = {
        "name": name,
        "store": store.model_dump(mode="json", context=REVEALED),
        "folder": str(spool_of(config.spool_dir, name)),
        "drain": config.drain,
    }
    return [Attendant("loader", name, "hepswitch.databases.loader", encode(charge), config)]


def _uploader(name: str, store: LakeStore, config: Config) -> Attendant:
    charge = {
        "name": name,
        "path": str(store.path),
        "keep": store.keep,
        "remote": store.remote,
        "access_key": revealed(store.access_key),
        "secret_key": revealed(store.secret_key),
        "node": store.node,
        "upload_after": store.upload_after,
        "keep_local": store.keep_local,
        "drain": config.drain,
    }
    return Attendant("uploader", name, "hepswitch.lake.uploader", encode(charge), config)


def _pid(process: asyncio.subprocess.Process | None) -> int | None:
    return process.pid if process is not None and process.returncode is None else None


async def _wait(process: asyncio.subprocess.Process, seconds: float) -> bool:
    """True when `process` ended within that time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await process.wait()
            return True
    return False
