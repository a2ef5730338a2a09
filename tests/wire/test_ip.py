from __future__ import annotations

import io
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.wire import pcap
from hepswitch.wire.fragments import INCOMPLETE, MOST_PARTIAL
from hepswitch.wire.ip import Datagram, Decoder, FrameBuilder
from hepswitch.wire.pcap import CapturedFrame

A4, B4, A6, B6 = "10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::2"


def sip(number: int, body: bytes = b"") -> bytes:
    return (
        b"MESSAGE sip:bob@h SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\n"
        b"Call-ID: call-%d\r\nCSeq: %d MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s"
        % (number, number, len(body), body)
    )


def frame(data: bytes, linktype: int = 1, time_us: int = 1) -> CapturedFrame:
    return CapturedFrame(time_us, linktype, data, len(data))


def decode(*frames: CapturedFrame, finish: bool = True) -> list[Datagram]:
    decoder = Decoder()
    found = [datagram for item in frames for datagram in decoder.decode(item)]
    return found + list(decoder.finish()) if finish else found


def plain(found: list[Datagram]) -> list[tuple[int, int, str, int, str, int, bytes]]:
    return [(d.time_us, d.proto_id, d.src_ip, d.src_port, d.dst_ip, d.dst_port, d.payload) for d in found]


def packet(src: str = A4, dst: str = B4, payload: bytes = b"hello") -> bytes:
    """An IP packet with a UDP datagram from port 1 to 2."""
    return FrameBuilder().frames(17, src, 1, dst, 2, payload)[0][14:]


@pytest.mark.parametrize(("src", "dst"), [(A4, B4), (A6, B6)])
def test_link_types(src: str, dst: str) -> None:
    ip = packet(src, dst)
    kind = b"\x08\0" if src == A4 else b"\x86\xdd"
    expected = [(1, 17, src, 1, dst, 2, b"hello")]
    macs = bytes(12)
    for linktype, data in [
        (1, macs + kind + ip + b"padding"),
        (1, macs + b"\x81\0\0\7" + kind + ip),
        (1, macs + b"\x88\xa8\0\1\x81\0\0\7" + kind + ip),
        (101, ip),
        (228, ip),
        (229, ip),
        (0, b"\2\0\0\0" + ip),
        (108, b"\0\0\0\x18" + ip),
        (113, bytes(14) + kind + ip),
        (276, kind + bytes(18) + ip),
    ]:
        assert plain(decode(frame(data, linktype))) == expected, linktype
    assert decode(frame(macs + b"\x08\x06" + ip)) == decode(frame(ip, 147)) == decode(frame(b"", 1)) == []


def test_ipv6_extension_headers_and_tunnels() -> None:
    plain = packet(A6, B6)
    extended = plain[:6] + b"\0" + plain[7:40] + b"\x3c\1" + bytes(14) + b"\x11\0" + bytes(6) + plain[40:]
    extended = extended[:4] + struct.pack("!H", len(extended) - 40) + extended[6:]
    assert decode(frame(extended, 101)) == decode(frame(plain, 101)) != []
    outer = b"\x45\0" + struct.pack("!H", 20 + len(plain)) + b"\0\0\0\0\x40\x29\0\0" + bytes(8)
    assert decode(frame(outer + plain, 101)) == decode(frame(plain, 101))


def fragments4(ip: bytes, size: int) -> list[bytes]:
    parts = []
    data = ip[20:]
    for at in range(0, len(data), size):
        piece = data[at : at + size]
        flags = at // 8 | (0x2000 if at + size < len(data) else 0)
        parts.append(ip[:2] + struct.pack("!HHH", 20 + len(piece), 7, flags) + ip[8:20] + piece)
    return parts


def fragments6(ip: bytes, size: int) -> list[bytes]:
    parts = []
    data = ip[40:]
    for at in range(0, len(data), size):
        piece = data[at : at + size]
        head = struct.pack("!BBHI", 17, 0, at | (at + size < len(data)), 99)
        parts.append(ip[:4] + struct.pack("!H", 8 + len(piece)) + b"\x2c" + ip[7:40] + head + piece)
    return parts


