from collections import Counter
from collections.abc import Iterable

from hepswitch.wire.frames import Frames
from hepswitch.wire.hep import Hep

MOST_NODES: int

class Node:
    """One far end of a destination, as the flow sees it."""

    url: str
    seed: int
    weight: float
    version: int
    active: bool
    inbox: Frames
    room: int
    accepted: int
    refused: Counter[str]
    def __init__(self, url: str, weight: float, version: int, room: int) -> None: ...
    def overflow(self) -> bool:
        """The inbox has reached `room`. True when there is room now."""

class Balancer:
    """Offers packets to its nodes by a policy: first, all, round-robin or call."""

    nodes: tuple[Node, ...]
    refused: Counter[str]
    def __init__(self, nodes: Iterable[Node], policy: str) -> None: ...
    def offer(self, packet: Hep) -> bool:
        """Write the packet into the inbox of the node that the policy picks; True when a node took it."""
