"""Plain SIP over UDP and TCP: what a proxy duplicates, or a probe mirrors, message by message to this address.

    listen = ["sip://0.0.0.0:5060", "sip://0.0.0.0:5060?transport=tcp&allow=10.0.0.0/8"]

Each message becomes a HEP packet: from who sent it, to the address here that it was sent to, at the moment when it came,
with the Call-ID as correlation id. Nothing is ever answered. Over UDP what is no SIP is counted as refused: keep-alives
(blank lines, NULs, STUN) apart. A stream is cut by Content-Length (RFC 3261 section 18.3); one that is no SIP, or brings a
message that no HEP packet can hold, ends.

SIP knows no HEP authentication keys: `allow` and `deny` alone say who may send. Not here: reading (`udp`, `tcp`), and what
is SIP (`wire.plain_sip`).
"""

from __future__ import annotations

import socket
from dataclasses import replace

from hepswitch.net.sip_receiver import SipReceiver, tell_more
from hepswitch.net.sockets import bind_shared, listen_shared
from hepswitch.sources.inlet import ACCESS, Inlet, Source, bound_name, parse_listener
from hepswitch.sources.tcp import TcpSource
from hepswitch.sources.udp import UdpSource
from hepswitch.units import Endpoint
from hepswitch.wire.plain_sip import PlainSip, SipReader

KEYLESS = True

TRANSPORTS = ("udp", "tcp")

name = bound_name


def parse(url: str) -> Endpoint:
    """See `Way`. Over UDP the endpoint says nothing of a transport, whether the URL did or not."""
    endpoint = parse_listener(url, "sip", (*ACCESS, "transport"))
    transport = endpoint.options.get("transport", "udp")
    if transport not in TRANSPORTS:
        raise ValueError(f"{url!r}: transport={transport} is none of {', '.join(TRANSPORTS)}")
    told = {key: value for key, value in endpoint.options.items() if (key, value) != ("transport", "udp")}
    return replace(endpoint, options=told)


def bind(endpoint: Endpoint, workers: int, receive_buffer: int) -> list[list[socket.socket]]:
    """See `Way`."""
    if "transport" in endpoint.options:
        return listen_shared(endpoint, workers)
    shares = bind_shared(endpoint, workers, receive_buffer)
    for (sock,) in shares:
        tell_more(sock)
    return shares


def source(inlet: Inlet) -> Source:
    """See `Way`."""
    (sock,) = inlet.sockets
    listener = inlet.listener
    if sock.type == socket.SOCK_DGRAM:
        return UdpSource(sock, listener, inlet.flow, receiver=SipReceiver, after=inlet.after)
    sip = PlainSip(listener, stream=True)
    return TcpSource(
        sock,
        listener,
        inlet.flow,
        reader=lambda ends: SipReader(sip, *ends),
        after=inlet.after,
        allowed=inlet.allowed,
        places=inlet.places,
    )
