from collections.abc import Callable, Iterable
from mmap import mmap

from hepswitch.wire.hep import Hep

class Duplicates:
    """Recognises the same message from another agent, in `memory` (zeroed at first) that worker processes may share.

    `window_us`: how far apart the captures of copies may be; `lag_us`: their arrivals. `keep` copies pass (1 to 4).
    `key_of(packet)` gives what is the same in copies, or None for a packet that has none; None: the payload is the key.
    `proto_types`: only packets of these types are looked at; none means all. `marks`: copies are tagged "duplicate"
    instead of dropped. ValueError when the memory is too small or not aligned to 8 bytes.
    """

    marks: bool
    copies: int
    forgotten: int
    def __init__(
        self,
        memory: bytearray | memoryview | mmap,
        window_us: int,
        lag_us: int,
        *,
        keep: int = 1,
        key_of: Callable[[Hep], bytes | None] | None = None,
        proto_types: Iterable[int] = (),
        marks: bool = False,
    ) -> None: ...
    def seen(self, key: bytes, agent: bytes, captured_us: int, now_us: int) -> bool:
        """Note that `agent` delivered `key`. True when as many copies as are kept came from other agents before.

        `captured_us` is the packet's own time, `now_us` a monotonic clock that all who share the memory read.
        """

def room(sightings: int) -> int:
    """Bytes of memory in which that many sightings fit."""
