"""Datagrams in batches over real sockets: nothing lost without being counted, nothing cut, errors survived."""

import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from hepswitch.books import Listener
from hepswitch.net.sockets import bind_udp
from hepswitch.net.udp import UdpReceiver, UdpSender
from hepswitch.units import Endpoint
from hepswitch.wire.frames import Frames


class Link(SimpleNamespace):
    """A receiver with its listener, and a sender connected to it."""

    def drain(self) -> list[bytes]:
        found = []
        while (batch := self.receiver.receive()) is not None:
            found += [bytes(packet) for packet in batch]
        return found


def link(host: str = "127.0.0.1", receive_buffer: int = 8 << 20, slots: int = 256) -> Link:
    inbound = bind_udp(Endpoint("udp", host, 0), receive_buffer)
    outbound = socket.socket(inbound.family, socket.SOCK_DGRAM)
    outbound.connect(inbound.getsockname())
    outbound.setblocking(False)
    listener = Listener("udp://test")
    return Link(
        inbound=inbound,
        outbound=outbound,
        listener=listener,
        receiver=UdpReceiver(inbound, listener, slots=slots),
        sender=UdpSender(outbound),
    )


@pytest.fixture(params=["127.0.0.1", "::1"])
def pair(request) -> Iterator[Link]:
    made = link(request.param)
    yield made
    made.inbound.close()
    made.outbound.close()


def frames(*packets: bytes) -> Frames:
    made = Frames()
    for packet in packets:
        made.push(packet)
    return made


def test_nothing_there_is_none(pair) -> None:
    assert pair.receiver.receive() is None
    assert pair.receiver.drained


def test_bursts_bigger_than_the_ring_arrive_in_order(pair) -> None:
    sent = [b"%06d" % i * (1 + i % 50) for i in range(3000)]
    queue = frames(*sent)
    assert pair.sender.send(queue) == 3000
    assert len(queue) == 0
    first = pair.receiver.receive()
    assert len(first) == 256
    assert not pair.receiver.drained
    assert [bytes(packet) for packet in first] + pair.drain() == sent
    assert pair.listener.kernel_drops == 0


@pytest.mark.parametrize("size", [0, 1, 65507])
def test_any_size_of_datagram_arrives_whole(pair, size: int) -> None:
    pair.outbound.send(b"x" * size)
    assert pair.drain() == [b"x" * size]


def test_largest_datagrams_fill_every_slot(pair) -> None:
    sent = [bytes([i]) * 65507 for i in range(20)]
    assert pair.sender.send(frames(*sent)) == 20
    assert pair.drain() == sent


def test_batch_says_when_and_from_whom(pair) -> None:
    before = time.time_ns() // 1000
    pair.outbound.send(b"x")
    batch = pair.receiver.receive()
    assert before <= batch.arrival_us <= time.time_ns() // 1000
    assert batch.peer is None
    assert batch.listener is pair.listener


def test_kernel_drops_are_counted_to_the_datagram() -> None:
    small = link(receive_buffer=4096)
    for _ in range(500):
        small.outbound.send(b"x" * 100)
    received = len(small.drain())
    small.receiver.count_drops()
    assert small.listener.kernel_drops > 0
    assert received + small.listener.kernel_drops == 500
    # The count is the socket's own: going on adds only what is new.
    for _ in range(300):
        small.outbound.send(b"x" * 100)
    received += len(small.drain())
    small.outbound.send(b"last")  # carries the count of the drops before it (SO_RXQ_OVFL)
    received += len(small.drain())
    assert received + small.listener.kernel_drops == 801
    small.inbound.close()
    small.outbound.close()


def test_next_reader_of_the_socket_goes_on_with_its_count() -> None:
    small = link(receive_buffer=4096)
    for _ in range(500):
        small.outbound.send(b"x" * 100)
    received = len(small.drain())
    successor = Listener("udp://test")
    UdpReceiver(small.inbound, successor)
    assert received + successor.kernel_drops == 500
    small.inbound.close()
    small.outbound.close()


@pytest.mark.parametrize("slots", [0, 1025])
def test_number_of_slots_is_bounded(slots: int) -> None:
    with bind_udp(Endpoint("udp", "127.0.0.1", 0), 65536) as sock, pytest.raises(ValueError, match=r"1\.\.1024"):
        UdpReceiver(sock, Listener("udp://test"), slots=slots)


def test_full_socket_leaves_the_rest_queued(pair) -> None:
    pair.outbound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.setblocking(False)
    queue = frames(*[b"%04d" % i for i in range(2000)])
    sent = UdpSender(sender).send(queue)
    assert 0 < sent < 2000
    assert len(queue) == 2000 - sent
    assert bytes(queue[0]) == b"%04d" % sent
    receiver.close()
    sender.close()


def test_too_big_a_frame_is_popped_and_counted(pair) -> None:
    queue = frames(b"before", b"x" * 70_000, b"after")
    assert pair.sender.send(queue) == 2
    assert len(queue) == 0
    assert pair.sender.oversized == 1
    assert pair.drain() == [b"before", b"after"]


def test_far_end_that_came_back_gets_what_is_sent_then(pair) -> None:
    address = pair.inbound.getsockname()
    pair.inbound.close()
    pair.sender.send(frames(b"into the void"))
    with bind_udp(Endpoint("udp", *address[:2]), 65536) as again:
        # The kernel still holds the ICMP error of the datagram before: it is reported, and these are sent all the same.
        queue = frames(b"one", b"two")
        with pytest.raises(ConnectionRefusedError):
            pair.sender.send(queue)
        assert len(queue) == 0
        assert pair.sender.sent == 3
        assert [again.recv(10), again.recv(10)] == [b"one", b"two"]


def test_dead_far_end_is_reported_with_the_rest_still_queued(pair) -> None:
    pair.inbound.close()
    pair.sender.send(frames(b"into the void"))
    queue = frames(*[b"x"] * 5000)
    with pytest.raises(ConnectionRefusedError):
        pair.sender.send(queue)
    assert len(queue) == 5001 - pair.sender.sent
