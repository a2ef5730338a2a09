"""The kernel's ring on real interfaces: every frame once, also across readers; what is lost is counted."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from hepswitch.books import Listener
from hepswitch.net import bpf, packet_ring
from hepswitch.net.packet_filter import capture_filter
from hepswitch.net.packet_ring import BLOCK, PacketRing, request_ring
from hepswitch.wire.pcap import CapturedFrame
from namespaces import Namespace, namespace, pair
from running import wait_for

EVERYTHING = 0x0003  # ETH_P_ALL
SIZE = 4 * BLOCK
PORT = 5060


@pytest.fixture(scope="module")
def inside() -> Iterator[Namespace]:
    with namespace() as made:
        yield made


def captured(inside: Namespace, interface: str, kind: int = socket.SOCK_RAW, snaplen: int = 0xFFFF) -> socket.socket:
    sock = inside.socket(socket.AF_PACKET, kind)
    cooked = kind == socket.SOCK_DGRAM
    bpf.attach(sock, capture_filter([(PORT, PORT)], cooked=cooked, snaplen=snaplen))
    request_ring(sock, SIZE)
    with inside.entered():
        sock.bind((interface, EVERYTHING))
    return sock


def sender(inside: Namespace) -> socket.socket:
    sock = inside.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.1", PORT))
    return sock


def taken(ring: PacketRing, count: int) -> list[tuple[CapturedFrame, int | None]]:
    """The next `count` frames, as soon as they are there."""
    found = list[tuple[CapturedFrame, int | None]]()

    def look() -> bool:
        frames = ring.frames()
        if frames is not None:
            found.extend(frames)
            ring.release()
        return len(found) >= count

    wait_for(look, f"{count} frames in the ring")
    return found


def payloads(frames: list[tuple[CapturedFrame, int | None]], head: int = 42) -> list[bytes]:
    return [frame.data[head:] for frame, _ in frames]


def test_every_frame_once_in_order_with_its_time(inside: Namespace) -> None:
    with captured(inside, "lo") as sock, sender(inside) as out:
        ring = PacketRing(sock, Listener("mirror://lo"), SIZE)
        assert ring.frames() is None
        sent = [b"%05d" % i * (1 + i % 300) for i in range(2000)]
        got = []
        for at in range(0, len(sent), 500):
            for each in sent[at : at + 500]:
                try:
                    out.send(each)
                except ConnectionRefusedError:  # ICMP says that nobody listens
                    out.send(each)
            got += taken(ring, 500)
        assert payloads(got) == sent
        times = [frame.time_us for frame, _ in got]
        assert times == sorted(times)
        assert {frame.linktype for frame, _ in got} == {1}
        assert {vlan for _, vlan in got} == {None}


def test_next_reader_goes_on_where_the_last_one_stopped(inside: Namespace) -> None:
    with captured(inside, "lo") as sock, inside.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        ring = PacketRing(sock, Listener("mirror://lo"), SIZE)
        for turn in range(6):  # more blocks than the ring has
            out.sendto(b"read %d" % turn, ("127.0.0.1", PORT))
            assert payloads(taken(ring, 1)) == [b"read %d" % turn]
            out.sendto(b"unread", ("127.0.0.1", PORT))
            wait_for(ring.frames, "the block that is not released")
            ring = PacketRing(sock, Listener("mirror://lo"), SIZE)
            assert payloads(taken(ring, 1)) == [b"unread"]


def test_what_finds_no_room_is_counted_for_every_reader_of_the_socket(inside: Namespace) -> None:
    with captured(inside, "lo") as sock, inside.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        listener = Listener("mirror://lo")
        ring = PacketRing(sock, listener, SIZE)
        for _ in range(1000):
            out.sendto(bytes(1400), ("127.0.0.1", PORT))
        ring.count_drops()
        assert 0 < listener.kernel_drops < 1000
        lost = listener.kernel_drops
        successor = Listener("mirror://lo")
        ring = PacketRing(sock, successor, SIZE)
        assert successor.kernel_drops == lost
        assert len(taken(ring, 1000 - lost)) == 1000 - lost
        ring.count_drops()
        assert successor.kernel_drops == lost


def test_what_is_longer_than_the_snap_length_is_cut(inside: Namespace) -> None:
    with captured(inside, "lo", snaplen=100) as sock, sender(inside) as out:
        ring = PacketRing(sock, Listener("mirror://lo"), SIZE)
        out.send(bytes(1000))
        [(frame, _)] = taken(ring, 1)
        assert (len(frame.data), frame.original_length) == (100, 1042)


def test_largest_datagrams_fit(inside: Namespace) -> None:
    with captured(inside, "lo") as sock, inside.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        ring = PacketRing(sock, Listener("mirror://lo"), SIZE)
        for i in range(8):
            out.sendto(bytes([i]) * 65_000, ("127.0.0.1", PORT))
            assert payloads(taken(ring, 1)) == [bytes([i]) * 65_000]


@pytest.mark.parametrize("kind", [socket.SOCK_RAW, socket.SOCK_DGRAM])
@pytest.mark.parametrize(("interface", "tags"), [("east", ["8100"]), ("east", ["88a8", "8100"]), ("west", ["8100"])])
def test_vlan_tags_are_told_wherever_the_kernel_has_them(kind: int, interface: str, tags: list[str]) -> None:
    """What comes in has its outermost tag taken out, what this machine sends has it inside."""
    ids = [f"{tag}{vlan:04x}" for tag, vlan in zip(tags, (200, 300), strict=False)]
    ip = bytes.fromhex("4500002000010000401100000a0900010a090002 13c413c4000c0000") + b"this"
    tagged = bytes.fromhex("ffffffffffff 020000000001" + "".join(ids) + "0800") + ip
    with pair() as ends:
        captor = ends[interface == "east"]
        with captured(captor, interface, kind) as sock, ends[0].socket(socket.AF_PACKET, socket.SOCK_RAW) as by_hand:
            ring = PacketRing(sock, Listener("mirror://test"), SIZE)
            with ends[0].entered():
                by_hand.bind(("west", 0))
            by_hand.send(tagged)
            [(frame, vlan)] = taken(ring, 1)
    if kind == socket.SOCK_DGRAM:
        assert (frame.linktype, frame.data) == (101, ip)
        assert vlan == int(ids[-1][4:], 16) if interface == "east" else vlan in (None, 200)  # told since Linux 6.11
    else:
        inside = tagged if interface == "west" else tagged[:12] + tagged[16:]
        assert (frame.linktype, frame.data) == (1, inside)
        assert vlan == (200 if interface == "east" else None)
    assert frame.original_length == len(frame.data)


def test_own_packets_are_seen_once_each_on_an_interface(inside: Namespace) -> None:
    with pair() as (west, east), captured(west, "west") as sock:
        ring = PacketRing(sock, Listener("mirror://west"), SIZE)
        with (
            west.socket(socket.AF_INET, socket.SOCK_DGRAM) as out,
            east.socket(socket.AF_INET, socket.SOCK_DGRAM) as far,
        ):
            far.bind(("10.9.0.2", PORT))
            out.sendto(b"there", ("10.9.0.2", PORT))
            _, back = far.recvfrom(100)
            far.sendto(b"back", back)
        assert payloads(taken(ring, 2)) == [b"there", b"back"]


def test_a_socket_without_a_ring_is_refused(inside: Namespace) -> None:
    with inside.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock, pytest.raises(OSError, match=r"."):
        PacketRing(sock, Listener("mirror://lo"), SIZE)
    assert packet_ring.RETIRE < 100
