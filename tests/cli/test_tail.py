"""`hepswitch tail`: packets of a real switch with two workers, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from hepswitch.cli import main, tail
from hepswitch.testing import hep_packet, invite, rtcp, sip
from running import TWO_WORKERS, RunningSwitch, running_switch, wait_for

ROUTE = """
from hepswitch import hep_route

@hep_route
def route(hep):
    hep.drop("seen")
"""


@pytest.fixture(scope="module")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSwitch]:
    folder = tmp_path_factory.mktemp("tail")
    (folder / "route.py").write_text(ROUTE)
    with running_switch(folder, TWO_WORKERS) as running:
        yield running


class Tail:
    """The command, and what it has written so far."""

    def __init__(self, url: str, *options: str) -> None:
        command = [sys.executable, "-m", "hepswitch.cli", "tail", "--url", url, *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONIOENCODING": "utf-8"}
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.decode().rstrip("\n"))

    def end(self, signum: int | None = None) -> tuple[int, str]:
        """Exit status and what it complained of."""
        if signum is not None:
            self.process.send_signal(signum)
        status = self.process.wait(30)
        self._reader.join(30)
        assert self.process.stderr is not None
        return status, self.process.stderr.read().decode()


@contextmanager
def tailing(switch: RunningSwitch, *options: str) -> Iterator[Tail]:
    """The command, once it has a packet that says that it listens."""
    tail = Tail(switch.control, *options)

    def heard() -> bool:
        switch.send_udp(bytes(invite(call_id="listening?")))
        return bool(tail.lines)

    try:
        wait_for(heard, "the first line of tail")
        yield tail
    finally:
        tail.process.kill()
        tail.process.wait(30)
        tail._reader.join(30)
        for stream in (tail.process.stdout, tail.process.stderr):
            assert stream is not None
            stream.close()


def test_a_line_a_packet_until_ctrl_c(switch: RunningSwitch) -> None:
    with tailing(switch, "--filter", "sip or proto_type = RTCP") as tail:
        switch.send_udp(bytes(sip(486, call_id="c7", node_name="edge-7")), bytes(rtcp("c8")))
        wait_for(lambda: {"c7", "c8"} <= {word for line in tail.lines for word in line.split()}, "both packets")
        [busy] = [line for line in tail.lines if "c7" in line]
        ends = r"192\.0\.2\.\d+:\d+ +→ 192\.0\.2\.\d+:\d+ +"
        assert re.fullmatch(
            rf"\d\d:\d\d:\d\d\.\d{{6}}  {ends} 486 Busy Here \(INVITE\) +alice → bob  c7  2001 edge-7  dropped: seen",
            busy,
        )
        assert any(re.search(r" RTCP +c8  2001  dropped: seen$", line) for line in tail.lines)
        assert tail.end(signal.SIGINT) == (0, "")


def test_messages_and_a_number_of_them(switch: RunningSwitch) -> None:
    with tailing(switch, "--payload", "--count", "1") as tail:
        assert tail.end() == (0, "")
        assert "INVITE sip:bob@example.com SIP/2.0" in tail.lines
        assert "Call-ID: listening?" in tail.lines


def test_json_lines(switch: RunningSwitch) -> None:
    with tailing(switch, "--json", "--filter", "sip.method = INVITE", "--count", "1") as tail:
        assert tail.end() == (0, "")
        row = json.loads(tail.lines[0])
        assert (row["call_id"], row["method"], row["outcome"]) == ("listening?", "INVITE", "dropped: seen")
        assert "payload" not in row


def test_hostile_packets_do_not_command_the_terminal(switch: RunningSwitch) -> None:
    evil = "\x1b]0;pwned\x07\x1b[2J\x9b31m\x7f\u202e"
    call_id = evil.encode().decode("utf-8", "surrogateescape")
    packets = [
        bytes(invite(call_id=call_id, from_user=evil, to_user=evil, node_name=evil, headers={"X-Evil": evil})),
        bytes(sip(200, headers={"Call-ID": evil})).replace(b"200 OK", b"200 \x1b[5m"),
        bytes(hep_packet(b"\xff\xfe\x1b[2J" + evil.encode(), proto_type=100, correlation_id=evil.encode())),
    ]
    with tailing(switch, "--payload") as tail, tailing(switch, "--json", "--payload") as as_json:
        switch.send_udp(*packets, bytes(invite(call_id="last")))
        for each in (tail, as_json):
            wait_for(lambda each=each: any("last" in line for line in each.lines), "the last packet")
            each.end(signal.SIGINT)
            written = "\n".join(each.lines)
            assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", written)
        assert "\u202e" not in "\n".join(tail.lines)
        assert any("pwned" in line for line in tail.lines), "what can be seen is shown"


def test_what_is_not_shown_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    tail._confess({"missed": 1200, "skipped": 3})
    assert capsys.readouterr().err == (
        "1,200 packets not shown\n3 packets not looked at: the filter takes too long\n"
    )  # fmt: skip


def test_a_wrong_filter_and_no_switch() -> None:
    done = CliRunner().invoke(main, ["tail", "--url", "http://127.0.0.1:9"])
    assert done.exit_code == 1
    assert "no switch answers at http://127.0.0.1:9" in done.output


def test_a_wrong_filter_is_shown(switch: RunningSwitch) -> None:
    done = CliRunner().invoke(main, ["tail", "--url", switch.control, "--filter", "sip.metod = INVITE"])
    assert done.exit_code == 1
    assert "sip.metod" in done.output
    assert "^" in done.output


def test_the_switch_goes_away(tmp_path: Path) -> None:
    (tmp_path / "route.py").write_text(ROUTE)
    with running_switch(tmp_path, TWO_WORKERS) as switch, tailing(switch) as tail:
        assert switch.stop() == 0
        status, words = tail.end()
        assert status == 1
        assert f"the switch at {switch.control} has gone away" in words
