"""Destinations by name: the far end moves and the traffic follows; a service's second host takes over."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import closing
from typing import Any
from unittest.mock import AsyncMock

import pytest
import trustme

from far_ends import TcpSink, UdpSink, assert_balanced, number, packet, until
from hepswitch.destinations.hep import HepDestination, HepOutlet
from hepswitch.net import resolve
from hepswitch.net.resolve import Resolver
from name_servers import NameServer

Opened = Callable[..., Coroutine[Any, Any, HepOutlet]]


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    async with NameServer(ttl=1) as server:
        yield server


@pytest.fixture
async def opened(server: NameServer) -> AsyncIterator[Opened]:
    """Opens a destination that asks `server`; its books must balance at the end."""
    outlets: list[HepOutlet] = []

    async def make(*urls: str) -> HepOutlet:
        resolver = Resolver([server.address], timeout=0.2)
        outlet = HepOutlet("homer", HepDestination(urls=list(urls)), resolver=resolver)
        outlets.append(outlet)
        await outlet.open()
        return outlet

    yield make
    for outlet in outlets:
        await outlet.close(1.0)
        assert_balanced(outlet.account())


def offers(outlet: HepOutlet, sink: UdpSink) -> Callable[[], bool]:
    """A condition: send one more packet; has `sink` got any?"""

    def offered() -> bool:
        assert outlet.offer(packet(0))
        outlet.flush()
        return bool(sink.read())

    return offered


async def test_a_udp_far_end_moves_and_the_traffic_follows(opened: Opened, server: NameServer) -> None:
    with closing(UdpSink()) as old, closing(UdpSink("127.0.0.2", old.port)) as new:
        server.zone["homer.example", "A"] = ["127.0.0.1"]
        outlet = await opened(f"udp://homer.example:{old.port}")
        await until(offers(outlet, old), "packets at the old address")
        server.zone["homer.example", "A"] = ["127.0.0.2"]
        await until(offers(outlet, new), "packets at the new address")
        sent = outlet.account()["delivered"]
        await until(lambda: len(old.read()) + len(new.read()) == sent, "every packet at one of them")
        assert list(outlet.account()["nodes"]) == [f"udp://homer.example:{old.port}"]


async def test_what_waits_for_a_name_is_sent_when_it_has_an_address(opened: Opened, server: NameServer) -> None:
    with closing(UdpSink()) as sink:
        outlet = await opened(f"udp://homer.example:{sink.port}")
        assert all(outlet.offer(packet(i)) for i in range(10))
        outlet.flush()
        server.zone["homer.example", "A"] = ["127.0.0.1"]
        await until(lambda: len(sink.read()) == 10, "all packets")
        assert [number(frame) for frame in sink.frames] == list(range(10))


async def test_a_name_server_that_is_silent_holds_all_nodes_up_at_once(
    opened: Opened, server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.silent = True
    monkeypatch.setattr(resolve, "_ask_system", AsyncMock(side_effect=OSError("not known here either")))
    async with asyncio.timeout(20):  # one after the other would take forty
        outlet = await opened(*(f"udp://homer-{i}.example" for i in range(40)))
    assert len(outlet.account()["nodes"]) == 40


async def test_after_an_icmp_error_the_next_address_is_used(opened: Opened, server: NameServer) -> None:
    with closing(UdpSink("127.0.0.2")) as sink:
        server.zone["homer.example", "A"] = ["127.0.0.1", "127.0.0.2"]
        outlet = await opened(f"udp://homer.example:{sink.port}")
        await until(offers(outlet, sink), "packets at the second address")
        await until(
            lambda: outlet.account()["nodes"][f"udp://homer.example:{sink.port}"]["state"] == "active",
            "the node counts as active again",
        )


async def test_an_address_without_a_way_is_passed_over(opened: Opened, server: NameServer) -> None:
    with closing(UdpSink()) as sink:
        server.zone["homer.example", "AAAA"] = ["fe80::1"]  # of which link? The kernel refuses
        server.zone["homer.example", "A"] = ["127.0.0.1"]
        outlet = await opened(f"udp://homer.example:{sink.port}")
        await until(offers(outlet, sink), "packets over IPv4")


async def test_a_service_fails_over_to_its_second_host(opened: Opened, server: NameServer) -> None:
    first, second = TcpSink(), TcpSink()
    await first.start()
    await second.start()
    server.zone["_hep._tcp.example.net", "SRV"] = [
        f"10 0 {first.port} a.example.net.",
        f"20 0 {second.port} b.example.net.",
    ]
    server.zone["a.example.net", "A"] = server.zone["b.example.net", "A"] = ["127.0.0.1"]
    outlet = await opened("tcp://_hep._tcp.example.net")
    sent = 0

    async def all_at(sink: TcpSink) -> None:
        nonlocal sent
        start = sent
        for sent in range(start + 1, start + 51):
            assert outlet.offer(packet(sent))
        outlet.flush()
        await until(lambda: sink.received >= set(range(start + 1, sent + 1)), "all packets")

    await all_at(first)
    await first.stop()
    await all_at(second)
    row = outlet.account()["nodes"]
    assert list(row) == ["tcp://_hep._tcp.example.net"]
    await second.stop()


@pytest.mark.parametrize(("name", "trusted"), [("example.net", True), ("b.example.net", False)])
async def test_a_services_certificate_is_for_its_domain(
    opened: Opened, server: NameServer, tmp_path: Any, name: str, trusted: bool
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    sink = TcpSink(context)
    await sink.start()
    server.zone["_hep._tcp.example.net", "SRV"] = [f"10 0 {sink.port} b.example.net."]
    server.zone["b.example.net", "A"] = ["127.0.0.1"]
    url = "tls://_hep._tcp.example.net"
    outlet = await opened(f"{url}?ca={tmp_path / 'ca.pem'}")
    try:
        if trusted:
            assert outlet.offer(packet(1))
            outlet.flush()
            await until(lambda: sink.received == {1}, "the packet")
        else:
            await until(lambda: outlet.account()["nodes"][url]["state"] == "inactive", "the refusal")
            assert sink.received == set()
    finally:
        await sink.stop()
