"""`check --run`: what a route would do with a recording."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from hepswitch.cli import main

CALLS = Path(__file__).resolve().parents[2] / "examples" / "calls.pcapng"

CONFIG = """
[destinations.homer]
urls = ["tcp://127.0.0.1:9"]
filter = "sip.cseq_method != REGISTER"
[destinations.quality]
urls = ["udp://127.0.0.1:9"]
[[rule]]
name = "keep-alives"
when = "sip.cseq_method = OPTIONS"
drop = "keep-alive"
[[rule]]
when = "proto_type = RTCP"
relay = "quality"
stop = true
[[rule]]
relay = "homer"
store = { table = "calls_%Y%m%d" }
"""


def _check(folder: Path, text: str, *options: str) -> tuple[int, str, str]:
    path = folder / "hepswitch.toml"
    path.write_text(text)
    result = CliRunner().invoke(main, ["check", "--config", str(path), *options], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def test_a_table_of_what_would_happen(tmp_path: Path) -> None:
    status, output, _ = _check(tmp_path, CONFIG, "--run", str(CALLS))
    assert status == 0
    lines = [" ".join(line.split()) for line in output.splitlines()]
    assert "2 OPTIONS drop: keep-alive" in lines
    assert "12 RTCP relay quality" in lines
    assert "15 INVITE relay homer, store lake (calls_%Y%m%d)" in lines
    assert "16 REGISTER store lake (calls_%Y%m%d), refused by homer (filter)" in lines
    assert "rule keep-alives: 4 packets" in lines
    assert not (tmp_path / "captures").exists(), "nothing is stored"


def test_an_object_a_packet(tmp_path: Path) -> None:
    status, output, _ = _check(tmp_path, CONFIG, "--run", str(CALLS), "--json")
    rows = [json.loads(line) for line in output.splitlines()]
    assert status == 0
    assert len(rows) == 131
    assert {row["dropped"] for row in rows} == {None, "keep-alive"}
    assert [row["relayed"] for row in rows if row["what"] == "RTCP"] == [["quality"]] * 12


def test_a_route_that_raises_is_told_with_how_often(tmp_path: Path) -> None:
    (tmp_path / "route.py").write_text(
        "from hepswitch import hep_route\n@hep_route\ndef route(hep):\n    return hep.sip.method.lower()\n"
    )
    text = '[hep_route]\nmode = "script"\nscript = "route.py"\n'
    status, output, errors = _check(tmp_path, text, "--run", str(CALLS))
    assert status == 1
    assert "raises AttributeError" in output
    assert "the route raised" in errors
    assert "'NoneType' object has no attribute 'lower'" in errors


def test_what_is_no_recording_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"nothing of ours")
    status, _, errors = _check(tmp_path, CONFIG, "--run", str(tmp_path / "x.bin"))
    assert status == 2
    assert "x.bin" in errors
