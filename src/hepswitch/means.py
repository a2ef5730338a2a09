"""What routes and destinations work with, made from the configuration: its lists, its masks, and treatments of copies.

Not here: what is done with them (`routing.rules`, `destinations.balance`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hepswitch.config import Config
from hepswitch.destinations.hep import HepDestination
from hepswitch.destinations.treatment import Treat
from hepswitch.filters.python import compile_filter
from hepswitch.state import State
from hepswitch.state.configured import load_lists
from hepswitch.wire.hep import Hep


class Means:
    """`lists` by name for conditions, `masks` by name as functions that mask a packet in place, `treat` for what a
    destination sends of a packet. Raises ListError, ValueError.

    `before`: treatments that stay as they were go on with their rates.
    """

    def __init__(self, config: Config, state: State, before: Means | None = None) -> None:
        self.lists = load_lists(config.lists, state)
        self.masks: dict[str, Callable[[Hep], object]] = {
            name: table.masker().apply for name, table in config.masks.items()
        }
        self._made: dict[str, tuple[Any, Treat | None]] = {}
        for name, table in config.destinations.items():
            grounds = (table, config.masks.get(table.mask or ""), config.lists, config.workers)
            known, treat = before._made.get(name, (None, None)) if before is not None else (None, None)
            self._made[name] = grounds, treat if known == grounds else self._treat(table, config.workers)

    def treat(self, destination: str) -> Treat | None:
        """The treatment that a destination asks for; None when it asks for none."""
        return self._made[destination][1]

    def _treat(self, table: HepDestination, workers: int) -> Treat | None:
        if not table.treats:
            return None
        condition = None if table.filter is None else compile_filter(table.filter, self.lists)
        mask = None if table.mask is None else self.masks[table.mask]
        return Treat(table, condition, mask, workers)
