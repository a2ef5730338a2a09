"""What a route script keeps between packets: tables that forget, counters that become metrics, limits, lists
from files.

    from hepswitch import counter, number_list, table

    fraud = number_list("fraud.txt")
    seen = table("seen", ttl="10m")
    calls = counter("fraud_calls", "INVITEs to numbers on the list.")

Each worker process has its own state. It survives a reload of the script: the same name gives the same thing. Routes run
on one event loop, and so does all of this: no locks, and nothing in it blocks. Not here: sharing between workers, or disks.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hepswitch.state.counters import Counter, Gauge, Snapshot
from hepswitch.state.lists import FileList, ListError, NetworkList, Numbers, Prefixes, Words
from hepswitch.state.registry import KINDS, State
from hepswitch.state.tables import Table

__all__ = [
    "KINDS", "Counter", "FileList", "Gauge", "ListError", "NetworkList", "Numbers", "Prefixes", "State", "Table", "Words",
    "counter", "current", "gauge", "limit", "network_list", "number_list", "prefix_list", "snapshot", "table", "using",
    "word_list",
]  # fmt: skip

_current = State()


def current() -> State:
    """The state that scripts of this process get."""
    return _current


@contextmanager
def using(state: State) -> Iterator[None]:
    """Give scripts `state` instead while the block runs: for tests and dry runs."""
    global _current
    before, _current = _current, state
    try:
        yield
    finally:
        _current = before


def snapshot() -> Snapshot:
    """The state of this process in numbers: the books' key "script"."""
    return _current.snapshot()


def table(name: str, ttl: str | float = "1h", size: int = 100_000) -> Table:
    """The table `name`: its entries live for `ttl` ("10m", or seconds), and there are at most `size` of them.

    A later call with another ttl or size changes the table; what it holds stays. ValueError for a bad name, ttl or size.
    """
    return _current.table(name, ttl, size)


def counter(name: str, help: str = "", labels: Iterable[str] = ()) -> Counter:
    """The counter `name`, as metric `hepswitch_script_<name>_total`; `help` is its text there.

    At most 1,000 sets of label values are kept apart, the rest counts as "other". ValueError for a bad name, or when the
    counter is known with other labels.
    """
    return _current.series(Counter, name, help, labels)


def gauge(name: str, help: str = "", labels: Iterable[str] = ()) -> Gauge:
    """The gauge `name`, as metric `hepswitch_script_<name>`: the sum over all workers. Otherwise like `counter`."""
    return _current.series(Gauge, name, help, labels)


def limit(key: Hashable, rate: str | float, burst: float | None = None) -> bool:
    """True while what has the key `key` (an address, a user, a tuple …) comes no faster than `rate`, False above it.

    `rate` is "100/s", "60/m", or a number a second; `burst` (by default the number in the rate) may come at once. ValueError
    for what is no rate. A worker sees its own packets only: of n workers each should get an nth.
    """
    return _current.buckets.limit(key, rate, burst)


def number_list(path: str | Path) -> Numbers:
    """Telephone numbers, one a line. A relative path starts at the folder of the script that asks, for all lists.

    Every list is read again within 10 s of a change of its file. ListError when it cannot be read the first time.
    """
    return _current.file_list(Numbers, _beside_caller(path))


def prefix_list(path: str | Path) -> Prefixes:
    """Prefixes of telephone numbers, `prefix[,value]` a line; the longest that fits counts."""
    return _current.file_list(Prefixes, _beside_caller(path))


def network_list(path: str | Path) -> NetworkList:
    """Networks and addresses in CIDR notation, one a line."""
    return _current.file_list(NetworkList, _beside_caller(path))


def word_list(path: str | Path) -> Words:
    """Lines of any text: names, domains, user agents."""
    return _current.file_list(Words, _beside_caller(path))


def _beside_caller(path: str | Path) -> Path:
    """`path` seen from the folder of the file that called our caller; from the working directory when it is no file."""
    file = sys._getframe(2).f_globals.get("__file__")
    folder = Path(file).parent if file else Path.cwd()
    return (folder / Path(path).expanduser()).resolve()
