"""A real switch for tests: `hepswitch run` as a process of its own, on free ports, ended with the test."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DEADLINE = 30.0

TWO_WORKERS = """
    listen = ["udp://127.0.0.1:0"]
    workers = 2
    [hep_route]
    script = "route.py"
    mode = "script"
"""
"""The configuration of a switch whose packets go through a script, in two processes."""


def wait_for(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """The condition's first true value; AssertionError naming `what` when it does not come in time."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what}: did not happen within {deadline} s"
        time.sleep(0.02)


class RunningSwitch:
    """The process, its log, its addresses."""

    def __init__(self, config: Path, env: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "hepswitch.cli", "run", "--config", str(config)]
        environment = os.environ | {"HEPSWITCH_LOG__FORMAT": "json"} | (env or {})
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
        )
        self.log: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            started = wait_for(
                lambda: self.event("listening") or self.process.poll() is not None, "start of the switch"
            )
        except AssertionError as error:
            self.kill()
            raise AssertionError(f"{error}: {self.log}") from None
        if started is True:
            self.kill()
            raise AssertionError(f"the switch ended at its start: {self.log}")
        self.urls: list[str] = started["on"]
        self.control: str = started["control"]

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            try:
                self.log.append(json.loads(line))
            except ValueError:
                self.log.append({"event": line.rstrip()})

    def event(self, name: str) -> dict[str, Any] | None:
        """The last log event of that name, if it came already."""
        return next((entry for entry in reversed(self.log) if entry.get("event") == name), None)

    def said(self, name: str) -> dict[str, Any]:
        """The last log event of that name: waited for, as the log comes through a pipe behind what it tells."""
        entry: dict[str, Any] = wait_for(lambda: self.event(name), f"the log event {name!r}")
        return entry

    def address(self, scheme: str = "udp") -> tuple[str, int]:
        url = next(url for url in self.urls if url.startswith(scheme))
        host, _, port = url.split("//")[1].rpartition(":")
        return host.strip("[]"), int(port)

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"{self.control}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def post(self, path: str, body: Any) -> Any:
        """What is answered to a change. Raises HTTPError."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.control}{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read())

    def stats(self) -> dict[str, Any]:
        book: dict[str, Any] = json.loads(self.get("/api/stats"))
        return book

    def wait_stats(
        self, condition: Callable[[dict[str, Any]], bool], what: str, deadline: float = DEADLINE
    ) -> dict[str, Any]:
        """The first books that fulfil the condition."""

        def look() -> dict[str, Any] | None:
            book = self.stats()
            return book if condition(book) else None

        book: dict[str, Any] = wait_for(look, what, deadline)
        return book

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children if b"hepswitch.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def send_udp(self, *packets: bytes) -> None:
        host, port = self.address("udp")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            for packet in packets:
                sock.sendto(packet, (host, port))

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        return status

    def kill(self) -> None:
        """kill -9 of every process of the switch at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        if self.process.stderr is not None:
            self.process.stderr.close()


@contextlib.contextmanager
def running_switch(folder: Path, text: str, env: dict[str, str] | None = None) -> Iterator[RunningSwitch]:
    """A switch with the configuration `text` (its [control] is added) in `folder`."""
    config = folder / "hepswitch.toml"
    config.write_text(f'{text}\n[control]\nlisten = "127.0.0.1:0"\n')
    switch = RunningSwitch(config, env)
    try:
        yield switch
        assert switch.stop() == 0, switch.log
    finally:
        switch.kill()
