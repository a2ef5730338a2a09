"""A whole storing switch on a stream: whatever is killed between writing and acknowledging, each packet is stored once."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer

from hepswitch.streams.address import Login, parse_address
from hepswitch.streams.message import BATCH, KAFKA_BATCH
from hepswitch.streams.nats import connect
from running import RunningSwitch, running_switch, wait_for
from stream_nodes import body, identity, stored
from stream_servers import NatsServer, kafka_cluster, nats_server

ROUTE = """
from hepswitch import hep_route

@hep_route
def route(hep):
    hep.store()
    hep.store("db")
"""


class Proxy:
    """Between a switch and a server. While `deaf`, the server hears nothing that the switch says: no acknowledgement."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.deaf = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                for source, sink, is_heard in ((near, far, lambda: not self.deaf.is_set()), (far, near, lambda: True)):
                    threading.Thread(target=self._pass, args=(source, sink, is_heard), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, is_heard: Any) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if is_heard():
                    sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()

    def close(self) -> None:
        self._listener.close()


class Publisher:
    """Puts messages into the stream HEP of a server, and looks at how far a group has acknowledged it."""

    def __init__(self, server: NatsServer) -> None:
        self._address = parse_address(server.url())

    async def do(self, what: Any) -> Any:
        client = await connect(self._address, Login(), "test")
        try:
            return await what(client.jetstream())
        finally:
            await client.close()

    async def make(self) -> None:
        await self.do(lambda context: context.add_stream(name="HEP", subjects=["hep.>"], duplicate_window=0.2))

    async def publish(self, first: int, last: int, step: int = 50) -> None:
        async def put(context: Any) -> None:
            for at in range(first, last, step):
                headers = {BATCH: identity(at, at + step)}
                await context.publish(f"hep.{at % 16}", body(*range(at, at + step)), headers=headers)

        await self.do(put)

    async def acknowledged(self) -> int:
        """How many messages are."""
        info = await self.do(lambda context: context.consumer_info("HEP", "lake-1of1"))
        return int(info.ack_floor.stream_seq)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "nats") as running:
        yield running


@pytest.fixture
def proxy(server: NatsServer) -> Iterator[Proxy]:
    made = Proxy(server.port)
    yield made
    made.close()


def config(folder: Path, proxy: Proxy, workers: int) -> str:
    (folder / "route.py").write_text(ROUTE)
    return f"""
        listen = ["udp://127.0.0.1:0", "nats://127.0.0.1:{proxy.port}/HEP?group=lake&share=1/1&ack_wait=1s"]
        workers = {workers}
        drain = "1s"
        [hep_route]
        mode = "script"
        script = "route.py"
        [stores.lake]
        url = "lake:captures"
        seal_after = "300ms"
        [stores.db]
        url = "sqlite:calls.db"
        flush = "100ms"
        """


def in_lake(folder: Path) -> Counter[int]:
    """How often each packet is in the sealed files, or still in a journal."""
    sealed = Counter(
        int(payload.split(b" ")[0])
        for file in (folder / "captures").glob("date=*/hour=*/*.parquet")
        for payload in pq.read_table(file, columns=["payload"]).column("payload").to_pylist()
    )
    return sealed + stored(folder / "captures" / "journal")


def in_database(folder: Path) -> Counter[int]:
    """How often each packet is in the tables of the database."""
    with contextlib.closing(sqlite3.connect(folder / "calls.db")) as database:
        tables = database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE '%capture%'"
        ).fetchall()
        rows = [row for (name,) in tables for row in database.execute(f'SELECT msg FROM "{name}"')]
    return Counter(int(bytes(text, "ascii").split(b" ")[0]) for (text,) in rows)


def delivered(switch: RunningSwitch, count: int) -> dict[str, Any]:
    """The books when both stores have written so many."""
    return switch.wait_stats(
        lambda book: all(book["stores"][name]["delivered"] >= count for name in ("lake", "db")), f"{count} written"
    )


