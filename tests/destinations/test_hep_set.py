"""A dispatcher set at run time: states, probes, changed sets, fallbacks, marks; over UDP, TCP and TLS."""

from __future__ import annotations

import asyncio
import itertools
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trustme

from far_ends import TcpSink, UdpSink, assert_balanced, number, packet, split, until
from hepswitch.destinations.hep import HepDestination, HepOutlet
from hepswitch.destinations.hep_node import ADMINISTRATION
from hepswitch.wire.hep import Hep

Opened = Callable[..., Coroutine[Any, Any, HepOutlet]]


def configured(*urls: str, **options: Any) -> HepDestination:
    return HepDestination(urls=list(urls), **options)


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    """Opens a destination, with a spool of its own, that is closed with the test; its books must balance then."""
    outlets: list[HepOutlet] = []

    async def make(*urls: str, switch_id: int = 0, **options: Any) -> HepOutlet:
        spools = [tmp_path / f"spool-{len(outlets)}"]
        outlet = HepOutlet("homer", configured(*urls, **options), spools, switch_id=switch_id)
        outlets.append(outlet)
        await outlet.open()
        return outlet

    yield make
    for outlet in outlets:
        await outlet.close(1.0)
        assert_balanced(outlet.account())
        assert {info["state"] for info in outlet.nodes_info()} == {"closed"}


@pytest.fixture
async def sinks() -> AsyncIterator[list[TcpSink]]:
    sinks = [TcpSink() for _ in range(3)]
    for sink in sinks:
        await sink.start()
    yield sinks
    for sink in sinks:
        await sink.stop()


def state(outlet: HepOutlet, url: str) -> str:
    return str(outlet.account()["nodes"][url]["state"])


async def is_in_state(outlet: HepOutlet, url: str, wanted: str) -> None:
    await until(lambda: state(outlet, url) == wanted, f"{url} is {wanted}")
    assert_balanced(outlet.account())


def offer(outlet: HepOutlet, *numbers: int) -> None:
    for each in numbers:
        assert outlet.offer(packet(each))
        assert_balanced(outlet.account())
    outlet.flush()


# ── states ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_disabled_node_delivers_what_it_holds_and_gets_nothing_new(
    opened: Opened, sinks: list[TcpSink]
) -> None:
    outlet = await opened(sinks[0].url, sinks[1].url, policy="first")
    await is_in_state(outlet, sinks[0].url, "active")
    sinks[0].reading.clear()
    offer(outlet, *range(10))
    outlet.set_node(sinks[0].url, state="disabled")
    offer(outlet, *range(10, 20))
    sinks[0].reading.set()
    await until(lambda: len(sinks[0].received) == len(sinks[1].received) == 10, "both halves")
    assert (sinks[0].numbers, sinks[1].numbers) == ([list(range(10))], [list(range(10, 20))])
    assert state(outlet, sinks[0].url) == "disabled"
    outlet.set_node(sinks[0].url, state="enabled")
    assert state(outlet, sinks[0].url) == "active"
    offer(outlet, 20)
    await until(lambda: 20 in sinks[0].received, "it serves again")


@pytest.mark.parametrize("spool", ["64MiB", 0], ids=["spool", "memory"])
async def test_a_paused_node_keeps_everything_and_sends_it_later(
    opened: Opened, sinks: list[TcpSink], spool: str | int
) -> None:
    outlet = await opened(sinks[0].url, queue="100kB", spool=spool)
    await is_in_state(outlet, sinks[0].url, "active")
    outlet.set_node(sinks[0].url, state="paused")
    count = 1000 if spool else 300
    offer(outlet, *range(count))
    row = outlet.account()["nodes"][sinks[0].url]
    assert (row["state"], row["accepted"], row["delivered"]) == ("paused", count, 0)
    assert bool(row["spooled"]) == bool(spool), "what does not fit in memory is on disk"
    if not spool:
        while outlet.offer(packet(0)):
            count += 1
        assert outlet.account()["refused"] == {"queue full": 1}
    outlet.set_node(sinks[0].url, state="enabled")
    await until(lambda: outlet.account()["delivered"] == count, "all is delivered")
    await until(lambda: sum(map(len, sinks[0].numbers)) == count, "all has arrived")
    assert sinks[0].numbers[0][:300] == list(range(300))


