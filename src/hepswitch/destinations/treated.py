"""A HEP destination whose packets are treated first. One without any treatment is a plain `HepOutlet` and pays nothing.

Not here: what a treatment is (`treatment`), nodes and policies (`hep`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hepswitch.destinations.hep import HepDestination, HepOutlet
from hepswitch.destinations.treatment import Treat
from hepswitch.wire.hep import Hep


class TreatedOutlet(HepOutlet):
    """The destination `name`, which sends what `treat` makes of each packet. See `HepOutlet`."""

    def __init__(self, name: str, config: HepDestination, treat: Treat, spool_dirs: Sequence[Path] = ()) -> None:
        super().__init__(name, config, spool_dirs)
        self._treat = treat

    def offer(self, packet: Hep) -> bool:
        """Offer this destination's own copy; `packet` stays as it is. False, and counted as refused, when it gets none."""
        copy = self._treat.copy(packet)
        if isinstance(copy, str):
            self.refused[copy] += 1
            return False
        return super().offer(copy)
