"""Captured text on a terminal: shown, never obeyed; and options that nobody meant."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import lakes
from cli import recorded
from hepswitch.cli import export, ladder, replay, search, stats
from hepswitch.cli.selection import print_csv
from hepswitch.cli.terminal import json_line, safe

EVIL = "\x1b]0;owned\x07\x9b31m\x7f"
CONTROLS = {chr(number) for number in (*range(32), *range(127, 160))} - {"\n", "\t"}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lake") / "captures"
    messages = [recorded.sip("BYE sip:b SIP/2.0", f"x{EVIL}{number}", "1 BYE", user=EVIL) for number in range(2)]
    lakes.store(path, [recorded.hep(0.0, recorded.CALLER, recorded.PROXY, message) for message in messages])
    return path


def harmless(text: str) -> bool:
    return not CONTROLS & set(text)


@given(st.text())
def test_json_holds_everything_and_controls_nothing(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    line = json_line({"text": text})
    assert json.loads(line) == {"text": text}
    assert harmless(line.decode())
    assert harmless(safe(text).replace("\n", ""))


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (search.cli, []),
        (search.cli, ["--messages"]),
        (search.cli, ["--json"]),
        (search.cli, ["--messages", "--json"]),
        (search.cli, ["--sql", "select call_id, from_user from messages"]),
        (search.cli, ["--sql", "select call_id::int from messages"]),
        (ladder.cli, ["x"]),
        (ladder.cli, [f"x{EVIL}0"]),
        (ladder.cli, [f"x{EVIL}0", "--full"]),
        (ladder.cli, [f"x{EVIL}0", "--json", "--full"]),
    ],
)
def test_captured_text_controls_no_terminal(lake: Path, command: Any, arguments: list[str]) -> None:
    result = CliRunner().invoke(command, [*arguments, "--lake", str(lake)])
    assert "x" in result.output
    assert harmless(result.output)


def test_csv_is_exact_in_a_file_and_harmless_on_a_terminal(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = CliRunner().invoke(search.cli, ["--csv", "--lake", str(lake)]).stdout
    assert [row["call_id"] for row in csv.DictReader(io.StringIO(written))] == [f"x{EVIL}0", f"x{EVIL}1"]
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", screen)
    print_csv([f"name{EVIL}"], [[f"x{EVIL}", b"\x1b", 7]])
    assert harmless(screen.getvalue().replace("\r\n", ""))


def test_reasons_of_drops_are_text_and_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    listener = {"packets": 1, "bytes": 1, "malformed_reasons": {}, "refused": {f"[/x]{EVIL}": 1}, "kernel_drops": 0}
    routed = {"packets": 1, "dropped": {"agent [/b] [red]x": 1}, "unrouted": 0, "errors": 0}
    received = {"tcp://[fe80::1]:9060": listener}
    stats._show(
        {"received": received, "routed": routed, "destinations": {}, "stores": {}, "balanced": True, "uptime": 1.0}
    )
    shown = capsys.readouterr().out
    assert "agent [/b] [red]x" in shown
    assert "tcp://[fe80::1]:9060" in shown
    assert harmless(shown)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (search.cli, ["--from", "caf\udce9"]),
        (search.cli, ["--call-id", "\udcff"]),
        (search.cli, ["--sql", "select '\udcff'"]),
        (search.cli, ["--filter", "caller = '\udcff'"]),
        (search.cli, ["--since", "99999999999d"]),
        (search.cli, ["--since", "9" * 400]),
        (search.cli, ["--until", "0001-01-01T00:00+14:00"]),
        (search.cli, ["--until", "\udcff"]),
        (search.cli, ["--limit", "9" * 30]),
        (search.cli, ["--limit", "0"]),
        (search.cli, ["--status", "²xx"]),
        (ladder.cli, ["\udcff"]),
        (export.cli, ["\udcff", "-o", "-"]),
        (replay.cli, ["--to", "udp://127.0.0.1:9", "--call-id", "\udcff"]),
        (replay.cli, ["--to", "udp://127.0.0.1:9", "--since", "99999999999d"]),
    ],
)
def test_options_that_nobody_meant_are_wrong_use(lake: Path, command: Any, arguments: list[str]) -> None:
    place = [str(lake)] if command is replay.cli else ["--lake", str(lake)]
    result = CliRunner().invoke(command, [*arguments, *place])
    assert result.exit_code == 2, result.exception
    assert "Error: " in result.stderr


def test_a_folder_that_sql_cannot_name_is_wrong_use(tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9"
    path.mkdir()
    result = CliRunner().invoke(search.cli, ["--lake", str(path)])
    assert (result.exit_code, "is not UTF-8 text" in result.stderr) == (2, True)


@pytest.mark.parametrize("moment", ["0001-01-01", "9999-12-31T23:59:59", "0001-01-01T00:00-12:00", "36500d"])
def test_early_and_late_times(lake: Path, moment: str) -> None:
    assert CliRunner().invoke(search.cli, ["--since", moment, "--lake", str(lake)]).exit_code in (0, 1)
    assert CliRunner().invoke(search.cli, ["--until", moment, "--lake", str(lake)]).exit_code in (0, 1)
