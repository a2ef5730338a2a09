"""SIP in rotating pcapng files: every message comes back as it was, also behind a torn end and from several writers."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from far_ends import until
from hepswitch.destinations import pcap as module
from hepswitch.destinations.pcap import PcapTarget, PcapWriter
from hepswitch.destinations.writer import Written
from hepswitch.wire.hep import Hep
from hepswitch.wire.ip import Datagram, Decoder
from hepswitch.wire.pcap import CapturedFrame, Writer, read

OPTIONS = b"OPTIONS sip:a SIP/2.0\r\nCall-ID: c1\r\nContent-Length: 0\r\n\r\n"
NOON = 1_795_003_200.25


def packet(payload: bytes = OPTIONS, **chunks: object) -> Hep:
    ends = {"src_ip": "192.0.2.1", "src_port": 5060, "dst_ip": "192.0.2.2", "dst_port": 5062}
    return Hep.new(payload, **({"time": NOON} | ends | chunks))


def write(where: PcapTarget, *packets: Hep) -> None:
    PcapWriter(where).write([Written(each, 0) for each in packets])


def frames(path: Path) -> list[CapturedFrame]:
    with path.open("rb") as file:
        return list(read(file))


def datagrams(path: Path) -> list[Datagram]:
    decoder = Decoder()
    found = [datagram for frame in frames(path) for datagram in decoder.decode(frame)]
    return [*found, *decoder.finish()]


def seen(path: Path) -> list[tuple[object, ...]]:
    return [(d.time_us, d.proto_id, d.src_ip, d.src_port, d.dst_ip, d.dst_port, d.payload) for d in datagrams(path)]


async def test_the_outlet_writes_and_counts(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    outlet = PcapTarget.parse(f"pcap:{path}").build(flush=0.001)
    await outlet.open()
    assert outlet.name == f"pcap:{path}"
    assert path.stat().st_mode & 0o777 == 0o600
    assert datagrams(path) == []
    assert outlet.offer(packet(), attrs="a", direction="in")
    assert outlet.offer(packet(proto_id=6, src_ip="2001:db8::1", dst_ip="2001:db8::2"))
    assert not outlet.offer(packet(b"{}", proto_type=5))
    assert not outlet.offer(packet(src_ip=None))
    outlet.flush()
    await until(lambda: outlet.account()["delivered"] == 2, "written")
    assert outlet.account()["refused"] == {"not SIP": 1, "no addresses": 1}
    time_us = int(NOON * 1_000_000)
    assert seen(path) == [
        (time_us, 17, "192.0.2.1", 5060, "192.0.2.2", 5062, OPTIONS),
        (time_us, 6, "2001:db8::1", 5060, "2001:db8::2", 5062, OPTIONS),
    ]
    await outlet.close(1.0)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_any_message_comes_back(tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("p") / "x.pcapng"
    messages = [OPTIONS + body for body in bodies]
    write(PcapTarget.parse(f"pcap:{path}"), *map(packet, messages))
    assert [datagram.payload for datagram in datagrams(path)] == messages


def test_a_file_that_is_there_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    where = PcapTarget.parse(f"pcap:{path}")
    write(where, packet(), packet())
    write(where, packet())
    assert len(frames(path)) == 3
    assert path.read_bytes().count(module.SECTION) == 2


@pytest.mark.parametrize("cut", [1, 3, 4, 7, 20, 100])
def test_a_torn_end_costs_the_torn_message_alone(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "x.pcapng"
    where = PcapTarget.parse(f"pcap:{path}")
    write(where, packet(), packet())
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - cut)
    write(where, packet())
    assert [datagram.payload for datagram in datagrams(path)] == [OPTIONS] * 2


@pytest.mark.parametrize("left", [3, 8, 11, 12, 30])
def test_a_torn_beginning_is_begun_anew(tmp_path: Path, left: int) -> None:
    path = tmp_path / "x.pcapng"
    path.write_bytes(module.SECTION[:left])
    write(PcapTarget.parse(f"pcap:{path}"), packet())
    assert len(datagrams(path)) == 1


async def test_what_is_no_capture_is_left_alone(tmp_path: Path) -> None:
    classic = io.BytesIO()
    Writer(classic, "pcap")
    for content in (b"in udp 2026", b"\n\n", classic.getvalue(), b"\n\r\r\n\x1c\0\0\0\x1a\x2b\x3c\x4d"):
        path = tmp_path / "x"
        path.write_bytes(content)
        with pytest.raises(OSError, match="no pcapng capture of ours: move it away"):
            await PcapTarget.parse(f"pcap:{path}").build().open()
        assert path.read_bytes() == content


def test_every_rotated_file_is_a_capture(tmp_path: Path) -> None:
    where = PcapTarget.parse(f"pcap:{tmp_path / 'x.pcapng'}?rotate_size=1MiB&keep=all")
    first, second = PcapWriter(where), PcapWriter(where)  # as two workers have
    messages = [OPTIONS.replace(b"th: 0", b"th: 60000") + b"%03d".ljust(60_001) % i for i in range(50)]
    for one, other in zip(messages[::2], messages[1::2], strict=True):
        first.write([Written(packet(one), 0), Written(packet(one, proto_id=6), 0)])
        second.write([Written(packet(other, proto_id=6), 0), Written(packet(other), 0)])
    files = sorted(tmp_path.iterdir())
    assert len(files) == 7
    assert all(path.suffix == ".pcapng" and path.stat().st_size <= 1 << 20 for path in files)
    payloads = [datagram.payload for path in files for datagram in datagrams(path)]
    assert sorted(payloads) == sorted(messages * 2)


def test_targets(tmp_path: Path) -> None:
    found = PcapTarget.parse("pcap:x.pcapng?keep=3")
    assert (str(found), found.url) == ("pcap:x.pcapng", "pcap:x.pcapng?keep=3")
    assert found.anchored(tmp_path.joinpath).url == f"pcap:{tmp_path}/x.pcapng?keep=3"
    for wrong, hint in (
        ("pcap:", "names no file"),
        ("pcap:x?time=utc", "unknown option 'time'"),
        ("file:x", "no file"),
    ):
        with pytest.raises(ValueError, match=re.escape(hint)):
            PcapTarget.parse(wrong)
