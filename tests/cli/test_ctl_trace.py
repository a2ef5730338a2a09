"""`hepswitch ctl trace` and `ctl capture`, and the token: what is asked of the control listener, and what is said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from control.stand_in import LIBRARY, Switch, trace
from hepswitch.cli import main
from hepswitch.control.http import Control
from hepswitch.control_table import ControlTable
from hepswitch.tracing.dynamic import TraceStart

Ctl = Callable[..., tuple[int, str]]


@contextmanager
def listening(switch: Switch, token: str | None = None) -> Iterator[str]:
    """A control listener in a thread of its own, for commands that block."""
    ready, urls = Event(), list[str]()
    loop, done = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with Control(
            switch, LIBRARY, ControlTable.model_validate({"listen": "127.0.0.1:0", "token": token})
        ) as url:
            urls.append(url)
            ready.set()
            await done.wait()

    thread = Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        with capture_logs():  # of the switch, which is another process as a rule
            yield urls[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(10)
        loop.close()


def run(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(arguments), catch_exceptions=False, env=env)
    return result.exit_code, result.output


@pytest.fixture
def switch() -> Switch:
    return Switch()


@pytest.fixture
def ctl(switch: Switch) -> Iterator[Ctl]:
    with listening(switch) as url:
        yield lambda *arguments: run("ctl", *arguments, "--url", url)


def test_a_trace_is_started_with_all_that_was_said(
    ctl: Ctl, switch: Switch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, said = ctl(
        "trace", "start", "--id", "t1", "--to", "file:x.sip", "--to", "hep:10.0.0.1;transport=udp", "--to", "pcap:/y",
        "--filter", "sip.method = INVITE", "--caller", "alice", "--callee", "bob@b", "--ip", "192.0.2.1",
        "--scope", "transaction", "--types", "sip,rtcp", "--for", "10m", "--packets", "1000", "--attrs", "a",
        "--correlation-id", "c", "--flags", "C",
    )  # fmt: skip
    to = [f"file:{tmp_path}/x.sip", "hep:10.0.0.1;transport=udp", "pcap:/y"]
    assert (status, said) == (0, f"t1: started, to {', '.join(to)}\n")
    assert switch.started == [
        TraceStart("t1", to, "sip.method = INVITE", "alice", "bob@b", "192.0.2.1", "transaction", "sip,rtcp", 600.0, 1000,
                   "a", "c", "C")
    ]  # fmt: skip
    assert ctl("trace", "stop", "t1") == (0, "t1: stopped\n")
    assert ctl("trace", "stop", "t1") == (1, "no dynamic trace 't1'\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--id", "t1"], "Missing option '--to'"),
        (["--to", "syslog"], "Missing option '--id'"),
        (["--id", "t1", "--to", "syslog", "--for", "soon"], "'soon' is not a duration"),
        (["--id", "t1", "--to", "syslog", "--packets", "0"], "0 is not in the range"),
        (["--id", "t1", "--to", "syslog", "--scope", "call"], "'call' is not one of"),
    ],
)
def test_wrong_use_is_told_before_anybody_is_asked(ctl: Ctl, switch: Switch, arguments: list[str], says: str) -> None:
    status, said = ctl("trace", "start", *arguments)
    assert (status, says in said) == (2, True), said
    assert switch.started == []


def test_what_the_switch_refuses_is_told(ctl: Ctl) -> None:
    assert ctl("trace", "start", "--id", "fraud", "--to", "syslog") == (1, "there is a trace 'fraud' already\n")
    status, said = ctl("trace", "start", "--id", "t 1", "--to", "syslog")
    assert (status, "is no id of a trace" in said) == (1, True)


def test_traces_are_listed(ctl: Ctl, switch: Switch) -> None:
    switch.rows["t1"] = trace(
        ["file:/x"], dynamic=True, filter='caller = "[red]\x1b"', scope="dialog", types=["SIP", "RTCP"], packets=1234,
        until=4e9, left=5,
    )  # fmt: skip
    status, table = ctl("trace", "list")
    header, fraud, dynamic, *rest = table.splitlines()
    assert status == 0
    assert header.split() == [
        "trace",
        "state",
        "to",
        "filter",
        "scope",
        "types",
        "packets",
        "requests",
        "replies",
        "calls",
        "ends",
    ]
    assert fraud.split() == ["fraud", "on", "store:lake,", "sip:10.0.0.11:5060", "all", "0", "3", "0", "0"]
    assert dynamic.split()[:5] == ["t1", "dynamic", "file:/x", "caller", "="]
    assert '"[red]?"' in dynamic
    assert "SIP,RTCP" in dynamic
    assert "1,234" in dynamic
    assert dynamic.endswith("or 5 packets more")
    assert rest == ["tracing is on; 2 calls and transactions are being traced", "1 were given up: full"]
    assert json.loads(ctl("trace", "list", "--json")[1])["traces"]["t1"]["left"] == 5


def test_tracing_is_switched(ctl: Ctl, switch: Switch) -> None:
    assert ctl("trace", "off", "fraud") == (0, "fraud: off\n")
    assert ctl("trace", "off") == (0, "tracing: off\n")
    assert (switch.rows["fraud"]["on"], switch.tracing) == (False, False)
    assert ctl("trace", "on", "fraud") == (0, "fraud: on\n")
    assert ctl("trace", "on", "x") == (1, "no trace 'x'\n")


def test_capturing_is_told_and_switched(ctl: Ctl, switch: Switch) -> None:
    assert ctl("capture") == (0, "capturing: on\n")
    assert ctl("capture", "off") == (0, "capturing: off\n")
    assert switch.capturing is False
    assert ctl("capture") == (0, "capturing: off\n")
    assert ctl("capture", "maybe")[0] == 2


def test_the_token_is_shown(switch: Switch, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("s3cret\n")
    with listening(switch, "s3cret") as url:
        for shown in ("s3cret", f"file:{secret}"):
            assert run("ctl", "capture", "--url", url, "--token", shown) == (0, "capturing: on\n")
        assert run("stats", "--url", url, "--json", env={"HEPSWITCH_TOKEN": "s3cret"})[0] == 0
        assert run("ctl", "capture", "--url", url, "--token", "env:T", env={"T": "s3cret"})[0] == 0
        assert run("ctl", "capture", "on", "--url", url, "--token", "s3cret") == (0, "capturing: on\n")

        status, said = run("ctl", "capture", "--url", url)
        assert (status, "wants a token or a user" in said) == (1, True)
        status, said = run("ctl", "capture", "--url", url, "--token", f"file:{tmp_path}/none")
        assert (status, "cannot be read" in said) == (2, True)

        config = tmp_path / "hepswitch.toml"
        address = url.removeprefix("http://")
        config.write_text(f'[control]\nlisten = "{address}"\ntoken = "file:token"\n')
        assert run("ctl", "capture", "--config", str(config)) == (0, "capturing: on\n")
        status, _ = run("ctl", "capture", "--config", str(config), "--url", url)
        assert status == 1, "a file's token is for the switch that the file configures"
