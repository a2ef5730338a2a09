"""Plain SIP to real far ends: the messages alone, in order, over UDP and TCP; and the URIs that name them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from far_ends import TcpSink, UdpSink, assert_balanced, packet, until
from hepswitch.books import Listener
from hepswitch.destinations.hep import HepOutlet
from hepswitch.destinations.sip import SipOutlet
from hepswitch.destinations.uris import parse_hep, parse_sip
from hepswitch.wire.batch import Batch
from hepswitch.wire.hep import Hep
from hepswitch.wire.plain_sip import PlainSip, SipReader

Opened = Callable[..., Coroutine[Any, Any, HepOutlet]]


def message(number: int, length: bool = True) -> bytes:
    told = "Content-Length: 5\r\n" if length else ""
    return f"BYE sip:bob@example.net SIP/2.0\r\nCall-ID: {number}@a\r\n{told}\r\nbody\n".encode()


def traced(number: int, length: bool = True) -> Hep:
    chunks = {"src_ip": "192.0.2.1", "dst_ip": "192.0.2.2", "src_port": 1, "dst_port": 2, "proto_type": "SIP"}
    return Hep.new(message(number, length), **chunks)


def read(data: bytes) -> list[bytes]:
    """The messages of a stream, as a far end cuts it."""
    reader, batch, found = (
        SipReader(PlainSip(Listener("sip://far"), stream=True), ("192.0.2.1", 1), ("192.0.2.2", 2)),
        Batch(None),
        [],
    )
    for at in range(0, len(data), 60_000):
        piece = data[at : at + 60_000]
        with reader.get_buffer() as buffer:
            buffer[: len(piece)] = piece
        reader.fed(len(piece))
        while reader.fill(batch):
            found += [Hep(each).payload or b"" for each in batch]
    assert reader.pending == 0
    return found


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    """Opens the destination of a `sip:` URI that is closed with the test; its books must balance then."""
    outlets: list[HepOutlet] = []

    async def make(uri: str) -> HepOutlet:
        target = parse_sip(uri)
        outlet = SipOutlet(target.name, target.config, [tmp_path / "w0"], switch_id=7)
        outlets.append(outlet)
        await outlet.open()
        return outlet

    yield make
    for outlet in outlets:
        await outlet.close(1.0)
        assert_balanced(outlet.account())


async def test_datagrams_are_the_messages_as_captured(opened: Opened) -> None:
    with closing(UdpSink()) as sink:
        outlet = await opened(f"sip:127.0.0.1:{sink.port}")
        assert all(outlet.offer(traced(i, length=i % 2 == 0), attrs="x", direction="in") for i in range(50))
        assert not outlet.offer(packet(1))
        outlet.flush()
        await until(lambda: len(sink.read()) == 50, "fifty messages")
        assert sink.frames == [message(i, length=i % 2 == 0) for i in range(50)]
        row = outlet.account()
        assert (row["accepted"], row["delivered"], row["refused"]) == (50, 50, {"not SIP": 1})


async def test_a_stream_can_be_cut_and_outlives_the_far_end(opened: Opened) -> None:
    sink = TcpSink()
    await sink.start()
    outlet = await opened(f"sip:localhost:{sink.port};transport=tcp")
    assert outlet.name == f"sip:localhost:{sink.port};transport=tcp"
    for i in range(2000):
        assert outlet.offer(traced(i, length=i % 2 == 0))
    outlet.flush()
    await until(lambda: outlet.account()["delivered"] == 2000, "all delivered")
    await until(lambda: sink.connections[0].count(b"BYE") == 2000, "all read")
    assert [each.partition(b"@")[0] for each in read(sink.connections[0])] == [
        message(i).partition(b"@")[0] for i in range(2000)
    ]
    assert sink.connections[0].count(b"Content-Length: 5\r\n") == 2000
    await sink.stop()
    await until(lambda: outlet.nodes_info()[0]["state"] == "inactive", "the far end away")
    for i in range(2000, 2100):
        assert outlet.offer(traced(i))
    outlet.flush()
    assert outlet.account()["spooled"] == 100
    await sink.start()
    await until(lambda: outlet.account()["delivered"] == 2100, "the spool delivered")
    await until(lambda: bytes(sink.connections[-1]).endswith(message(2099)), "the spool read")
    assert read(sink.connections[-1]) == [message(i) for i in range(2000, 2100)]
    await sink.stop()


@pytest.mark.parametrize(
    ("uri", "name", "url"),
    [
        ("sip:10.0.0.11", "sip:10.0.0.11:5060", "udp://10.0.0.11:5060"),
        ("sip:10.0.0.11:5070;transport=TCP;", "sip:10.0.0.11:5070;transport=tcp", "tcp://10.0.0.11:5070"),
        ("sip: proxy.example.net ; transport = udp", "sip:proxy.example.net:5060", "udp://proxy.example.net:5060"),
        ("sip:[2001:db8::1]", "sip:[2001:db8::1]:5060", "udp://[2001:db8::1]:5060"),
    ],
)
def test_sip_uris(uri: str, name: str, url: str) -> None:
    target = parse_sip(uri)
    assert (target.name, target.config.urls) == (name, [url])
    assert parse_sip(target.name) == target


@pytest.mark.parametrize(
    ("uri", "name", "url", "version"),
    [
        ("hep:10.0.0.1", "hep:10.0.0.1:9060", "tcp://10.0.0.1:9060", 3),
        ("hep:10.0.0.1:9; version=3; transport=UDP", "hep:10.0.0.1:9;transport=udp", "udp://10.0.0.1:9", 3),
        ("hep:h;transport=tls", "hep:h:9060;transport=tls", "tls://h:9060", 3),
        ("hep:h;version=1", "hep:h:9060;transport=udp;version=1", "udp://h:9060", 1),
        ("hep:[::1]:9061;version=2;transport=udp", "hep:[::1]:9061;transport=udp;version=2", "udp://[::1]:9061", 2),
    ],
)
def test_hep_uris_as_in_opensips(uri: str, name: str, url: str, version: int) -> None:
    target = parse_hep(uri)
    assert (target.name, target.config.urls, target.config.version) == (name, [url], version)
    assert parse_hep(target.name) == target


@pytest.mark.parametrize(
    ("uri", "hint"),
    [
        ("hep:h;version=2;transport=tcp", "HEP version 2 goes over udp alone"),
        ("hep:h;version=4", "version=4 is none of 3, 2, 1"),
        ("hep:h;transport=", "transport= is none of tcp, udp, tls"),
        ("hep:h;Transport=udp", "unknown parameter 'Transport'; known here: transport, version"),
        ("hep:h;;transport=udp", "unknown parameter ''"),
        ("hep:h;version=3;version=3", "says version twice"),
        ("hep:", "has no host"),
        ("hep:2001:db8::1", "IPv6 stands in brackets"),
        ("hep:h:0", "a port above 0"),
        ("hep:h?x=1", "more or less than an address"),
        ("hep:h/path", "has no host"),
        ("udp://h:1", "does not start with hep:"),
    ],
)
def test_hep_uris_that_mean_nothing(uri: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint) as caught:
        parse_hep(uri)
    assert repr(uri) in str(caught.value)


@pytest.mark.parametrize("uri", ["sip:h;transport=tls", "sip:h;version=3", "sip:alice@h", "hep:h", "sip:h:x"])
def test_sip_uris_that_mean_nothing(uri: str) -> None:
    with pytest.raises(ValueError, match=uri):
        parse_sip(uri)
