"""What the control listener asks of the supervisor, whoever asks it: the HTTP API or MI.

Not here: how it is asked (`http`, `mi`), and how it is done (`supervisor`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

from msgspec import Struct

from hepswitch.books import Snapshot
from hepswitch.control.agents import AgentList
from hepswitch.control.live import Live
from hepswitch.control.vitals import Vitals
from hepswitch.destinations.sets import NodeChange
from hepswitch.logs import Event
from hepswitch.tracing.dynamic import TraceStart


class Reloaded(Struct, frozen=True):
    """What came of a reload: keys of the file that differed and hold now, and those that need a restart to hold."""

    changed: list[str]
    restart: list[str]


class ProcessInfo(Struct, frozen=True):
    """One process of the switch, what it is, and how often it was started again."""

    pid: int
    kind: str
    restarts: int = 0


class Status(Struct, frozen=True):
    """The switch itself. `hints`: what should be looked at, in words."""

    version: str
    uptime: float
    capturing: bool
    tracing: bool
    workers: int
    processes: list[ProcessInfo]
    listeners: list[str]
    hints: list[str]


class Switch(Protocol):
    """The running switch."""

    capturing: bool
    """Whether packets are put into stores."""
    live: Live
    """Who watches packets go by."""

    async def stats(self) -> Snapshot:
        """The books of all workers, now."""

    def processes(self) -> list[ProcessInfo]:
        """The processes that there are at this moment."""

    async def vitals(self) -> Vitals:
        """How its processes, sockets and disks are."""

    async def status(self) -> Status:
        """The switch itself."""

    async def events(self) -> list[Event]:
        """The latest warnings and errors of all processes, the newest first."""

    def missing(self) -> list[str]:
        """What is missing, in words, before packets can be taken; nothing when they are."""

    def configuration(self) -> dict[str, Any]:
        """The configuration as JSON can hold it, without its secrets."""

    async def agents(self) -> AgentList:
        """Who sends packets: the agents of all workers as one."""

    async def dispatcher(self) -> dict[str, Any]:
        """Every set's policy and nodes."""

    async def set_node(self, change: NodeChange) -> None:
        """Make the change in every worker. Raises RefusedError."""

    async def set_capture(self, on: bool) -> None:
        """Put packets into stores, or do not. Raises RefusedError."""

    async def reload(self, only: Collection[str] = ...) -> Reloaded:
        """Read the file again, as far as the keys `only`. Raises RefusedError."""

    async def traces(self) -> dict[str, Any]:
        """The traces: {"on", "traces": {id: {"on", "to", "dynamic", "filter", …}}, "calls", "evicted"}."""

    async def start_trace(self, start: TraceStart) -> None:
        """Start a dynamic trace. Raises RefusedError: 400 for words that mean nothing, 409 when there is such a one."""

    async def stop_trace(self, id: str) -> None:
        """Stop the dynamic traces of this id. Raises RefusedError (404)."""

    async def set_tracing(self, on: bool, id: str | None = None) -> None:
        """Switch tracing on or off, or one trace of the file. Raises RefusedError (404)."""
