"""The destination of relayed packets: a set of HEP nodes, one of which (or each) gets a packet.

    [destinations.homer]
    urls = ["udp://10.0.0.1:9060?priority=10", "tcp://10.0.0.2:9060?weight=2", "tls://h3:9061?ca=FILE"]
    policy = "call"
    fallback = "backup"

UDP is best effort: delivered means taken by the kernel. Over TCP and TLS delivered means acknowledged by the far end's
TCP; while it is away or slow packets wait on disk (`spool`) and follow in order when it is back: at least once.

A node that is away is passed over while another one of the set is active. When none is, the destination named by
`fallback` gets the packets; when that has no active node either, the policy chooses among all nodes as if they were
active, so the packets wait for the node that they belong to. Not here: policies (`balance`), states (`hep_node`), sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import structlog
from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from hepswitch.books import Snapshot
from hepswitch.destinations.balance import MOST_NODES, Balancer
from hepswitch.destinations.hep_node import ADMINISTRATION, Administration, HepNode, Settings
from hepswitch.destinations.outlet import LONGEST_PAUSE, Removed, Row, open_all, total
from hepswitch.destinations.spool import Spool
from hepswitch.destinations.stream_node import StreamNode
from hepswitch.destinations.treatment import Treatment
from hepswitch.destinations.udp_node import UdpNode
from hepswitch.filters.language import parse_field
from hepswitch.net.resolve import Resolver
from hepswitch.net.tls import CLIENT_OPTIONS
from hepswitch.references import DestinationName
from hepswitch.tables import Duration, Size
from hepswitch.units import Endpoint, parse_endpoint
from hepswitch.wire.hep import Hep

log = structlog.get_logger("hepswitch.destinations")

FORGOTTEN_HINT = "its packets wait: configure it again to send them, or delete the folder"

LEAST_REPLAY = 128 << 10
"""Bytes of `replay` that the largest packet fits in, when no more may be on its way without a receipt."""

POLICIES = ("call", "source", "round-robin", "random", "weighted", "first", "all", "least-loaded")


def _node_url(text: str) -> str:
    endpoint = parse_endpoint(text)
    known = {"weight", "priority"} | (CLIENT_OPTIONS if endpoint.scheme == "tls" else set())
    if unknown := sorted(endpoint.options.keys() - known):
        raise ValueError(f"{text!r} has unknown options: {', '.join(unknown)}; known here: {', '.join(sorted(known))}")
    if not endpoint.port and not endpoint.is_service:
        raise ValueError(f"{text!r} needs a port above 0")
    _weight(endpoint)
    _priority(endpoint)
    return text


def _weight(endpoint: Endpoint) -> float:
    text = endpoint.options.get("weight", "1")
    weight = 0.0
    with contextlib.suppress(ValueError):
        weight = float(text)
    if not 0 < weight < float("inf"):
        raise ValueError(f"{endpoint}: weight={text} is no number above 0: write for example weight=2")
    return weight


def _priority(endpoint: Endpoint) -> int:
    text = endpoint.options.get("priority", "0")
    if not re.fullmatch(r"-?\d{1,9}", text):
        raise ValueError(f"{endpoint}: priority={text} is no whole number: write for example priority=10")
    return int(text)


def _policy(text: str) -> str:
    if text.startswith("hash:"):
        parse_field(text.removeprefix("hash:").strip())
        return text
    if text in POLICIES or re.fullmatch(r"script:[A-Za-z_]\w*", text):
        return text
    raise ValueError(f"{text!r} is no policy: write {', '.join(POLICIES)}, hash:EXPRESSION or script:NAME")


class HepDestination(Treatment):
    """`[destinations.NAME]`: the far ends of `relay("NAME")`, and what becomes of the copies that they get."""

    urls: list[Annotated[str, AfterValidator(_node_url)]] = Field(
        min_length=1,
        max_length=MOST_NODES,
        description="The nodes: udp://, tcp://, tls://host:port[?weight=2&priority=10]; for tls also ca, cert, key (files), "
        "verify=no. tcp://_hep._tcp.example.net (no port) is a service: the DNS says its hosts and ports (SRV). "
        "Nodes of the highest priority come first, the others only when none of these takes a packet.",
    )
    policy: Annotated[str, AfterValidator(_policy)] = Field(
        "call",
        description='Which node gets a packet. "call": all of one call goes to one node, shared by weight; "source": the '
        'same by who sent the packet; "hash:FIELD": the same by any field of conditions, as hash:node_name; '
        '"round-robin": in turn; "random" and "weighted": by chance or in turn, by weight; '
        '"first": the first of the list that is active; "all": a copy to each, whatever its priority; '
        '"least-loaded": where the fewest bytes wait for its weight; '
        '"script:NAME": as a function of the route file says.',
    )
    fallback: DestinationName | None = Field(
        None, description="The destination that gets the packets which no active node of this one takes."
    )
    version: Literal[1, 2, 3] | None = Field(
        None, description="HEP version sent; without it each packet keeps its own. TCP and TLS always carry version 3."
    )
    queue: Annotated[Size, Field(ge=1000)] = Field(16 << 20, description="Bytes that wait in memory for each node.")
    spool: Size = Field(1 << 30, description="Bytes that wait on disk for each TCP or TLS node; 0: none.")
    replay: Size = Field(
        8 << 20,
        description="Acknowledged bytes sent again after a TCP or TLS node broke off with a reset, "
        "because its program may never have read them.",
    )
    numbered: bool = Field(
        False,
        description="Number the packets, so that a hepswitch at the far end recognises those that it has had, and gives "
        "receipts for what it has stored. What has none goes again after any break: at most `replay` bytes, for no more is "
        "sent without. For hepswitch over TCP or TLS alone.",
    )
    probe: Duration = Field(
        0.0,
        description="How often an idle node gets a keep-alive packet, so that a dead one is noticed without traffic and "
        'found again without losing any: "10s"; 0: never.',
    )
    mark: bool = Field(
        True,
        description="Add this switch's id to each HEPv3 packet, by which loops between switches are recognised and cut.",
    )

    @field_validator("version")
    @classmethod
    def _streams_carry_version_3(cls, version: int | None, info: ValidationInfo) -> int | None:
        streams = [url for url in info.data.get("urls", ()) if parse_endpoint(url).scheme != "udp"]
        if version in (1, 2) and streams:
            raise ValueError(f"version = {version} cannot be sent to {streams[0]}: only udp:// carries it")
        return version

    @field_validator("numbered")
    @classmethod
    def _numbers_need_a_connection(cls, numbered: bool, info: ValidationInfo) -> bool:
        datagrams = [url for url in info.data.get("urls", ()) if parse_endpoint(url).scheme == "udp"]
        if numbered and datagrams:
            raise ValueError(f"numbered = true needs a connection, and {datagrams[0]} is none: write tcp:// or tls://")
        if numbered and info.data.get("replay", LEAST_REPLAY) < LEAST_REPLAY:
            least = f"{LEAST_REPLAY >> 10}KiB"
            raise ValueError(f"numbered = true needs a replay of {least} at least: leave it out or enlarge it")
        return numbered

    @field_validator("urls")
    @classmethod
    def _no_node_twice(cls, urls: list[str]) -> list[str]:
        names = [str(parse_endpoint(url)) for url in urls]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} is there more than once; give a node more traffic with ?weight=2")
        return urls


class Change(NamedTuple):
    """A destination as it is going to be: the nodes that stay and the `new` ones, which are open."""

    config: HepDestination
    endpoints: list[Endpoint]
    rows: list[HepNode]
    new: list[HepNode]


class HepOutlet(Balancer):
    """The destination `name`. Its nodes' spools are folders in `spool_dirs`: new packets go to the first of these, what
    is found in the others (left by workers that no longer exist) is sent first. Without `spool_dirs` nothing is spooled.

    `value_of` gives the function behind an expression (see `Balancer`), `switch_id` is what packets are marked with
    (0: they are not), `treat` makes what is sent of each packet; without `resolver` it asks the system's name servers.
    """

    def __init__(
        self,
        name: str,
        config: HepDestination,
        spool_dirs: Sequence[Path] = (),
        *,
        value_of: Callable[[str], Callable[[Hep], object]] | None = None,
        switch_id: int = 0,
        treat: Callable[[Hep], Hep | str] | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self.name = name
        self.full = False
        self.on_pressure: Callable[[], None] | None = None
        self._config = config
        self._spool_dirs = spool_dirs
        self._value_of = value_of
        self._switch_id = switch_id
        self.treat = treat
        self._resolver = resolver or Resolver()
        self._changing = asyncio.Lock()
        self._dependents: list[HepOutlet] = []
        self._leaving: dict[str, tuple[HepNode, asyncio.Task[None]]] = {}
        self._removed = Removed()
        self._complained = -LONGEST_PAUSE
        endpoints = [parse_endpoint(url) for url in config.urls]
        self._rows = [self._node(endpoint, config) for endpoint in endpoints]
        known = {_folder(endpoint) for endpoint in endpoints}
        self._forgotten = [path for each in spool_dirs for path in sorted(each.glob("*-*-*")) if path.name not in known]
        super().__init__(self._rows, config.policy, value_of)

    def _node(self, endpoint: Endpoint, config: HepDestination) -> HepNode:
        settings = self._settings(endpoint, config)
        node: HepNode
        if endpoint.scheme == "udp":
            node = UdpNode(endpoint, settings, self._resolver)
        else:
            folders = [path / _folder(endpoint) for path in self._spool_dirs]
            spool = Spool(folders, config.spool) if settings.spool else None
            node = StreamNode(endpoint, settings, spool, self._resolver)
        node.on_change = self._press
        return node

    def _settings(self, endpoint: Endpoint, config: HepDestination) -> Settings:
        return Settings(
            weight=_weight(endpoint),
            priority=_priority(endpoint),
            version=(config.version or 0) if endpoint.scheme == "udp" else 3,
            queue=config.queue,
            replay=config.replay,
            spool=config.spool if self._spool_dirs else 0,
            probe=config.probe,
            mark=self._switch_id if config.mark else 0,
            agent=self._switch_id,
            numbered=config.numbered,
        )

    # ── life ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Connect the nodes that can be connected, adopt what is spooled. Raises OSError when a spool cannot be used."""
        await open_all(self._rows)
        for path in self._forgotten:
            log.warning("spool of a node that is not configured", folder=str(path), hint=FORGOTTEN_HINT)

    def flush(self) -> None:
        """Hand what was offered since the last call to the far ends, as far as they take it now."""
        for node in self._rows:
            node.flush()

    async def close(self, drain: float) -> None:
        """Take nothing more; give the nodes `drain` seconds for what is queued, then spool or discard the rest."""
        async with self._changing:
            deadline = asyncio.get_running_loop().time() + drain
            tasks = [task for _, task in self._leaving.values()]
            await asyncio.gather(*(node.close(deadline) for node in self._rows), *tasks)

    def _press(self) -> None:
        """A node became full, has room again, or changed its state; or the fallback did."""
        # Waiting for a far end that does not read would stop agents whose packets go elsewhere.
        reading = [node for node in self._rows if node.enabled and node.reading]
        fork = self._config.policy == "all"
        full = bool(reading) and (any if fork else all)(node.full for node in reading)
        # What has no room here goes to the fallback. A spool always has room, and a fork asks only when nobody is reachable.
        if full and not fork and not (self._config.spool and self._spool_dirs) and self._relief():
            full = False
        if full != self.full:
            self.full = full
            if self.on_pressure is not None:
                self.on_pressure()
        for dependent in self._dependents:
            dependent._press()

    def _relief(self) -> bool:
        other = self.fallback
        if not isinstance(other, HepOutlet):
            return False
        return any(node.enabled and node.reading and not node.full for node in other._rows) or other._relief()

    # ── changes at run time ────────────────────────────────────────────────────────────────────────────────────────

    def set_fallback(self, other: HepOutlet | None) -> None:
        """Packets that no reachable node takes go to `other` from now on. ValueError when that leads back here."""
        path = [self.name]
        step: Balancer | None = other
        while isinstance(step, HepOutlet):
            path.append(step.name)
            if step is self:
                raise ValueError(f"fallback leads in a circle: {' → '.join(path)}; leave one of them out")
            step = step.fallback
        if isinstance(self.fallback, HepOutlet):
            self.fallback._dependents.remove(self)
        self.fallback = other
        if other is not None:
            other._dependents.append(self)
        self._press()

    def policy_failed(self, error: Exception) -> None:
        """See `Balancer`. Said every ten seconds at most, counted each time."""
        super().policy_failed(error)
        now = asyncio.get_running_loop().time()
        if now - self._complained >= LONGEST_PAUSE:
            self._complained = now
            said = f"{type(error).__name__}: {error}"
            log.error("policy failed", destination=self.name, policy=self._config.policy, error=said, used="call")

    def promises(self) -> list[tuple[HepNode, int]]:
        """What each node `promised`, if memory alone holds anything for it."""
        return [(node, node.promised) for node in self._rows if node.unkept]

    def nodes_info(self) -> list[dict[str, Any]]:
        """Every node as `HepNode.info` tells it, in the order of the configuration."""
        return [node.info() for node in self._rows]

    def set_node(
        self,
        url: str,
        *,
        state: Administration | None = None,
        weight: float | None = None,
        priority: int | None = None,
    ) -> None:
        """Change one node until the next start: enabled, disabled (drained) or paused; weight; priority.

        LookupError when no node has this URL, ValueError for a value that there is not.
        """
        node = self._find(url)
        if state is not None and state not in ADMINISTRATION:
            raise ValueError(f"a node is {', '.join(ADMINISTRATION)}, not {state!r}")
        if weight is not None and not 0 < weight < float("inf"):
            raise ValueError(f"a weight is a number above 0, not {weight}")
        if weight is not None:
            node.weight = weight
        if priority is not None:
            node.priority = priority
        self.reorder()
        if state is not None:
            node.administer(state)

    def _find(self, url: str) -> HepNode:
        with contextlib.suppress(ValueError):
            url = str(parse_endpoint(url))
        for node in self._rows:
            if node.url == url:
                return node
        raise LookupError(f"{self.name} has no node {url}; it has: {', '.join(node.url for node in self._rows)}")

    async def prepare(self, config: HepDestination) -> Change:
        """Make ready for being what `config` says: its new nodes, open. Nothing has changed yet.

        Raises OSError or ValueError when a new node cannot be used. What comes of it is for `change` or `abandon`.
        """
        endpoints = [parse_endpoint(url) for url in config.urls]
        known = {node.url: node for node in self._rows}
        for endpoint in endpoints:
            if str(endpoint) in self._leaving:
                await asyncio.shield(self._leaving[str(endpoint)][1])
        rows = [known.get(str(endpoint)) or self._node(endpoint, config) for endpoint in endpoints]
        change = Change(config, endpoints, rows, [node for node in rows if node.url not in known])
        try:
            await open_all(change.new)
        except BaseException:
            await self.abandon(change)
            raise
        return change

    async def abandon(self, change: Change) -> None:
        """What was made ready is not wanted."""
        await asyncio.gather(*(node.close(0.0) for node in change.new), return_exceptions=True)

    def change(self, change: Change, drain: float = 5.0) -> None:
        """Be what was made ready, at once. Nodes that stay keep their connection and what waits for them, and whether they
        are disabled or paused. Removed ones take nothing more and get `drain` seconds, in the background, to deliver; then
        the rest is spooled or discarded. ValueError when the policy cannot be used: then nothing has changed.
        """
        known = {node.url: node for node in self._rows}
        self.arrange(change.rows, change.config.policy, self._value_of)
        self._config = change.config
        self._rows = change.rows
        for node, endpoint in zip(change.rows, change.endpoints, strict=True):
            if node in change.new:
                self._removed.adopted(node.url)
            else:
                node.configure(endpoint, self._settings(endpoint, change.config))
        self.reorder()
        for node in known.values():
            if node not in change.rows:
                self._leaving[node.url] = node, asyncio.create_task(self._remove(node, drain))
        self._press()

    async def reconfigure(self, config: HepDestination, drain: float = 5.0) -> None:
        """`prepare`, then `change`. Raises OSError or ValueError: then nothing has changed."""
        async with self._changing:
            change = await self.prepare(config)
            try:
                self.change(change, drain)
            except BaseException:
                await self.abandon(change)
                raise

    async def _remove(self, node: HepNode, drain: float) -> None:
        node.on_change = None
        node.administer("disabled")
        try:
            await node.close(asyncio.get_running_loop().time() + drain, reason="node removed")
        except OSError as error:
            log.error("spool of a removed node cannot be closed", node=node.url, error=str(error))
        del self._leaving[node.url]
        self._removed.add(node.account(), node.url)
        if node.spooled:
            log.warning("spool of a node that was removed", node=node.url, packets=node.spooled, hint=FORGOTTEN_HINT)

    # ── the books ──────────────────────────────────────────────────────────────────────────────────────────────────

    def account(self) -> Snapshot:
        """The destination's row in the books, with a row for each node. `fallback`: what went to the fallback instead;
        `policy_errors`: how often a user's policy failed.
        """
        rows: list[Row] = [*self._rows, *(node for node, _ in self._leaving.values())]
        if self._removed.count:
            rows.append(self._removed)
        return total(rows, self.refused) | {"fallback": self.relieved, "policy_errors": self.failures}


def _folder(endpoint: Endpoint) -> str:
    """The name of a node's spool in the spool directory of its destination."""
    return f"{endpoint.scheme}-{endpoint.host.replace(':', '_')}-{endpoint.port}"