async def test_a_paused_udp_node_keeps_as_much_as_its_queue_holds(opened: Opened) -> None:
    with closing(UdpSink()) as sink:
        outlet = await opened(sink.url, queue="10kB")
        outlet.set_node(sink.url, state="paused")
        taken = 0
        while outlet.offer(packet(taken)):
            taken += 1
        outlet.flush()
        assert outlet.account()["queued"] == taken > 10
        assert sink.read() == []
        outlet.set_node(sink.url, state="enabled")
        await until(lambda: [number(frame) for frame in sink.read()] == list(range(taken)), "everything")


async def test_what_a_paused_node_holds_at_the_end_is_accounted_for(opened: Opened, sinks: list[TcpSink]) -> None:
    outlet = await opened(sinks[0].url, spool=0)
    outlet.set_node(sinks[0].url, state="paused")
    offer(outlet, *range(5))
    await outlet.close(30.0)
    assert outlet.account()["discarded"] == {"shutdown": 5}


async def test_unknown_nodes_and_values_are_named(opened: Opened, sinks: list[TcpSink]) -> None:
    outlet = await opened(sinks[0].url, sinks[1].url)
    with pytest.raises(LookupError, match=f"homer has no node tcp://10.0.0.9:9060; it has: {sinks[0].url}, "):
        outlet.set_node("tcp://10.0.0.9", state="disabled")
    for change in ({"state": "off"}, {"weight": 0}, {"weight": float("nan")}):
        with pytest.raises(ValueError, match="not"):
            outlet.set_node(sinks[0].url, **change)


async def test_nodes_tell_about_themselves(opened: Opened, sinks: list[TcpSink]) -> None:
    begun = time.time()
    await sinks[1].stop()
    outlet = await opened(f"{sinks[0].url}?weight=2", f"{sinks[1].url}?priority=5", policy="first")
    await is_in_state(outlet, sinks[0].url, "active")
    await is_in_state(outlet, sinks[1].url, "inactive")
    offer(outlet, 1)
    outlet.set_node(sinks[0].url, weight=7, priority=3)
    await until(lambda: outlet.account()["delivered"] == 1, "the packet")
    first, second = outlet.nodes_info()
    assert (first["url"], first["weight"], first["priority"], first["delivered"]) == (sinks[0].url, 7, 3, 1)
    assert (second["priority"], second["queued"]) == (5, 0)
    assert str(sinks[1].port) in second["last_error"]
    assert first["last_error"] == ""
    assert begun <= first["since"] <= time.time()


# ── probes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_probe_finds_a_dead_udp_port_and_that_it_is_back_without_traffic(opened: Opened) -> None:
    with closing(UdpSink()) as sink:
        outlet = await opened(sink.url, probe="20ms", switch_id=77)
        await until(sink.read, "a probe")
        port, url = sink.port, sink.url
        probe = Hep(sink.frames[0])
    assert (probe.version, probe.proto_type, probe.keep_alive, probe.captagent_id) == (3, "CONTROL", 1, 77)
    assert (probe.payload, probe.proto_id, probe.sip) == (b"", 17, None)
    assert (probe.src_ip, probe.dst_ip, probe.dst_port) == ("127.0.0.1", "127.0.0.1", port)
    assert abs(probe.time - time.time()) < 60
    await is_in_state(outlet, url, "inactive")
    with closing(UdpSink(port=port)) as again:
        await is_in_state(outlet, url, "active")
        assert again.read(), "a probe found it"
        row = outlet.account()
        assert row["accepted"] == row["delivered"] == 0
        assert row["nodes"][url]["probes"] >= 3


