from enum import IntEnum
from typing import Any

from hepswitch.wire.batch import Batch
from hepswitch.wire.stream import FrameReader

class Plain(IntEnum):
    """What a node is sent instead of a HEP version: the SIP alone."""

    DATAGRAM = 4
    """As it is."""
    STREAM = 5
    """Framed by Content-Length, which is added or corrected where need be. A message whose start line was cut, or that has
    more than 65,535 bytes, is left out."""

class PlainSip:
    """Puts the SIP that comes to `listener` into envelopes. The rest is counted there, in `refused` by its reason."""

    def __init__(self, listener: Any, stream: bool = False) -> None: ...

class SipReader(FrameReader):
    """A `FrameReader` for a stream of SIP, framed by Content-Length (RFC 3261 section 18.3; none means no body).

    `fill` gives the messages as HEP packets from `peer` to `local` (each "ip", port), sent over TCP and captured when
    they arrived. Blank lines between messages are keep-alives (RFC 5626 section 3.5.1), and nothing is counted for them.
    `sip` makes the packets: one for the readers of all connections, for what it holds is gone with the next `fill()`.
    """

    def __init__(self, sip: PlainSip, peer: tuple[str, int], local: tuple[str, int]) -> None:
        """ValueError or OSError for what is no address."""
    def fill(self, batch: Batch) -> bool:
        """Put the complete messages into `batch` (emptied first), 256 at most. False when there is none.

        The packets live until the next `fill()` of a reader with the same `sip`. WireError when what comes next is no SIP
        ("not SIP"), or "too long"; messages before it are given out first, the error is raised by the call after.
        """

def message_size(data: bytes | bytearray | memoryview) -> int:
    """Bytes of the SIP message that `data` begins with, by its Content-Length; 0 when its headers are not all there."""

def head_size(data: bytes | bytearray | memoryview, searched: int = 0) -> int:
    """Bytes of the headers that `data` begins with; 0 when they are not all there, as in the first `searched` bytes."""

def message_start(data: bytes | bytearray | memoryview) -> int:
    """Where the first line is that a message (SIP, HEP) begins with or may yet begin with; len(data) when there is none."""