def refused(switch: RunningSwitch, count: int) -> None:
    switch.wait_stats(
        lambda book: all(book["stores"][name]["refused"].get("stored before", 0) >= count for name in ("lake", "db")),
        f"{count} that came again",
    )


class KilledError(Exception):
    """The switch was killed, as it was meant to be."""


@contextlib.contextmanager
def killed(folder: Path, text: str) -> Iterator[RunningSwitch]:
    """A switch that is killed with all its processes at the end."""
    with contextlib.suppress(KilledError), running_switch(folder, text) as switch:
        yield switch
        switch.kill()
        raise KilledError


async def cut_off(switch: RunningSwitch, stream: Publisher, proxy: Proxy, first: int) -> None:
    """Let the switch have 500 packets from `first` on, of which it cannot acknowledge the last 450."""
    await stream.publish(first, first + 50)
    switch.wait_stats(lambda book: book["stores"]["lake"]["delivered"] >= first + 50, "a first message")
    switch.wait_stats(lambda book: not book["received"][switch.urls[1]]["waiting"], "its acknowledgement")
    proxy.deaf.set()
    await stream.publish(first + 50, first + 500)
    delivered(switch, first + 500)
    assert await stream.acknowledged() == first // 50 + 1


async def test_whatever_is_killed_before_it_could_acknowledge(server: NatsServer, proxy: Proxy, tmp_path: Path) -> None:
    stream = Publisher(server)
    await stream.make()
    with killed(tmp_path, config(tmp_path, proxy, workers=2)) as switch:
        await cut_off(switch, stream, proxy, 0)
        os.kill(switch.workers()[1], signal.SIGKILL)  # the second listener is the second worker's
        proxy.deaf.clear()
        refused(switch, 450)
        await cut_off(switch, stream, proxy, 500)
    proxy.deaf.clear()
    with running_switch(
        tmp_path, config(tmp_path, proxy, workers=1)
    ) as switch:  # another worker, with marks of the other
        refused(switch, 450)
        await stream.publish(1000, 1500)
        delivered(switch, 500)
        switch.wait_stats(lambda book: not book["received"][switch.urls[1]]["waiting"], "all is acknowledged")
        assert switch.stats()["balanced"]
        wait_for(lambda: sum(in_database(tmp_path).values()) >= 1500, "the loader")
    assert await stream.acknowledged() == 30
    assert in_lake(tmp_path) == in_database(tmp_path) == Counter(range(1500))


def is_done(row: dict[str, Any]) -> bool:
    """Whether a listener has acknowledged all that its stream has."""
    return bool(row["state"] == "active" and not row["waiting"])


def test_a_switch_that_reads_kafka_is_killed_while_packets_come(tmp_path: Path) -> None:
    """Whatever it had written and not committed comes again."""
    with kafka_cluster() as mock:
        mock.do("topic", "hep", 4)
        producer = Producer({"bootstrap.servers": mock.servers, "log_level": 0, "linger.ms": 1})
        sent = 0

        def publish(until: int) -> None:
            nonlocal sent
            for at in range(sent, until, 10):
                named = {KAFKA_BATCH: identity(at, at + 10)}
                producer.produce("hep", body(*range(at, at + 10)), partition=at // 10 % 4, headers=named)
            sent = until
            assert producer.flush(10) == 0

        listen = f'listen = ["{mock.url()}?group=lake&share=1/1"]'
        text = f'{listen}\n[stores.lake]\nurl = "lake:captures"\nseal_after = "300ms"\n'
        publish(2000)
        with killed(tmp_path, text) as switch:
            switch.wait_stats(lambda book: book["stores"]["lake"]["delivered"] > 0, "a beginning")
            publish(4000)
        publish(5000)
        with running_switch(tmp_path, text) as switch:
            switch.wait_stats(lambda book: is_done(book["received"][switch.urls[0]]), "all is committed")
            assert switch.stats()["balanced"]
    assert in_lake(tmp_path) == Counter(range(5000))
