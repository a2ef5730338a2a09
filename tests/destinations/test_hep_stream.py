"""HEP destinations over TCP and TLS: far ends that stop, reset, stall and come back; spools that survive restarts."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from far_ends import TcpSink, assert_balanced, packet, split, until
from hepswitch.destinations import stream_node
from hepswitch.destinations.hep import HepDestination, HepOutlet
from hepswitch.wire import receipt
from hepswitch.wire.hep import Hep

Opened = Callable[..., Coroutine[Any, Any, HepOutlet]]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    """Opens a destination (with a spool in tmp_path/w0) that is closed with the test."""
    outlets: list[HepOutlet] = []

    async def make(*urls: str, dirs: tuple[str, ...] = ("w0",), **options: Any) -> HepOutlet:
        outlet = HepOutlet("homer", HepDestination(urls=list(urls), **options), [tmp_path / name for name in dirs])
        outlets.append(outlet)
        await outlet.open()
        return outlet

    yield make
    for outlet in outlets:
        if outlet.account()["nodes"] and any(row["state"] != "closed" for row in outlet.account()["nodes"].values()):
            await outlet.close(0.0)
        assert_balanced(outlet.account())


@pytest.fixture
async def sink() -> AsyncIterator[TcpSink]:
    sink = TcpSink()
    await sink.start()
    yield sink
    await sink.stop()


@contextlib.contextmanager
def no_room_on_disk() -> Iterator[None]:
    """No file of this process can be written (EFBIG)."""
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)


class Load:
    """Numbered packets, one after the other; the books are looked at after each."""

    def __init__(self, outlet: HepOutlet, size: int = 200) -> None:
        self.outlet = outlet
        self.size = size
        self.sent = 0

    async def send(self, count: int) -> None:
        for _ in range(count):
            assert self.outlet.offer(packet(self.sent, size=self.size))
            self.sent += 1
            assert_balanced(self.outlet.account())
            if self.sent % 10 == 0:
                self.outlet.flush()
                assert_balanced(self.outlet.account())
                await asyncio.sleep(0)
        self.outlet.flush()

    async def while_not(self, condition: Callable[[], Any], what: str) -> None:
        """Go on sending until the condition holds."""

        async def more() -> None:
            while not condition():
                await self.send(10)
                await asyncio.sleep(0.001)

        await asyncio.wait_for(more(), 20.0)
        assert condition(), what

    async def arrive(self, sink: TcpSink) -> None:
        await until(lambda: self.outlet.account()["delivered"] == self.sent, "all is delivered")
        await until(lambda: len(sink.received) == self.sent, "all has arrived")
        row = self.outlet.account()
        assert_balanced(row)
        assert (row["queued"], row["spooled"], row["discarded"]) == (0, 0, {})


def state(outlet: HepOutlet) -> str:
    return next(iter(outlet.account()["nodes"].values()))["state"]


def assert_in_order(sink: TcpSink) -> None:
    """Each connection carries consecutive packets, and begins no later than where the one before ended."""
    expected = 0
    for numbers in sink.numbers:
        if numbers:
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            assert numbers[0] <= expected, "packets are missing across a break"
            expected = numbers[-1] + 1


async def test_packets_arrive_in_order_and_delivered_means_acknowledged(opened: Opened, sink: TcpSink) -> None:
    outlet = await opened(sink.url)
    load = Load(outlet)
    await load.send(2000)
    await load.arrive(sink)
    assert sink.numbers == [list(range(2000))]


async def test_a_v1_packet_travels_as_v3(opened: Opened, sink: TcpSink) -> None:
    old = packet(5, proto_type=1)
    old.version = 1
    outlet = await opened(sink.url)
    outlet.offer(old)
    outlet.flush()
    await until(lambda: sink.numbers == [[5]], "the packet")
    assert Hep(split(sink.connections[0])[0]).version == 3


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("spool", ["64MiB", 0], ids=["spool", "memory"])
async def test_a_far_end_that_is_gone_for_a_while_gets_everything(
    opened: Opened, sink: TcpSink, reset: bool, spool: str | int
) -> None:
    outlet = await opened(sink.url, spool=spool)
    load = Load(outlet)
    await load.while_not(lambda: len(sink.received) > 500, "traffic flows")
    await sink.stop(reset=reset)
    await load.while_not(lambda: state(outlet) == "inactive", "the break is noticed")
    await load.send(1500)
    assert outlet.account()["spooled" if spool else "queued"] >= 1500
    await sink.start()
    await load.while_not(lambda: state(outlet) == "active", "it is back")
    await load.send(500)
    await load.arrive(sink)
    assert_in_order(sink)
    assert len(sink.connections) == 2


async def test_after_an_orderly_end_nothing_comes_twice(opened: Opened, sink: TcpSink) -> None:
    outlet = await opened(sink.url)
    load = Load(outlet)
    await load.send(300)
    await load.arrive(sink)
    await sink.stop()
    await until(lambda: state(outlet) == "inactive", "the end is noticed")
    await load.send(300)
    await sink.start()
    await load.arrive(sink)
    assert sink.numbers == [list(range(300)), list(range(300, 600))]
    (node,) = outlet.account()["nodes"].values()
    assert (node["replayed"], node["reconnects"]) == (0, 1)
    assert node["spool_limit"] > node["spool_bytes"] > 0


async def test_a_reset_sends_what_was_acknowledged_but_not_read_again(opened: Opened, sink: TcpSink) -> None:
    outlet = await opened(sink.url, replay="1MiB")
    load = Load(outlet)
    await load.send(10)
    await load.arrive(sink)
    sink.reading.clear()
    await load.send(100)
    await until(lambda: outlet.account()["delivered"] == 110, "the kernel acknowledges what nobody reads")
    await sink.stop(reset=True)
    await until(lambda: state(outlet) == "inactive", "the reset is noticed")
    sink.reading.set()
    await sink.start()
    await load.send(10)
    await load.arrive(sink)
    assert_in_order(sink)
    assert sink.numbers[-1] == list(range(120))
    assert outlet.account()["nodes"][next(iter(outlet.account()["nodes"]))]["replayed"] == 110


async def test_a_far_end_that_stops_reading_fills_the_spool_and_then_gets_everything(
    opened: Opened, sink: TcpSink
) -> None:
    outlet = await opened(sink.url, queue="200kB")
    load = Load(outlet, size=4000)
    await load.send(100)
    await load.arrive(sink)
    sink.reading.clear()
    await load.while_not(lambda: outlet.account()["spooled"] > 1000, "the spool is used")
    assert state(outlet) == "active"
    sink.reading.set()
    await load.arrive(sink)
    assert sink.numbers == [list(range(load.sent))]
    await load.send(100)
    assert outlet.account()["spooled"] == 0, "the direct way again"
    await load.arrive(sink)


async def test_a_break_during_the_replay(opened: Opened, sink: TcpSink) -> None:
    await sink.stop()
    outlet = await opened(sink.url, queue="200kB", replay="100kB")
    load = Load(outlet, size=2000)
    await until(lambda: state(outlet) == "inactive", "nobody listens")
    await load.send(4000)
    for round_ in range(3):
        await sink.start()
        await until(lambda at=round_: len(sink.numbers) > at and len(sink.numbers[at]) > 100, "the replay goes on")
        await sink.stop(reset=True)
        await until(lambda: state(outlet) == "inactive", "the break is noticed")
        await load.send(100)
    await sink.start()
    await load.arrive(sink)
    assert_in_order(sink)


async def test_without_a_spool_pressure_is_reported_before_anything_is_refused(opened: Opened, sink: TcpSink) -> None:
    outlet = await opened(sink.url, spool=0, queue="1MB")
    changes: list[bool] = []
    outlet.on_pressure = lambda: changes.append(outlet.full)
    load = Load(outlet, size=4000)
    await load.send(10)
    await load.arrive(sink)
    sink.reading.clear()
    await load.while_not(lambda: outlet.full, "pressure")
    assert outlet.account()["refused"] == {}
    sink.reading.set()
    await until(lambda: not outlet.full, "room again, though nobody flushes")
    assert changes == [True, False]
    await load.arrive(sink)


async def test_a_full_queue_without_a_spool_refuses(opened: Opened) -> None:
    outlet = await opened("tcp://127.0.0.1:1", spool=0, queue="10kB")
    taken = [outlet.offer(packet(i)) for i in range(100)]
    assert not all(taken)
    assert outlet.account()["refused"] == {"queue full": taken.count(False)}
    outlet.flush()
    assert not outlet.full, "nobody waits for a far end that is away"
    await outlet.close(0.0)
    assert outlet.account()["discarded"] == {"shutdown": taken.count(True)}


async def test_the_oldest_fall_off_a_full_spool_and_are_counted(opened: Opened, sink: TcpSink) -> None:
    await sink.stop()
    outlet = await opened(sink.url, spool="64KiB")
    load = Load(outlet)
    await until(lambda: state(outlet) == "inactive", "nobody listens")
    await load.send(1000)
    row = outlet.account()
    lost = row["discarded"]["spool full"]
    assert 0 < lost < 1000
    assert not outlet.full, "nobody waits for a far end that is away"
    await sink.start()
    await until(lambda: outlet.account()["delivered"] == 1000 - lost, "the rest")
    await until(lambda: sink.numbers == [list(range(lost, 1000))], "the newest arrive in order")


async def test_sources_wait_for_a_far_end_that_reads_slowly_and_not_for_one_that_stalls(
    opened: Opened, sink: TcpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    outlet = await opened(sink.url, spool="256KiB")
    changes: list[bool] = []
    outlet.on_pressure = lambda: changes.append(outlet.full)
    load = Load(outlet, size=4000)
    await load.send(10)
    await load.arrive(sink)
    sink.reading.clear()
    await load.while_not(lambda: outlet.full, "pressure")
    assert outlet.account()["discarded"] == {}
    monkeypatch.setattr(stream_node, "STALLED", 0.2)
    await until(lambda: not outlet.full, "nobody waits for it any more, though nobody flushes")
    await load.while_not(lambda: outlet.account()["discarded"], "the oldest fall off")
    sink.reading.set()
    await until(lambda: outlet.account()["spooled"] + outlet.account()["queued"] == 0, "the rest arrives")
    assert not outlet.full
    assert changes[:2] == [True, False]


async def test_a_break_while_the_disk_refuses(
    opened: Opened, sink: TcpSink, capsys: pytest.CaptureFixture[str]
) -> None:
    outlet = await opened(sink.url)
    load = Load(outlet)
    await load.send(100)
    await load.arrive(sink)
    await sink.stop()
    await until(lambda: state(outlet) == "inactive", "the break")
    await load.send(100)
    await sink.start()
    await until(lambda: outlet.account()["delivered"] > 100, "the replay from the spool")
    with no_room_on_disk():  # the position cannot be written, nor anything else
        await sink.stop()
        await until(lambda: state(outlet) == "inactive", "a break that is seen, whatever the disk says")
        for number in range(200, 300):
            assert outlet.offer(packet(number))
        outlet.flush()
        row = outlet.account()
        assert row["discarded"]["spool failed"] > 0
        assert_balanced(row)
        await sink.start()
        await until(lambda: state(outlet) == "active", "a connection, with the disk still full")
        await until(lambda: outlet.account()["spooled"] + outlet.account()["queued"] == 0, "all that there is")
        assert outlet.offer(packet(300))
        outlet.flush()
        await until(lambda: 300 in sink.received, "packets that need no disk go on")
        await outlet.close(1.0)
    assert set(range(200)) <= sink.received
    said = capsys.readouterr().out
    assert "spool failed" in said
    assert "spool position not saved" in said


async def test_a_restart_adopts_the_spool_and_goes_on_in_order(opened: Opened, sink: TcpSink) -> None:
    await sink.stop()
    first = await opened(sink.url)
    load = Load(first)
    await load.send(500)
    await first.close(0.0)
    row = first.account()
    assert (row["queued"], row["spooled"], row["discarded"]) == (0, 500, {})

    second = await opened(sink.url)
    assert second.account()["accepted"] == second.account()["spooled"] == 500
    load.outlet = second
    await load.send(100)
    await sink.start()
    await load.arrive(sink)
    assert sink.numbers == [list(range(600))]
    await second.close(1.0)

    third = await opened(sink.url)
    assert third.account()["accepted"] == 0, "what was delivered does not come again"


async def test_the_spools_of_workers_that_are_no_more_come_first(opened: Opened, sink: TcpSink, tmp_path: Path) -> None:
    await sink.stop()
    former = await opened(sink.url, dirs=("w1",))
    load = Load(former)
    await load.send(50)
    await former.close(0.0)
    outlet = await opened(sink.url, dirs=("w0", "w1"))
    load.outlet = outlet
    await load.send(50)
    await sink.start()
    await load.arrive(sink)
    assert sink.numbers == [list(range(100))]
    await until(lambda: not list((tmp_path / "w1").glob("*/*.seg")), "the adopted spool is removed")


async def test_a_torn_tail_costs_only_what_was_torn(opened: Opened, sink: TcpSink, tmp_path: Path) -> None:
    await sink.stop()
    first = await opened(sink.url)
    load = Load(first)
    await until(lambda: state(first) == "inactive", "nobody listens")
    await load.send(100)
    await first.close(0.0)
    tail = max((tmp_path / "w0").glob("*/*.open"))
    assert tail.stat().st_size > 1000
    with tail.open("r+b") as stream:
        stream.truncate(tail.stat().st_size - 7)
    second = await opened(sink.url)
    found = second.account()["accepted"]
    assert 0 < found < 100
    load.outlet, load.sent = second, found
    await load.send(10)
    await sink.start()
    await load.arrive(sink)
    assert sink.numbers == [list(range(found + 10))]


async def test_closing_waits_for_acknowledgements(opened: Opened, sink: TcpSink) -> None:
    outlet = await opened(sink.url)
    load = Load(outlet)
    await until(lambda: state(outlet) == "active", "the connection")
    await load.send(1000)
    await outlet.close(10.0)
    row = outlet.account()
    assert (row["delivered"], row["queued"], row["spooled"]) == (1000, 0, 0)
    await until(lambda: sink.numbers == [list(range(1000))], "all has arrived")


async def test_calls_go_to_another_node_while_theirs_is_away(opened: Opened, sink: TcpSink) -> None:
    other = TcpSink()
    await other.start()
    try:
        outlet = await opened(sink.url, other.url, policy="first")
        await until(lambda: all(row["state"] == "active" for row in outlet.account()["nodes"].values()), "both")
        await sink.stop()
        await until(lambda: outlet.account()["nodes"][sink.url]["state"] == "inactive", "the end is noticed")
        load = Load(outlet)
        await load.send(10)
        await until(lambda: other.numbers == [list(range(10))], "the other node serves")
    finally:
        await other.stop()


async def test_tls_with_a_break(opened: Opened, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    sink = TcpSink(tls=context)
    await sink.start()
    try:
        outlet = await opened(f"{sink.url}?ca={tmp_path / 'ca.pem'}")
        load = Load(outlet)
        await load.while_not(lambda: len(sink.received) > 500, "traffic flows")
        await sink.stop()
        await load.while_not(lambda: state(outlet) == "inactive", "the break is noticed")
        await load.send(1000)
        await sink.start()
        await load.send(1000)
        await load.arrive(sink)
        assert_in_order(sink)
    finally:
        await sink.stop()


async def test_tls_refuses_a_far_end_that_cannot_prove_itself(opened: Opened, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    sink = TcpSink(tls=context)
    await sink.start()
    try:
        outlet = await opened(f"{sink.url}?ca={tmp_path / 'ca.pem'}")
        Load(outlet)
        await until(lambda: state(outlet) == "inactive", "the certificate is refused")
        assert sink.received == set()
    finally:
        await sink.stop()


# ── numbered ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def numbers_of(data: bytearray) -> list[tuple[int, int]]:
    """Queue and number of each packet of a connection."""
    values = [frame[-16:] for frame in split(data)]
    return [(int.from_bytes(value[:8]), int.from_bytes(value[8:])) for value in values]


def frames_of(outlet: HepOutlet) -> list[bytes]:
    """What the first node holds in memory."""
    (node,) = outlet.nodes
    return list(node.inbox)


def assert_numbered_in_order(sink: TcpSink, count: int) -> None:
    """Over all connections: of one queue, consecutive within each, and none is missing across a break."""
    expected = 1
    for data in sink.connections:
        found = numbers_of(data)
        if found:
            assert len({queue for queue, _ in found}) == 1
            assert [number for _, number in found] == list(range(found[0][1], found[0][1] + len(found)))
            assert found[0][1] <= expected
            expected = max(expected, found[-1][1] + 1)
    assert expected == count + 1


@pytest.mark.parametrize("reset", [False, True])
async def test_numbers_grow_by_one_over_breaks_and_through_the_spool(
    opened: Opened, sink: TcpSink, reset: bool
) -> None:
    outlet = await opened(sink.url, numbered=True, queue=20_000)
    load = Load(outlet)
    for _ in range(3):
        await load.send(100)
        await until(lambda: len(sink.received) == load.sent, "all has arrived")
        await sink.stop(reset=reset)
        await load.while_not(lambda: state(outlet) == "inactive", "the node is away")
        await load.send(300)
        assert outlet.account()["spooled"] > 0
        await sink.start()
        await load.while_not(lambda: state(outlet) == "active", "the node is back")
    await load.arrive(sink)
    assert_numbered_in_order(sink, load.sent)


async def test_what_is_numbered_comes_again_after_an_orderly_end_too(opened: Opened, sink: TcpSink) -> None:
    outlet = await opened(sink.url, numbered=True)
    load = Load(outlet)
    await load.send(50)
    await load.arrive(sink)
    await sink.stop()
    await until(lambda: state(outlet) == "inactive", "the node is away")
    await sink.start()
    await until(lambda: sink.numbers[-1] == list(range(50)) and len(sink.numbers) == 2, "all comes again")
    assert numbers_of(sink.connections[0]) == numbers_of(sink.connections[1])
    (row,) = outlet.account()["nodes"].values()
    assert (row["replayed"], row["delivered"]) == (50, 50)


async def test_what_has_a_receipt_does_not_come_again_and_no_more_than_replay_goes_without(
    opened: Opened, sink: TcpSink
) -> None:
    outlet = await opened(sink.url, numbered=True, replay=1 << 17, spool=0)
    load = Load(outlet, size=1000)
    await load.send(400)
    await until(lambda: outlet.account()["delivered"] >= 100, "some are delivered")
    for _ in range(5):
        outlet.flush()
        await asyncio.sleep(0.01)
    assert sum(len(data) for data in sink.connections) <= 1 << 17
    assert outlet.account()["queued"] > 200
    while len(sink.received) < 400:
        sink.say(receipt.write(*numbers_of(sink.connections[0])[-1]))
        before = len(sink.received)
        await until(lambda before=before: len(sink.received) > before, "more after a receipt")
    await until(lambda: outlet.account()["delivered"] == 400, "all is delivered")
    sink.say(receipt.write(*numbers_of(sink.connections[0])[-11])[:13])
    await asyncio.sleep(0)
    sink.say(receipt.write(*numbers_of(sink.connections[0])[-11])[13:])
    await until(lambda: len(frames_of(outlet)) == 10, "the last ten are kept")
    await sink.stop(reset=True)
    await until(lambda: state(outlet) == "inactive", "the node is away")
    await sink.start()
    await until(lambda: len(sink.numbers) == 2 and len(sink.numbers[1]) == 10, "ten come again")
    assert sink.numbers[1] == list(range(390, 400))


async def test_a_far_end_that_gives_no_receipts_is_stalled_and_it_is_said(
    opened: Opened, sink: TcpSink, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stream_node, "STALLED", 0.05)
    outlet = await opened(sink.url, numbered=True, replay=1 << 17)
    load = Load(outlet, size=1000)
    await load.send(300)

    def is_stalled() -> bool:
        outlet.flush()
        return "no receipts from a node" in capsys.readouterr().out

    await until(is_stalled, "it is said")
    assert len(sink.received) < 300
    assert not outlet.full, "nobody waits for it"


async def test_what_has_no_receipt_at_the_end_waits_on_disk(opened: Opened, sink: TcpSink) -> None:
    outlet = await opened(sink.url, numbered=True)
    load = Load(outlet)
    await load.send(30)
    await load.arrive(sink)
    sink.say(receipt.write(*numbers_of(sink.connections[0])[9]))
    await until(lambda: len(frames_of(outlet)) == 20, "ten have a receipt")
    await outlet.close(0.0)
    row = outlet.account()
    assert (row["accepted"], row["delivered"], row["spooled"]) == (30, 10, 20)
    outlet = await opened(sink.url, numbered=True)
    await until(lambda: len(sink.numbers) == 2 and sink.numbers[1] == list(range(10, 30)), "the others come again")
    assert numbers_of(sink.connections[1]) == numbers_of(sink.connections[0])[10:]


async def test_a_far_end_that_says_something_else_than_receipts_is_left(opened: Opened, sink: TcpSink) -> None:
    outlet = await opened(sink.url, numbered=True)
    load = Load(outlet)
    await load.send(10)
    await load.arrive(sink)
    sink.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await until(lambda: "is no HEP" in str(outlet.nodes_info()[0]["last_error"]), "it is said")


async def test_a_spool_keeps_the_numbers_of_the_queue_that_gave_them(opened: Opened, sink: TcpSink) -> None:
    await sink.stop()
    outlet = await opened(sink.url, numbered=True)
    load = Load(outlet)
    await load.send(20)
    await outlet.close(0.0)
    await sink.start()
    outlet = await opened(sink.url, numbered=True)
    for number in range(20, 30):
        assert outlet.offer(packet(number))
    outlet.flush()
    await until(lambda: len(sink.received) == 30, "all has arrived")
    found = numbers_of(sink.connections[-1])
    assert [number for _, number in found] == [*range(1, 21), *range(1, 11)]
    assert len({queue for queue, _ in found}) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"urls": ["tcp://a:1", "udp://b:2"]}, "udp://b:2 is none: write tcp:// or tls://"),
        ({"urls": ["tls://a:1"], "replay": 100_000}, "replay of 128KiB at least"),
    ],
)
def test_numbers_need_a_connection_and_something_to_send_again(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        HepDestination(**options, numbered=True)


async def test_what_is_on_disk_is_not_in_memory_alone(opened: Opened, sink: TcpSink) -> None:
    outlet = await opened(sink.url)
    load = Load(outlet)
    await until(lambda: state(outlet) == "active", "the node is there")
    outlet.set_node(sink.url, state="paused")
    await load.send(20)
    ((node, promise),) = outlet.promises()
    assert not node.kept(promise)
    outlet.set_node(sink.url, state="enabled")
    await load.arrive(sink)
    assert node.kept(promise)
    assert outlet.promises() == []
    await sink.stop()
    await until(lambda: state(outlet) == "inactive", "the node is away")
    await load.send(20)
    assert outlet.account()["spooled"] == 20
    assert outlet.promises() == []
