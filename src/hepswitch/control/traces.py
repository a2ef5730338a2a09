"""The dynamic traces and the switches of all traces, as they were set at run time, for all workers.

They hold until the switch ends, in workers that are started again too; nothing of it is kept on disk. Not here: tracing
(`tracing`), HTTP (`control.http`).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from typing import Any

from msgspec import structs

from hepswitch.books import Snapshot
from hepswitch.config import Config
from hepswitch.control.refusal import RefusedError
from hepswitch.tracing.dynamic import TraceStart, Watch
from hepswitch.tracing.own import leads_to
from hepswitch.tracing.words import parse_types
from hepswitch.wire.chunks import PROTO_TYPES

MOST = 256
"""Dynamic traces at one time: each of them looks at every packet that begins something."""

FIGURES = ("packets", "requests", "replies", "calls", "refused")


class Started:
    """A dynamic trace, known to all workers by `number`. `before`: the figures of its id when it was started (an id may be
    used again)."""

    def __init__(self, start: TraceStart, number: int, before: Mapping[str, int]) -> None:
        self.start = start
        self.number = number
        self.until = None if start.seconds is None else time.time() + start.seconds
        self.before = dict(before)

    def figures(self, book: Snapshot) -> dict[str, int]:
        """What this one has done, by the books."""
        row = book["traces"].get(self.start.id, {})
        return {key: row.get(key, 0) - self.before.get(key, 0) for key in FIGURES}

    def left(self, book: Snapshot) -> int | None:
        """Packets that it may still send; None: as many as there are."""
        most = self.start.packets
        return None if most is None else max(most - self.figures(book)["packets"], 0)

    def over(self, book: Snapshot) -> bool:
        """Whether its time has passed, or all has been sent."""
        return self.left(book) == 0 or (self.until is not None and self.until <= time.time())


class TracesAtRunTime:
    """What was started and switched."""

    def __init__(self, on: bool) -> None:
        self._started: list[Started] = []
        self._numbers = itertools.count(1)
        self._switches: dict[str, bool] = {}
        self.on = on

    def check(self, start: TraceStart, config: Config, book: Snapshot) -> None:
        """Raises RefusedError when the trace cannot be started."""
        if start.id in config.traces:
            raise RefusedError(f"{start.id!r} is a trace of the configuration: take another id", 409)
        going = [each for each in self._started if not each.over(book)]
        if twice := [to for each in going if each.start.id == start.id for to in each.start.to if to in start.to]:
            raise RefusedError(f"trace {start.id!r} goes to {twice[0]} already: stop it first, or take another id", 409)
        if len(going) >= MOST:
            raise RefusedError(f"{MOST} dynamic traces are going on: stop one of them first", 409)
        for to in start.to:
            try:
                listener = leads_to(to, config.endpoints)
            except ValueError as error:
                raise RefusedError(str(error), 400) from error
            if listener is not None:
                raise RefusedError(f"what goes to {to} comes back at {listener}, and would go in circles", 400)
        try:
            Watch(start, dict.fromkeys(config.lists, frozenset[str]()))
        except ValueError as error:
            raise RefusedError(str(error), 400) from error

    def number(self) -> int:
        """The number of the next start."""
        return next(self._numbers)

    def remember(self, start: TraceStart, number: int, book: Snapshot) -> None:
        """It was started. What is over and has the same id is forgotten."""
        self._started = [each for each in self._started if each.start.id != start.id or not each.over(book)]
        self._started.append(Started(start, number, book["traces"].get(start.id, {})))

    def check_stop(self, id: str, config: Config) -> None:
        """Raises RefusedError when there is nothing of this id to stop."""
        if not any(each.start.id == id for each in self._started):
            if id in config.traces:
                raise RefusedError(f"{id!r} is a trace of the configuration: switch it off instead", 409)
            known = ", ".join(sorted({each.start.id for each in self._started})) or "none"
            raise RefusedError(f"no dynamic trace is called {id!r}; there is: {known}", 404)

    def forget(self, id: str) -> None:
        """The traces of this id were stopped."""
        self._started = [each for each in self._started if each.start.id != id]

    def check_switch(self, id: str | None, config: Config) -> None:
        """Raises RefusedError when there is no trace of the configuration called `id`."""
        if id is not None and id not in config.traces:
            known = ", ".join(config.traces) or "none"
            raise RefusedError(f"no trace of the configuration is named {id!r}; there is: {known}", 404)

    def switch(self, on: bool, id: str | None) -> None:
        """All traces of the file (None), or one, were switched on or off."""
        if id is None:
            self.on = on
        else:
            self._switches[id] = on

    def after_reload(self, old: Config, new: Config) -> None:
        """The file has been read again: where it has changed its mind, it counts."""
        if old.tracer.on != new.tracer.on:
            self.on = new.tracer.on
        for name in list(self._switches):
            before, now = old.traces.get(name), new.traces.get(name)
            if before is None or now is None or before.on != now.on:
                del self._switches[name]

    def said(self, book: Snapshot) -> dict[str, Any]:
        """What a worker has to be told that is started now."""
        start = [
            (
                each.number,
                structs.replace(
                    each.start,
                    packets=each.left(book),
                    seconds=None if each.until is None else max(each.until - time.time(), 0.001),
                ),
            )
            for each in self._started
            if not each.over(book)
        ]
        return {"start": start, "switches": self._switches, "on": self.on}

    def info(self, config: Config, book: Snapshot) -> dict[str, Any]:
        """Every trace with its figures: {"on", "traces": {id: …}, "calls", "evicted"}; see docs/reference/books.md."""
        rows: dict[str, Any] = {}
        for name, table in config.traces.items():
            figures = {key: book["traces"].get(name, {}).get(key, 0) for key in FIGURES}
            on = self._switches.get(name, table.on)
            rows[name] = _row(on, table.to, figures, "", ())
        for each in self._started:
            start = each.start
            row = _row(not each.over(book), start.to, each.figures(book), start.scope, _types(start.types))
            row |= {"dynamic": True, "filter": start.condition, "until": each.until, "left": each.left(book)}
            known = rows.get(start.id)
            if known is not None:  # one id, started for several destinations
                row["to"] = [*known["to"], *(to for to in row["to"] if to not in known["to"])]
                row["on"] = row["on"] or known["on"]
            rows[start.id] = row
        return {"on": self.on, "traces": rows, "calls": book["tracer"]["calls"], "evicted": book["tracer"]["evicted"]}


def _row(on: bool, to: list[str], figures: dict[str, int], scope: str, types: tuple[str, ...]) -> dict[str, Any]:
    return {
        "on": on,
        "to": list(to),
        "dynamic": False,
        "filter": None,
        "scope": scope,
        "types": list(types),
        **figures,
        "until": None,
        "left": None,
    }


def _types(text: str) -> tuple[str, ...]:
    numbers = parse_types(text) if text else None
    return () if numbers is None else tuple(PROTO_TYPES.get(number, str(number)) for number in sorted(numbers))
