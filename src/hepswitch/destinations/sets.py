"""The dispatcher sets of one worker: the destinations by name, and what may change about them while packets flow.

A set that is taken away delivers what it holds in the background; its row stays in the books, for sums never go back.
Not here: what a set does with packets and with its nodes (`hep`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import structlog
from msgspec import Meta, Struct

from hepswitch import books
from hepswitch.books import Snapshot
from hepswitch.destinations.hep import Change, HepDestination, HepOutlet
from hepswitch.destinations.hep_node import Administration

log = structlog.get_logger("hepswitch.destinations")


class NodeChange(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A change made at run time to the node `node` (its name in the books) of the set `set`. None: stays as it is.

    disabled: gets no new packets and delivers what it holds; paused: takes packets and sends none.
    """

    set: str
    node: str
    state: Administration | None = None
    weight: Annotated[float, Meta(gt=0)] | None = None
    priority: Annotated[int, Meta(ge=-999_999_999, le=999_999_999)] | None = None


class Plan(NamedTuple):
    """The sets as they are going to be: those that are added, open, and how known ones change."""

    tables: dict[str, HepDestination]
    added: dict[str, HepOutlet]
    changed: dict[str, Change]


class Sets:
    """`make(name, table)` builds a destination; `drain`: seconds in which a set that is taken away may deliver.

    `outlets` is always the same dict: the route's context holds it. Raises OSError or ValueError when a set cannot be had.
    """

    def __init__(
        self, tables: Mapping[str, HepDestination], make: Callable[[str, HepDestination], HepOutlet], drain: float
    ) -> None:
        check_fallbacks(tables)
        self._drain = drain
        self.tables = dict(tables)
        self.outlets = {name: make(name, table) for name, table in tables.items()}
        self._wire()
        self._leaving: dict[str, HepOutlet] = {}
        self._farewells: dict[str, asyncio.Task[None]] = {}
        self._left: dict[str, Snapshot] = {}

    async def prepare(
        self, tables: Mapping[str, HepDestination], make: Callable[[str, HepDestination], HepOutlet]
    ) -> Plan:
        """Make ready for the sets as `tables` say: what is new in them, open. Nothing has changed yet.

        Raises OSError or ValueError when one of them cannot be had. What comes of it is for `change` or `abandon`.
        """
        check_fallbacks(tables)
        plan = Plan(dict(tables), {}, {})
        try:
            for name, table in tables.items():
                if name not in self.outlets:
                    if name in self._farewells:
                        await self._farewells[name]  # its spool is still in use
                    plan.added[name] = make(name, table)
                    await plan.added[name].open()
                elif table != self.tables[name]:
                    plan.changed[name] = await self.outlets[name].prepare(table)
        except BaseException:
            await self.abandon(plan)
            raise
        return plan

    async def abandon(self, plan: Plan) -> None:
        """What was made ready is not wanted."""
        await asyncio.gather(
            *(outlet.close(0.0) for outlet in plan.added.values()),
            *(self.outlets[name].abandon(change) for name, change in plan.changed.items()),
            return_exceptions=True,
        )

    def change(self, plan: Plan) -> None:
        """The sets as they were made ready, at once."""
        for name, change in plan.changed.items():
            self.outlets[name].change(change, self._drain)
        for outlet in self.outlets.values():
            outlet.set_fallback(None)
        for name in [name for name in self.outlets if name not in plan.tables]:
            self._leave(name, self.outlets.pop(name))
        for name, outlet in plan.added.items():
            if name in self._left:
                self._left[name] = _taken_over(self._left[name], outlet)
        self.outlets.update(plan.added)
        self.tables = plan.tables
        self._wire()

    def _wire(self) -> None:
        for name, table in self.tables.items():
            if table.fallback is not None:
                self.outlets[name].set_fallback(self.outlets[table.fallback])

    def _leave(self, name: str, outlet: HepOutlet) -> None:
        outlet.on_pressure = None
        self._leaving[name] = outlet
        self._farewells[name] = asyncio.create_task(self._say_farewell(name, outlet))

    async def _say_farewell(self, name: str, outlet: HepOutlet) -> None:
        try:
            await outlet.close(self._drain)
        finally:
            row = outlet.account()
            self._left[name] = books.add(self._left[name], row) if name in self._left else row
            del self._leaving[name], self._farewells[name]
            log.info("destination removed", destination=name, delivered=row["delivered"], spooled=row["spooled"])

    async def close(self) -> None:
        """Drain all sets, those that are leaving already too."""
        closing = [outlet.close(self._drain) for outlet in self.outlets.values()]
        await asyncio.gather(*closing, *self._farewells.values())

    # ── what is asked at run time ──────────────────────────────────────────────────────────────────────────────────

    def info(self) -> dict[str, Any]:
        """Every set's policy and nodes."""
        return {
            name: {"policy": self.tables[name].policy, "nodes": outlet.nodes_info()}
            for name, outlet in self.outlets.items()
        }

    def set_node(self, change: NodeChange) -> None:
        """Make the change. Raises LookupError naming what there is when there is no such set or node."""
        outlet = self.outlets.get(change.set)
        if outlet is None:
            raise LookupError(unknown_set(change.set, self.outlets))
        outlet.set_node(change.node, state=change.state, weight=change.weight, priority=change.priority)

    def account(self) -> dict[str, Snapshot]:
        """The row of every set that there is or was."""
        rows = dict(self._left)
        for outlets in (self._leaving, self.outlets):
            for name, outlet in outlets.items():
                row = outlet.account()
                rows[name] = books.add(rows[name], row) if name in rows else row
        return rows


def check_fallbacks(tables: Mapping[str, HepDestination]) -> None:
    """Raises ValueError when a fallback leads to a set that is not there, or back to where it began."""
    for name, table in tables.items():
        path, step = [name], table.fallback
        while step is not None:
            if step not in tables:
                raise ValueError(f"fallback of {path[-1]}: {unknown_set(step, tables)}")
            path.append(step)
            if step == name:
                raise ValueError(f"fallback leads in a circle: {' → '.join(path)}; leave one of them out")
            if step in path[:-1]:
                break  # a circle that does not pass here is found from another set
            step = tables[step].fallback


def unknown_set(name: str, known: Mapping[str, Any]) -> str:
    """What to tell a person who named a set that is not there."""
    return f"no destination is named {name!r} (configured: {', '.join(sorted(known)) or 'none'})"


def _taken_over(row: Snapshot, successor: HepOutlet) -> Snapshot:
    """What is left of a removed set's row when the set is back: it has found the spool, and the nodes' states are its."""
    books.hand_over(row, "destination removed")
    for url in successor.account()["nodes"].keys() & row["nodes"].keys():
        del row["nodes"][url]["state"]
    return row
