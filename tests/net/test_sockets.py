"""Listening sockets: addresses, buffers, sharing a port, and what errors say."""

import errno
import resource
import socket
import time

import pytest

from hepswitch.net import sockets
from hepswitch.net.sockets import descriptors_beside, raise_descriptor_limit
from hepswitch.units import Endpoint, parse_endpoint


@pytest.mark.parametrize("url", ["udp://127.0.0.1:0", "udp://[::1]:0", "udp://localhost:0"])
def test_udp_socket_is_bound_and_does_not_block(url: str) -> None:
    with sockets.bind_udp(parse_endpoint(url), 65536) as sock:
        assert sock.getsockname()[1] > 0
        with pytest.raises(BlockingIOError):
            sock.recv(1)


def test_any_ipv6_address_takes_ipv4_too() -> None:
    with (
        sockets.bind_udp(Endpoint("udp", "::", 0), 65536) as sock,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        sender.sendto(b"four", ("127.0.0.1", sock.getsockname()[1]))
        assert sock.recvfrom(10)[0] == b"four"


def test_one_ipv6_address_leaves_the_port_to_ipv4() -> None:
    with sockets.listen_tcp(Endpoint("tcp", "::1", 0)) as six:
        port = six.getsockname()[1]
        with sockets.listen_tcp(Endpoint("tcp", "127.0.0.1", port)) as four:
            assert four.getsockname()[1] == port


def test_port_in_use_names_the_endpoint_and_the_remedy() -> None:
    with sockets.bind_udp(Endpoint("udp", "127.0.0.1", 0), 65536) as sock:
        taken = Endpoint("udp", "127.0.0.1", sock.getsockname()[1])
        with pytest.raises(OSError, match=rf"{taken}: the port is in use: .*ss -lnp") as caught:
            sockets.bind_udp(taken, 65536)
        assert caught.value.errno == errno.EADDRINUSE


def test_foreign_address_and_unknown_name_are_told_apart() -> None:
    with pytest.raises(OSError, match=r"udp://192\.0\.2\.1:0: 192\.0\.2\.1 is no address of this machine"):
        sockets.bind_udp(Endpoint("udp", "192.0.2.1", 0), 65536)
    with pytest.raises(OSError, match=r"'no-such-host\.invalid' is no address here"):
        sockets.listen_tcp(Endpoint("tcp", "no-such-host.invalid", 0))
    with pytest.raises(OSError, match=r"'a\.\.b' is no address here: no host can be called so"):
        sockets.listen_tcp(Endpoint("tcp", "a..b", 0))


def test_receive_buffer_reads_back_what_was_asked() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert sockets.request_receive_buffer(sock, 100_000) == 100_000


def test_small_receive_buffer_is_said_once_with_the_sysctl_line(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sockets, "request_receive_buffer", lambda sock, size: 212_992)
    sockets._warn_small_buffer.cache_clear()
    for _ in range(2):
        sockets.bind_udp(Endpoint("udp", "127.0.0.1", 0), 16 << 20).close()
    said = capsys.readouterr()
    assert (said.out + said.err).count("sysctl -w net.core.rmem_max=16777216") == 1


def test_unprivileged_process_gets_what_the_limit_allows(monkeypatch) -> None:
    asked: list[tuple[int, int]] = []

    class Unprivileged(socket.socket):
        def setsockopt(self, level, option, value):  # type: ignore[no-untyped-def]
            if option == sockets.SO_RCVBUFFORCE:
                raise PermissionError
            asked.append((option, value))
            super().setsockopt(level, option, value)

    with Unprivileged(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert 0 < sockets.request_receive_buffer(sock, 1 << 29) < 1 << 29
    assert asked == [(socket.SO_RCVBUF, 1 << 29)]


def test_one_sender_is_spread_evenly_over_four_sockets() -> None:
    first = sockets.bind_udp(Endpoint("udp", "127.0.0.1", 0), 1 << 22, reuse_port=True)
    bound = Endpoint("udp", "127.0.0.1", first.getsockname()[1])
    group = [first, *(sockets.bind_udp(bound, 1 << 22, reuse_port=True) for _ in range(3))]
    sockets.spread_evenly(first, 4)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(first.getsockname())
        for _ in range(2000):
            sender.send(b"x")
    counts = [0] * 4
    deadline = time.monotonic() + 5
    while sum(counts) < 2000 and time.monotonic() < deadline:
        for i, sock in enumerate(group):
            try:
                while sock.recv(10):
                    counts[i] += 1
            except BlockingIOError:
                continue
    for sock in group:
        sock.close()
    assert sum(counts) == 2000
    assert all(400 < count < 600 for count in counts), counts  # 5 sigma around 500


def test_keepalive_is_on_for_accepted_connections() -> None:
    with sockets.listen_tcp(Endpoint("tcp", "127.0.0.1", 0)) as listener:
        listener.setblocking(True)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


def test_the_limit_of_descriptors_is_raised_as_far_as_it_goes() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1000, before[1]), before[1]))
        assert descriptors_beside(900) == 250
        raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
        assert descriptors_beside(100) == before[1] - 100
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
