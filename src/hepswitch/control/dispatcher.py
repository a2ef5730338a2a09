"""The dispatcher sets of all workers as one, and the changes to them that were made at run time.

A change holds until the switch ends: also in a worker that is started again, and over a reload, except where the file
has changed its mind. A node that the file does not name any more is forgotten with all that was said of it; a node whose
URL in the file is another one than before (its options, say `?weight=2`) has the weight and priority that the file says.
Its state stays: a file cannot say it. Not here: nodes (`destinations`), HTTP (`control.http`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import structs

from hepswitch import books
from hepswitch.control.refusal import RefusedError
from hepswitch.destinations.hep import HepDestination
from hepswitch.destinations.sets import NodeChange, unknown_set
from hepswitch.units import parse_endpoint

SUMS = ("queued", "spooled", "accepted", "delivered")
"""What adds up over the workers; the last error and the time of the last change are the newest, states are joined."""


class Changes:
    """What was said at run time, by set and node."""

    def __init__(self, said: Iterable[NodeChange] = ()) -> None:
        self._said = {(change.set, change.node): change for change in said}

    def __iter__(self) -> Iterator[NodeChange]:
        return iter(self._said.values())

    def remember(self, change: NodeChange) -> None:
        """`change` on top of what was said of the node before."""
        key = change.set, change.node
        before = self._said.get(key, change)
        said = {name: value for name, value in structs.asdict(change).items() if value is not None}
        self._said[key] = structs.replace(before, **said)

    def after_reload(self, old: Mapping[str, HepDestination], new: Mapping[str, HepDestination]) -> Changes:
        """Those that hold on when the sets `old` of the file become `new`."""
        kept = []
        for change in self._said.values():
            before, now = (_urls(tables.get(change.set)).get(change.node) for tables in (old, new))
            if now is None:
                continue
            kept.append(change if now == before else NodeChange(change.set, change.node, change.state))
        return Changes(kept)


def checked(change: NodeChange, tables: Mapping[str, HepDestination]) -> NodeChange:
    """The change with the node's name as in the books. Raises RefusedError: no such set or node, or nothing to do."""
    if change.set not in tables:
        raise RefusedError(unknown_set(change.set, tables), 404)
    known = _urls(tables[change.set])
    try:
        node = str(parse_endpoint(change.node))
    except ValueError:
        node = change.node
    if node not in known:
        raise RefusedError(f"{change.set} has no node {change.node!r} (there are: {', '.join(known)})", 404)
    if (change.state, change.weight, change.priority) == (None, None, None):
        raise RefusedError("nothing to change: say a state, a weight or a priority", 400)
    return structs.replace(change, node=node)


def merged(workers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """`Sets.info()` of all workers as one: {set: {"policy": …, "nodes": [{"url": …, "state": …, …}]}}."""
    total: dict[str, Any] = {}
    for sets in workers:
        for name, row in sets.items():
            known = total.setdefault(name, {"policy": row["policy"], "nodes": []})["nodes"]
            by_url = {node["url"]: node for node in known}
            for node in row["nodes"]:
                if node["url"] in by_url:
                    _join(by_url[node["url"]], node)
                else:
                    known.append(dict(node))
    return total


def _join(into: dict[str, Any], node: Mapping[str, Any]) -> None:
    for key in ("state", "health"):
        into[key] = books.add(into[key], node[key])
    if node["since"] > into["since"]:
        into["since"], into["last_error"] = node["since"], node["last_error"] or into["last_error"]
    for key in SUMS:
        into[key] += node[key]


def _urls(table: HepDestination | None) -> dict[str, str]:
    """Node's name → its URL in the file."""
    return {str(parse_endpoint(url)): url for url in table.urls} if table else {}
