"""HEP destinations over UDP: every policy, failover, versions, names, bounds, books."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
from pydantic import ValidationError

from far_ends import UdpSink, assert_balanced, number, packet, until
from hepswitch.destinations.hep import HepDestination, HepOutlet
from hepswitch.wire.hep import Hep

Opened = Callable[..., Coroutine[Any, Any, HepOutlet]]


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    """Opens a destination that is closed with the test; its books must balance then."""
    outlets: list[HepOutlet] = []

    async def make(*urls: str, **options: Any) -> HepOutlet:
        outlet = HepOutlet("homer", HepDestination(urls=list(urls), **options))
        outlets.append(outlet)
        await outlet.open()
        return outlet

    yield make
    for outlet in outlets:
        await outlet.close(1.0)
        assert_balanced(outlet.account())
        assert outlet.account()["queued"] == 0


@pytest.fixture
def sinks() -> Iterator[list[UdpSink]]:
    with ExitStack() as stack:
        yield [stack.enter_context(closing(UdpSink())) for _ in range(4)]


async def all_arrived(sinks: list[UdpSink], count: int) -> None:
    await until(lambda: sum(len(sink.read()) for sink in sinks) >= count, f"{count} packets")


async def test_one_node_gets_every_packet_unchanged_and_in_order(opened: Opened, sinks: list[UdpSink]) -> None:
    outlet = await opened(sinks[0].url)
    packets = [packet(i) for i in range(100)]
    assert all(outlet.offer(each) for each in packets)
    assert outlet.account()["queued"] == 100
    outlet.flush()
    await all_arrived(sinks[:1], 100)
    assert sinks[0].frames == [bytes(each) for each in packets]
    row = outlet.account()
    assert (row["accepted"], row["delivered"], row["queued"]) == (100, 100, 0)
    assert row["nodes"][sinks[0].url]["state"] == "active"


async def test_all_sends_a_copy_to_each(opened: Opened, sinks: list[UdpSink]) -> None:
    outlet = await opened(*(sink.url for sink in sinks), policy="all")
    for i in range(10):
        assert outlet.offer(packet(i))
    outlet.flush()
    await all_arrived(sinks, 40)
    assert [[number(frame) for frame in sink.frames] for sink in sinks] == [list(range(10))] * 4
    assert outlet.account()["accepted"] == 40


async def test_round_robin_takes_turns(opened: Opened, sinks: list[UdpSink]) -> None:
    outlet = await opened(*(sink.url for sink in sinks), policy="round-robin")
    for i in range(40):
        assert outlet.offer(packet(i))
    outlet.flush()
    await all_arrived(sinks, 40)
    assert [[number(frame) for frame in sink.frames] for sink in sinks] == [list(range(n, 40, 4)) for n in range(4)]


async def test_first_fails_over_and_comes_back(opened: Opened, sinks: list[UdpSink]) -> None:
    outlet = await opened(sinks[0].url, sinks[1].url, policy="first")
    outlet.offer(packet(0))
    outlet.flush()
    await all_arrived(sinks[:1], 1)
    port = sinks[0].port
    sinks[0].close()

    def away() -> bool:
        outlet.offer(packet(1))
        outlet.flush()
        return outlet.account()["nodes"][sinks[0].url]["state"] == "inactive"

    await until(away, "the first node is noticed to be away")
    outlet.offer(packet(2))
    outlet.flush()
    await until(lambda: 2 in {number(frame) for frame in sinks[1].read()}, "the second node serves")
    with closing(UdpSink(port=port)) as again:

        def back() -> bool:
            outlet.offer(packet(3))
            outlet.flush()
            return bool(again.read())

        await until(back, "the first node serves again")
        await until(lambda: outlet.account()["nodes"][again.url]["state"] == "active", "it counts as active")
    assert_balanced(outlet.account())


async def test_the_only_node_is_tried_even_while_it_is_inactive(opened: Opened) -> None:
    with closing(UdpSink()) as gone:
        url, port = gone.url, gone.port
    outlet = await opened(url)

    def inactive() -> bool:
        assert outlet.offer(packet(0))
        outlet.flush()
        return outlet.account()["nodes"][url]["state"] == "inactive"

    await until(inactive, "the refusal is noticed")
    with closing(UdpSink(port=port)) as again:
        assert outlet.offer(packet(1))
        outlet.flush()
        await all_arrived([again], 1)
        assert number(again.frames[-1]) == 1


async def test_call_keeps_a_call_on_one_node_and_moves_only_the_calls_of_a_lost_one(
    opened: Opened, sinks: list[UdpSink]
) -> None:
    urls = [sink.url for sink in sinks]

    async def spread(outlet: HepOutlet) -> dict[int, str]:
        for sink in sinks:
            sink.frames.clear()
        for call in range(300):
            for part in range(2):
                assert outlet.offer(packet(call, call=f"call-{call}@host", proto_type=5 if part else 100))
        outlet.flush()
        await all_arrived(sinks, 600)
        placed: dict[int, str] = {}
        for sink in sinks:
            for frame in sink.frames:
                assert placed.setdefault(number(frame), sink.url) == sink.url, "a call is split"
        return placed

    before = await spread(await opened(*urls))
    shares = [list(before.values()).count(url) for url in urls]
    assert all(45 <= share <= 105 for share in shares), shares
    after = await spread(await opened(*urls[:2], urls[3]))
    assert {call for call in before if after[call] != before[call]} == {
        call for call, url in before.items() if url == urls[2]
    }
    assert await spread(await opened(*reversed(urls))) == before, "the order of the urls must not matter"


async def test_call_shares_by_weight(opened: Opened, sinks: list[UdpSink]) -> None:
    outlet = await opened(f"{sinks[0].url}?weight=3", sinks[1].url)
    for call in range(800):
        outlet.offer(packet(call, call=f"call-{call}"))
    outlet.flush()
    await all_arrived(sinks, 800)
    assert 540 <= len(sinks[0].frames) <= 660


async def test_version_is_the_destinations_or_the_packets_own(opened: Opened, sinks: list[UdpSink]) -> None:
    old = packet(7, proto_type=1)
    old.version = 1
    as_it_came, converted = await opened(sinks[0].url), await opened(sinks[1].url, version=3)
    for outlet in (as_it_came, converted):
        assert outlet.offer(old)
        outlet.flush()
    await all_arrived(sinks, 2)
    assert sinks[0].frames == [bytes(old)]
    received = Hep(sinks[1].frames[0])
    assert (received.version, received.src_ip, number(bytes(received))) == (3, "192.0.2.1", 7)


async def test_ipv6_and_a_name(opened: Opened) -> None:
    with closing(UdpSink("::1")) as six, closing(UdpSink()) as four:
        outlet = await opened(six.url, f"udp://localhost:{four.port}", policy="all")
        outlet.offer(packet(1))
        outlet.flush()
        await all_arrived([six], 1)
        states = [node["state"] for node in outlet.account()["nodes"].values()]
        assert states == ["active", "active"] or states == ["active", "inactive"]


async def test_a_name_that_does_not_resolve_queues_up_to_the_bound(opened: Opened) -> None:
    outlet = await opened("udp://no-such-host.invalid", queue=2000)
    results = [outlet.offer(packet(i)) for i in range(20)]
    outlet.flush()
    assert results[0] is True
    assert results[-1] is False
    row = outlet.account()
    assert row["refused"] == {"queue full": results.count(False)}
    assert row["queued"] == results.count(True)
    assert row["nodes"]["udp://no-such-host.invalid:9060"]["state"] in ("probing", "inactive")
    await outlet.close(0.0)
    assert outlet.account()["discarded"] == {"shutdown": results.count(True)}


async def test_a_full_node_is_passed_over(opened: Opened, sinks: list[UdpSink]) -> None:
    outlet = await opened(sinks[0].url, sinks[1].url, policy="first", queue=1000)
    assert all(outlet.offer(packet(i)) for i in range(6))
    assert not all(outlet.offer(packet(i)) for i in range(6, 12))
    outlet.flush()
    nodes = outlet.account()["nodes"]
    assert nodes[sinks[0].url]["accepted"] == nodes[sinks[1].url]["accepted"] > 0


async def test_a_packet_too_large_for_udp_is_discarded_with_a_reason(opened: Opened, sinks: list[UdpSink]) -> None:
    outlet = await opened(sinks[0].url)
    huge = packet(0, size=65_400)
    assert len(bytes(huge)) < 65_536
    outlet.offer(huge)
    outlet.offer(packet(1))
    outlet.flush()
    await all_arrived(sinks[:1], 1)
    if outlet.account()["discarded"]:
        assert outlet.account()["discarded"] == {"too large for UDP": 1}


async def test_more_than_the_socket_takes_waits_and_follows(opened: Opened, sinks: list[UdpSink]) -> None:
    outlet = await opened(sinks[0].url)
    for i in range(5000):
        assert outlet.offer(packet(i, size=20))
    while outlet.account()["queued"]:
        outlet.flush()
        sinks[0].read()
        await asyncio.sleep(0)
    await until(lambda: len(sinks[0].read()) == outlet.account()["delivered"], "everything that was delivered")
    assert [number(frame) for frame in sinks[0].frames] == sorted(number(frame) for frame in sinks[0].frames)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"urls": []}, "at least 1 item"),
        ({"urls": ["http://homer"]}, "does not start with"),
        ({"urls": ["udp://homer?wieght=2"]}, "unknown options: wieght"),
        ({"urls": ["udp://homer?ca=x"]}, "unknown options: ca"),
        ({"urls": ["udp://homer?weight=0"]}, "no number above 0"),
        ({"urls": ["udp://homer?weight=nan"]}, "no number above 0"),
        ({"urls": ["udp://homer:0"]}, "port above 0"),
        ({"urls": ["udp://homer", "udp://homer:9060?weight=2"]}, "more than once"),
        ({"urls": ["udp://homer?priority=1.5"]}, "no whole number"),
        ({"urls": ["udp://homer"], "policy": "best"}, "no policy: write call"),
        ({"urls": ["udp://homer"], "policy": "hash: "}, "no policy"),
        ({"urls": ["udp://homer"], "policy": "script:1st"}, "no policy"),
        ({"urls": ["udp://homer"], "probe": "soon"}, "not a duration"),
        ({"urls": ["udp://homer"], "version": 4}, "version"),
        ({"urls": ["udp://homer"], "queue": "lots"}, "not a size"),
        ({"urls": ["udp://homer"], "spol": "1GiB"}, "spol"),
    ],
)
def test_configuration_mistakes_are_named(table: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        HepDestination.model_validate(table)