@given(st.integers(0, 3000), st.permutations(range(6)), st.booleans())
def test_fragments_in_any_order(size: int, order: list[int], six: bool) -> None:
    payload = bytes(i % 251 for i in range(size))
    ip = packet(A6, B6, payload) if six else packet(payload=payload)
    parts = fragments6(ip, 504) if six else fragments4(ip, 504)
    shuffled = [parts[i] for i in order if i < len(parts)]
    found = decode(*(frame(part, 101) for part in shuffled), *(frame(part, 101) for part in shuffled[:1]))
    assert [datagram.payload for datagram in found[:1]] == [payload]


def test_fragments_that_wait_are_bounded() -> None:
    decoder = Decoder()
    for number in range(3 * MOST_PARTIAL):
        part = fragments4(packet(payload=bytes(100)), 48)[0]
        assert not list(decoder.decode(frame(part[:4] + struct.pack("!H", number) + part[6:], 101)))
    assert len(decoder._fragments) == MOST_PARTIAL
    assert decoder.losses == {INCOMPLETE: 2 * MOST_PARTIAL}


MESSAGES = [sip(1), sip(2, b"x" * 300 + b"\r\n"), sip(3)]


def segments(stream: bytes, size: int, syn: bool) -> list[CapturedFrame]:
    """The stream in segments of `size` bytes, sequence numbers running over the end of 32 bits."""
    base = 0xFFFFFFC0
    pieces = [(base + at, 0x18, stream[at : at + size]) for at in range(0, len(stream), size)]
    if syn:
        pieces.insert(0, (base - 1, 2, b""))
    made = []
    for number, (sequence, flags, data) in enumerate(pieces):
        tcp = struct.pack("!HHIIBBHHH", 5060, 5061, sequence & 0xFFFFFFFF, 0, 0x50, flags, 9, 0, 0) + data
        ip = b"\x45\0" + struct.pack("!H", 20 + len(tcp)) + bytes(4) + b"\x40\x06\0\0" + b"\x0a\0\0\1\x0a\0\0\2" + tcp
        made.append(frame(ip, 101, number))
    return made


@given(st.integers(40, 400), st.booleans(), st.randoms(use_true_random=False))
def test_tcp_is_cut_into_messages(size: int, syn: bool, random: object) -> None:
    frames = segments(b"\r\n\r\n".join(MESSAGES), size, syn)
    again: list[CapturedFrame] = []
    for item in frames[1:]:  # retransmitted, and two at a time in the wrong order
        again += [item, again[-1]] if again and random.random() < 0.3 else [item]  # type: ignore[attr-defined]
        if len(again) > 1 and random.random() < 0.3:  # type: ignore[attr-defined]
            again[-1], again[-2] = again[-2], again[-1]
    assert [d.payload for d in decode(*frames[:1], *again)] == MESSAGES or not syn


def test_tcp_without_its_beginning_and_its_end() -> None:
    frames = segments(b"".join(MESSAGES), 100, syn=False)
    assert [d.payload for d in decode(*frames[1:])] == MESSAGES[1:]
    cut = decode(*frames[:-1])
    assert [d.payload for d in cut[:2]] == MESSAGES[:2]
    assert MESSAGES[2].startswith(cut[2].payload)
    lost = decode(*frames[:2], *frames[3:])
    assert lost[-1].payload == MESSAGES[2]


def test_hep_over_tcp_and_other_streams() -> None:
    hep = b"HEP3\0\x0c" + b"\0\0\0\1\0\6"
    assert [d.payload for d in decode(*segments(hep * 3, 7, syn=True))] == [hep] * 3
    assert decode(*segments(b"GET / HTTP/1.1\r\n\r\n" * 50, 99, syn=True)) == []
    assert decode(*segments(b"\x16\3\1" * 5000, 1400, syn=True)) == []


