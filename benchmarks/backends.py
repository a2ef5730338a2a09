"""The stores that are measured and tried: for each a server of its own, started empty, and its table of the configuration.

Servers write to disk as they do by default: nothing that was committed is lost with the power. PostgreSQL does not vacuum
meanwhile: when it would is chance. Not here: what is measured
(`stores`), what must hold (`storeshow`).
"""

from __future__ import annotations

import asyncio
import contextlib
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
import servers
import stream_servers
from harness import Usage
from hepswitch.databases import kinds
from hepswitch.destinations.stores import store_of
from hepswitch.lake.lake import Lake
from hepswitch.streams.address import spelled
from hepswitch.streams.packing import unpack
from hepswitch.wire.batch import Batch

POSTGRES = ("fsync=on", "synchronous_commit=on", "shared_buffers=512MB", "max_wal_size=4GB", "autovacuum=off")
MARIADB = ("--innodb-flush-log-at-trx-commit=1", "--innodb-buffer-pool-size=512M", "--innodb-log-file-size=1G")


AGENT = frozenset({"captagent_id", "hep_version"})
"""What tables of OpenSIPS and Homer have no columns for: an agent that has a name has no number there."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A store: the keys of its table as TOML, where SIP of calls is kept, the process of its server (None: in ours), and
    the columns of messages that it does not keep.
    """

    keys: str
    table: str
    server: Any = None
    lacks: frozenset[str] = AGENT

    @property
    def store(self) -> Any:
        """Its table, checked."""
        return store_of(tomllib.loads(self.keys))

    def usage(self) -> Usage:
        """What the server took so far, with the processes that it started."""
        return harness.tree(self.server.pid) if self.server is not None else Usage()

    def ask(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """What a query gives."""

        async def asked() -> list[dict[str, Any]]:
            server = kinds.server(self.store)
            try:
                await server.open()
                return await server.rows(sql, values)
            finally:
                await server.close()

        return asyncio.run(asked())

    def count(self) -> int:
        """Rows of calls."""
        (row,) = self.ask(f"SELECT count(*) AS number FROM {self.table}")
        return int(row["number"])


class LakeFolder(Backend):
    """A lake, which no server keeps."""

    def count(self) -> int:
        """Rows of calls."""
        _, [(number,)] = Lake(self.store.path).sql("SELECT count(*) FROM messages")
        return int(number)


class NatsStream(Backend):
    """A stream of JetStream: one server, which writes to disk when the kernel does."""

    def count(self) -> int:
        """Packets in its messages."""
        return asyncio.run(self._count())

    async def _count(self) -> int:
        from hepswitch.streams.nats import connect

        client = await connect(self.store.address, self.store.login, "count")
        stream = client.jetstream()
        batch, found = Batch(None), 0
        messages = await stream.subscribe(f"{self.store.subject}.>", ordered_consumer=True)
        for _ in range((await stream.stream_info(self.store.address.name)).state.messages):
            assert unpack(batch, (await messages.next_msg(10)).data, 0) == 0
            found += len(batch)
        await client.close()
        return found


class KafkaTopic(Backend):
    """A topic of librdkafka's mock, which keeps everything in memory."""

    def count(self) -> int:
        """Packets in its messages."""
        from confluent_kafka import Consumer, TopicPartition

        address, batch, found = self.store.address, Batch(None), 0
        ended: set[int | None] = set()
        hosts = ",".join(map(spelled, address.servers))
        consumer = Consumer({"bootstrap.servers": hosts, "group.id": "count", "enable.partition.eof": True})
        consumer.assign([TopicPartition(address.name, partition, 0) for partition in range(self.store.partitions)])
        while len(ended) < self.store.partitions:
            message = consumer.poll(10)
            assert message is not None, "the mock says nothing"
            if message.error() is None:
                assert unpack(batch, message.value() or b"", 0) == 0
                found += len(batch)
            else:
                ended.add(message.partition())
        consumer.close()
        return found


@contextlib.contextmanager
def nats(folder: Path, packets: int) -> Iterator[Backend]:
    with stream_servers.nats_server(folder) as server:
        yield NatsStream(f'url = "{server.url()}"\npackets = {packets}', "", server)


@contextlib.contextmanager
def kafka(_: Path, packets: int) -> Iterator[Backend]:
    with stream_servers.kafka_cluster() as server:
        server.do("topic", "hep", 16)
        yield KafkaTopic(f'url = "{server.url()}"\npackets = {packets}', "", server)


@contextlib.contextmanager
def lake(folder: Path) -> Iterator[Backend]:
    yield LakeFolder(f'url = "lake:{folder}/captures"\nkeep = "forever"', "messages", lacks=frozenset())


@contextlib.contextmanager
def sqlite(folder: Path) -> Iterator[Backend]:
    yield Backend(f'url = "sqlite:{folder}/captures.db"', "sip_capture")


@contextlib.contextmanager
def postgresql(layout: str, table: str, options: str = "") -> Iterator[Backend]:
    with servers.postgres(*POSTGRES) as server:
        yield Backend(f'url = "{server.url}"\nlayout = "{layout}"\n{options}', table, server)


@contextlib.contextmanager
def mariadb(folder: Path) -> Iterator[Backend]:
    with servers.mariadb(folder, *MARIADB) as server:
        yield Backend(f'url = "{server.url}"', "sip_capture", server)


@contextlib.contextmanager
def clickhouse(folder: Path) -> Iterator[Backend]:
    with servers.clickhouse(folder) as server:
        yield Backend(f'url = "{server.url}"\npassword = "secret"', "messages", server, frozenset())


def opensips(_: Path) -> AbstractContextManager[Backend]:
    return postgresql("opensips", "sip_capture")


def homer7(_: Path) -> AbstractContextManager[Backend]:
    return postgresql("homer7", "hep_proto_1_call", 'homer7 = { indexes = "small" }')


STORES: dict[str, Callable[[Path], AbstractContextManager[Backend]]] = {
    "lake": lake,
    "SQLite": sqlite,
    "PostgreSQL opensips": opensips,
    "PostgreSQL homer7": homer7,
    "MariaDB": mariadb,
    "ClickHouse": clickhouse,
}
"""One of each kind, with the small set of indexes."""
