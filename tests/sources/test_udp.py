"""The UDP source on a real socket, under both event loops."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
import uvloop

from hepswitch.books import Listener
from hepswitch.net.sockets import bind_udp
from hepswitch.sources import udp
from hepswitch.sources.udp import UdpSource
from hepswitch.units import Endpoint
from hepswitch.wire.batch import Batch

LARGE = 8 << 20
SMALL = 64 << 10  # too small to wait: every datagram wakes the loop


class Seen:
    """A flow that keeps copies."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.batches = 0
        self.afters = 0

    def flow(self, batch: Batch) -> None:
        self.batches += 1
        self.packets += [bytes(packet) for packet in batch]

    def after(self) -> None:
        self.afters += 1


@pytest.fixture(params=[asyncio.Runner, lambda: asyncio.Runner(loop_factory=uvloop.new_event_loop)])
def run(request) -> Iterator[Callable[[Awaitable[None]], None]]:
    with request.param() as runner:
        yield runner.run


async def until(condition: Callable[[], bool], deadline: float = 10.0) -> None:
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        await asyncio.sleep(0.002)


async def started(seen: Seen, receive_buffer: int) -> tuple[UdpSource, socket.socket, Listener]:
    sock = bind_udp(Endpoint("udp", "127.0.0.1", 0), receive_buffer)
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(sock.getsockname())
    listener = Listener("udp://test")
    source = UdpSource(sock, listener, seen.flow, after=seen.after)
    await source.start(asyncio.get_running_loop())
    return source, sender, listener


@pytest.mark.parametrize("receive_buffer", [LARGE, SMALL])
def test_what_is_sent_arrives_in_order_also_after_a_silence(run, receive_buffer: int) -> None:
    async def scene() -> None:
        seen = Seen()
        source, sender, _ = await started(seen, receive_buffer)
        sent = []
        for burst in (1, 20, 1, 15):
            for _ in range(burst):
                sent.append(b"%d" % len(sent))
                sender.send(sent[-1])
            await until(lambda: seen.packets == sent)
            await asyncio.sleep(udp.MOST_PAUSE * (udp.PATIENCE + 2))  # longer than its patience
        assert seen.afters >= 4
        await source.stop()
        sender.close()

    run(scene())


def test_a_flood_is_taken_in_turns_with_the_rest_of_the_loop(run) -> None:
    async def scene() -> None:
        seen = Seen()
        source, sender, listener = await started(seen, 64 << 20)
        for i in range(5000):
            sender.send(b"%d" % i)
        turns = 0
        while len(seen.packets) + listener.kernel_drops < 5000:
            await asyncio.sleep(0)
            turns += 1
            assert turns < 1_000_000
        assert seen.packets[:100] == [b"%d" % i for i in range(100)]
        assert seen.afters >= 5000 // (256 * udp.BATCHES)
        await source.stop()
        sender.close()

    run(scene())


def test_steady_traffic_is_read_many_at_a_time(run) -> None:
    async def scene() -> None:
        seen = Seen()
        source, sender, listener = await started(seen, LARGE)
        end = time.monotonic() + 0.3
        sent = 0
        while time.monotonic() < end:
            for _ in range(10):
                sender.send(b"x")
            sent += 10
            await asyncio.sleep(0.0005)
        await until(lambda: len(seen.packets) == sent)
        assert listener.kernel_drops == 0
        assert seen.batches < sent / 10
        await source.stop()
        sender.close()

    run(scene())


def test_stop_takes_what_has_arrived_already(run) -> None:
    async def scene() -> None:
        seen = Seen()
        source, sender, _ = await started(seen, LARGE)
        for i in range(700):
            sender.send(b"%d" % i)
        await source.stop()
        assert len(seen.packets) == 700
        assert seen.afters > 0
        sender.close()

    run(scene())


def test_losses_after_the_last_datagram_are_counted(run) -> None:
    async def scene() -> None:
        seen = Seen()
        source, sender, listener = await started(seen, 4096)
        for _ in range(400):
            sender.send(b"x" * 200)
        await until(lambda: len(seen.packets) + listener.kernel_drops == 400)
        assert listener.kernel_drops > 0
        await source.stop()
        sender.close()

    run(scene())
