"""The kernel's ring on real interfaces: every frame once, also across readers; what is lost is counted."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from hepswitch.books import Listener
from hepswitch.net import bpf
from hepswitch.net.packet_filter import capture_filter
from hepswitch.net.packet_ring import BLOCK, PacketRing, request_ring
from hepswitch.wire.envelopes import Envelopes
from hepswitch.wire.hep import Hep
from hepswitch.wire.intake import Intake
from hepswitch.wire.ip import FrameBuilder
from namespaces import Namespace, namespace, pair
from running import wait_for

EVERYTHING = 0x0003  # ETH_P_ALL
SIZE = 4 * BLOCK
PORT = 5060


@pytest.fixture(scope="module")
def inside() -> Iterator[Namespace]:
    with namespace() as made:
        yield made


@pytest.fixture(scope="module")
def ends() -> Iterator[tuple[Namespace, Namespace]]:
    with pair() as both:
        yield both


def captured(
    inside: Namespace, interface: str, kind: int = socket.SOCK_RAW, snaplen: int = 0xFFFF, size: int = SIZE
) -> socket.socket:
    sock = inside.socket(socket.AF_PACKET, kind)
    cooked = kind == socket.SOCK_DGRAM
    bpf.attach(sock, capture_filter([(PORT, PORT)], cooked=cooked, snaplen=snaplen))
    request_ring(sock, size)
    with inside.entered():
        sock.bind((interface, EVERYTHING))
    return sock


class Captured:
    """A ring and what came out of it. `packets` are those of the last `take`."""

    def __init__(self, sock: socket.socket, size: int = SIZE) -> None:
        self.listener = Listener("mirror://test")
        self.ring = PacketRing(sock, self.listener, size)
        self.intake = Intake(Envelopes(self.listener))

    def take(self, count: int, *, release: bool = True) -> list[Hep]:
        """The next `count` messages, as soon as they are there."""
        packets = list[Hep]()

        def look() -> bool:
            if self.ring.read(self.intake):
                packets.extend(Hep(packet) for packet in self.intake.batch())
                self.intake.clear()
                if release:
                    self.ring.release()
            return len(packets) >= count

        wait_for(look, f"{count} messages in the ring")
        return packets


def sip(body: bytes) -> bytes:
    return b"MESSAGE sip:x SIP/2.0\r\n\r\n" + body


def payloads(packets: list[Hep]) -> list[bytes | None]:
    return [hep.payload for hep in packets]


@pytest.fixture
def out(inside: Namespace) -> Iterator[Callable[[bytes], None]]:
    """Sends a message to the port over loopback."""
    with inside.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        yield lambda body: sock.sendto(sip(body), ("127.0.0.1", PORT)) and None


def test_every_frame_once_in_order_with_its_time(inside: Namespace, out) -> None:
    size = 16 << 20  # on a busy machine the kernel hands over blocks that are not full
    with captured(inside, "lo", size=size) as sock:
        reader = Captured(sock, size)
        assert not reader.ring.read(reader.intake)
        sent = [b"%05d" % i * (1 + i % 300) for i in range(2000)]
        got = list[Hep]()
        for at in range(0, len(sent), 500):
            for each in sent[at : at + 500]:
                out(each)
            got += reader.take(500)
    assert payloads(got) == [sip(each) for each in sent]
    times = [hep.time for hep in got]
    assert times == sorted(times)
    assert reader.listener.kernel_drops == 0
    assert reader.listener.frames == 2000


def test_next_reader_goes_on_where_the_last_one_stopped(inside: Namespace, out) -> None:
    with captured(inside, "lo") as sock:
        reader = Captured(sock)
        for turn in range(6):  # more blocks than the ring has
            out(b"read %d" % turn)
            assert payloads(reader.take(1)) == [sip(b"read %d" % turn)]
            out(b"unread")
            reader.take(1, release=False)
            reader = Captured(sock)
            assert payloads(reader.take(1)) == [sip(b"unread")]


def test_what_finds_no_room_is_counted_for_every_reader_of_the_socket(inside: Namespace, out) -> None:
    with captured(inside, "lo") as sock:
        reader = Captured(sock)
        for _ in range(1000):
            out(bytes(1400))
        reader.ring.count_drops()
        lost = reader.listener.kernel_drops
        assert 0 < lost < 1000
        successor = Captured(sock)
        assert successor.listener.kernel_drops == lost
        assert len(successor.take(1000 - lost)) == 1000 - lost
        successor.ring.count_drops()
        assert successor.listener.kernel_drops == lost


def test_what_is_longer_than_the_snap_length_is_cut(inside: Namespace, out) -> None:
    with captured(inside, "lo", snaplen=100) as sock:
        reader = Captured(sock)
        out(bytes(1000))
        assert payloads(reader.take(1)) == [sip(bytes(1000))[: 100 - 42]]
        assert reader.listener.truncated == 1


def test_largest_datagrams_fit(inside: Namespace, out) -> None:
    with captured(inside, "lo") as sock:
        reader = Captured(sock)
        for i in range(8):
            out(bytes([i]) * 65_000)
            assert payloads(reader.take(1)) == [sip(bytes([i]) * 65_000)]


@pytest.mark.parametrize("kind", [socket.SOCK_RAW, socket.SOCK_DGRAM])
@pytest.mark.parametrize("priority", [0, 2, 3])
@pytest.mark.parametrize(("interface", "tags"), [("east", ["8100"]), ("east", ["88a8", "8100"]), ("west", ["8100"])])
def test_vlan_tags_are_told_wherever_the_kernel_has_them(
    ends: tuple[Namespace, Namespace], kind: int, interface: str, tags: list[str], priority: int
) -> None:
    """What comes in has its outermost tag taken out, what this machine sends has it inside.

    With a priority of 2 or 3 the tag's first byte looks like that of an IP header.
    """
    ids = [f"{tag}{vlan | priority << 13:04x}" for tag, vlan in zip(tags, (200, 300), strict=False)]
    for ends_of_call in (("10.1.0.1", "10.1.0.2"), ("fd00::1", "fd00::2")):
        frame = FrameBuilder().frames(17, ends_of_call[0], PORT, ends_of_call[1], PORT, sip(b"x"))[0]
        tagged = frame[:12] + bytes.fromhex("".join(ids)) + frame[12:]
        captor = ends[interface == "east"]
        with captured(captor, interface, kind) as sock, ends[0].socket(socket.AF_PACKET, socket.SOCK_RAW) as by_hand:
            reader = Captured(sock)
            with ends[0].entered():
                by_hand.bind(("west", 0))
            by_hand.send(tagged)
            [hep] = reader.take(1)
        assert hep.payload == sip(b"x")
        assert hep.vlan_id == int(ids[-1][4:], 16) & 0xFFF
        assert reader.listener.truncated == 0


def test_own_packets_are_seen_once_each_on_an_interface(ends: tuple[Namespace, Namespace]) -> None:
    with captured(ends[0], "west") as sock:
        reader = Captured(sock)
        here, there = (inside.socket(socket.AF_INET, socket.SOCK_DGRAM) for inside in ends)
        with here, there:
            there.bind(("10.9.0.2", PORT))
            here.sendto(sip(b"there"), ("10.9.0.2", PORT))
            _, back = there.recvfrom(100)
            there.sendto(sip(b"back"), back)
        assert payloads(reader.take(2)) == [sip(b"there"), sip(b"back")]


def test_a_socket_without_a_ring_is_refused(inside: Namespace) -> None:
    with inside.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock, pytest.raises(OSError, match=r"."):
        PacketRing(sock, Listener("mirror://lo"), SIZE)


def test_a_closed_ring_is_no_memory_to_read(inside: Namespace) -> None:
    with captured(inside, "lo") as sock:
        reader = Captured(sock)
        reader.ring.close()
        reader.ring.close()
        for use in (lambda: reader.ring.read(reader.intake), reader.ring.release, reader.ring.count_drops):
            with pytest.raises(ValueError, match="closed"):
                use()
