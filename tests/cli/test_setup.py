"""`hepswitch`, `check`, `init` and `stats` as a person meets them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from hepswitch.cli import COMMANDS, main
from running import running_switch


def _run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
    return result.exit_code, result.output


def test_help_lists_every_command_and_imports_none() -> None:
    code = (
        "import sys\nfrom hepswitch.cli import main\nmain(['--help'], standalone_mode=False)\n"
        "heavy = {'pydantic', 'duckdb', 'pyarrow', 'rich', 'starlette', 'uvloop'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    status, output = _run(name, "--help")
    assert status == 0
    assert "Example:" in output


def test_an_unknown_command_is_wrong_use() -> None:
    assert _run("serach")[0] == 2


def test_init_writes_what_check_accepts(tmp_path: Path) -> None:
    assert _run("init", str(tmp_path))[0] == 0
    status, output = _run("check", "--config", str(tmp_path / "hepswitch.toml"))
    assert (status, "ok" in output, "script" in output) == (0, True, True)
    status, output = _run("init", str(tmp_path))
    assert (status, "is there already" in output) == (1, True)
    assert _run("init", str(tmp_path), "--force")[0] == 0


def test_what_init_has_commented_out_is_accepted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _run("init", str(tmp_path))[0] == 0
    monkeypatch.setenv("HEP_KEY", "secret")
    (tmp_path / "mask.key").write_text("0123456789abcdef")
    (tmp_path / "token").write_text("secret")
    path = tmp_path / "hepswitch.toml"
    lines = [line.removeprefix("# ") if _is_toml(line) else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines))
    status, output = _run("check", "--config", str(path))
    assert status == 0, output
    assert "homer: call" in output


def _is_toml(line: str) -> bool:
    try:
        return line.startswith("# ") and bool(tomllib.loads(line.removeprefix("# ")))
    except tomllib.TOMLDecodeError:
        return False


def test_check_names_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "hepswitch.toml"
    path.write_text('workers = 0\n[hep_route]\nmode = "script"\nscript = "none.py"\n')
    status, output = _run("check", "--config", str(path))
    assert (status, f"{path}:1: workers:" in output) == (2, True)
    path.write_text('[hep_route]\nmode = "script"\nscript = "none.py"\n')
    status, output = _run("check", "--config", str(path))
    assert (status, "none.py: cannot be read" in output) == (2, True)


def test_stats_without_a_switch_says_what_to_look_at() -> None:
    status, output = _run("stats", "--url", "http://127.0.0.1:1")
    assert (status, "Is it running?" in output) == (1, True)


def test_stats_of_a_running_switch(tmp_path: Path) -> None:
    with running_switch(tmp_path, 'listen = ["udp://127.0.0.1:0"]\n') as switch:
        switch.send_udp(b"no HEP at all, whatever it is")
        switch.wait_stats(lambda book: book["received"][switch.urls[0]]["packets"] == 1, "the packet")
        status, output = _run("stats", "--url", switch.control)
        assert status == 0
        assert "malformed" in output
        assert "balanced" in output
        assert '"balanced": true' in _run("stats", "--url", switch.control, "--json")[1]
