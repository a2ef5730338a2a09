"""Real programs for the interop tests: found or the test fails with the line that installs them, started and ended here."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CALLS = HERE.parents[1] / "examples" / "calls.pcapng"
DEADLINE = 30.0

PACKAGES = {
    "sngrep": "sngrep",
    "tshark": "tshark",
    "kamailio": "kamailio",
    "rsyslogd": "rsyslog",
    "sipp": "sip-tester",
}
"""Programs, and the Debian packages that they come in."""


def need(program: str) -> str:
    """The path of a program. It is part of the test: without it the test fails, it is not skipped."""
    path = shutil.which(program)
    if path is None:
        pytest.fail(f"{program} is needed for this test: apt-get install {PACKAGES[program]}", pytrace=False)
    return path


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def udp_bound(port: int) -> bool:
    """Does somebody listen on that UDP port of IPv4?"""
    lines = Path("/proc/net/udp").read_text().splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") for line in lines)


class Program:
    """A running program and what it writes, in lines."""

    def __init__(self, *command: str | Path, environment: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [str(word) for word in command],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end; whatever is left of its process group after the deadline is killed."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextlib.contextmanager
def running(*command: str | Path, environment: Mapping[str, str] | None = None) -> Iterator[Program]:
    program = Program(*command, environment=environment)
    try:
        yield program
    finally:
        program.end()


@contextlib.contextmanager
def kamailio(folder: Path, config: str, **words: object) -> Iterator[Program]:
    """Kamailio with one of the configurations beside this file, in which each of `words` is replaced by its value."""
    text = (HERE / config).read_text()
    for word, value in words.items():
        text = text.replace(word, str(value))
    path = folder / config
    path.write_text(text)
    program = need("kamailio")
    with running(program, "-DD", "-E", "-f", path, "-Y", folder, "-P", folder / "kamailio.pid") as process:
        yield process


def run(*command: str | Path) -> str:
    """What a program prints; an AssertionError with its errors when it fails."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, errors="replace", timeout=DEADLINE
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def hepswitch(*arguments: str | Path) -> str:
    """What a hepswitch command prints."""
    return run(sys.executable, "-m", "hepswitch.cli", *arguments)


def dissected(path: Path, *fields: str) -> list[tuple[str, ...]]:
    """The SIP messages in a capture as tshark reads them, with the values of `fields`.

    Several messages in one frame are one row, their values joined by commas.
    """
    names = [word for field in fields for word in ("-e", field)]
    output = run(need("tshark"), "-r", path, "-Y", "sip", "-T", "fields", *names)
    return [tuple(line.split("\t")) for line in output.splitlines()]
