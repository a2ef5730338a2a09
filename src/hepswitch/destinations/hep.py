"""The destination of relayed packets: a set of HEP nodes, one of which (or each) gets a packet.

    [destinations.homer]
    urls = ["udp://10.0.0.1:9060", "tcp://10.0.0.2:9060?weight=2", "tls://h3:9061?ca=FILE"]
    policy = "call"

UDP is best effort: delivered means taken by the kernel. Over TCP and TLS delivered means acknowledged by the far end's
TCP; while it is away or slow packets wait on disk (`spool`) and follow in order when it is back: at least once.

A node that is away is passed over while another one of the set is active. When none is, the policy chooses among all of
them as if they were, so the packets wait for the node that they belong to. Not here: policies (`balance`), sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import structlog
from pydantic import AfterValidator, Field, field_validator

from hepswitch.books import Snapshot
from hepswitch.destinations.balance import MOST_NODES, Balancer
from hepswitch.destinations.outlet import total
from hepswitch.destinations.spool import Spool
from hepswitch.destinations.stream_node import StreamNode
from hepswitch.destinations.udp_node import UdpNode
from hepswitch.net.resolve import Resolver
from hepswitch.tables import Size, Table
from hepswitch.units import Endpoint, parse_endpoint

log = structlog.get_logger("hepswitch.destinations")

FORGOTTEN_HINT = "its packets wait: configure it again to send them, or delete the folder"

TLS_OPTIONS = {"ca", "verify", "cert", "key"}


def _node_url(text: str) -> str:
    endpoint = parse_endpoint(text)
    known = {"weight"} | (TLS_OPTIONS if endpoint.scheme == "tls" else set())
    if unknown := sorted(endpoint.options.keys() - known):
        raise ValueError(f"{text!r} has unknown options: {', '.join(unknown)}; known here: {', '.join(sorted(known))}")
    if not endpoint.port and not endpoint.is_service:
        raise ValueError(f"{text!r} needs a port above 0")
    _weight(endpoint)
    return text


def _weight(endpoint: Endpoint) -> float:
    text = endpoint.options.get("weight", "1")
    weight = 0.0
    with contextlib.suppress(ValueError):
        weight = float(text)
    if not 0 < weight < float("inf"):
        raise ValueError(f"{endpoint}: weight={text} is no number above 0: write for example weight=2")
    return weight


class HepDestination(Table):
    """`[destinations.NAME]`: the far ends of `relay("NAME")`."""

    urls: list[Annotated[str, AfterValidator(_node_url)]] = Field(
        min_length=1,
        max_length=MOST_NODES,
        description="The nodes: udp://, tcp://, tls://host:port[?weight=2]; for tls also ca, cert, key (files), verify=no.",
    )
    policy: Literal["call", "round-robin", "first", "all"] = Field(
        "call",
        description='"call": all of one call goes to one node, shared by weight; "round-robin": in turn; '
        '"first": the first node of the list that is active; "all": a copy to each.',
    )
    version: Literal[1, 2, 3] | None = Field(
        None, description="HEP version sent; without it each packet keeps its own. TCP and TLS always carry version 3."
    )
    queue: Size = Field(16 << 20, description="Bytes that wait in memory for each node.")
    spool: Size = Field(1 << 30, description="Bytes that wait on disk for each TCP or TLS node; 0: none.")
    replay: Size = Field(
        8 << 20,
        description="Acknowledged bytes sent again after a TCP or TLS node broke off with a reset, "
        "because its program may never have read them.",
    )

    @field_validator("urls")
    @classmethod
    def _no_node_twice(cls, urls: list[str]) -> list[str]:
        names = [str(parse_endpoint(url)) for url in urls]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} is there more than once; give a node more traffic with ?weight=2")
        return urls


class HepOutlet(Balancer):
    """The destination `name`. Its nodes' spools are folders in `spool_dirs`: new packets go to the first of these, what
    is found in the others (left by workers that no longer exist) is sent first. Without `spool_dirs` nothing is spooled.
    """

    def __init__(
        self, name: str, config: HepDestination, spool_dirs: Sequence[Path] = (), resolver: Resolver | None = None
    ) -> None:
        self.name = name
        self.full = False
        self.on_pressure: Callable[[], None] | None = None
        self._fork = config.policy == "all"
        self._resolver = resolver = resolver or Resolver()
        self._since = time.time()
        self._said: dict[str, dict[str, Any]] = {}
        endpoints = [parse_endpoint(url) for url in config.urls]
        self._rows = [_node(endpoint, config, spool_dirs, resolver) for endpoint in endpoints]
        known = {_folder(endpoint) for endpoint in endpoints}
        self._forgotten = [path for each in spool_dirs for path in sorted(each.glob("*-*-*")) if path.name not in known]
        for node in self._rows:
            node.on_press = self._press
        super().__init__(self._rows, config.policy)

    async def open(self) -> None:
        """Connect the nodes that can be connected, adopt what is spooled. Raises OSError when a spool cannot be used."""
        for node in self._rows:
            await node.open()
        for path in self._forgotten:
            log.warning("spool of a node that is not configured", folder=str(path), hint=FORGOTTEN_HINT)

    def flush(self) -> None:
        """Hand what was offered since the last call to the far ends, as far as they take it now."""
        for node in self._rows:
            node.flush()

    def _press(self) -> None:
        """A node became full or has room again."""
        full = [node.full for node in self._rows]
        now = any(full) if self._fork else all(full)
        if now != self.full:
            self.full = now
            if self.on_pressure is not None:
                self.on_pressure()

    async def close(self, drain: float) -> None:
        """Take nothing more; give the nodes `drain` seconds for what is queued, then spool or discard the rest."""
        deadline = asyncio.get_running_loop().time() + drain
        await asyncio.gather(*(node.close(deadline) for node in self._rows))

    def nodes_info(self) -> list[dict[str, Any]]:
        """The nodes as `hepswitch ctl dispatcher list` shows them."""
        return [
            {
                "url": row.url,
                "weight": row.weight,
                "priority": 0,
                "since": self._since,
                "last_error": "",
                **{key: row.account()[key] for key in ("state", "queued", "spooled", "accepted", "delivered")},
            }
            | self._said.get(row.url, {})
            for row in self._rows
        ]

    def set_node(
        self, url: str, *, state: str | None = None, weight: float | None = None, priority: int | None = None
    ) -> None:
        """Change a node at run time. Raises LookupError when there is none of that name."""
        node = next((row for row in self._rows if row.url == url), None)
        if node is None:
            raise LookupError(
                f"{self.name} has no node {url!r} (there are: {', '.join(row.url for row in self._rows)})"
            )
        node.weight = weight or node.weight
        said = {"state": state, "priority": priority}
        self._said.setdefault(url, {}).update({key: value for key, value in said.items() if value is not None})

    async def reconfigure(self, config: HepDestination) -> None:
        """The set as `config` says now: nodes that stay go on, new ones are opened, those that are gone are closed."""
        known = {row.url: row for row in self._rows}
        endpoints = [parse_endpoint(url) for url in config.urls]
        rows = [
            known.pop(str(each)) if str(each) in known else _node(each, config, (), self._resolver)
            for each in endpoints
        ]
        for row in rows:
            if row.on_press is None:
                row.on_press = self._press
                await row.open()
        self._rows = rows
        super().__init__(rows, config.policy)
        for row in known.values():
            await row.close(0.0)

    def account(self) -> Snapshot:
        """The destination's row in the books, with a row for each node."""
        return total(self._rows, self.refused)


def _node(endpoint: Endpoint, config: HepDestination, dirs: Sequence[Path], resolver: Resolver) -> UdpNode | StreamNode:
    weight = _weight(endpoint)
    if endpoint.scheme == "udp":
        return UdpNode(endpoint, weight, config.version or 0, config.queue, resolver)
    spool = Spool([path / _folder(endpoint) for path in dirs], config.spool) if dirs and config.spool else None
    return StreamNode(endpoint, weight, config.queue, config.replay, spool, resolver)


def _folder(endpoint: Endpoint) -> str:
    """The name of a node's spool in the spool directory of its destination."""
    return f"{endpoint.scheme}-{endpoint.host.replace(':', '_')}-{endpoint.port}"
