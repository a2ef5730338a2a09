"""Packets to syslog over real sockets: the local one as libc writes it, UDP and TCP as RFC 5424 says."""

from __future__ import annotations

import os
import random
import re
import socket
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from far_ends import UdpSink, until
from hepswitch.destinations import syslog as module
from hepswitch.destinations.syslog import LONGEST_DATAGRAM, SyslogTarget
from hepswitch.destinations.writer import WriterOutlet
from hepswitch.wire.hep import Hep

OPTIONS = b'OPTIONS sip:a SIP/2.0\r\nCall-ID: a"]\\b\r\n\r\n\xff'
NOON = 1_795_003_200.25
FROM_TO = rb" 192\.0\.2\.1:5060 -> 192\.0\.2\.2:5062\n"


def packet(payload: bytes = OPTIONS, **chunks: object) -> Hep:
    ends = {"src_ip": "192.0.2.1", "src_port": 5060, "dst_ip": "192.0.2.2", "dst_port": 5062}
    return Hep.new(payload, **({"time": NOON} | ends | chunks))


async def opened(where: str) -> WriterOutlet:
    outlet = SyslogTarget.parse(where).build(flush=0.001)
    await outlet.open()
    return outlet


def local(path: Path, kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.bind(str(path))
    sock.settimeout(10)
    return sock


async def test_the_local_socket(tmp_path: Path) -> None:
    with local(tmp_path / "log", socket.SOCK_DGRAM) as sock:
        outlet = await opened(f"syslog:local0:notice@unix:{tmp_path}/log")
        assert outlet.offer(packet(), attrs="a", direction="out")
        await outlet.close(5.0)
        stamp = time.strftime("%b %e %H:%M:%S", time.localtime(NOON)).encode()
        head = b"<133>" + stamp + b" hepswitch[%d]: out udp" % os.getpid()
        assert re.fullmatch(re.escape(head) + FROM_TO + re.escape(OPTIONS), sock.recv(65536))
        assert outlet.account()["delivered"] == 1


async def test_a_local_socket_that_is_a_stream(tmp_path: Path) -> None:
    with local(tmp_path / "log", socket.SOCK_STREAM) as sock:
        sock.listen()
        outlet = await opened(f"syslog@unix:{tmp_path}/log")
        outlet.offer(packet(b"a\0b", proto_type=100))
        outlet.offer(packet(b"c", proto_type=100))
        await outlet.close(5.0)
        connection, _ = sock.accept()
        with connection, connection.makefile("rb") as file:
            messages = file.read().split(b"\0")
    assert [message.split(b"\n")[1] for message in messages[:-1]] == [b"a#000b", b"c"]
    assert messages[-1] == b""
    assert all(message.startswith(b"<30>") for message in messages[:-1])


RFC_5424 = re.compile(
    rb'<(\d+)>1 2026-11-18T12:00:00\.250000Z (\S+) hepswitch (\d+) (\S+) \[hepswitch@32473((?: \w+="(?:[^"\\\]]|\\.)*")*)\] '
    rb"(.*)",
    re.DOTALL,
)


@pytest.fixture
def sink() -> Iterator[UdpSink]:
    sink = UdpSink()
    yield sink
    sink.close()


async def test_udp(sink: UdpSink) -> None:
    outlet = await opened(f"syslog:local7:debug@{sink.url}")
    outlet.offer(packet(), attrs="ü")
    outlet.offer(packet(b"{}", proto_type=5))
    outlet.flush()
    await until(lambda: len(sink.read()) == 2, "both messages")
    sip, rtcp = (RFC_5424.fullmatch(frame) for frame in sink.frames)
    assert sip
    assert rtcp
    assert (sip[1], int(sip[3]), sip[4]) == (b"191", os.getpid(), b"SIP")
    assert re.fullmatch(b"in udp" + FROM_TO + re.escape(OPTIONS), sip[6])
    assert sip[5].decode() == f' callid="a\\"\\]\\\\b" attrs="ü" size="{len(sip[6])}"'
    assert (rtcp[4], rtcp[6].split(b" ")[1]) == (b"RTCP", b"rtcp")
    await outlet.close(1.0)


async def test_a_datagram_that_would_be_too_long_is_cut_and_says_so(sink: UdpSink) -> None:
    outlet = await opened(f"syslog@{sink.url}")
    outlet.offer(packet(b"x" * 65_400, proto_type=100))
    outlet.flush()
    await until(lambda: sink.read(), "the message")
    (frame,) = sink.frames
    assert len(frame) == LONGEST_DATAGRAM
    found = RFC_5424.fullmatch(frame)
    assert found
    assert found[5] == b' size="65440"'
    assert len(found[6]) < 65_440
    await outlet.close(1.0)


async def test_a_message_that_no_datagram_can_hold_holds_up_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 KB of HEP with a compressed payload of 248 KB: the kernel would refuse it for ever."""
    monkeypatch.setattr(module, "TIMEOUT", 1.0)  # the kernel lets a datagram wait that never fits
    letters = random.Random(1)
    body = b"".join(bytes([letters.choice(b"abcd")]) * 8 for _ in range(31_000))
    large = packet(None)
    large.set("compressed_payload", zlib.compress(OPTIONS + body))
    assert large.sip
    assert len(large.sip.raw) > 240_000
    with local(tmp_path / "log", socket.SOCK_DGRAM) as sock:
        outlet = await opened(f"syslog@unix:{tmp_path}/log")
        outlet.offer(large)
        outlet.offer(packet(b"next", proto_type=100))
        outlet.flush()
        await until(lambda: outlet.account()["delivered"] == 2, "both")
        assert len(sock.recv(1 << 20)) == LONGEST_DATAGRAM
        assert sock.recv(1 << 20).endswith(b"next")
        await outlet.close(1.0)
        monkeypatch.setattr(module, "LONGEST_DATAGRAM", 1 << 20)  # a kernel with small buffers
        outlet = await opened(f"syslog@unix:{tmp_path}/log")
        outlet.offer(packet(b"first", proto_type=100))
        outlet.offer(large)
        outlet.offer(packet(b"next", proto_type=100))
        outlet.flush()
        await until(lambda: outlet.account()["queued"] == 0, "all")
        row = outlet.account()
        assert (row["delivered"], row["discarded"], row["state"]) == (2, {"rejected": 1}, "active")
        await outlet.close(1.0)


def counted(stream: bytes) -> list[bytes]:
    """The messages of a stream (RFC 6587, octet counting)."""
    messages = []
    while stream:
        size, _, stream = stream.partition(b" ")
        messages.append(stream[: int(size)])
        stream = stream[int(size) :]
    return messages


async def test_tcp_and_a_daemon_that_is_started_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        outlet = await opened(f"syslog@tcp://127.0.0.1:{server.getsockname()[1]}")
        first, _ = server.accept()
        first.settimeout(10)
        outlet.offer(packet(b"1\n2 3\0", proto_type=100))
        outlet.flush()
        await until(lambda: outlet.account()["delivered"] == 1, "sent")
        data = first.recv(65536)
        assert [RFC_5424.fullmatch(message)[6].split(b"\n", 1)[1] for message in counted(data)] == [b"1\n2 3#000"]  # type: ignore[index]
        first.close()
        for i in range(3):
            outlet.offer(packet(b"%d" % i, proto_type=100))
        await outlet.close(5.0)
        second, _ = server.accept()
        with second, second.makefile("rb") as file:
            assert [message.split(b"\n")[1] for message in counted(file.read())] == [b"0", b"1", b"2"]
        assert outlet.account()["delivered"] == 4


async def test_a_daemon_that_is_away_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "log"
    sock = local(path, socket.SOCK_DGRAM)
    outlet = await opened(f"syslog@unix:{path}")
    sock.close()
    path.unlink()
    outlet.offer(packet())
    outlet.flush()
    await until(lambda: outlet.account()["state"] != "active", "noticed")
    assert outlet.account()["queued"] == 1
    with local(path, socket.SOCK_DGRAM) as again:
        await until(lambda: outlet.account()["delivered"] == 1, "sent")
        assert OPTIONS in again.recv(65536)
        await outlet.close(1.0)


async def test_a_daemon_that_is_not_there_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="log"):
        await opened(f"syslog@unix:{tmp_path}/log")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            await opened(f"syslog@tcp://127.0.0.1:{unused.getsockname()[1]}")


async def test_a_daemon_that_stops_reading_counts_as_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.05)
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        server.bind(("127.0.0.1", 0))
        server.listen()
        outlet = await opened(f"syslog@tcp://127.0.0.1:{server.getsockname()[1]}")
        for _ in range(200):
            outlet.offer(packet(b"x" * 60_000, proto_type=100))
        outlet.flush()
        with capture_logs() as logs:
            await until(lambda: logs, "noticed")
        assert (logs[0]["event"], logs[0]["error"]) == ("cannot write", "timed out")
        await outlet.close(0.0)
    row = outlet.account()
    assert row["accepted"] == row["delivered"] + sum(row["discarded"].values()) == 200


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("syslog", "syslog:daemon:info"),
        ("syslog:local0", "syslog:local0:info"),
        ("syslog:LOG_LOCAL0:Warning", "syslog:local0:warning"),
        ("syslog:local0:info@unix:/dev/log", "syslog:local0:info"),
        ("syslog@unix:/run/./x", "syslog:daemon:info@unix:/run/x"),
        ("syslog@udp://10.0.0.5", "syslog:daemon:info@udp://10.0.0.5:514"),
        ("syslog:mail:err@tcp://[2001:db8::1]:6514", "syslog:mail:err@tcp://[2001:db8::1]:6514"),
    ],
)
def test_targets(text: str, name: str) -> None:
    found = SyslogTarget.parse(text)
    assert str(found) == found.url == name
    assert SyslogTarget.parse(name) == found
    assert found.anchored(Path("/base").joinpath) == found


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("sislog", "is no syslog: write for example syslog:local0:info"),
        ("syslog:local0:info:more", "is no syslog"),
        ("syslog:local0@", "is no syslog"),
        ("syslog:local9", "unknown facility 'local9'; known: kern"),
        ("syslog:local0:loud", "unknown level 'loud'; known: emerg"),
        ("syslog@tls://x", "does not start with one of udp://, tcp://"),
        ("syslog@unix:", "names no socket"),
        ("syslog@tcp://x?a=b", "no far end of syslog"),
        ("syslog@tcp://_syslog._tcp.example.net", "no far end of syslog"),
    ],
)
def test_mistakes_are_explained(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(hint)):
        SyslogTarget.parse(text)
