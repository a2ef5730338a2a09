"""Who looks how the switch itself is: once a second at what would be missed otherwise, at the rest when somebody asks.

CPU time goes on over restarts of a process: a dead one's is kept as it was last seen. What cannot be looked at (no more
descriptors, a disk that fails) costs that look, and never the switch. Not here: what it is that is looked
at (`vitals`), packets (`books`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import structlog

from hepswitch.config import Config
from hepswitch.control.protocol import ProcessInfo
from hepswitch.control.vitals import Disk, Vitals
from hepswitch.destinations import figures
from hepswitch.destinations.figures import UPLOADS, KeeperFigures, LoaderFigures, UploaderFigures
from hepswitch.destinations.lake import LakeStore
from hepswitch.destinations.loaded import LoadedStore, spool_of
from hepswitch.destinations.stores import uploading
from hepswitch.logs import Throttle, words
from hepswitch.net.sockets import given_receive_buffer

log = structlog.get_logger("hepswitch.supervisor")

PERIOD = 1.0
"""Seconds between two looks."""

REMEMBERED = 60
"""Looks whose delays are remembered: the worst of the last minute is told."""

LOG_EVERY = 60.0
"""Seconds between two log lines about the same error."""

SPOOL = "spool"

_TICKS = os.sysconf("SC_CLK_TCK")
_UTIME, _STIME, _RSS = 11, 12, 21
"""Fields of /proc/PID/stat behind the name (proc(5) counts from 1, and the name is 2)."""


class Observer:
    """Looks at the processes that `processes` gives, and calls each of `looks`, once a second."""

    def __init__(
        self, config: Config, processes: Callable[[], list[ProcessInfo]], looks: Sequence[Callable[[], None]]
    ) -> None:
        self._processes = processes
        self._buffers: dict[str, int] = {}
        self._buffer_asked = config.receive_buffer
        self._looks = looks
        self._spool = config.spool_dir
        self._lakes = {name: store.path for name, store in config.stores.items() if isinstance(store, LakeStore)}
        self._uploading = uploading(config.stores)
        self._loaded = {
            name: spool_of(config.spool_dir, name)
            for name, store in config.stores.items()
            if isinstance(store, LoadedStore)
        }
        self._delays = deque[float]([0.0], REMEMBERED)
        self._cpu: dict[str, tuple[int, float]] = {}
        self._past: dict[str, float] = defaultdict(float)
        self._restarts: dict[str, int] = {}
        self._throttle = Throttle(LOG_EVERY)

    def bound(self, listener: str, sockets: Iterable[socket.socket]) -> None:
        """These are the sockets of a listener."""
        sizes = [given_receive_buffer(sock) for sock in sockets if _is_udp(sock)]
        if sizes:
            self._buffers[listener] = min(sizes)

    async def watch(self) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + PERIOD
            await asyncio.sleep(PERIOD)
            self._delays.append(max(0.0, loop.time() - due))
            for look in (self._look, *self._looks):
                try:
                    look()
                except OSError as error:
                    if (unsaid := self._throttle.due(error.errno)) is not None:
                        log.error("the switch cannot look after itself", error=words(error), not_logged=unsaid)

    def _look(self) -> dict[str, tuple[int, int]]:
        """Take down the CPU time of the processes that there are; gives the process id and bytes of memory of each."""
        seen = {}
        for process in self._processes():
            stat = _stat(process.pid)
            if stat is None:
                continue  # it ended just now
            cpu, memory = stat
            pid, before = self._cpu.get(process.kind, (process.pid, 0.0))
            if pid != process.pid:
                self._past[process.kind] += before
            self._cpu[process.kind] = process.pid, cpu
            self._restarts[process.kind] = process.restarts
            seen[process.kind] = process.pid, memory
        return seen

    async def vitals(self, capturing: bool) -> Vitals:
        """How all is now."""
        seen = self._look()
        cpu = {kind: self._past.get(kind, 0.0) + last for kind, (_, last) in self._cpu.items()}
        restarts = dict(self._restarts)

        def on_disk() -> Vitals:
            return Vitals(
                capturing=capturing,
                loop_lag=max(self._delays),
                descriptor_limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
                cpu=cpu,
                restarts=restarts,
                memory={kind: memory for kind, (_, memory) in seen.items()},
                descriptors={kind: _descriptors(pid) for kind, (pid, _) in seen.items()},
                buffers=self._buffers,
                buffer_asked=self._buffer_asked,
                disks={
                    place: _disk(path)
                    for place, path in (
                        (SPOOL, self._spool),
                        *((f"store {n}", path) for n, path in self._lakes.items()),
                    )
                },
                loaders={name: figures.read(path, LoaderFigures) for name, path in self._loaded.items()},
                keepers={name: figures.read(path, KeeperFigures) for name, path in self._lakes.items()},
                uploaders={
                    name: figures.read(path, UploaderFigures, UPLOADS) for name, path in self._uploading.items()
                },
            )

        return await asyncio.to_thread(on_disk)


def _is_udp(sock: socket.socket) -> bool:
    return sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_DGRAM


def _stat(pid: int) -> tuple[float, int] | None:
    """Seconds of CPU and bytes of memory of a process; None when it is no more."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(b")") + 2 :].split()
    return (int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS, int(fields[_RSS]) * resource.getpagesize()


def _descriptors(pid: int) -> int:
    """How many a process has open; 0 when it is no more, or is not ours to look into."""
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 (a Path for each descriptor is too dear)
    return 0


def _disk(path: Path) -> Disk:
    """The file system of a folder, or of the next one above it that there is."""
    for folder in (path, *path.absolute().parents):
        with contextlib.suppress(FileNotFoundError):
            status = os.statvfs(folder)
            return Disk(status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize)
    return Disk(0, 0)
