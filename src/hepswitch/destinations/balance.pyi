from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from hepswitch.wire.frames import Frames
from hepswitch.wire.hep import Hep

MOST_NODES: int

class Node:
    """One far end of a destination, as the flow sees it."""

    url: str
    seed: int
    weight: float
    priority: int
    version: int
    mark: int
    numbered: bool
    queue: int
    number: int
    active: bool
    enabled: bool
    inbox: Frames
    room: int
    elsewhere: int
    accepted: int
    refused: Counter[str]
    def __init__(self, url: str, weight: float, version: int, room: int, priority: int = 0) -> None: ...
    def overflow(self) -> bool:
        """The inbox has reached `room`. True when there is room now."""

Value = Callable[[Hep], object]
Answer = Node | str | int | Sequence[Node | str | int] | None
Policy = Callable[[Hep, tuple[Node, ...]], Answer]

class Balancer:
    """Offers packets to its nodes by a policy: call, source, hash:EXPRESSION, round-robin, random, weighted, first, all,
    least-loaded or script:NAME.
    """

    nodes: tuple[Node, ...]
    refused: Counter[str]
    treat: Callable[[Hep], Hep | str] | None
    """What is sent of a packet, or the reason why nothing is; None: the packet itself."""
    fallback: Balancer | None
    @property
    def relieved(self) -> int:
        """Packets that the fallback took."""
    @property
    def failures(self) -> int:
        """How often a user's policy or a hashed value failed, so that `call` chose instead."""
    def __init__(self, nodes: Iterable[Node], policy: str, value_of: Callable[[str], Value] | None = None) -> None: ...
    def arrange(self, nodes: Iterable[Node], policy: str, value_of: Callable[[str], Value] | None = None) -> None:
        """Take these nodes and this policy from now on. ValueError: nothing has changed."""
    def reorder(self) -> None:
        """Weights or priorities of nodes have changed."""
    def set_policy(self, script: Policy | None) -> None:
        """The user's function for `script:NAME`: `script(packet, nodes)` gives a node, its URL or its place in `nodes`, a
        sequence of these in order of preference, or None to leave it to `call`. `nodes` are those that may get the packet.
        """
    def policy_failed(self, error: Exception) -> None:
        """A user's policy or a hashed value raised, or the answer made no sense: `call` chooses instead."""
    def offer(self, packet: Hep, **said: object) -> bool:
        """Write the packet into the inbox of the node that the policy picks; True when a node took it. What is `said` of
        it beside its bytes has no place in them.
        """
    def relieve(self, packet: Hep) -> bool:
        """`offer` for another destination's sake: True when a reachable node took the packet; it may not wait here."""
