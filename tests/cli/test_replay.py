from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner, Result

import lakes
from hepswitch.cli.replay import cli
from hepswitch.wire import pcap
from hepswitch.wire.hep import Hep
from hepswitch.wire.ip import FrameBuilder

VECTORS = Path(__file__).parents[1] / "vectors"
STREAM = VECTORS / "opensips-v3-tcp.hepstream"
START = 1_700_000_000_000_000

SDP = b"v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 4000 RTP/AVP 0\r\n"
INVITE = b"INVITE sip:bob@h SIP/2.0\r\nCall-ID: one@h\r\nCSeq: 1 INVITE\r\nContent-Length: %d\r\n\r\n" % len(SDP) + SDP
BYE = b"BYE sip:bob@h SIP/2.0\r\nCall-ID: two@h\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"
RECEIVER_REPORT = struct.pack("!BBHI", 0x80, 201, 1, 7)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


class Sink:
    """A far end that keeps what it gets."""

    def __init__(self, kind: int, wrap: Callable[[socket.socket], socket.socket] | None = None) -> None:
        self.sock = socket.socket(socket.AF_INET, kind)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(10)
        self.port = self.sock.getsockname()[1]
        self.stream = bytearray()
        if kind == socket.SOCK_STREAM:
            self.sock.listen()
            self.wrap = wrap or (lambda sock: sock)
            self.thread = threading.Thread(target=self.accept)
            self.thread.start()
        else:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)

    def accept(self) -> None:
        peer, _ = self.sock.accept()
        peer.settimeout(10)
        with self.wrap(peer) as connection:
            while data := connection.recv(65536):
                self.stream += data

    def packets(self, count: int) -> list[Hep]:
        return [Hep(self.sock.recv(65535)) for _ in range(count)]


@pytest.fixture
def sink() -> Iterator[Sink]:
    far = Sink(socket.SOCK_DGRAM)
    yield far
    far.sock.close()


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    path, builder = tmp_path / "calls.pcapng", FrameBuilder()
    with path.open("wb") as file:
        writer = pcap.Writer(file)
        for number, (proto, src, sport, dst, dport, payload) in enumerate(
            [
                (17, "10.0.0.1", 5060, "10.0.0.2", 5060, INVITE),
                (17, "10.0.0.2", 9999, "10.0.0.1", 4001, RECEIVER_REPORT),
                (17, "10.0.0.2", 9999, "10.0.0.1", 7777, RECEIVER_REPORT),
                (17, "10.0.0.2", 5060, "10.0.0.1", 5060, b"\r\n\r\n"),
                (6, "2001:db8::1", 5060, "2001:db8::2", 5062, BYE + BYE),
            ]
        ):
            for made in builder.frames(proto, src, sport, dst, dport, payload):
                writer.write(START + number * 50_000, made)
    return path


