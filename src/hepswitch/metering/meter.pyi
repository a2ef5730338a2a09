from collections.abc import Iterable, Mapping
from mmap import mmap
from typing import Any

from hepswitch.metering.agents import Agents
from hepswitch.metering.calls import Calls
from hepswitch.routing.packet import MeterBase

class Meter(MeterBase):
    """Remembers `agents` agents, and labels for `nodes` nodes. `memory` (`calls.room(n)` bytes, zeroed at first): where
    calls are kept, which workers may share; None: SIP is not read."""

    agents: Agents
    calls: Calls | None
    def __init__(self, agents: int, nodes: int, memory: bytearray | memoryview | mmap | None = None) -> None: ...
    def prepare(self, targets: Mapping[str, Iterable[str]]) -> dict[str, int]:
        """What `tell_apart` needs to tell `targets` (networks by name) apart. ValueError when there have been too many
        names."""
    def tell_apart(self, numbers: dict[str, int]) -> None:
        """From now on the targets that were prepared are told apart, and no others."""
    def sweep(self, worker: int = 0, workers: int = 1) -> None:
        """To be called about once a second: what is over ends, rates and means go on. This is `worker` of `workers`."""
    def snapshot(self) -> dict[str, Any]:
        """The key "meter" of the books: numbers that add up over workers, under bounded keys."""
