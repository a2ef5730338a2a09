"""The API under /api/v1: the table of its endpoints, and what each of them asks of the switch.

Not here: how questions and answers travel (`endpoints`), their description (`openapi`), who may ask (`access`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from hepswitch.books import Snapshot
from hepswitch.control.agents import AgentList
from hepswitch.control.endpoints import Endpoint
from hepswitch.control.live import MEDIA, Stream
from hepswitch.control.openapi import document
from hepswitch.control.protocol import Reloaded, Status, Switch
from hepswitch.control.relayed import Relayed
from hepswitch.control.users import Role
from hepswitch.control.visitor import VISITOR
from hepswitch.destinations.sets import NodeChange
from hepswitch.logs import Event
from hepswitch.queries import answers, questions
from hepswitch.queries.library import Library
from hepswitch.tracing.dynamic import TraceStart

ASKED = (404, 503, 504)
"""What may come of a question to a store."""


class Reload(Struct, frozen=True, forbid_unknown_fields=True):
    """What to reload: all that can be, or the dispatcher sets alone."""

    only: Literal["dispatcher"] | None = None


class Capture(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether packets are stored."""

    on: bool


class TraceStop(Struct, frozen=True, forbid_unknown_fields=True):
    """The dynamic trace to stop."""

    id: str


class TraceSwitch(Struct, frozen=True, forbid_unknown_fields=True):
    """Tracing as a whole, or one trace of the file, on or off."""

    on: bool
    id: str | None = None


class Watch(Struct, frozen=True):
    """What to watch: packets that meet the filter, with their payloads or without."""

    filter: Annotated[str, Meta(max_length=8192, description="A condition in the language of filters; none: all.")] = ""
    payload: Annotated[bool, Meta(description="Send payloads, too.")] = False


class Events(Struct, frozen=True):
    """Warnings and errors, the newest first."""

    events: list[Event]


class Me(Struct, frozen=True):
    """Who asks. `user`: null for a token, and where nobody is asked."""

    user: str | None
    role: Role


class Changed(Struct, frozen=True):
    """The change was made."""

    changed: bool = True


class Started(Struct, frozen=True):
    """The id of the trace that was started."""

    started: str


class Stopped(Struct, frozen=True):
    """The id of the trace that was stopped."""

    stopped: str


