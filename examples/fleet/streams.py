"""What stands between edges and storing nodes: NATS servers with JetStream, or a mock of Kafka brokers.

Both are started, hurt and mended by the same names, and say in the end what they hold. Not here: the switches (`nodes`).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness import usage, wait_for
from servers import free_port

PRODUCE_ERRORS = [7, 19, 6, -195] * 8
"""Timed out, not enough replicas, not the leader, connection closed: what producing requests get when the mock is hurt."""
FETCH_ERRORS = [6, -195] * 4


@dataclass(frozen=True, slots=True)
class Held:
    """What a stream has taken: messages, their bytes, the packets in them. None: it does not say."""

    messages: int
    bytes: int | None
    packets: int | None
    twice: int | None
    """Messages whose id came before."""


class Stream(Protocol):
    """Servers of a stream."""

    scheme: str
    """The folder with the configurations of the nodes, and what URLs begin with."""
    work: dict[str, float]
    """CPU seconds, by the kind of process."""

    def url(self) -> str:
        """Where the stream is."""

    def hurt(self) -> str:
        """Do it harm; says what."""

    def mend(self) -> None:
        """Make it whole again."""

    def held(self) -> Held:
        """What it has taken."""

    def traffic(self) -> dict[str, int]:
        """Bytes that its servers read and wrote, as far as they say."""

    def stop(self) -> None:
        """End it."""


class NatsServer:
    """One NATS server of a cluster, in `folder`; ports are (clients, cluster, monitoring)."""

    def __init__(self, folder: Path, ports: tuple[int, int, int], routes: list[int]) -> None:
        self.name = folder.name
        self.port, cluster, self._monitor = ports
        folder.mkdir()
        self._log = folder / "log"
        self._config = folder / "nats.conf"
        peers = ", ".join(f'"nats://127.0.0.1:{route}"' for route in routes)
        self._config.write_text(
            f'server_name: {self.name}\nlisten: "127.0.0.1:{self.port}"\nhttp: "127.0.0.1:{self._monitor}"\n'
            f'jetstream {{store_dir: "{folder}/store", max_file_store: 40G}}\nmax_payload: 1M\n'
            f'cluster {{name: fleet, listen: "127.0.0.1:{cluster}", routes: [{peers}]}}\n'
        )
        self.cpu = 0.0
        self.traffic: Counter[str] = Counter()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = Path(sys.executable).parent / "nats-server"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(program), "-c", str(self._config)], stdout=log, stderr=log, start_new_session=True
            )

    def ready(self) -> bool:
        """Whether it has all that it should have."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"{self.name} ended: {self._log.read_text()[-2000:]}")
        return self.ask("/healthz").get("status") == "ok"

    def ask(self, path: str) -> dict[str, Any]:
        """What its monitoring says; nothing while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._monitor}{path}", timeout=5) as answer:
                said: dict[str, Any] = json.load(answer)
                return said
        except (urllib.error.URLError, OSError, ValueError):
            return {}

    def end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            figures = usage(self._process.pid)
            self.cpu += figures.user + figures.sys
            self.traffic.update({key: self.ask("/varz").get(key, 0) for key in ("in_bytes", "out_bytes")})
            os.killpg(self._process.pid, how)
        self._process.wait(30)
        self._process = None


class NatsServers:
    """Three of them, below `home`."""

    scheme = "nats"

    def __init__(self, home: Path) -> None:
        ports = [(free_port(), free_port(), free_port()) for _ in range(3)]
        routes = [cluster for _, cluster, _ in ports]
        self._servers = [NatsServer(home / f"nats{n}", each, routes) for n, each in enumerate(ports, 1)]
        self._hurt: NatsServer | None = None
        self.work: dict[str, float] = {}
        for server in self._servers:
            server.start()
        for server in self._servers:
            wait_for(server.ready, f"start of {server.name}")

    def url(self) -> str:
        return f"nats://{','.join(f'127.0.0.1:{server.port}' for server in self._servers)}/HEP"

    def _stream(self) -> dict[str, Any] | None:
        """What the stream's leader says of it."""
        for server in self._servers:
            for account in server.ask("/jsz?accounts=true&streams=true").get("account_details", ()):
                for stream in account.get("stream_detail", ()):
                    if stream["name"] == "HEP" and stream.get("cluster", {}).get("leader") == server.name:
                        found: dict[str, Any] = stream
                        return found
        return None

    def hurt(self) -> str:
        """kill -9 of the server that leads the stream."""
        leader = wait_for(self._stream, "a leader of the stream")["cluster"]["leader"]
        self._hurt = next(server for server in self._servers if server.name == leader)
        self._hurt.end(signal.SIGKILL)
        return f"{leader}, which led the stream, killed"

    def mend(self) -> None:
        assert self._hurt is not None
        self._hurt.start()
        wait_for(self._hurt.ready, f"return of {self._hurt.name}", 60.0)

    def held(self) -> Held:
        state = wait_for(self._stream, "a leader of the stream")["state"]
        packets, ids = asyncio.run(_counted([f"nats://127.0.0.1:{server.port}" for server in self._servers]))
        return Held(state["messages"], state["bytes"], packets, ids.total() - len(ids))

    def traffic(self) -> dict[str, int]:
        return dict(sum((server.traffic for server in self._servers), Counter[str]()))

    def stop(self) -> None:
        for server in self._servers:
            server.end(signal.SIGTERM)
        self.work["nats-server"] = sum(server.cpu for server in self._servers)


