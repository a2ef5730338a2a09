import socket
from typing import Protocol

from hepswitch.wire.batch import Batch
from hepswitch.wire.frames import Frames

class CountsDrops(Protocol):
    kernel_drops: int

class UdpReceiver:
    """Reads datagrams of `sock` (non-blocking) many at a time; counts `listener.kernel_drops`.

    `kernel_drops` is the count since the socket was bound, which outlives the process that reads it.
    """

    drained: bool
    """Whether the last `receive()` took everything that was there."""

    def __init__(self, sock: socket.socket, listener: CountsDrops, slots: int = 256) -> None: ...
    def receive(self) -> Batch | None:
        """What has arrived, at most `slots` datagrams, or None. Valid until the next call. Raises OSError."""

    def count_drops(self) -> None:
        """Bring `listener.kernel_drops` up to date, the very latest losses included. Raises OSError."""

class UdpSender:
    """Sends frames over a connected non-blocking datagram socket, one frame a datagram."""

    sent: int
    """Datagrams that the kernel took, since the sender was made."""
    oversized: int
    """Frames that were too big for UDP or for the path: popped, not sent."""

    def __init__(self, sock: socket.socket) -> None: ...
    def send(self, frames: Frames) -> int:
        """Send and pop from the front until empty or the socket is full; gives how many were sent.

        Raises OSError when the far end is reported dead (after one retry); what was sent is popped.
        """
