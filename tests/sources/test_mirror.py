"""Mirrors on interfaces of their own: all that is captured arrives once, whatever becomes of the interface."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from far_ends import until
from hepswitch.books import Listener
from hepswitch.config import Config
from hepswitch.lake.lake import Lake
from hepswitch.sources import mirror, ways
from hepswitch.sources.mirror import MirrorSource
from hepswitch.wire.batch import Batch
from hepswitch.wire.hep import Hep
from hepswitch.wire.ip import FrameBuilder
from namespaces import Namespace, pair, run, set_up
from running import running_switch

RING = "ring=1MiB"


def message(number: int, call: str = "c1@example.net") -> bytes:
    return (
        f"OPTIONS sip:bob@example.net SIP/2.0\r\nVia: SIP/2.0/UDP 10.9.0.1;branch=z9hG4bK{number}\r\n"
        f"Call-ID: {call}\r\nCSeq: {number} OPTIONS\r\nContent-Length: 0\r\n\r\n"
    ).encode()


# ── the URL ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_defaults() -> None:
    found = mirror.settings(ways.parse("mirror://Eth0.100"))
    assert (found.interface, found.address, found.ports) == ("Eth0.100", None, ((5060, 5061),))
    assert (found.rtcp, found.promiscuous, found.tunnels) == (True, True, True)
    assert (found.ring, found.snaplen, found.captagent_id, found.node_name) == (64 << 20, 65535, 2001, None)
    assert mirror.settings(ways.parse("mirror://any")).interface is None
    tunnel = mirror.settings(ways.parse("ipip://[2001:db8::1]?ports=1-2,7&rtcp=no"))
    assert (str(tunnel.address), tunnel.ports, tunnel.rtcp, tunnel.promiscuous) == (
        "2001:db8::1", ((1, 2), (7, 7)), False, False
    )  # fmt: skip


@pytest.mark.parametrize("url", ["mirror://Eth0.100", "mirror://any", "ipip://0.0.0.0", "ipip://[2001:db8::1]"])
def test_name_in_the_books_is_the_url_without_options(url: str) -> None:
    assert mirror.name(ways.parse(f"{url}?ports=1"), []) == url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mirror://", "no name of an interface"),
        ("mirror://a-very-long-name-of-an-interface", "no name of an interface"),
        ("mirror://eth0/x", "no name of an interface"),
        ("mirror://eth0\0", "no name of an interface"),
        ("mirror:eth0", "write mirror://eth0"),
        ("mirror://eth0?ports=5060&ports=5070", "says ports more than once"),
        ("mirror://eth0?ports=\uff15\uff10", "no port"),
        ("mirror://eth0?node_name=" + 128 * "\u00e9", "node_name has 256 bytes"),
        ("ipip://[fe80::1%eth0]", "no address"),
        ("ipip://eth0", "no address"),
        ("mirror://eth0?port=5060", "unknown options: port; known here: captagent_id"),
        ("ipip://0.0.0.0?promisc=yes", "unknown options: promisc"),
        ("mirror://eth0?ports=5060-", "'5060-' in ports"),
        ("mirror://eth0?ports=5070-5060", "5070-5060"),
        ("mirror://eth0?ports=0", "no port"),
        ("mirror://eth0?ports=65536", "no port"),
        ("mirror://eth0?promisc=maybe", "write yes or no"),
        ("mirror://eth0?ring=1k", "out of range"),
        ("mirror://eth0?ring=big", "not a size"),
        ("mirror://eth0?snaplen=64", "out of range"),
        ("mirror://eth0?captagent_id=x", "0..4294967295"),
        (f"mirror://eth0?ports={','.join(map(str, range(1, 9999, 2)))}", "instructions"),
    ],
)
def test_mistakes_are_told_with_the_way_out(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ways.parse(url)


# ── capturing ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Reader:
    """A source and what it handed on."""

    def __init__(self, url: str, sock: socket.socket) -> None:
        self.packets: list[Hep] = []
        self.afters = 0
        self.listener = Listener(url)
        settings = mirror.settings(ways.parse(url))
        self.source = MirrorSource(sock, self.listener, self._flow, settings, after=self._after)

    def _flow(self, batch: Batch) -> None:
        self.packets += [Hep(packet) for packet in batch]

    def _after(self) -> None:
        self.afters += 1

    @property
    def payloads(self) -> list[bytes | None]:
        return [hep.payload for hep in self.packets]


@asynccontextmanager
async def readers(inside: Namespace, url: str, count: int = 1) -> AsyncIterator[list[Reader]]:
    """Sources in a namespace, as the supervisor and its workers make them."""
    with inside.entered():
        shares = mirror.bind(ways.parse(url), count, 0)
        made = [Reader(url, sock) for (sock,) in shares]
        for each in made:
            await each.source.start(asyncio.get_running_loop())
        try:
            yield made
        finally:
            for each in made:
                await each.source.stop()


@pytest.fixture(scope="module")
def ends() -> Iterator[tuple[Namespace, Namespace]]:
    with pair() as both:
        yield both


def udp(inside: Namespace, address: str, port: int) -> socket.socket:
    sock = inside.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, port))
    return sock


@pytest.mark.parametrize("url", [f"mirror://east?{RING}", f"mirror://any?{RING}"])
@pytest.mark.parametrize(("west", "east"), [("10.9.0.1", "10.9.0.2"), ("fd09::1", "fd09::2")])
async def test_both_directions_with_their_addresses(ends, url: str, west: str, east: str) -> None:
    sent = [message(n) for n in range(20)]
    async with readers(ends[1], url) as (reader,):
        with udp(ends[0], west, 5099) as here, udp(ends[1], east, 5060) as there:
            for n, each in enumerate(sent):
                (here.sendto(each, (east, 5060)) if n % 2 == 0 else there.sendto(each, (west, 5099)))
            here.sendto(bytes.fromhex("80000001") + bytes(160), (east, 40_000))
            await until(lambda: len(reader.packets) == 20, "the messages")
    assert reader.payloads == sent
    for n, hep in enumerate(reader.packets):
        source, target = ((west, 5099), (east, 5060)) if n % 2 == 0 else ((east, 5060), (west, 5099))
        assert (hep.src_ip, hep.src_port, hep.dst_ip, hep.dst_port) == (*source, *target)
        assert (hep.proto_type, hep.captagent_id, hep.correlation_id) == ("SIP", 2001, b"c1@example.net")
    times = [hep.time for hep in reader.packets]
    assert times == sorted(times)
    assert reader.afters > 0
    assert sum(reader.listener.refused.values()) == 0


async def test_rtcp_of_a_call_comes_with_its_call_id_and_rtp_not_at_all(ends) -> None:
    sdp = b"v=0\r\no=a 1 1 IN IP4 10.9.0.2\r\ns=-\r\nc=IN IP4 10.9.0.2\r\nt=0 0\r\nm=audio 30000 RTP/AVP 8\r\n"
    offer = message(1).replace(b"Content-Length: 0", b"Content-Length: %d" % len(sdp)) + sdp
    report, rtp = bytes.fromhex("80c80006 00000001") + bytes(20), bytes.fromhex("80080001") + bytes(168)
    async with readers(ends[1], f"mirror://east?{RING}") as (reader,):
        with udp(ends[0], "10.9.0.1", 5060) as signalling, udp(ends[0], "10.9.0.1", 40_001) as media:
            signalling.sendto(offer, ("10.9.0.2", 5060))
            media.sendto(rtp, ("10.9.0.2", 30_000))
            media.sendto(report, ("10.9.0.2", 30_001))
            media.sendto(report, ("10.9.0.2", 30_003))
            await until(lambda: reader.listener.refused["RTCP of no known call"], "the report of another call")
    assert [(hep.proto_type, hep.correlation_id) for hep in reader.packets] == [
        ("SIP", b"c1@example.net"), ("RTCP", b"c1@example.net")
    ]  # fmt: skip
    assert reader.listener.frames == 3


async def test_what_lo_carries_comes_once(ends) -> None:
    for url in (f"mirror://lo?{RING}", f"mirror://any?{RING}"):
        async with readers(ends[0], url) as (reader,):
            with udp(ends[0], "127.0.0.1", 5060) as sock:
                for n in range(5):
                    sock.sendto(message(n), ("127.0.0.1", 5060))
        assert reader.payloads == [message(n) for n in range(5)]


async def test_stop_takes_what_was_captured_already(ends) -> None:
    async with readers(ends[1], "mirror://east?ring=8MiB&node_name=tap-7&captagent_id=7") as (reader,):
        with udp(ends[0], "10.9.0.1", 5060) as sock:
            for n in range(3000):
                sock.sendto(message(n), ("10.9.0.2", 5060))
    assert reader.payloads == [message(n) for n in range(3000)]
    assert {(hep.node_name, hep.captagent_id) for hep in reader.packets} == {("tap-7", 7)}
    assert reader.listener.kernel_drops == 0


async def test_a_block_that_brings_trouble_is_not_read_again(ends, monkeypatch: pytest.MonkeyPatch) -> None:
    troubles = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context["exception"]))
    async with readers(ends[1], f"mirror://east?{RING}") as (reader,):
        with udp(ends[0], "10.9.0.1", 5060) as sock:
            with monkeypatch.context() as broken:
                broken.setattr(reader.source, "_hand_on", lambda: 1 / 0)
                sock.sendto(message(1), ("10.9.0.2", 5060))
                await until(lambda: troubles, "the trouble")
            sock.sendto(message(2), ("10.9.0.2", 5060))
            await until(lambda: len(reader.packets) == 2, "the messages")
    assert (len(troubles), reader.payloads) == (1, [message(1), message(2)])


def frame(source: str, target: str, payload: bytes) -> bytes:
    return FrameBuilder().frames(17, source, 5060, target, 5060, payload)[0]


def by_hand(inside: Namespace, interface: str) -> socket.socket:
    sock = inside.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with inside.entered():
        sock.bind((interface, 0))
    return sock


@pytest.mark.parametrize("form", ["10.1.0.{}", "fd00::{}"])
async def test_several_readers_share_by_pairs_of_hosts(ends, form: str) -> None:
    """Every message once; both directions between two hosts, behind tags too, and its later fragments meet."""
    hub = form.format(250)
    async with readers(ends[1], f"mirror://east?{RING}", 3) as three:
        with by_hand(ends[0], "west") as sock:
            for host in range(1, 61):
                there, back = (form.format(host), hub), (hub, form.format(host))
                plain = frame(*there, message(1, f"{host}@x"))
                reply = frame(*back, message(2, f"{host}@x"))
                for each in (plain, reply, plain[:12] + bytes.fromhex("88a80001 81000002") + plain[12:]):
                    sock.send(each)
            await until(lambda: sum(len(reader.packets) for reader in three) == 180, "the messages")
    calls = [{hep.correlation_id for hep in reader.packets} for reader in three]
    assert all(calls), "every reader has calls"
    assert sum(map(len, calls)) == 60, "a call is with one reader"


IPIP = "45000000 00010000 4004 0000 c0000201 0a090002"


@pytest.mark.parametrize(
    ("protocol", "head"), [(4, ""), (47, "00000800"), (47, "30000800 00000007 00000001"), (47, "10006558 00000001")]
)
async def test_tunnels_that_end_here(ends, protocol: int, head: str) -> None:
    inner = frame("172.16.0.1", "172.16.0.2", message(1))
    inside = bytes.fromhex(head) + (inner if "6558" in head else inner[14:])
    outer = bytearray(bytes.fromhex(IPIP)) + inside
    outer[9], outer[2:4] = protocol, len(outer).to_bytes(2)
    wanted, elsewhere = (readers(ends[1], f"ipip://{address}?{RING}") for address in ("10.9.0.2", "10.9.0.7"))
    async with wanted as (reader,), elsewhere as (other,):
        with by_hand(ends[0], "west") as sock:
            sock.send(b"\xff" * 6 + bytes(6) + b"\x08\0" + bytes(outer))
            await until(lambda: reader.packets, "the message")
    assert (reader.packets[0].src_ip, reader.payloads) == ("172.16.0.1", [message(1)])
    assert other.packets == []


async def test_messages_cut_into_fragments_and_segments(ends) -> None:
    long = message(1).replace(b"Content-Length: 0\r\n\r\n", b"Content-Length: 4000\r\n\r\n" + b"x" * 4000)
    async with readers(ends[1], f"mirror://east?{RING}") as (reader,):
        for west, east in (("10.9.0.1", "10.9.0.2"), ("fd09::1", "fd09::2")):
            with udp(ends[0], west, 5060) as sock:
                sock.sendto(long, (east, 5060))
            family = socket.AF_INET6 if ":" in west else socket.AF_INET
            with (
                ends[1].socket(family, socket.SOCK_STREAM) as server,
                ends[0].socket(family, socket.SOCK_STREAM) as client,
            ):
                server.bind((east, 5060))
                server.listen()
                client.connect((east, 5060))
                client.sendall(long + long)
        await until(lambda: len(reader.packets) == 6, "the messages")
    assert reader.payloads == [long] * 6
    assert [hep.proto_id for hep in reader.packets] == ["UDP", "TCP", "TCP"] * 2


# ── the interface ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [1, 2])
async def test_an_interface_that_goes_and_comes_is_picked_up_again(monkeypatch, count: int) -> None:
    monkeypatch.setattr(mirror, "TICK", 0.02)
    with pair() as (west, east):
        async with readers(east, f"mirror://east?{RING}", count) as made:

            async def arrives(number: int) -> None:
                def there() -> bool:
                    return any(message(number) in reader.payloads for reader in made)

                with by_hand(west, "west") as sock:
                    sock.send(frame("10.1.0.1", "10.1.0.2", message(number)))
                await until(there, f"message {number}")

            async def interrupted(times: int) -> None:
                await until(lambda: all(r.listener.interruptions == times for r in made), "the interruption")

            await arrives(1)
            east.ip("link", "set", "east", "down")
            await interrupted(1)
            east.ip("link", "set", "east", "up")
            await until(lambda: not any(reader.source.interrupted for reader in made), "the readers")
            await arrives(2)
            for turn in (3, 4):
                east.ip("link", "del", "east")
                await interrupted(turn - 1)
                run(
                    "ip",
                    "-n",
                    west.name,
                    "link",
                    "add",
                    "west",
                    "type",
                    "veth",
                    "peer",
                    "name",
                    "east",
                    "netns",
                    east.name,
                )
                set_up(west, "west", 1)
                set_up(east, "east", 2)
                await until(lambda: not any(reader.source.interrupted for reader in made), "the readers")
                await arrives(turn)
        assert sum(len(reader.packets) for reader in made) == 4


async def test_an_interface_that_is_down_at_the_start_is_waited_for(monkeypatch) -> None:
    monkeypatch.setattr(mirror, "TICK", 0.02)
    with pair() as (west, east):
        east.ip("link", "set", "east", "down")
        async with readers(east, f"mirror://east?{RING}") as (reader,):
            assert reader.listener.interruptions == 1
            east.ip("link", "set", "east", "up")
            await until(lambda: not reader.source.interrupted, "the interface")
            with by_hand(west, "west") as sock:
                sock.send(frame("10.1.0.1", "10.1.0.2", message(1)))
            await until(lambda: reader.packets, "the message")


def test_an_interface_that_is_not_there_is_told_with_those_that_are(ends) -> None:
    with (
        ends[1].entered(),
        pytest.raises(OSError, match=r"mirror://nosuch: there is no interface 'nosuch'.*: .*east.*lo"),
    ):
        mirror.bind(ways.parse("mirror://nosuch"), 1, 0)


def test_missing_privileges_are_told_with_the_remedy(ends) -> None:
    with ExitStack() as stack:
        stack.enter_context(ends[1].entered())
        os.seteuid(65534)
        stack.callback(os.seteuid, 0)
        with pytest.raises(OSError, match="mirror://east: capturing needs CAP_NET_RAW"):
            mirror.bind(ways.parse("mirror://east"), 1, 0)


@pytest.mark.parametrize(("options", "promiscuous"), [("", True), ("&promisc=no", False)])
async def test_the_card_takes_in_what_is_for_others_as_long_as_it_is_wanted(
    ends, options: str, promiscuous: bool
) -> None:
    def is_set() -> bool:
        shown = subprocess.run(["ip", "-d", "-n", ends[1].name, "link", "show", "east"], capture_output=True, text=True)
        return "promiscuity 1" in shown.stdout

    async with readers(ends[1], f"mirror://east?{RING}{options}"):
        assert is_set() is promiscuous
    assert not is_set()


# ── in the switch ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_interface_is_listened_to_once() -> None:
    with pytest.raises(ValueError, match="listen names mirror://eth0 more than once"):
        Config.model_validate({"listen": ["mirror://eth0", "mirror://eth1", "mirror://eth0?ports=5080"]})


def test_workers_share_an_interface_and_go_on_where_one_stopped_that_was_killed(ends, tmp_path: Path) -> None:
    """kill -9 under load: every message is stored, the books balance over both lives."""
    config = """
        listen = ["mirror://east?ring=16MiB"]
        workers = 2
        [stores.lake]
        url = "lake:./captures"
        flush = "10ms"
    """
    with ends[1].entered(), running_switch(tmp_path, config) as switch, by_hand(ends[0], "west") as sock:
        assert switch.urls == ["mirror://east"]
        for n in range(1000):
            sock.send(frame(f"10.1.0.{n % 200 + 1}", "10.2.0.1", message(n)))
        book = switch.wait_stats(lambda book: book["stores"]["lake"]["delivered"] >= 1000, "the first half")
        assert book["received"]["mirror://east"]["packets"] == 1000
        os.kill(switch.workers()[0], signal.SIGKILL)
        for n in range(1000, 2000):
            sock.send(frame(f"10.1.0.{n % 200 + 1}", "10.2.0.1", message(n)))
        book = switch.wait_stats(lambda book: book["stores"]["lake"]["delivered"] >= 2000, "the second half")
        assert book["balanced"]
        assert book["received"]["mirror://east"]["kernel_drops"] == 0
    _, found = Lake(tmp_path / "captures").sql("SELECT DISTINCT cseq FROM messages")
    assert {cseq for (cseq,) in found} == set(range(2000))