def test_sip_and_rtcp_are_wrapped(sink: Sink, calls: Path) -> None:
    result = run(calls, "--to", f"udp://127.0.0.1:{sink.port}", "--rate", "max", "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["packets"], summary["skipped"], summary["error"]) == (4, 1, None)
    invite, report, *byes = sink.packets(4)
    assert (invite.version, invite.payload, invite.correlation_id) == (3, INVITE, b"one@h")
    assert (invite.src_ip, invite.src_port, invite.dst_ip, invite.dst_port) == ("10.0.0.1", 5060, "10.0.0.2", 5060)
    assert (invite.proto_family, invite.proto_id, invite.proto_type, invite.captagent_id) == (2, 17, 1, 2001)
    assert invite.time_us == START
    assert (report.proto_type, report.correlation_id, report.time_us) == (5, b"one@h", START + 50_000)
    assert json.loads(report.payload or b"")["type"] == 201
    assert [(bye.payload, bye.proto_id, bye.proto_family, bye.src_ip) for bye in byes] == [
        (BYE, 6, 10, "2001:db8::1")
    ] * 2


def test_a_call_goes_on_in_the_next_file(tmp_path: Path, sink: Sink) -> None:
    paths, builder = [tmp_path / "1.pcapng", tmp_path / "2.pcap"], FrameBuilder()
    halves = [(6, 5060, INVITE[:60]), (6, 5060, INVITE[60:]), (17, 4001, RECEIVER_REPORT)]
    for path, form, parts in ((paths[0], "pcapng", halves[:1]), (paths[1], "pcap", halves[1:])):
        with path.open("wb") as file:
            writer = pcap.Writer(file, form)  # type: ignore[arg-type]
            for proto, dport, payload in parts:
                for made in builder.frames(proto, "10.0.0.2", 5060, "10.0.0.1", dport, payload):
                    writer.write(START, made)
    result = run(*paths, "--to", f"udp://127.0.0.1:{sink.port}", "--rate", "max", "--json")
    summary = json.loads(result.stdout)
    assert (summary["packets"], summary["skipped"], summary["error"]) == (2, 0, None)
    invite, report = sink.packets(2)
    assert (invite.payload, report.correlation_id) == (INVITE, b"one@h")


def test_own_pace_and_speed(sink: Sink, calls: Path) -> None:
    started = time.monotonic()
    assert run(calls, "--to", f"udp://127.0.0.1:{sink.port}", "--speed", "0.5").exit_code == 0
    assert 0.4 <= time.monotonic() - started < 5
    assert len(sink.packets(4)) == 4


def test_a_rate_is_kept(sink: Sink) -> None:
    result = run(STREAM, "--to", f"udp://127.0.0.1:{sink.port}", "--rate", "2000/s", "--loop", "100", "--json")
    summary = json.loads(result.stdout)
    assert summary["packets"] == 600
    assert 0.29 <= summary["seconds"] < 3


def test_hep_is_sent_as_it_is(sink: Sink) -> None:
    path = VECTORS / "hepjs2-005.hep"
    assert run(path, "--to", f"udp://127.0.0.1:{sink.port}").exit_code == 0
    assert sink.sock.recv(65535) == path.read_bytes()


@pytest.mark.parametrize("version", [1, 2, 3])
def test_versions(sink: Sink, calls: Path, version: int) -> None:
    assert run(calls, "--to", f"udp://127.0.0.1:{sink.port}", "--rate", "max", "--version", version).exit_code == 0
    packet = sink.packets(1)[0]
    assert (packet.version, packet.payload) == (version, INVITE)


def test_times_and_capture_id(sink: Sink, calls: Path) -> None:
    before = time.time()
    assert (
        run(calls, "--to", f"udp://127.0.0.1:{sink.port}", "--rate", "max", "--now", "--capture-id", 7).exit_code == 0
    )
    first, second, *_ = sink.packets(4)
    assert before - 1 < first.time < time.time() + 1
    assert second.time_us - first.time_us == 50_000
    assert first.captagent_id == 7


def test_tcp() -> None:
    far = Sink(socket.SOCK_STREAM)
    result = run(STREAM, "--to", f"tcp://127.0.0.1:{far.port}", "--rate", "max", "--loop", "3")
    far.thread.join(10)
    far.sock.close()
    assert result.exit_code == 0
    assert "sent 18 packets" in result.stdout
    assert bytes(far.stream) == STREAM.read_bytes() * 3


def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    far = Sink(socket.SOCK_STREAM, lambda sock: context.wrap_socket(sock, server_side=True))
    result = run(STREAM, "--to", f"tls://127.0.0.1:{far.port}?ca={tmp_path / 'ca.pem'}", "--rate", "max")
    far.thread.join(10)
    far.sock.close()
    assert result.exit_code == 0, result.output
    assert bytes(far.stream) == STREAM.read_bytes()


def test_what_goes_wrong_is_said(tmp_path: Path, calls: Path, sink: Sink) -> None:
    to = f"udp://127.0.0.1:{sink.port}"
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refused = run(STREAM, "--to", f"tcp://127.0.0.1:{unused.getsockname()[1]}")
    assert refused.exit_code == 1
    assert "refused" in refused.stderr
    broken = tmp_path / "broken.hep"
    broken.write_bytes(STREAM.read_bytes() + b"junk!!")
    result = run(broken, "--to", to, "--rate", "max")
    assert result.exit_code == 1
    assert f"{broken}: bad magic" in result.stderr
    for arguments in (
        [calls],
        [calls, "--to", "http://x"],
        [calls, "--to", to, "--rate", "0"],
        [calls, "--to", to, "--rate", "5", "--speed", "2"],
        [calls, "--to", to, "--version", "1", "--capture-id", "1"],
        ["-", "--to", to, "--loop", "2"],
        [calls, "--to", to, "--since", "yesterday-ish"],
        [tmp_path / "missing", "--to", to],
    ):
        assert run(*arguments).exit_code == 2, arguments


def test_what_is_broken_in_a_capture_is_skipped_and_the_rest_sent(tmp_path: Path, sink: Sink) -> None:
    path, builder = tmp_path / "broken.pcapng", FrameBuilder()
    longer = b"INVITE sip:b@h SIP/2.0\r\nCall-ID: long@h\r\nContent-Length: 70000\r\n\r\n" + bytes(70_000)
    with path.open("wb") as file:
        writer = pcap.Writer(file)
        for proto, at, payload in (
            (17, START, INVITE), (17, START, b"HEP3\xff\xffjunk"), (6, START, longer), (17, 2**60, INVITE), (17, START, BYE),
        ):  # fmt: skip
            for made in builder.frames(proto, "10.0.0.1", 5060, "10.0.0.2", 5060, payload):
                writer.write(at, made)
    result = run(path, "--to", f"udp://127.0.0.1:{sink.port}", "--rate", "max", "--json")
    summary = json.loads(result.stdout)
    assert (result.exit_code, summary["packets"], summary["skipped"], summary["error"]) == (0, 2, 3, None)
    assert [hep.payload for hep in sink.packets(2)] == [INVITE, BYE]


def test_what_is_no_packet_in_a_lake_is_skipped(tmp_path: Path, sink: Sink) -> None:
    huge = Hep.new(INVITE, time=1_795_000_000, node_name=b"\xff" * 60_000)
    lakes.store(tmp_path, [bytes(huge), bytes(Hep.new(BYE, time=1_795_000_001))])
    result = run(tmp_path, "--to", f"udp://127.0.0.1:{sink.port}", "--rate", "max", "--json")
    summary = json.loads(result.stdout)
    assert (result.exit_code, summary["packets"], summary["skipped"]) == (0, 1, 1)
    assert sink.packets(1)[0].payload == BYE


@pytest.mark.parametrize("is_sealed", [False, True])
def test_a_lake_is_replayed_whole_or_by_call(tmp_path: Path, sink: Sink, is_sealed: bool) -> None:
    packets = [
        bytes(
            Hep.new(
                payload, src_ip="192.0.2.1", dst_ip="192.0.2.2", src_port=5060, dst_port=5062, proto_type=1,
                timestamp=1_795_000_000 + number, timestamp_us=5, captagent_id=number, node_name="edge",
            )
        )
        for number, payload in enumerate([INVITE, BYE])
    ]  # fmt: skip
    lakes.store(tmp_path, packets)
    if is_sealed:
        lakes.sealed(tmp_path)
    target = f"udp://127.0.0.1:{sink.port}"
    assert run(tmp_path, "--to", target, "--rate", "max").exit_code == 0
    got = sorted(sink.packets(2), key=lambda hep: hep.time)
    assert [hep.payload for hep in got] == [INVITE, BYE]
    assert [(hep.captagent_id, hep.node_name, hep.dst_port) for hep in got] == [
        (0, "edge", 5062),
        (1, "edge", 5062),
    ]
    assert [hep.time_us for hep in got] == [1_795_000_000_000_005, 1_795_000_001_000_005]
    assert run(tmp_path, "--to", target, "--rate", "max", "--call-id", "two@h").exit_code == 0
    assert sink.packets(1)[0].payload == BYE
