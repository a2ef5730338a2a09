"""`export`: messages as frames in a capture file."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import lakes
from cli import recorded
from hepswitch.cli.export import cli
from hepswitch.lake.ladder import build
from hepswitch.lake.lake import Lake
from hepswitch.lake.query import Query
from hepswitch.wire import ip, pcap
from hepswitch.wire.hep import Hep


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded.lake(tmp_path_factory.mktemp("lake"))


def export(lake: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--lake", str(lake)])


def read(data: bytes) -> list[ip.Datagram]:
    decoder = ip.Decoder()
    found = [datagram for frame in pcap.read(io.BytesIO(data)) for datagram in decoder.decode(frame)]
    return [*found, *decoder.finish()]


@pytest.mark.parametrize("form", ["pcapng", "pcap"])
def test_a_call_with_all_its_legs(lake: Path, tmp_path: Path, form: str) -> None:
    path = tmp_path / f"call.{form}"
    result = export(lake, "call-b@example.net", "-o", str(path))
    assert result.exit_code == 0
    assert "10 messages" in result.stderr
    assert "left out: 1 RTCP" in result.stderr
    assert "left out: 1 LOG" in result.stderr.replace("log", "LOG")
    found = read(path.read_bytes())
    assert len(found) == 10
    first = found[0]
    assert (first.src_ip, first.src_port, first.dst_ip, first.dst_port) == (*recorded.CALLER, *recorded.PROXY)
    assert first.time_us == recorded.START * 1_000_000
    assert first.payload.startswith(b"INVITE sip:bob@example.net")
    assert {each.dst_ip for each in found} >= {"2001:db8::20"}
    assert pcap.is_capture(path.read_bytes()[:4])


def test_conditions_and_standard_output(lake: Path) -> None:
    result = export(lake, "--from", "carol", "-o", "-")
    found = read(result.stdout_bytes)
    assert [each.payload[:11] for each in found] == [b"INVITE sip:", b"SIP/2.0 486"]
    assert {each.proto_id for each in found} == {ip.TCP}


@pytest.mark.parametrize("arguments", [[], ["call-a@example.net", "--from", "alice"]])
def test_either_calls_or_conditions(lake: Path, arguments: list[str]) -> None:
    assert export(lake, *arguments, "-o", "-").exit_code == 2


def test_sip_is_sip_whatever_its_agent_says(tmp_path: Path) -> None:
    invite = recorded.sip("INVITE sip:bob@example.net SIP/2.0", "untold", "1 INVITE")
    untold = Hep(recorded.hep(0.0, recorded.CALLER, recorded.PROXY, invite))
    untold.delete("proto_type")
    wrapped = json.dumps({"payload": invite.decode()}).encode()
    packets = [
        recorded.hep(n, recorded.CALLER, recorded.PROXY, invite, proto_type=kind) for n, kind in ((1, 0), (2, 50))
    ]
    lakes.store(
        tmp_path, [bytes(untold), *packets, recorded.hep(3, recorded.CALLER, recorded.PROXY, wrapped, proto_type=50)]
    )
    for _ in ("fresh", "sealed"):
        found = read(export(tmp_path, "untold", "-o", "-").stdout_bytes)
        assert [each.payload for each in found] == [invite] * 4
        drawn = build(Lake(tmp_path).call("untold"))
        assert [event.kind for event in drawn.events] == ["request"] * 4
        assert len(Lake(tmp_path).search(Query(filter="sip.method = INVITE"))) == 4
        lakes.sealed(tmp_path)


def test_nothing_to_write_leaves_no_file(lake: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    assert export(lake, "nobody", "-o", str(path)).exit_code == 1
    assert export(lake, "--from", "nobody", "-o", str(path)).exit_code == 1
    assert not path.exists()
