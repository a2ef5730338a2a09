"""Plain SIP to real sockets: what becomes a packet, between whom and when, and what is counted instead."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from far_ends import until
from hepswitch.books import Listener
from hepswitch.sources import sip, ways
from hepswitch.sources.inlet import Inlet, Places
from hepswitch.wire.batch import Batch
from hepswitch.wire.hep import Hep

IP_PKTINFO, SO_TIMESTAMPNS = 8, 35
STUN = b"\0\1\0\0\x21\x12\xa4\x42" + bytes(12)


def message(number: int, body: bytes = b"v=0\r\n") -> bytes:
    head = f"INVITE sip:bob@example.net SIP/2.0\r\nCall-ID: call-{number}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def written() -> bool:
    """Nobody stores anything here."""
    return True


class Rig:
    """A listener, and the packets that its flow got."""

    def __init__(self, url: str, **options: Any) -> None:
        endpoint = ways.parse(url)
        ((self.sock,),) = sip.bind(endpoint, 1, 1 << 20)
        self.listener = Listener(sip.name(endpoint, [self.sock]))
        self.port: int = self.sock.getsockname()[1]
        self.packets: list[Hep] = []
        self.senders: set[tuple[str, int]] = set()
        given = {
            "allowed": lambda ip: True,
            "places": Places(),
            "worker": 0,
            "reader": 0,
            "folder": Path(),
            "written": written,
        } | options
        self.source = sip.source(Inlet(endpoint, [self.sock], self.listener, self.flow, self.after, **given))

    def flow(self, batch: Batch) -> None:
        self.packets += [Hep(packet) for packet in batch]
        self.listener.packets += len(batch)
        self.senders.add(batch.peer)

    def after(self) -> None:
        pass

    def accounted(self) -> int:
        row = self.listener
        assert row.packets == row.malformed + sum(row.refused.values()) + len(self.packets)
        return row.packets

    def talk(self, host: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, self.sock.type)
        sock.connect((host, self.port))
        return sock


Opened = Callable[..., Coroutine[Any, Any, Rig]]


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    async with AsyncExitStack() as stack:

        async def make(url: str, **options: Any) -> Rig:
            rig = Rig(url, **options)
            await rig.source.start(asyncio.get_running_loop())
            stack.push_async_callback(rig.source.stop)
            return rig

        yield make


PLACES = [
    ("127.0.0.1", "127.0.0.1"),
    ("0.0.0.0", "127.0.0.7"),
    ("[::]", "127.0.0.7"),
    ("[::]", "::1"),
    ("[::1]", "::1"),
]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize(("bound", "called"), PLACES)
async def test_a_packet_tells_who_sent_it_where_to_and_when(
    opened: Opened, transport: str, bound: str, called: str
) -> None:
    rig = await opened(f"sip://{bound}:0?transport={transport}")
    with closing(rig.talk(called)) as sock:
        before = time.time()
        sock.send(message(1))
        sent = time.time()
        own = sock.getsockname()
        await until(lambda: rig.packets, "a packet")
    (packet,) = rig.packets
    assert (packet.src_ip, packet.src_port, packet.dst_ip, packet.dst_port) == (own[0], own[1], called, rig.port)
    assert (packet.payload, packet.correlation_id, packet.proto_type) == (message(1), b"call-1", "SIP")
    assert packet.proto_id == ("UDP" if transport == "udp" else "TCP")
    assert packet.time is not None
    assert before - 0.001 <= packet.time
    if transport == "udp":
        assert packet.time <= sent + 0.001, "the kernel's time, not that of the read"


async def test_what_is_no_sip_is_counted_by_reason(opened: Opened) -> None:
    rig = await opened("sip://127.0.0.1:0")
    with closing(rig.talk("127.0.0.1")) as sock:
        for datagram in (b"\r\n\r\n", b"\0\0\0\0", b"", STUN, b"HEP3\0\6", b"junk", message(1), b"\r\n" + message(2)):
            sock.send(datagram)
        await until(lambda: rig.accounted() == 8, "eight datagrams")
    assert rig.listener.refused == {"keep-alive": 4, "not SIP": 2}
    assert [packet.payload for packet in rig.packets] == [message(1), b"\r\n" + message(2)]


async def test_a_datagram_without_socket_options_has_the_bound_address_and_the_time_of_the_read(opened: Opened) -> None:
    """As from a supervisor that bound the socket otherwise."""
    rig = await opened("sip://127.0.0.1:0")
    rig.sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 0)
    rig.sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 0)
    with closing(rig.talk("127.0.0.1")) as sock:
        before = time.time()
        sock.send(message(1))
        await until(lambda: rig.packets, "a packet")
    assert rig.packets[0].dst_ip == "127.0.0.1"
    assert rig.packets[0].time is not None
    assert before - 0.001 <= rig.packets[0].time <= time.time()


async def test_a_stream_byte_by_byte_and_all_at_once(opened: Opened) -> None:
    rig = await opened("sip://127.0.0.1:0?transport=tcp")
    sent = [message(i, b"x" * (i % 300)) for i in range(1000)]
    with closing(rig.talk("127.0.0.1")) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in sent[0] + b"\r\n\r\n" + sent[1]:
            sock.send(bytes([byte]))
            await asyncio.sleep(0)
        await until(lambda: len(rig.packets) == 2, "two messages")
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(sock, b"".join(sent[2:]))
        await until(lambda: len(rig.packets) == 1000, "a thousand messages")
        assert rig.senders == {sock.getsockname()}
    assert [packet.payload for packet in rig.packets] == sent
    await until(lambda: rig.listener.connections == 0, "the end of the connection")
    assert rig.accounted() == 1000
    assert rig.listener.malformed == 0


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "not SIP"),
        (message(2).replace(b"Content-Length: 5", b"Content-Length: 70000"), "too long"),
        (message(2)[:-1], "truncated"),
    ],
)
async def test_a_stream_that_cannot_be_cut_ends_and_is_counted(opened: Opened, said: bytes, reason: str) -> None:
    rig = await opened("sip://127.0.0.1:0?transport=tcp")
    with closing(rig.talk("127.0.0.1")) as sock:
        sock.sendall(message(1) + said)
        if reason == "truncated":
            sock.shutdown(socket.SHUT_WR)
        await until(lambda: rig.listener.malformed, "a broken connection")
        await until(lambda: rig.listener.connections == 0, "the end of the connection")
    assert rig.listener.malformed_reasons == {reason: 1}
    assert [packet.payload for packet in rig.packets] == [message(1)]
    assert rig.accounted() == 2


async def test_who_is_not_allowed_cannot_connect(opened: Opened) -> None:
    rig = await opened("sip://127.0.0.1:0?transport=tcp", allowed=lambda ip: False)
    with closing(rig.talk("127.0.0.1")):
        await until(lambda: rig.listener.connections_refused == 1, "a refusal")


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("sip://127.0.0.1?transport=tls", "transport=tls is none of udp, tcp"),
        ("sip://127.0.0.1?transport=", "transport= is none of udp, tcp"),
        ("sip://127.0.0.1?cert=x", "unknown options: cert; known here: allow, deny, transport"),
        ("sip://alice@127.0.0.1", "knows no users"),
        ("sips://127.0.0.1", "does not start with one of udp:, tcp:, tls:, sip:"),
    ],
)
def test_a_url_that_means_nothing_is_refused_with_a_hint(url: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        ways.parse(url)


def test_the_port_is_5060_and_the_name_tells_the_transport() -> None:
    assert str(ways.parse("sip://10.0.0.1")) == "sip://10.0.0.1:5060"
    assert str(ways.parse("sip://10.0.0.1?transport=tcp&allow=10.0.0.0/8")) == "sip://10.0.0.1:5060?transport=tcp"
