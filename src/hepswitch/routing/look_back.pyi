from collections.abc import Callable, Iterable
from typing import Any

from hepswitch.routing.packet import Packet
from hepswitch.wire.hep import Hep
from hepswitch.wire.sip import Sip

class Kept:
    """A packet that has gone through. `given`: the targets of traces that have got it."""

    came: bytes
    """The packet as it came."""
    left: bytes
    """The packet as the route left it; the same object if that is alike."""
    at: float
    """When it went through, by the clock."""
    given: Any
    """See `Packet.given`."""

    def before(self) -> Hep:
        """The packet as it came."""
    def packet(self) -> Packet:
        """The packet as the route left it, to be handed on; it knows who has it already."""
    def taken(self) -> None:
        """Somebody has taken it after all: it is not unrouted any more."""

class LookBack:
    """Keeps packets for `seconds` by `clock`, in at most `most` bytes: older ones give way, and are counted in `forgotten`
    when it was too early.

    `shorten(name)` makes an unusual name what it is known by; `names_of(packet, sip)` gives the names by which an INVITE
    ties its dialog to others.
    """

    seconds: float
    most: int
    nbytes: int
    """Bytes that are kept, with an allowance for each packet."""
    forgotten: int

    def __init__(
        self,
        seconds: float,
        most: int,
        clock: Callable[[], float],
        shorten: Callable[[str], str],
        names_of: Callable[[Hep, Sip | None], Iterable[str]],
    ) -> None: ...
    def __len__(self) -> int: ...
    def of(self, name: str) -> list[Kept]:
        """The packets known by this name, the oldest first."""
    def clear(self) -> None:
        """Forget all."""
