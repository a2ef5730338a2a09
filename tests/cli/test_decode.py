from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hepswitch.cli.decode import cli
from hepswitch.wire import pcap
from hepswitch.wire.ip import FrameBuilder

VECTORS = Path(__file__).parents[1] / "vectors"
EXAMPLE = bytes.fromhex(
    "48455033007100000001000702000000020007110000000300 0ad4ca000100000004000a527400d3"
    "0000000700082eea00000008000813c400000009000a4e4982cb0000000a000a0001d4c0"
    "0000000b0007010000000c000a000000e40000000f0014494e56495445207369703a626f62"
)
HEP3 = sorted(path for path in VECTORS.glob("*-v3-*.hep"))


def run(*arguments: str | Path, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], input=stdin)


def payload_of(record: dict[str, str]) -> bytes:
    return (
        base64.b64decode(record["payload_base64"]) if "payload_base64" in record else record.get("payload", "").encode()
    )


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.hep")), ids=lambda path: path.stem)
def test_packets_of_real_senders(path: Path) -> None:
    facts = json.loads(path.with_suffix(".json").read_text())
    result = run(path)
    assert result.exit_code == 0, result.stderr
    (line,) = result.stdout.splitlines()
    record = json.loads(line)
    digest, chunks = facts.pop("payload_sha256"), facts.pop("chunks", [])
    facts.pop("payload_first_line")
    facts.pop("trailing_nuls", None)
    assert hashlib.sha256(payload_of(record)).hexdigest() == digest
    assert [[chunk["vendor"], chunk["type"], chunk["length"]] for chunk in record["chunks"]] == chunks
    assert {name: record.get(name) for name in facts} == facts


def test_the_example_of_the_specification() -> None:
    record = json.loads(run("-", stdin=EXAMPLE).stdout)
    assert (record["src_ip"], record["src_port"]) == ("212.202.0.1", 12010)
    assert (record["dst_ip"], record["dst_port"]) == ("82.116.0.211", 5060)
    assert (record["captagent_id"], record["timestamp"], record["timestamp_us"]) == (228, 1313440459, 120000)
    assert record["payload"] == "INVITE sip:bob"
    assert record["chunks"][0] == {"vendor": 0, "type": 1, "length": 7}


def test_packets_end_to_end_and_a_recorded_stream() -> None:
    lines = run("-", stdin=EXAMPLE * 3).stdout.splitlines()
    assert len(lines) == 3
    assert len(run(VECTORS / "opensips-v3-tcp.hepstream").stdout.splitlines()) == 6


def test_values_that_no_name_shows() -> None:
    chunks = bytes.fromhex("00030001000863 64 0000000f00 07ff 00000099000761 0000000c000a00000001 0000000c000a00000002")
    record = json.loads(run("-", stdin=b"HEP3" + (6 + len(chunks)).to_bytes(2, "big") + chunks).stdout)
    assert record["payload_base64"] == "/w=="
    assert record["captagent_id"] == 1
    assert [chunk.get("value") for chunk in record["chunks"]] == ["cd", None, "a", None, 2]


@pytest.mark.parametrize("form", ["pcap", "pcapng"])
def test_hep_in_a_capture(tmp_path: Path, form: str) -> None:
    path, builder = tmp_path / "hep.cap", FrameBuilder()
    with path.open("wb") as file:
        writer = pcap.Writer(file, form)  # type: ignore[arg-type]
        for proto in (17, 6, 6):
            for made in builder.frames(proto, "127.0.0.1", 9, "127.0.0.1", 9060, EXAMPLE):
                writer.write(1, made)
        for made in builder.frames(17, "127.0.0.1", 9, "127.0.0.1", 53, b"something else"):
            writer.write(1, made)
    result = run(path)
    assert result.exit_code == 0
    assert [json.loads(line)["captagent_id"] for line in result.stdout.splitlines()] == [228] * 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (EXAMPLE + b"garbage", "byte 113: bad magic"),
        (EXAMPLE + b"HEP3\0\5", "byte 117: bad length"),
        (b"no HEP at all", "byte 0: "),
        (bytes(70_000), "byte 0: bad magic"),
        (EXAMPLE + EXAMPLE[:40], "byte "),
    ],
)
def test_errors_say_where(data: bytes, message: str) -> None:
    result = run("-", stdin=data)
    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stdout.splitlines()) == data.count(EXAMPLE)


def test_a_capture_without_hep_and_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.pcapng"
    with path.open("wb") as file:
        pcap.Writer(file)
    assert "a capture without HEP" in run(path).stderr
    result = run(tmp_path / "missing.hep", "-", stdin=EXAMPLE)
    assert result.exit_code == 1
    assert "No such file" in result.stderr
    assert json.loads(result.stdout)["version"] == 3
    assert run().exit_code == 2