async def test_while_a_probe_asks_other_nodes_serve(opened: Opened) -> None:
    with closing(UdpSink()) as gone:
        url = gone.url
    with closing(UdpSink()) as other:
        outlet = await opened(url, other.url, policy="first", probe="20ms")
        await is_in_state(outlet, url, "inactive")
        await is_in_state(outlet, url, "probing")
        offer(outlet, 1)
        await until(lambda: 1 in {number(frame) for frame in other.read() if Hep(frame).payload}, "the other serves")
        assert outlet.account()["nodes"][url]["accepted"] == 0


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
async def test_probes_on_a_stream_keep_its_framing_and_its_books(opened: Opened, tmp_path: Path, tls: bool) -> None:
    options, context = "", None
    if tls:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        options = f"?ca={tmp_path / 'ca.pem'}"
    sink = TcpSink(context)
    await sink.start()
    try:
        outlet = await opened(sink.url + options, probe="5ms")

        def probes() -> int:
            return int(outlet.account()["nodes"][sink.url]["probes"])

        def packets() -> list[int]:
            frames = [Hep(frame) for data in sink.connections for frame in split(data)]
            return [number(bytes(hep)) for hep in frames if hep.keep_alive is None]

        for each in range(5):
            seen = probes()
            await until(lambda seen=seen: probes() > seen, "a probe")
            offer(outlet, each)
            await until(lambda each=each: outlet.account()["delivered"] == each + 1, "the packet is acknowledged")
        await until(lambda: len(packets()) >= 5, "every packet, and so the probes before it")
        assert packets() == list(range(5))
        assert len(split(sink.connections[0])) >= 10
        row = outlet.account()
        assert (row["accepted"], row["queued"], row["spooled"], len(sink.connections)) == (5, 0, 0, 1)
    finally:
        await sink.stop()


async def test_only_idle_nodes_are_probed(opened: Opened) -> None:
    with closing(UdpSink()) as sink:
        outlet = await opened(sink.url, probe="1h")
        node = outlet._rows[0]
        await is_in_state(outlet, sink.url, "active")
        node._tick()
        assert outlet.account()["nodes"][sink.url]["probes"] == 1
        offer(outlet, 1)
        node._tick()
        assert outlet.account()["nodes"][sink.url]["probes"] == 1
        node._tick()
        assert outlet.account()["nodes"][sink.url]["probes"] == 2
        node.administer("paused")
        node._tick()
        assert outlet.account()["nodes"][sink.url]["probes"] == 2


# ── another set ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_changed_set_keeps_what_stays_and_drains_what_goes(opened: Opened, sinks: list[TcpSink]) -> None:
    a, b, c = sinks
    outlet = await opened(a.url, b.url, policy="all")
    for sink in (a, b):
        await is_in_state(outlet, sink.url, "active")
    for sink in (a, b):
        sink.reading.clear()
    outlet.set_node(a.url, state="paused")
    offer(outlet, *range(10))
    accepted = outlet.account()["accepted"]
    await outlet.reconfigure(configured(f"{a.url}?weight=3", c.url, policy="round-robin"))
    assert_balanced(outlet.account())
    assert outlet.account()["accepted"] == accepted == 20
    assert [info["url"] for info in outlet.nodes_info()] == [a.url, c.url]
    assert (outlet.nodes_info()[0]["weight"], state(outlet, a.url)) == (3, "paused")
    for sink in (a, b):
        sink.reading.set()
    outlet.set_node(a.url, state="enabled")
    await is_in_state(outlet, c.url, "active")
    await until(lambda: "removed nodes" in outlet.account()["nodes"], "the removed node has drained")
    row = outlet.account()
    assert_balanced(row)
    assert b.url not in row["nodes"]
    assert (row["nodes"]["removed nodes"]["delivered"], row["accepted"]) == (10, 20)
    offer(outlet, *range(10, 20))
    await until(lambda: outlet.account()["delivered"] == 30, "all is delivered")
    await until(lambda: len(a.received | c.received) == 20 and len(b.received) == 10, "all has arrived")
    assert (len(a.connections), b.received, len(c.received)) == (1, set(range(10)), 5)


async def test_what_a_removed_node_could_not_deliver_waits_on_disk_until_it_is_back(
    opened: Opened, sinks: list[TcpSink]
) -> None:
    a, b, _ = sinks
    await b.stop()
    outlet = await opened(a.url, b.url, policy="all")
    await is_in_state(outlet, b.url, "inactive")
    offer(outlet, *range(10))
    await outlet.reconfigure(configured(a.url, policy="all"))
    await until(lambda: "removed nodes" in outlet.account()["nodes"], "the removed node is gone")
    row = outlet.account()
    assert_balanced(row)
    assert (row["accepted"], row["spooled"]) == (20, 10)
    await outlet.reconfigure(configured(a.url, b.url, policy="all"))
    row = outlet.account()
    assert_balanced(row)
    assert (row["accepted"], row["spooled"], row["nodes"][b.url]["spooled"]) == (20, 10, 10)
    assert row["nodes"]["removed nodes"]["spooled"] == 0
    await b.start()
    await until(lambda: outlet.account()["delivered"] == 20, "all is delivered")
    await until(lambda: b.numbers == [list(range(10))], "all has arrived")