async def _counted(servers: list[str]) -> tuple[int, Counter[str]]:
    """The packets of all messages in the stream, and the ids of the messages."""
    import nats
    from nats.js.api import AckPolicy, ConsumerConfig

    packets, ids = 0, Counter[str]()
    client = await nats.connect(servers)
    try:
        stream = client.jetstream()
        left = (await stream.stream_info("HEP")).state.messages
        config = ConsumerConfig(ack_policy=AckPolicy.NONE)
        reader = await stream.pull_subscribe("", stream="HEP", config=config)
        while left > 0:
            for message in await reader.fetch(min(left, 64), timeout=20):
                packets += frames(message.data)
                ids[(message.headers or {}).get("Hepswitch-Batch", "")] += 1
                left -= 1
    finally:
        await client.close()
    return packets, ids


def frames(body: bytes) -> int:
    """How many HEPv3 packets lie end to end in the body of a message."""
    count = at = 0
    while at < len(body):
        at += int.from_bytes(body[at + 4 : at + 6])
        count += 1
    return count


class KafkaMock:
    """librdkafka's mock cluster in a process of its own."""

    scheme = "kafka"

    def __init__(self, home: Path) -> None:
        script = Path(__file__).parent / "mock_brokers.py"
        (home / "kafka").mkdir()
        with (home / "kafka" / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self.work: dict[str, float] = {}
        self._servers = self._answer()["bootstrap"]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"the mock cluster ended with {self._process.wait()}")
        said: dict[str, Any] = json.loads(line)
        return said

    def _tell(self, **what: Any) -> None:
        assert self._process.stdin is not None
        print(json.dumps(what), file=self._process.stdin, flush=True)
        self._answer()

    def url(self) -> str:
        return f"kafka://{self._servers}/hep"

    def hurt(self) -> str:
        """Errors for requests, and one of the brokers away."""
        self._tell(fail="produce", codes=PRODUCE_ERRORS)
        self._tell(fail="fetch", codes=FETCH_ERRORS)
        self._tell(down=2)
        return f"{len(PRODUCE_ERRORS)} produce and {len(FETCH_ERRORS)} fetch requests failed, a broker is away"

    def mend(self) -> None:
        self._tell(up=2)

    def held(self) -> Held:
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self._servers, "group.id": "books"})
        try:
            partitions = consumer.list_topics("hep", timeout=20).topics["hep"].partitions
            ends = [consumer.get_watermark_offsets(TopicPartition("hep", each), timeout=20) for each in partitions]
        finally:
            consumer.close()
        return Held(sum(high for _, high in ends), None, None, None)

    def traffic(self) -> dict[str, int]:
        return {}

    def stop(self) -> None:
        if self._process.poll() is None:
            figures = usage(self._process.pid)
            self.work["mock of kafka"] = figures.user + figures.sys
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._process.wait(30)


STREAMS: dict[str, type[NatsServers] | type[KafkaMock]] = {"nats": NatsServers, "kafka": KafkaMock}
