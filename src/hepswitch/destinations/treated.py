"""A HEP destination whose packets are treated first. One without any treatment is a plain `HepOutlet` and pays nothing.

Not here: what a treatment is (`treatment`), nodes and policies (`hep`).
"""

from __future__ import annotations

from typing import Any

from hepswitch.destinations.hep import HepDestination, HepOutlet
from hepswitch.destinations.treatment import Treat
from hepswitch.wire.hep import Hep


class TreatedOutlet(HepOutlet):
    """The destination `name`, which sends what `treat` makes of each packet. See `HepOutlet`."""

    def __init__(self, name: str, config: HepDestination, treat: Treat, *args: Any, **options: Any) -> None:
        super().__init__(name, config, *args, **options)
        self._treat = treat

    def offer(self, packet: Hep) -> bool:
        """Offer this destination's own copy; `packet` stays as it is. False, and counted as refused, when it gets none."""
        copy = self._copy(packet)
        return copy is not None and super().offer(copy)

    def relieve(self, packet: Hep) -> bool:
        """The same for a packet that another destination could not deliver."""
        copy = self._copy(packet)
        return copy is not None and super().relieve(copy)

    def _copy(self, packet: Hep) -> Hep | None:
        copy = self._treat.copy(packet)
        if isinstance(copy, str):
            self.refused[copy] += 1
            return None
        return copy
