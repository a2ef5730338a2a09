"""What routes and destinations work with, made from the configuration: its lists, its masks, and treatments of copies.

Not here: what is done with them (`routing.rules`, `destinations.balance`).
"""

from __future__ import annotations

from collections.abc import Callable

from hepswitch.config import Config
from hepswitch.destinations.hep import HepDestination
from hepswitch.destinations.treatment import Treat, Treatment
from hepswitch.filters.python import compile_filter
from hepswitch.state import State
from hepswitch.state.configured import load_lists
from hepswitch.units import parse_endpoint
from hepswitch.wire.hep import Hep


class Means:
    """`lists` by name for conditions, `masks` by name as functions that mask a packet in place. ListError, ValueError."""

    def __init__(self, config: Config, state: State) -> None:
        self.lists = load_lists(config.lists, state)
        self.masks: dict[str, Callable[[Hep], None]] = {
            name: table.masker().apply for name, table in config.masks.items()
        }

    def treat(self, table: Treatment, workers: int) -> Treat | None:
        """The treatment that a destination asks for; None when it asks for none. One worker of `workers` has its share."""
        if not table.treats:
            return None
        condition = None if table.filter is None else compile_filter(table.filter, self.lists)
        mask = None if table.mask is None else self.masks[table.mask]
        return Treat(table, condition, mask, _version(table), workers)


def _version(table: Treatment) -> int | None:
    """3 when whatever the destination sends is version 3 anyway."""
    if not isinstance(table, HepDestination):
        return None
    streams = all(parse_endpoint(url).scheme != "udp" for url in table.urls)
    return 3 if streams or table.version == 3 else None