class Api:
    """What the endpoints do."""

    def __init__(self, switch: Switch, library: Library) -> None:
        self._switch = switch
        self._library = library
        self.endpoints = [
            Endpoint("GET", "/stores", self.stores, answers=answers.StoreList),
            Endpoint("GET", "/calls", self.calls, questions.Calls, answers.FoundCalls, ASKED),
            Endpoint("GET", "/messages", self.messages, questions.Messages, answers.FoundMessages, ASKED),
            Endpoint("GET", "/rate", self.rate, questions.Rate, answers.Rates, ASKED),
            Endpoint("GET", "/call", self.call, questions.Call, answers.Ladder, ASKED),
            Endpoint("GET", "/message", self.message, questions.Message, answers.WholeMessage, ASKED),
            Endpoint("GET", "/export", self.export, questions.Export, ", ".join(questions.MEDIA_TYPES.values()), ASKED),
            Endpoint("GET", "/openapi.json", self.openapi),
            Endpoint("GET", "/me", self.me, answers=Me),
            Endpoint("GET", "/stats", self.stats),
            Endpoint("GET", "/status", self.status, answers=Status),
            Endpoint("GET", "/events", self.events, answers=Events),
            Endpoint("GET", "/live", self.live, Watch, MEDIA, errors=(503,)),
            Endpoint("GET", "/config", self.config),
            Endpoint("GET", "/agents", self.agents, answers=AgentList),
            Endpoint("GET", "/destinations", self.destinations),
            Endpoint("POST", "/destinations", self.set_node, NodeChange, Changed, errors=(404, 409)),
            Endpoint("POST", "/reload", self.reload, Reload, Reloaded, errors=(409,)),
            Endpoint("GET", "/capture", self.capture, answers=Capture),
            Endpoint("POST", "/capture", self.set_capture, Capture, Capture, errors=(409,)),
            Endpoint("GET", "/traces", self.traces),
            Endpoint("POST", "/traces", self.start_trace, TraceStart, Started, errors=(409,)),
            Endpoint("POST", "/traces/stop", self.stop_trace, TraceStop, Stopped, errors=(404, 409)),
            Endpoint("POST", "/traces/switch", self.switch_traces, TraceSwitch, TraceSwitch, errors=(404, 409)),
        ]
        self.document = document(self.endpoints)

    # ── what is stored ─────────────────────────────────────────────────────────────────────────────────────────────

    async def stores(self) -> Relayed:
        """The stores that can be asked."""
        return Relayed(self._library, questions.Stores())

    async def calls(self, asked: questions.Calls) -> Relayed:
        """Calls in which some message is what is meant, the newest first."""
        return Relayed(self._library, asked)

    async def messages(self, asked: questions.Messages) -> Relayed:
        """The packets that are meant, the newest first."""
        return Relayed(self._library, asked)

    async def rate(self, asked: questions.Rate) -> Relayed:
        """How many calls began, and how many failed, over the time asked about."""
        return Relayed(self._library, asked)

    async def call(self, asked: questions.Call) -> Relayed:
        """One call: its ladder with all legs, media reports and logs."""
        return Relayed(self._library, asked)

    async def message(self, asked: questions.Message) -> Relayed:
        """One packet, as it is and taken apart. With `format=raw` its payload alone."""
        return Relayed(self._library, asked)

    async def export(self, asked: questions.Export) -> Relayed:
        """Calls as a file: pcap, pcapng, text or JSON."""
        return Relayed(self._library, asked)

    # ── what is told ───────────────────────────────────────────────────────────────────────────────────────────────

    async def openapi(self) -> dict[str, Any]:
        """This description."""
        return self.document

    async def me(self) -> Me:
        """Who asks, and what that is allowed."""
        visitor = VISITOR.get()
        return Me(visitor.user, visitor.role)

    async def stats(self) -> Snapshot:
        """The books: what became of every packet."""
        return await self._switch.stats()

    async def status(self) -> Status:
        """The switch itself: version, processes, listeners, what is on, and what should be looked at."""
        return await self._switch.status()

    async def events(self) -> Events:
        """The latest warnings and errors of all processes, those of scripts too; at most 200."""
        return Events(await self._switch.events())

    async def live(self, asked: Watch) -> Stream:
        """Packets as they go by, as server-sent events.

        `packet`: one packet as the route left it. `missed`: how many that match are not shown (`missed`), and about how many
        the filter was not asked since it takes too long (`skipped`). `rate`, about once a second: how many went by (`seen`)
        and how many of them match, in so many `seconds`. It goes on until the client goes away.
        """
        return Stream(await self._switch.live.watch(asked.filter, asked.payload))

    async def config(self) -> dict[str, Any]:
        """The configuration, without its secrets."""
        return self._switch.configuration()

    async def agents(self) -> AgentList:
        """Who sends packets: capture agents with their rates, versions and clocks."""
        return await self._switch.agents()

    async def destinations(self) -> dict[str, Any]:
        """The dispatcher sets: policy, and every node with its state and counters."""
        return await self._switch.dispatcher()

    async def capture(self) -> Capture:
        """Whether packets are stored."""
        return Capture(self._switch.capturing)

    async def traces(self) -> dict[str, Any]:
        """The traces with their figures."""
        return await self._switch.traces()

    # ── what is done ───────────────────────────────────────────────────────────────────────────────────────────────

    async def set_node(self, asked: NodeChange) -> Changed:
        """Change a node's state, weight or priority."""
        await self._switch.set_node(asked)
        return Changed()

    async def reload(self, asked: Reload) -> Reloaded:
        """Read the configuration file again."""
        return await (self._switch.reload(["destinations"]) if asked.only else self._switch.reload())

    async def set_capture(self, asked: Capture) -> Capture:
        """Store packets, or do not. Relaying and tracing go on."""
        await self._switch.set_capture(asked.on)
        return asked

    async def start_trace(self, asked: TraceStart) -> Started:
        """Start a dynamic trace."""
        await self._switch.start_trace(asked)
        return Started(asked.id)

    async def stop_trace(self, asked: TraceStop) -> Stopped:
        """Stop a dynamic trace."""
        await self._switch.stop_trace(asked.id)
        return Stopped(asked.id)

    async def switch_traces(self, asked: TraceSwitch) -> TraceSwitch:
        """Switch tracing, or one trace of the file, on or off."""
        await self._switch.set_tracing(asked.on, asked.id)
        return asked
