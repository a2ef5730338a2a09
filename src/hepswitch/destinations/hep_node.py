"""HepNode: what every node of a HEP destination has, whatever carries its packets: state, books, settings and probes.

The state is what an operator wants (enabled, disabled, paused) over what its health is:

    disabled   drained: takes no new packets, delivers what it holds
    paused     takes packets and keeps them, sends nothing
    active     reachable as far as we know
    probing    being connected, resolved or tried again
    inactive   not reachable; tried again after a pause of its own
    closed     removed, or at the switch's end

Not here: sending (`udp_node`, `stream_node`), and which node gets a packet (`balance`).
"""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import structlog

from hepswitch.books import Snapshot
from hepswitch.destinations.balance import Node
from hepswitch.destinations.outlet import Backoff
from hepswitch.units import Endpoint

log = structlog.get_logger("hepswitch.destinations")

Health = Literal["active", "inactive", "probing", "closed"]
Administration = Literal["enabled", "disabled", "paused"]

ADMINISTRATION: tuple[Administration, ...] = ("enabled", "disabled", "paused")

DOWN = {"inactive", "probing"}


@dataclass(frozen=True, slots=True)
class Settings:
    """What is configured for one node. `version` is that of HEP, 0 for each packet's own, or `Plain` for SIP alone; `mark`
    is this switch's id, 0 when packets are not to be marked."""

    weight: float
    priority: int
    version: int
    queue: int
    replay: int
    spool: int
    probe: float
    mark: int
    agent: int
    numbered: bool


class HepNode(Node):
    """One far end. `on_change` is called when it became full, has room again, or changed its state."""

    full = False
    peer: tuple[str, int] | None = None
    """Address and port that it sends to, once it is connected."""
    on_change: Callable[[], None] | None = None

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        super().__init__(str(endpoint), settings.weight, settings.version, settings.queue, settings.priority)
        self._endpoint = endpoint
        self._settings = settings
        self.mark, self.numbered = settings.mark, settings.numbered
        self.health: Health = "probing"
        self.administration: Administration = "enabled"
        self.since = time.time()
        self.last_error = ""
        self._said: Health = "probing"
        self._backoff = Backoff()
        self._delivered = 0
        self._discarded = Counter[str]()
        self._probes = 0
        self._connects = 0
        self._seen = 0
        self._ticker: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Begin to connect. Raises OSError when its spool cannot be used."""
        self._loop = asyncio.get_running_loop()
        self._tick()

    @abstractmethod
    def flush(self) -> None:
        """Hand what was offered since the last call to the far end, as far as it takes it now."""

    @abstractmethod
    async def close(self, deadline: float, reason: str = "shutdown") -> None:
        """Deliver what waits until `deadline` (of the loop's clock); spool the rest or discard it for `reason`."""

    @property
    @abstractmethod
    def queued(self) -> int:
        """Packets in memory that are not delivered."""

    @property
    def spooled(self) -> int:
        """Packets on disk."""
        return 0

    @property
    def reading(self) -> bool:
        """True while it takes what it is sent: then a sender that waits for room here gets it."""
        return self.active and not self.paused

    @property
    def unkept(self) -> int:
        """Packets that memory alone holds."""
        return self.queued

    @property
    def promised(self) -> int:
        """How many will have been delivered when everything is that memory holds now."""
        return self._delivered + self.queued

    def kept(self, promise: int) -> bool:
        """True when nothing of what was `promised` is in memory alone any more."""
        return self._delivered >= promise or not self.unkept

    # ── settings ───────────────────────────────────────────────────────────────────────────────────────────────────

    def configure(self, endpoint: Endpoint, settings: Settings) -> None:
        """Go on with other settings for the same far end; its connection and what waits for it stay."""
        self._endpoint = endpoint
        self._settings = settings
        self.weight, self.priority = settings.weight, settings.priority
        self.version, self.mark, self.numbered = settings.version, settings.mark, settings.numbered
        self._seen = -1  # the first look after this finds no idle node
        self._tick()

    # ── state ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def state(self) -> str:
        """One word for what an operator wants and how the node is."""
        return self.health if self.health == "closed" or self.administration == "enabled" else self.administration

    @property
    def paused(self) -> bool:
        """True while it must not send."""
        return self.administration == "paused"

    def administer(self, administration: Administration) -> None:
        """Enable, disable (drain) or pause the node."""
        if administration == self.administration:
            return
        self.administration = administration
        self.enabled = administration != "disabled"
        self.since = time.time()
        log.info(f"node {administration}", node=self.url)
        self.flush()
        self._changed()

    def _turn(self, health: Health, **details: object) -> None:
        """The node's health is this now. An outage is one: trying again in vain begins no new one, and is not logged."""
        if health == self.health:
            return
        if not {health, self.health} <= DOWN:
            self.since = time.time()
        self.health = health
        self._connects += health == "active"
        if "reason" in details:
            self.last_error = str(details["reason"])
        if health not in ("probing", self._said):
            self._said = health
            say = log.warning if health == "inactive" else log.info
            say(f"node {health}", node=self.url, **details)
        self._changed()

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()

    # ── probes ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _tick(self) -> None:
        """Every `probe` seconds: a node that nothing was sent to since the last time gets a keep-alive packet."""
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        if not self._settings.probe or self.health == "closed":
            return
        self._ticker = self._loop.call_later(self._settings.probe, self._tick)
        if self.health == "active" and not self.paused and self._seen == self._delivered and not self.queued:
            self._probe()
        self._seen = self._delivered

    @abstractmethod
    def _probe(self) -> None:
        """Send a keep-alive packet."""

    def _end(self) -> None:
        """The last act of `close`."""
        self.active = False
        self.room = 0
        self._turn("closed")
        self._tick()

    # ── the books ──────────────────────────────────────────────────────────────────────────────────────────────────

    def account(self) -> Snapshot:
        """This node's row in the books. `probes` are no packets: they are in none of the other figures. `reconnects`: how
        often it was reached again after it had been away."""
        return {
            "state": self.state,
            "accepted": self.accepted,
            "delivered": self._delivered,
            "queued": self.queued,
            "spooled": self.spooled,
            "discarded": dict(self._discarded),
            "refused": dict(self.refused),
            "probes": self._probes,
            "reconnects": max(0, self._connects - 1),
        }

    def info(self) -> dict[str, Any]:
        """What an operator wants to know. `since` (seconds since 1970) is when the state, or the outage, began."""
        return {
            "url": self.url,
            "state": self.state,
            "health": self.health,
            "weight": self.weight,
            "priority": self.priority,
            "queued": self.queued,
            "spooled": self.spooled,
            "accepted": self.accepted,
            "delivered": self._delivered,
            "last_error": self.last_error,
            "since": self.since,
        }