async def test_without_a_spool_what_a_removed_node_holds_is_discarded_for_that_reason(
    opened: Opened, sinks: list[TcpSink]
) -> None:
    a, b, _ = sinks
    await b.stop()
    outlet = await opened(a.url, b.url, policy="all", spool=0)
    offer(outlet, *range(10))
    await outlet.reconfigure(configured(a.url, policy="all", spool=0), drain=0.05)
    await until(lambda: "removed nodes" in outlet.account()["nodes"], "the removed node is gone")
    row = outlet.account()
    assert_balanced(row)
    assert (row["accepted"], row["discarded"]) == (20, {"node removed": 10})


async def test_a_node_that_comes_back_while_it_drains(opened: Opened, sinks: list[TcpSink]) -> None:
    a, b, _ = sinks
    outlet = await opened(a.url, b.url, policy="all")
    await is_in_state(outlet, b.url, "active")
    b.reading.clear()
    offer(outlet, *range(10))
    await outlet.reconfigure(configured(a.url, policy="all"))
    b.reading.set()
    await outlet.reconfigure(configured(a.url, b.url, policy="all"))
    offer(outlet, *range(10, 20))
    await until(lambda: outlet.account()["delivered"] == 40, "all is delivered")
    assert_balanced(outlet.account())
    await until(lambda: b.received == set(range(20)), "all has arrived")
    assert sum(map(len, b.numbers)) == 20


async def test_a_set_that_cannot_be_used_changes_nothing(opened: Opened, sinks: list[TcpSink], tmp_path: Path) -> None:
    a, b, c = sinks
    outlet = await opened(a.url)
    with pytest.raises(ValueError, match="fields of packets"):
        await outlet.reconfigure(configured(b.url, policy="hash:node_name"))
    occupied = tmp_path / "spool-0" / f"tcp-localhost-{c.port}"
    occupied.parent.mkdir(exist_ok=True)
    occupied.write_text("a file where a folder should be")
    with pytest.raises(OSError, match=str(c.port)):
        await outlet.reconfigure(configured(b.url, c.url))
    assert [info["url"] for info in outlet.nodes_info()] == [a.url]
    assert list(outlet.account()["nodes"]) == [a.url]
    offer(outlet, 1)
    await until(lambda: a.received == {1}, "it serves")


async def test_bounds_and_probes_of_a_node_that_stays_change_with_the_set(opened: Opened) -> None:
    with closing(UdpSink()) as sink:
        outlet = await opened(sink.url, queue="1MiB", version=3)
        outlet.set_node(sink.url, state="paused")
        offer(outlet, *range(10))
        await outlet.reconfigure(configured(sink.url, queue="1kB", probe="10ms"))
        assert not outlet.offer(packet(10))
        assert outlet.account()["refused"] == {"queue full": 1}
        outlet.set_node(sink.url, state="enabled")
        await until(lambda: outlet.account()["nodes"][sink.url]["probes"] > 0, "a probe")
        assert outlet.account()["delivered"] == 10


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_is_changed_under_load_nothing_is_lost(opened: Opened, sinks: list[TcpSink], seed: int) -> None:
    dice = random.Random(seed)
    urls = [sink.url for sink in sinks]
    outlet = await opened(*urls, queue="20kB")
    sent = accepted = 0

    def load() -> None:
        nonlocal sent, accepted
        for _ in range(20):
            outlet.offer(packet(sent, call=f"call-{sent % 50}"))
            sent += 1
        outlet.flush()
        row = outlet.account()
        assert_balanced(row)
        assert row["accepted"] >= accepted, "a counter never steps back"
        accepted = row["accepted"]

    for _ in range(60):
        load()
        match dice.randrange(5):
            case 0:
                known = [info["url"] for info in outlet.nodes_info()]
                outlet.set_node(dice.choice(known), state=dice.choice(ADMINISTRATION), weight=dice.uniform(0.1, 5))
            case 1:
                some = dice.sample(urls, dice.randint(1, 3))
                await outlet.reconfigure(configured(*some, queue="20kB"), drain=dice.choice([0.0, 0.02]))
            case 2:
                dice.choice(sinks).reading.clear()
            case 3:
                dice.choice(sinks).reading.set()
            case 4:
                for _ in range(50):
                    await asyncio.sleep(0)
    load()
    for sink in sinks:
        sink.reading.set()
    await outlet.reconfigure(configured(*urls, queue="20kB"))
    for url in urls:
        outlet.set_node(url, state="enabled")
    load()
    row = outlet.account()
    refused = sum(row["refused"].values())
    assert row["accepted"] == sent - refused
    await until(lambda: outlet.account()["delivered"] == sent - refused, "all is delivered")
    assert_balanced(outlet.account())
    await until(lambda: len(set().union(*(sink.received for sink in sinks))) == sent - refused, "all has arrived")


