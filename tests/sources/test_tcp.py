"""The TCP source on real connections, plain and TLS, under both event loops."""

import asyncio
import contextlib
import os
import random
import resource
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop

from far_ends import number as number_of
from far_ends import numbered, packet
from hepswitch.books import Listener, Routed
from hepswitch.net.sockets import BACKLOG, listen_tcp
from hepswitch.net.tls import client_context, server_context
from hepswitch.routing.flow import Flow
from hepswitch.routing.gate import Gate
from hepswitch.routing.packet import Context, Packet
from hepswitch.routing.replays import ROOM, Replays
from hepswitch.sources import tcp
from hepswitch.sources.inlet import Places
from hepswitch.sources.tcp import Ends, TcpSource
from hepswitch.units import Endpoint
from hepswitch.wire.batch import Batch
from hepswitch.wire.stream import FrameReader


def frame(payload: bytes) -> bytes:
    """A HEPv3 frame with a payload chunk alone."""
    return b"HEP3" + struct.pack("!HHHH", 12 + len(payload), 0, 15, 6 + len(payload)) + payload


class Rig:
    """A source, what its flow saw, and what it needs to be talked to."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.peers: set[tuple[str, int]] = set()
        self.afters = 0
        self.listener = Listener("tcp://test")

    async def start(self, host: str = "127.0.0.1", **options: Any) -> None:
        sock = listen_tcp(Endpoint("tcp", host, 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)  # accepted connections inherit it
        self.address = sock.getsockname()[:2]
        options.setdefault("reader", lambda _: FrameReader())
        self.source = TcpSource(sock, self.listener, self.flow, after=self.after, **options)
        await self.source.start(asyncio.get_running_loop())

    def flow(self, batch: Batch) -> None:
        self.packets += [bytes(packet) for packet in batch]
        self.listener.packets += len(batch)
        self.peers.add(batch.peer)

    def after(self) -> None:
        self.afters += 1

    async def connect(self, **options: Any) -> asyncio.StreamWriter:
        _, writer = await asyncio.open_connection(*self.address, **options)
        return writer


async def until(condition: Callable[[], bool], deadline: float = 10.0) -> None:
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        await asyncio.sleep(0.002)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await writer.wait_closed()
    except (ConnectionError, ssl.SSLError):
        return


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request) -> Iterator[Callable[[Awaitable[None]], None]]:
    factory = uvloop.new_event_loop if request.param == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        yield runner.run


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_thousands_of_small_frames_in_one_write(run, host: str) -> None:
    async def scene() -> None:
        rig = Rig()
        await rig.start(host)
        writer = await rig.connect()
        sent = [frame(b"%d" % i) for i in range(20_000)]
        writer.write(b"".join(sent))
        await until(lambda: len(rig.packets) == len(sent))
        assert rig.packets == sent
        assert rig.peers == {writer.get_extra_info("sockname")[:2]}
        assert rig.listener.connections == 1
        assert 0 < rig.afters < 2000
        await closed(writer)
        await until(lambda: rig.listener.connections == 0)
        assert rig.listener.malformed == 0
        await rig.source.stop()

    run(scene())


@pytest.mark.parametrize("allowed", [True, False])
def test_only_allowed_peers_are_let_in(run, allowed: bool) -> None:
    async def scene() -> None:
        rig, asked = Rig(), []

        def door(ip: str) -> bool:
            asked.append(ip)
            return allowed

        await rig.start(allowed=door)
        writer = await rig.connect()
        writer.write(frame(b"a"))
        await until(lambda: bool(rig.packets) or rig.listener.connections_refused == 1)
        assert asked == ["127.0.0.1"]
        assert rig.packets == ([frame(b"a")] if allowed else [])
        assert rig.listener.connections == int(allowed)
        await closed(writer)
        await rig.source.stop()

    run(scene())


def test_byte_at_a_time(run) -> None:
    async def scene() -> None:
        rig = Rig()
        await rig.start()
        writer = await rig.connect()
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sent = [frame(b"a"), frame(b""), frame(b"b" * 30)]
        for byte in b"".join(sent):
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        await until(lambda: rig.packets == sent)
        await closed(writer)
        await rig.source.stop()

    run(scene())


def test_many_connections_with_frames_of_every_size_cut_anywhere(run) -> None:
    async def scene() -> None:
        rig = Rig()
        await rig.start()
        dice = random.Random(1)
        sizes = [0, 1, 700, 8192, 65_523]

        async def send(number: int) -> list[bytes]:
            writer = await rig.connect()
            sent = [frame((b"%d:%d:" % (number, i)).ljust(dice.choice(sizes), b".")) for i in range(30)]
            stream = b"".join(sent)
            while stream:
                cut = dice.randint(1, 40_000)
                writer.write(stream[:cut])
                await writer.drain()
                stream = stream[cut:]
            await closed(writer)
            return sent

        sent = await asyncio.gather(*(send(number) for number in range(50)))
        await until(lambda: len(rig.packets) == 1500)
        for number, mine in enumerate(sent):
            prefix = b"%d:" % number
            assert [packet for packet in rig.packets if packet[12:].startswith(prefix)] == mine
        await until(lambda: rig.listener.connections == 0)
        assert rig.listener.malformed == 0
        await rig.source.stop()

    run(scene())


@pytest.mark.parametrize("rubbish", [b"GET / HTTP/1.1\r\n\r\n", b"HEP3\x00\x05more"])
def test_hostile_bytes_cost_only_their_own_connection(run, rubbish: bytes) -> None:
    async def scene() -> None:
        rig = Rig()
        await rig.start()
        good, bad = await rig.connect(), await rig.connect()
        good.write(frame(b"1"))
        bad.write(frame(b"before") + rubbish + frame(b"behind"))
        await until(lambda: rig.listener.connections == 1)
        good.write(frame(b"2"))
        await until(lambda: len(rig.packets) == 3)
        assert sorted(rig.packets) == sorted([frame(b"1"), frame(b"2"), frame(b"before")])
        assert rig.listener.malformed == 1
        assert rig.listener.packets == 4
        assert sum(rig.listener.malformed_reasons.values()) == 1
        await closed(good)
        await closed(bad)
        await rig.source.stop()

    run(scene())


def test_end_inside_a_frame_is_one_malformed_packet(run) -> None:
    async def scene() -> None:
        rig = Rig()
        await rig.start()
        writer = await rig.connect()
        writer.write(frame(b"whole") + frame(b"cut short")[:-3])
        await closed(writer)
        await until(lambda: rig.listener.malformed == 1)
        assert rig.packets == [frame(b"whole")]
        assert rig.listener.malformed_reasons == {"truncated": 1}
        assert rig.listener.packets == 2
        await rig.source.stop()

    run(scene())


def test_back_pressure_stops_the_sender_and_loses_nothing(run) -> None:
    async def scene() -> None:
        rig = Rig()
        await rig.start()
        rig.source.pause()
        sender = socket.create_connection(rig.address)
        sender.setblocking(False)
        stream = b"".join(frame(b"%07d" % i + b"." * 800) for i in range(20_000))
        sent = 0
        stuck = 0
        while stuck < 20 and sent < len(stream):  # the buffers of both ends fill up, then nothing more goes
            try:
                sent += sender.send(stream[sent : sent + 65_536])
                stuck = 0
            except BlockingIOError:
                stuck += 1
                await asyncio.sleep(0.005)
        assert sent < len(stream)
        assert len(rig.packets) < 200  # at most the one read that was under way
        assert rig.listener.connections == 1
        rig.source.resume()
        await asyncio.get_running_loop().sock_sendall(sender, stream[sent:])
        await until(lambda: len(rig.packets) == 20_000)
        assert b"".join(rig.packets) == stream
        sender.close()
        await rig.source.stop()

    run(scene())


def test_pause_inside_the_flow_holds_all_connections(run) -> None:
    async def scene() -> None:
        rig = Rig()
        await rig.start()
        first, second = await rig.connect(), await rig.connect()
        await until(lambda: rig.listener.connections == 2)
        flow = rig.source.flow

        def pausing(batch: Batch) -> None:
            flow(batch)
            rig.source.pause()

        rig.source.flow = pausing
        first.write(frame(b"1"))
        await until(lambda: len(rig.packets) == 1)
        first.write(frame(b"2"))
        second.write(frame(b"3"))
        third = await rig.connect()
        third.write(frame(b"4"))
        await asyncio.sleep(0.05)
        assert len(rig.packets) == 1
        rig.source.flow = flow
        rig.source.resume()
        await until(lambda: len(rig.packets) == 4)
        for writer in (first, second, third):
            await closed(writer)
        await rig.source.stop()

    run(scene())


def test_silent_connection_is_closed(run) -> None:
    async def scene() -> None:
        rig = Rig()
        await rig.start(idle_timeout=0.1)
        writer = await rig.connect()
        await until(lambda: rig.listener.connections == 1)
        await until(lambda: rig.listener.connections == 0)
        assert rig.listener.malformed == 0
        await closed(writer)
        await rig.source.stop()

    run(scene())


def test_frame_that_never_ends_is_closed_however_it_drips(run) -> None:
    async def scene() -> None:
        rig = Rig()
        await rig.start(frame_timeout=0.1)
        talking, dripping = await rig.connect(), await rig.connect()
        for byte in frame(b"x" * 1000):
            dripping.write(bytes([byte]))
            talking.write(frame(b"fine"))
            await asyncio.sleep(0.01)
            if rig.listener.malformed:
                break
        await until(lambda: rig.listener.connections == 1)
        assert rig.listener.malformed_reasons == {"incomplete frame": 1}
        for writer in (talking, dripping):
            await closed(writer)
        await rig.source.stop()

    run(scene())


def test_being_paused_is_not_the_peers_silence(run) -> None:
    async def scene() -> None:
        rig = Rig()
        await rig.start(idle_timeout=0.2, frame_timeout=0.2)
        writer = await rig.connect()
        writer.write(frame(b"whole") + frame(b"later")[:-1])
        await until(lambda: len(rig.packets) == 1)
        rig.source.pause()
        await asyncio.sleep(0.4)
        rig.source.resume()
        writer.write(frame(b"later")[-1:])
        await until(lambda: len(rig.packets) == 2)
        await closed(writer)
        await rig.source.stop()

    run(scene())


def test_connections_beyond_the_limit_are_refused_and_counted(run) -> None:
    async def scene() -> None:
        rig = Rig()
        await rig.start(places=Places(2))
        writers = [await rig.connect() for _ in range(3)]
        await until(lambda: rig.listener.connections_refused == 1)
        assert rig.listener.connections == 2
        await closed(writers[0])
        await until(lambda: rig.listener.connections == 1)
        late = await rig.connect()
        late.write(frame(b"room again"))
        await until(lambda: rig.packets == [frame(b"room again")])
        for writer in [*writers[1:], late]:
            await closed(writer)
        await rig.source.stop()
        assert rig.listener.snapshot()["connections_refused"] == 1

    run(scene())


def test_sources_share_their_places(run) -> None:
    async def scene() -> None:
        places, one, other = Places(1), Rig(), Rig()
        await one.start(places=places)
        await other.start(places=places)
        first = await one.connect()
        await until(lambda: one.listener.connections == 1)
        refused = await other.connect()
        await until(lambda: other.listener.connections_refused == 1)
        await closed(first)
        await until(lambda: places.free == 1)
        second = await other.connect()
        await until(lambda: other.listener.connections == 1)
        for writer in (refused, second):
            await closed(writer)
        for rig in (one, other):
            await rig.source.stop()
        assert places.free == 1

    run(scene())


def test_the_backlog_is_as_long_as_the_kernel_lets_it_be(run) -> None:
    longest = int(Path("/proc/sys/net/core/somaxconn").read_text())

    async def scene() -> None:
        rig = Rig()
        await rig.start()
        with socket.socket(fileno=os.dup(rig.source._sock.fileno())) as listening:
            info = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
        assert struct.unpack_from("I", info, 28)[0] == min(BACKLOG, longest), "tcpi_sacked of a listening socket"
        await rig.source.stop()

    run(scene())


def test_without_descriptors_connections_wait(run, monkeypatch) -> None:
    monkeypatch.setattr(tcp, "ACCEPT_PAUSE", 0.05)

    async def scene() -> None:
        rig = Rig()
        await rig.start()
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as sender:
            resource.setrlimit(resource.RLIMIT_NOFILE, (sender.fileno() + 1, limits[1]))
            try:
                while True:  # every lower number is taken
                    holes.append(os.dup(0))
            except OSError:
                sender.connect(rig.address)
                await until(lambda: rig.source._retry is not None)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                for hole in holes:
                    os.close(hole)
            sender.sendall(frame(b"late"))
            await until(lambda: rig.packets == [frame(b"late")])
            assert rig.listener.connections_refused == 0
        await rig.source.stop()

    holes: list[int] = []
    run(scene())


def test_stop_ends_connections_that_wait_while_paused(run) -> None:
    async def scene() -> None:
        rig = Rig()
        await rig.start()
        rig.source.pause()
        writer = await rig.connect()
        await until(lambda: rig.listener.connections == 1)
        await rig.source.stop()
        assert rig.listener.connections == 0
        await closed(writer)

    run(scene())


def test_stop_takes_what_has_arrived_already(run) -> None:
    async def scene() -> None:
        rig = Rig()
        await rig.start()
        writer = await rig.connect()
        await until(lambda: rig.listener.connections == 1)
        with socket.create_connection(rig.address) as sender:
            await until(lambda: rig.listener.connections == 2)
            sender.sendall(b"".join(frame(b"%d" % i) for i in range(5000)))
            await rig.source.stop()
        assert len(rig.packets) == 5000
        assert rig.listener.connections == 0
        assert rig.afters > 0
        await closed(writer)

    run(scene())


def test_two_sources_share_one_listening_socket(run) -> None:
    """As worker processes do: each has its own descriptor of the same socket."""

    async def scene() -> None:
        first, second = Rig(), Rig()
        await first.start()
        second.address = first.address
        copy = socket.socket(fileno=socket.dup(first.source._sock.fileno()))
        second.source = TcpSource(copy, second.listener, second.flow, reader=lambda _: FrameReader())
        await second.source.start(asyncio.get_running_loop())
        writers = [await first.connect() for _ in range(30)]
        for writer in writers:
            writer.write(frame(b"x"))
        await until(lambda: len(first.packets) + len(second.packets) == 30)
        for writer in writers:
            await closed(writer)
        await first.source.stop()
        await second.source.stop()

    run(scene())


class Certificates:
    def __init__(self, folder) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "one.pem")
        self.ca, self.one = str(folder / "ca.pem"), str(folder / "one.pem")

    def server(self, **more: str) -> ssl.SSLContext:
        return server_context(Endpoint("tls", "127.0.0.1", 0, {"cert": self.one, "key": self.one, **more}))

    def client(self, **more: str) -> ssl.SSLContext:
        return client_context(Endpoint("tls", "127.0.0.1", 0, {"ca": self.ca, **more}))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


def test_tls_carries_the_same_frames(run, certificates) -> None:
    async def scene() -> None:
        rig = Rig()
        await rig.start(tls=certificates.server())
        writer = await rig.connect(ssl=certificates.client())
        sent = [frame(b"%d" % i * (i % 300)) for i in range(3000)]
        writer.write(b"".join(sent))
        await until(lambda: len(rig.packets) == len(sent))
        assert rig.packets == sent
        assert rig.peers == {writer.get_extra_info("sockname")[:2]}
        await closed(writer)
        await until(lambda: rig.listener.connections == 0)
        await rig.source.stop()

    run(scene())


def test_tls_back_pressure_loses_nothing(run, certificates) -> None:
    async def scene() -> None:
        rig = Rig()
        await rig.start(tls=certificates.server())
        writer = await rig.connect(ssl=certificates.client())
        await until(lambda: rig.listener.connections == 1)
        rig.source.pause()
        sent = [frame(b"%07d" % i + b"." * 800) for i in range(20_000)]
        writer.write(b"".join(sent))
        await asyncio.sleep(0.1)
        assert len(rig.packets) < 1000
        rig.source.resume()
        await until(lambda: len(rig.packets) == len(sent))
        assert rig.packets == sent
        await closed(writer)
        await rig.source.stop()

    run(scene())


def test_mutual_tls_admits_only_who_shows_a_certificate(run, certificates) -> None:
    async def scene() -> None:
        rig = Rig()
        await rig.start(tls=certificates.server(client_ca=certificates.ca))
        known = await rig.connect(ssl=certificates.client(cert=certificates.one, key=certificates.one))
        known.write(frame(b"known"))
        await until(lambda: rig.packets == [frame(b"known")])
        reader, unknown = await asyncio.open_connection(*rig.address, ssl=certificates.client())
        unknown.write(frame(b"unknown"))
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            assert await reader.read() == b""
        assert rig.packets == [frame(b"known")]
        await closed(known)
        await closed(unknown)
        await rig.source.stop()

    run(scene())


def test_connection_that_never_shakes_hands_is_closed(run, certificates, monkeypatch) -> None:
    async def scene() -> None:
        monkeypatch.setattr(tcp, "HANDSHAKE_TIMEOUT", 0.2)
        rig = Rig()
        await rig.start(tls=certificates.server())
        reader, writer = await asyncio.open_connection(*rig.address)
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionError):
                await reader.read()
        assert rig.listener.connections == 0
        await closed(writer)
        await rig.source.stop()

    run(scene())


def test_connections_that_never_shake_hands_take_places_and_no_memory(run, certificates) -> None:
    readers = []

    def reader(ends: Ends) -> FrameReader:
        readers.append(FrameReader())
        return readers[-1]

    async def scene() -> None:
        rig = Rig()
        await rig.start(tls=certificates.server(), places=Places(2), reader=reader)
        silent = [await rig.connect() for _ in range(3)]
        await until(lambda: rig.listener.connections_refused == 1)
        assert (rig.listener.connections, readers) == (2, [])
        await closed(silent[0])
        await until(lambda: rig.listener.connections == 1)
        talking = await rig.connect(ssl=certificates.client())
        talking.write(frame(b"hello"))
        await until(lambda: rig.packets == [frame(b"hello")])
        assert len(readers) == 1
        for writer in (*silent[1:], talking):
            await closed(writer)
        await until(lambda: rig.listener.connections == 0)
        await rig.source.stop()

    run(scene())


# ── packets that another worker may have ─────────────────────────────────────────────────────────────────────────────


def test_a_connection_waits_with_what_another_worker_may_have(run) -> None:
    memory = bytearray(ROOM)
    other = Replays(memory, 1)
    assert other.had(77, 3) is False
    seen: list[int] = []

    def route(hep: Packet) -> None:
        seen.append(number_of(bytes(hep)))
        hep.drop("seen")

    async def scene() -> None:
        rig = Rig()
        gate = Gate(replays=Replays(memory, 0), numbered=[rig.listener.url])
        rig.flow = Flow(Context({}, {}, None, Routed()), print, route, gate=gate)
        await rig.start(frame_timeout=0.2)
        packets = [bytes(packet(0)), *(numbered(bytes(packet(n)), n) for n in range(1, 10))]
        writer = await rig.connect()
        writer.write(b"".join(packets[:8]))
        await until(lambda: seen == [0])
        assert rig.listener.packets == 1
        await asyncio.sleep(0)
        writer.write(b"".join(packets[8:]))
        other.safe(other.taken())
        await until(lambda: rig.listener.packets == 10)
        assert seen == [0, 1, 2, 4, 5, 6, 7, 8, 9]
        assert (rig.listener.refused, rig.listener.malformed) == ({"replayed": 1}, 0)
        await closed(writer)
        await rig.source.stop()

    run(scene())
