"""Tables for route scripts, like OpenSIPS' and Kamailio's htable: keys with values that expire, bounded in number.

Nothing here walks a whole table while packets wait: an operation looks at a few entries at most, and those that nobody
asks for again are swept a few at a time. Not here: names and the books of all tables (`registry`), sharing between workers.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from functools import lru_cache
from typing import Any

from hepswitch.units import parse_duration

SWEPT_BY_A_WRITE = 2
"""Entries looked at for expiry in each write: more than a write adds, so sweeping keeps up with filling."""

SWEPT_BY_A_LOOK = 1000
"""Entries looked at when the statistics are read, so that a table that nobody writes to empties as well."""


class _Entry:
    """`live` is False once the table has let it go: the sweeper may still hold it."""

    __slots__ = ("deadline", "key", "live", "value")

    def __init__(self, key: Hashable, value: Any, deadline: float) -> None:
        self.key = key
        self.value = value
        self.deadline = deadline
        self.live = True


class Table:
    """Keys (anything hashable) with values (anything) for `ttl`, at most `size` of them: then the oldest goes.

    `len()` and `entries` count what is kept, which includes what has expired and was not swept yet; every look-up and
    `items()` see only what lives. One table belongs to one worker process and its event loop: no locks, no threads.
    """

    def __init__(self, name: str, ttl: str | float, size: int, clock: Callable[[], float]) -> None:
        self.name = name
        self.hits = 0
        self.misses = 0
        self.expired = 0
        self.evicted = 0
        self._clock = clock
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()  # in the order of writing
        self._sweep_ring: deque[_Entry] = deque()  # every live entry once, and some that live no more
        self.configure(ttl, size)

    def configure(self, ttl: str | float, size: int) -> None:
        """From now on write with this `ttl` and keep at most `size` entries. ValueError for what makes no sense."""
        if size < 1:
            raise ValueError(f"table {self.name!r}: size {size} keeps nothing: write at least 1")
        self.ttl = _seconds(ttl)
        self.size = size

    def __getitem__(self, key: Hashable) -> Any:
        entry = self._look_up(key)
        if entry is None:
            raise KeyError(key)
        return entry.value

    def __setitem__(self, key: Hashable, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: Hashable) -> None:
        entry = self._look_up(key)
        if entry is None:
            raise KeyError(key)
        self._let_go(entry)

    def __contains__(self, key: Hashable) -> bool:
        return self._look_up(key) is not None

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Hashable]:
        return iter([key for key, _ in self.items()])

    def __repr__(self) -> str:
        return f"<Table {self.name}: {len(self)} of {self.size} entries, ttl {self.ttl:g} s>"

    def get(self, key: Hashable, default: Any = None) -> Any:
        """The value of `key`, else `default`."""
        entry = self._look_up(key)
        return default if entry is None else entry.value

    def set(self, key: Hashable, value: Any, ttl: str | float | None = None) -> None:
        """Keep `value` under `key` for `ttl` from now ("10m", seconds; None: the table's)."""
        now = self._clock()
        deadline = now + (self.ttl if ttl is None else _seconds(ttl))
        self._sweep(SWEPT_BY_A_WRITE, now)
        entry = self._entries.get(key)
        if entry is None:
            self._add(key, value, deadline)
            return
        if entry.deadline <= now:
            self.expired += 1
        entry.value, entry.deadline = value, deadline
        self._entries.move_to_end(key)

    def incr(self, key: Hashable, by: int = 1) -> int:
        """Add `by` to the number under `key` and give the sum; a key that is not there starts at 0.

        The time to live runs from the first `incr`: it counts within a window, however often it is called.
        """
        entry = self._look_up(key)
        if entry is not None:
            entry.value += by
            value: int = entry.value
            return value
        now = self._clock()
        self._sweep(SWEPT_BY_A_WRITE, now)
        self._add(key, by, now + self.ttl)
        return by

    def pop(self, key: Hashable, default: Any = None) -> Any:
        """Take `key` out and give its value, else `default`."""
        entry = self._look_up(key)
        if entry is None:
            return default
        self._let_go(entry)
        return entry.value

    def items(self) -> list[tuple[Hashable, Any]]:
        """What lives, the oldest first. Walks the whole table: not for every packet."""
        now = self._clock()
        return [(key, entry.value) for key, entry in self._entries.items() if entry.deadline > now]

    def statistics(self) -> dict[str, int]:
        """What the books say of the table: `entries` now, and the sums of hits, misses, expired and evicted."""
        self._sweep(SWEPT_BY_A_LOOK, self._clock())
        return {
            "entries": len(self),
            "hits": self.hits,
            "misses": self.misses,
            "expired": self.expired,
            "evicted": self.evicted,
        }

    def _look_up(self, key: Hashable) -> _Entry | None:
        entry = self._entries.get(key)
        if entry is not None:
            if entry.deadline > self._clock():
                self.hits += 1
                return entry
            self._let_go(entry)
            self.expired += 1
        self.misses += 1
        return None

    def _add(self, key: Hashable, value: Any, deadline: float) -> None:
        for _ in range(SWEPT_BY_A_WRITE):  # one is enough, unless the table was made smaller
            if len(self._entries) < self.size:
                break
            _, oldest = self._entries.popitem(last=False)
            oldest.live = False
            self.evicted += 1
        entry = self._entries[key] = _Entry(key, value, deadline)
        self._sweep_ring.append(entry)

    def _let_go(self, entry: _Entry) -> None:
        del self._entries[entry.key]
        entry.live = False

    def _sweep(self, most: int, now: float) -> None:
        """Look at the next `most` entries of the ring: the expired go, the living queue up again."""
        ring = self._sweep_ring
        for _ in range(min(most, len(ring))):
            entry = ring.popleft()
            if not entry.live:
                continue
            if entry.deadline > now:
                ring.append(entry)
            else:
                self._let_go(entry)
                self.expired += 1


@lru_cache(maxsize=256)
def _seconds(ttl: str | float) -> float:
    seconds = parse_duration(ttl)
    if not seconds > 0:
        raise ValueError(f"a time to live of {ttl!r} keeps nothing: write for example 10m, 1h or 0.5")
    return seconds