# ── fallbacks, policies, marks ───────────────────────────────────────────────────────────────────────────────────────


async def test_the_fallback_serves_while_the_destination_is_away(opened: Opened, sinks: list[TcpSink]) -> None:
    a, b, _ = sinks
    main, backup = await opened(a.url), await opened(b.url)
    main.set_fallback(backup)
    await is_in_state(main, a.url, "active")
    await is_in_state(backup, b.url, "active")
    offer(main, 0)
    await until(lambda: a.received == {0}, "the destination itself")
    await a.stop()
    await is_in_state(main, a.url, "inactive")
    offer(main, 1)
    backup.flush()
    await until(lambda: b.received == {1}, "the fallback")
    assert (main.account()["fallback"], main.account()["accepted"]) == (1, 1)
    await b.stop()
    await is_in_state(backup, b.url, "inactive")
    offer(main, 2)
    assert main.account()["spooled"] == 1, "it waits where it belongs"
    await a.start()
    await until(lambda: 2 in a.received, "and arrives")


async def test_sources_go_on_while_the_fallback_takes_what_a_full_queue_cannot(
    opened: Opened, sinks: list[TcpSink]
) -> None:
    a, b, _ = sinks
    await b.stop()
    main, backup = await opened(a.url, spool=0, queue="64KiB"), await opened(b.url)
    main.set_fallback(backup)
    await is_in_state(main, a.url, "active")
    await is_in_state(backup, b.url, "inactive")
    changes: list[bool] = []
    main.on_pressure = lambda: changes.append(main.full)
    a.reading.clear()
    numbers = itertools.count()

    def fill() -> None:
        while not main.full:
            main.offer(packet(next(numbers), size=4000))
            main.flush()

    fill()
    await b.start()
    await is_in_state(backup, b.url, "active")
    assert changes == [True, False], "though nobody flushes"
    await b.stop()
    await is_in_state(backup, b.url, "inactive")
    fill()


async def test_fallbacks_in_a_circle_are_refused(opened: Opened, sinks: list[TcpSink]) -> None:
    one, two = await opened(sinks[0].url), await opened(sinks[1].url)
    one.set_fallback(two)
    for wrong in (two, one):
        with pytest.raises(ValueError, match="circle: homer → homer"):
            wrong.set_fallback(one)
    one.set_fallback(None)
    two.set_fallback(one)


async def test_a_users_policy_that_fails_is_in_the_row_and_in_the_log(
    opened: Opened, sinks: list[TcpSink], capsys: pytest.CaptureFixture[str]
) -> None:
    outlet = await opened(sinks[0].url, sinks[1].url, policy="script:mine")
    for sink in sinks[:2]:
        await is_in_state(outlet, sink.url, "active")
    offer(outlet, 0)
    assert outlet.account()["policy_errors"] == 0
    outlet.set_policy(lambda hep, nodes: 1 // 0)
    offer(outlet, *range(1, 5))
    assert outlet.account()["policy_errors"] == 4
    said = capsys.readouterr()
    assert (said.out + said.err).count("ZeroDivisionError") == 1


@pytest.mark.parametrize(("switch_id", "mark", "hops"), [(7, True, [7]), (7, False, []), (0, True, [])])
async def test_packets_are_marked_with_the_switch(opened: Opened, switch_id: int, mark: bool, hops: list[int]) -> None:
    with closing(UdpSink()) as sink:
        outlet = await opened(sink.url, switch_id=switch_id, mark=mark)
        offer(outlet, 1)
        await until(sink.read, "the packet")
        assert Hep(sink.frames[0]).hops == hops