@given(
    st.sampled_from([(A4, B4), (A6, B6), (A4, B6), (None, "nonsense")]),
    st.sampled_from([17, 6, 22, 50, 132, 99]),
    st.binary(max_size=100),
)
def test_what_is_built_is_decoded(addresses: tuple[str | None, str], proto: int, body: bytes) -> None:
    message = sip(1, body)
    (made,) = FrameBuilder().frames(proto, addresses[0], 5060, addresses[1], 65_536 + 7, message)
    (found,) = decode(frame(made), finish=False)
    assert (found.proto_id, found.src_port, found.dst_port) == (17 if proto == 17 else 6, 5060, 7)
    assert found.payload == message


def test_a_payload_too_long_for_one_frame() -> None:
    message = sip(1, b"y" * 200_000)
    frames = FrameBuilder().frames(17, A4, 1, B4, 2, message)
    assert len(frames) == 4
    assert decode(*map(frame, frames))[0].payload == message


@pytest.mark.skipif(shutil.which("tshark") is None, reason="needs tshark")
@pytest.mark.parametrize("form", ["pcapng", "pcap"])
def test_tshark_reads_what_is_written(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"x.{form}"
    builder = FrameBuilder()
    expected = []
    with path.open("wb") as file:
        writer = pcap.Writer(file, form)  # type: ignore[arg-type]
        for number, (proto, src, sport, dst, dport) in enumerate(
            [
                (17, A4, 5060, B4, 5060),
                (17, A6, 5060, B6, 12345),
                (6, A4, 5060, B4, 5060),
                (6, B4, 5060, A4, 5060),
                (6, A4, 5060, B4, 5060),
                (22, A4, 40000, B4, 5061),
                (22, A6, 40000, B6, 5061),
                (132, A4, 5060, B4, 5060),
                (50, A6, 40001, B6, 9999),
                (17, A4, 5060, B6, 5060),
            ]
        ):
            for made in builder.frames(proto, src, sport, dst, dport, sip(number, b"x" * number * 7)):
                writer.write(1_700_000_000_000_001 + number, made)
            expected.append(["1", f"call-{number}", f"1700000000.{number + 1:06d}000", ""])
    fields = ["ip.checksum.status", "sip.Call-ID", "frame.time_epoch", "_ws.expert.message"]
    done = subprocess.run(
        [
            "tshark",
            "-n",
            "-r",
            path,
            "-T",
            "fields",
            "-o",
            "ip.check_checksum:TRUE",
            "-o",
            "udp.check_checksum:TRUE",
            "-o",
            "tcp.check_checksum:TRUE",
            *(word for name in fields for word in ("-e", name)),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[1:] for line in lines] == [line[1:] for line in expected]
    checked = subprocess.run(
        [
            "tshark",
            "-n",
            "-r",
            path,
            "-o",
            "ip.check_checksum:TRUE",
            "-o",
            "udp.check_checksum:TRUE",
            "-o",
            "tcp.check_checksum:TRUE",
            "-Y",
            " || ".join(
                [
                    "_ws.malformed",
                    "tcp.analysis.flags",
                    *(f"{name}.checksum.status == 0" for name in ("ip", "udp", "tcp")),
                ]
            ),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert checked.stdout == ""


@given(st.sampled_from([0, 1, 101, 113, 276]), st.one_of(st.binary(), st.binary().map(lambda b: packet()[:20] + b)))
def test_any_bytes_at_all(linktype: int, data: bytes) -> None:
    decode(frame(data, linktype))
    decode(
        frame(b"\x45\0" + data, 101),
        frame(b"\x60" + data, 101),
        frame(packet()[:9] + b"\6" + packet()[10:20] + data, 101),
    )


def test_a_file_of_frames() -> None:
    file = io.BytesIO()
    writer = pcap.Writer(file)
    for made in FrameBuilder().frames(17, A4, 1, B4, 2, b"x"):
        writer.write(5, made)
    assert plain(decode(*pcap.read(io.BytesIO(file.getvalue())))) == [(5, 17, A4, 1, B4, 2, b"x")]
