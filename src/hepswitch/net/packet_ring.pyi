import socket

from hepswitch.net.udp import CountsDrops
from hepswitch.wire.intake import Intake

BLOCK: int
"""Bytes of a block: what is handed over at once, and more than the largest frame."""

RETIRE: int
"""Milliseconds after which the kernel hands over a block that is not full: how late a packet may be."""

def request_ring(sock: socket.socket, size: int) -> int:
    """Let the kernel put what `sock` (AF_PACKET) captures into a ring of about `size` bytes; gives its exact size.

    Raises OSError when that much memory cannot be had.
    """

class PacketRing:
    """The ring of `sock`, which `request_ring` made `size` bytes long; counts `listener.kernel_drops`.

    A block is read, then released; one that was not released is read again, also by the next process.
    """

    def __init__(self, sock: socket.socket, listener: CountsDrops, size: int) -> None:
        """Raises OSError when the ring cannot be mapped."""

    def read(self, intake: Intake) -> bool:
        """Hand the frames of the oldest block to `intake`; False when no block is ready."""

    def release(self) -> None:
        """Give the block that was read back to the kernel."""

    def close(self) -> None:
        """Take the ring out of this process's memory: until then the socket lives on, closed or not."""

    def count_drops(self) -> None:
        """Bring `listener.kernel_drops` up to date. Raises OSError."""
