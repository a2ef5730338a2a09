"""Stores in PostgreSQL for tests: what is stored there, and what the database says to somebody else."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pyarrow as pa

from batches import batch_of
from hepswitch.databases.layouts.opensips import EXTRAS
from hepswitch.databases.postgres import PostgresServer
from hepswitch.databases.server import Mark
from hepswitch.destinations.databases import PostgresStore
from hepswitch.destinations.layout_tables import OpensipsTables
from hepswitch.wire.hep import Hep

JOURNAL = "0123456789abcdef" * 2
SIP = b"INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1\r\nCall-ID: %b\r\nCSeq: 1 INVITE\r\n\r\n"


async def ask(url: str, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """What the database says to somebody else."""
    connection = await asyncpg.connect(url)
    try:
        if values or sql.lstrip().upper().startswith("SELECT"):
            return [tuple(row) for row in await connection.fetch(sql, *values)]
        await connection.execute(sql)
        return []
    finally:
        await connection.close()


def store(url: str, create: bool = True, **tables: Any) -> PostgresStore:
    return PostgresStore(url=url, create=create, opensips=OpensipsTables(**tables))


@contextlib.asynccontextmanager
async def opened(store: PostgresStore) -> AsyncIterator[PostgresServer]:
    server = PostgresServer(store)
    await server.open()
    try:
        yield server
    finally:
        await server.close()


def sip(payload: bytes, second: int = 1_795_000_000, **chunks: Any) -> Hep:
    about = {"src_ip": "192.0.2.1", "dst_ip": "192.0.2.2", "src_port": 5060, "dst_port": 40_000, "proto_type": 1}
    return Hep.new(payload, timestamp=second, timestamp_us=250_000, proto_id=17, **(about | chunks))


def rows_of(*payloads: bytes, **said: Any) -> pa.RecordBatch:
    return batch_of([sip(payload) for payload in payloads], EXTRAS, **said)


def mark(first: int, last: int, done: int = 0) -> Mark:
    return Mark(JOURNAL, first, last, done)


ONE = rows_of(SIP % b"one")
