"""The keep-alive packet: what an idle node is sent so that a dead one, or a dead way to it, is noticed without traffic.

Not here: when it is sent (`hep_node`).
"""

from __future__ import annotations

import math
import socket
import time

from hepswitch.wire.chunks import ProtoType
from hepswitch.wire.hep import Hep

CONTROL = ProtoType.named("CONTROL")
"""No collector parses it as SIP, RTCP or a log."""


def keep_alive(sock: socket.socket, interval: float, agent: int) -> bytes:
    """A HEPv3 packet from and to the addresses of the connected `sock`, with the chunk keep_alive (`interval`, seconds).

    Its payload is there and empty: some decoders look for a payload without asking whether there is one.
    """
    source, target = sock.getsockname(), sock.getpeername()
    packet = Hep.new(
        b"",
        src_ip=source[0].partition("%")[0],
        src_port=source[1],
        dst_ip=target[0].partition("%")[0],
        dst_port=target[1],
        time=time.time(),
        proto_type=CONTROL,
        captagent_id=agent,
        keep_alive=max(1, min(math.ceil(interval), 65535)),
    )
    return bytes(packet)
