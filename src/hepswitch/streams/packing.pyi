from hepswitch.streams.message import Message
from hepswitch.wire.batch import Batch

class Packer:
    """Messages of one batch: the records of `journal` by partition, `packets` or `most` bytes in each at most."""

    def __init__(self, journal: str, partitions: int, packets: int, most: int) -> None: ...
    @property
    def too_large(self) -> list[int]:
        """Numbers of frames whose packet is larger than `most`, left out."""
    @property
    def damaged(self) -> int:
        """Records of which no packet could be made, left out."""
    @property
    def fault(self) -> str | None:
        """What was wrong with the first of them."""
    def add(self, first: int, data: memoryview, lengths: memoryview, left_out: frozenset[int] = frozenset()) -> None:
        """Take the records that lie end to end in `data`; the first is frame number `first`. Numbers in `left_out` are not
        taken. A record that contradicts itself is counted in `damaged` and left out."""
    def messages(self) -> list[Message]:
        """The messages of all that was taken since the last time."""

def unpack(batch: Batch, body: bytes | bytearray | memoryview, arrival_us: int) -> int:
    """Put the packets of a message's body into `batch`, emptied first; gives how many bytes behind them are no packets, 0
    when all is well. `arrival_us`: the time of packets that carry none, µs since 1970.

    The batch keeps a copy of the body, because packets are edited in place.
    """
