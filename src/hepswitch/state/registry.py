"""State: the tables, counters, gauges and lists of one process, by name. It outlives the route scripts that ask for them.

One event loop uses it; only lists are read in a thread (`refresh`). Not here: what `from hepswitch import table` gives
(`hepswitch.state` itself).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar
from weakref import WeakValueDictionary

from hepswitch.buckets import Buckets
from hepswitch.state.counters import Counter, Gauge, Series, Snapshot, check_name
from hepswitch.state.lists import AnyList, NetworkList, Numbers, Pause, Prefixes, Words, no_pause
from hepswitch.state.tables import Table

AnySeries = TypeVar("AnySeries", bound=Series)
OneKind = TypeVar("OneKind", bound=AnyList)

KINDS: dict[str, type[AnyList]] = {kind.kind: kind for kind in (Numbers, Prefixes, NetworkList, Words)}
"""The kinds of lists by their names in the configuration."""


MOST_NAMES = 1000
"""Tables, and counters and gauges, of one process. What differs from packet to packet is a key or a label, not a name."""


class State:
    """Everything that scripts keep between packets. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tables: dict[str, Table] = {}
        self._series: dict[str, Series] = {}
        self.buckets = Buckets()
        # Weak: a list that no script holds any more is not read again.
        self._lists: WeakValueDictionary[tuple[str, Path], AnyList] = WeakValueDictionary()

    def table(self, name: str, ttl: str | float, size: int) -> Table:
        """The table `name`: a new one, or the known one with this `ttl` and `size` from now on."""
        known = self._tables.get(name)
        if known is None:
            self._check_name("table", name, self._tables)
            known = self._tables[name] = Table(name, ttl, size, self._clock)
        else:
            known.configure(ttl, size)
        return known

    def series(self, kind: type[AnySeries], name: str, help: str, labels: Iterable[str]) -> AnySeries:
        """The counter or gauge `name`. ValueError when it is known with other labels, or as the other kind."""
        labels = tuple(labels)
        known = self._series.get(name)
        if known is None:
            self._check_name(kind.kind, name, self._series)
            made = self._series[name] = kind(name, help, labels)
            return made
        if not isinstance(known, kind):
            raise ValueError(  # noqa: TRY004 (the name is what is wrong)
                f"{kind.kind} {name!r}: a {known.kind} has that name already: choose another one"
            )
        if known.labels != labels:
            was = ", ".join(known.labels) or "no labels"
            raise ValueError(f"{kind.kind} {name!r} has counted with {was} since the start: choose another name")
        known.help = help
        return known

    def value(self, name: str, **labels: object) -> float:
        """What the counter or gauge `name` stands at. LookupError when there is none of that name."""
        if name not in self._series:
            known = ", ".join(sorted(self._series)) or "none"
            raise LookupError(f"no counter or gauge is named {name!r}; there are: {known}")
        return self._series[name].value(**labels)

    def file_list(self, kind: type[OneKind], path: Path) -> OneKind:
        """The list in the file `path`, read when nobody holds it yet. ListError when it cannot be read."""
        key = (kind.kind, path)
        known = self._lists.get(key)
        if not isinstance(known, kind):
            known = kind(path)
            self._lists[key] = known
        return known

    def lists(self) -> list[AnyList]:
        """The lists that somebody holds."""
        return list(self._lists.values())

    @staticmethod
    def _check_name(kind: str, name: str, known: Mapping[str, object]) -> None:
        check_name(kind, name)
        if len(known) >= MOST_NAMES:
            raise ValueError(
                f"{kind} {name!r}: there are {MOST_NAMES} already: use a label or a key, not a name for each"
            )

    def snapshot(self) -> Snapshot:
        """For the books, key "script": numbers that `books.merge` adds up. A gauge's sum is over all workers."""
        return {
            "counters": {name: one.snapshot() for name, one in self._series.items() if isinstance(one, Counter)},
            "gauges": {name: one.snapshot() for name, one in self._series.items() if isinstance(one, Gauge)},
            "tables": {name: table.statistics() for name, table in self._tables.items()},
        }


def refresh(lists: Iterable[AnyList], pause: Pause = no_pause) -> list[AnyList]:
    """Read again the lists whose file changed. Those with news: other content, or another `trouble`."""
    return [one for one in lists if one.refresh(pause)]
