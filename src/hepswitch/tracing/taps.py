"""Taps: people watch packets go by while the switch runs (`hepswitch tail`, the page Live).

    Flow ─▶ Taps.see(packet, as the route left it) ─▶ each tap: its filter ─▶ its rows, until somebody takes them

Without a watcher the flow has no `Taps` to ask. With some, packets come first:

- A tap holds so many rows. What matches while it is full is *missed*: counted, and nothing more.
- All taps of a worker get SHARE of its time, each the same part of it. What comes when a tap has used up its part is
  *skipped*: its filter is not asked. A search (`~`) that takes longer than LONGEST for one packet is broken off, and that
  packet skipped.

So of a tap `seen` = skipped + asked, and `matched` = rows + missed. Packets that do not get into the route (refused,
malformed, duplicates) are not seen here: the books have their reasons. Not here: rows (`tap_rows`), who watches
(`control.live`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping
from typing import Any

import structlog
from msgspec import Raw, Struct

from hepswitch.filters.language import parse
from hepswitch.filters.python import compile_tree
from hepswitch.filters.tree import And, Check, Not, Or, Tree
from hepswitch.logs import Throttle
from hepswitch.routing.packet import Context, Packet
from hepswitch.tracing.patience import OutOfPatienceError, Patience
from hepswitch.tracing.tap_rows import row_of

log = structlog.get_logger("hepswitch.tracing")

MOST_ROWS = 500
"""Rows that one tap holds: more in a fifth of a second than anybody reads."""

MOST_BYTES = 1 << 20
"""Bytes of the rows that one tap holds."""

MOST_OF_ALL = 8 << 20
"""Bytes of the rows of all taps: they go to the supervisor as one answer."""

SHARE = 0.1
WINDOW = 0.1
"""Seconds in which the time that taps take is added up and compared with their share."""

LONGEST = 0.01
"""Seconds that a search may take for one packet."""

LONG = 0.001
"""Seconds that nothing but a search takes for one packet: when more have gone by, the worker has waited for its core."""

LOG_EVERY = 60.0
"""Seconds between two log lines about the same error."""

Lists = Mapping[str, Container[str]]


class Watching(Struct, frozen=True):
    """What somebody wants to see: packets that meet `filter` (a condition; None: all), with their payloads or without."""

    id: int
    filter: str | None = None
    payload: bool = False


class Found(Struct):
    """What a tap has found since it was asked last. A row is one JSON object, behind its packet's time in µs."""

    rows: list[tuple[int, Raw]] = []
    seen: int = 0
    matched: int = 0
    missed: int = 0
    skipped: int = 0


class _Tap:
    """One of them. `spent`: seconds of the current window."""

    def __init__(self, watching: Watching, lists: Lists) -> None:
        self.watching = watching
        self.found = Found()
        self.nbytes = 0
        self.spent = 0.0
        self.relist(lists)

    def relist(self, lists: Lists) -> None:
        """Compile the filter. Raises FilterError."""
        text = self.watching.filter
        tree = None if text is None else parse(text, lists)
        self.wants: Callable[[Any], bool] | None = None if tree is None else compile_tree(tree, lists)
        self.searches = tree is not None and _searches(tree)


class Taps:
    """The taps of one worker, which `context` has while there are any."""

    def __init__(self, context: Context, clock: Callable[[], float] = time.perf_counter) -> None:
        self._context = context
        self._clock = clock
        self._taps: dict[int, _Tap] = {}
        self._window = 0.0
        self._part = 0.0
        self._held = 0
        self._patience = Patience(LONGEST)
        self._throttle = Throttle(LOG_EVERY)

    def watch(self, watching: Watching, lists: Lists) -> None:
        """Add a tap. Raises FilterError when its filter is none."""
        self._taps[watching.id] = _Tap(watching, lists)
        self._changed()

    def _changed(self) -> None:
        self._part = WINDOW * SHARE / max(len(self._taps), 1)
        self._context.taps = self if self._taps else None

    def relist(self, lists: Lists) -> None:
        """The lists that filters speak of have changed. One whose list is gone goes by the old one."""
        for tap in self._taps.values():
            try:
                tap.relist(lists)
            except ValueError as error:
                log.warning("filter of a watcher stays as it was", filter=tap.watching.filter, error=str(error))

    def take(self, ids: Container[int]) -> dict[int, Found]:
        """What the taps of these ids have found since this was asked last. All others are taken away."""
        taken = {}
        self._taps = {id: tap for id, tap in self._taps.items() if id in ids}
        self._changed()
        for id, tap in self._taps.items():
            taken[id], tap.found, tap.nbytes = tap.found, Found(), 0
        self._held = 0
        return taken

    def see(self, packet: Packet) -> None:
        """The packet as the route left it. Never raises."""
        before = self._clock()
        if before - self._window >= WINDOW:
            self._window = before
            for tap in self._taps.values():
                tap.spent = 0.0
        rows: dict[bool, bytes] = {}  # of this packet: with its payload, and without
        for tap in self._taps.values():
            tap.found.seen += 1
            if tap.spent >= self._part:
                tap.found.skipped += 1
                continue
            try:
                if self._wanted(tap, packet):
                    self._keep(tap, packet, rows)
            except OutOfPatienceError:
                tap.found.skipped += 1
            except Exception as error:  # a watcher must not cost a packet
                tap.found.skipped += 1
                if self._throttle.due(type(error).__name__) is not None:
                    log.exception("packet cannot be shown", exc_info=error)
            after = self._clock()
            tap.spent += min(after - before, LONGEST if tap.searches else LONG)
            before = after

    def _wanted(self, tap: _Tap, packet: Packet) -> bool:
        if tap.wants is None:
            return True
        return self._patience.ask(tap.wants, packet) if tap.searches else tap.wants(packet)

    def _keep(self, tap: _Tap, packet: Packet, rows: dict[bool, bytes]) -> None:
        found, payload = tap.found, tap.watching.payload
        if len(found.rows) < MOST_ROWS and tap.nbytes < MOST_BYTES and self._held < MOST_OF_ALL:
            row = rows.get(payload)
            if row is None:
                row = rows[payload] = row_of(packet, payload)
            found.rows.append((packet.time_us, Raw(row)))
            tap.nbytes += len(row)
            self._held += len(row)
        else:
            found.missed += 1
        found.matched += 1


def _searches(tree: Tree) -> bool:
    """Whether a regular expression is in it: of all tests only that one can take for ever."""
    match tree:
        case Check():
            return tree.op == "~"
        case Not(part):
            return _searches(part)
        case And(parts) | Or(parts):
            return any(map(_searches, parts))
