"""HEP over UDP, TCP and TLS.

    listen = ["udp://0.0.0.0:9060", "tcp://0.0.0.0:9060", "tls://0.0.0.0:9061?cert=FILE&key=FILE[&client_ca=FILE]"]

A datagram is a packet; in a stream the total length of each HEPv3 packet frames it. `?allow=10.0.0.0/8&deny=…` replaces
the lists of `[access]` for one listener. Not here: reading (`udp`, `tcp`), and what a packet means (`wire`).
"""

from __future__ import annotations

import socket

from hepswitch.net.sockets import bind_shared, listen_shared
from hepswitch.net.tls import server_context
from hepswitch.sources.inlet import ACCESS, Inlet, Source, bound_name, parse_listener
from hepswitch.sources.tcp import TcpSource
from hepswitch.sources.udp import UdpSource
from hepswitch.units import Endpoint
from hepswitch.wire.stream import FrameReader

KEYLESS = False

OPTIONS = {"udp": ACCESS, "tcp": ACCESS, "tls": (*ACCESS, "cert", "key", "client_ca")}

name = bound_name


def parse(url: str) -> Endpoint:
    """See `Way`."""
    scheme = url.partition(":")[0]
    endpoint = parse_listener(url, scheme, OPTIONS[scheme])
    if scheme == "tls" and not {"cert", "key"} <= endpoint.options.keys():
        raise ValueError(f"{url!r} needs a certificate: write tls://{endpoint.host}:{endpoint.port}?cert=FILE&key=FILE")
    return endpoint


def bind(endpoint: Endpoint, workers: int, receive_buffer: int) -> list[list[socket.socket]]:
    """See `Way`."""
    if endpoint.scheme == "udp":
        return bind_shared(endpoint, workers, receive_buffer)
    return listen_shared(endpoint, workers)


def source(inlet: Inlet) -> Source:
    """See `Way`."""
    (sock,) = inlet.sockets
    if inlet.endpoint.scheme == "udp":
        return UdpSource(sock, inlet.listener, inlet.flow, after=inlet.after)
    return TcpSource(
        sock,
        inlet.listener,
        inlet.flow,
        reader=lambda _: FrameReader(),
        after=inlet.after,
        tls=server_context(inlet.endpoint) if inlet.endpoint.scheme == "tls" else None,
        allowed=inlet.allowed,
        places=inlet.places,
        ask=inlet.receipt,
    )
