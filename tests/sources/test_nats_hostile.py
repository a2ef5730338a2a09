"""Somebody else's messages in the stream: what they are is counted, and nothing that is ours waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from far_ends import until
from stream_nodes import body
from stream_servers import NatsServer, nats_server
from test_nats import Stream, lone, running  # noqa: F401


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with nats_server(tmp_path_factory.mktemp("nats")) as started:
        yield started


async def raw(server: NatsServer, subject: str, header: bytes, data: bytes) -> None:
    """Publish with these bytes as the header, whatever they are."""
    host, port = server.host.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\nPING\r\n')
    writer.write(b"HPUB %s %d %d\r\n" % (subject.encode(), len(header), len(header) + len(data)) + header + data + b"\r\n")
    writer.write(b"PING\r\n")
    got = b""
    while got.count(b"PONG") < 2:
        more = await reader.read(4096)
        if not more: raise AssertionError(got)
        got += more
    print(got[-300:])
    writer.close()


HEADERS = [
    b"x",
    b"NATS/1.0",
    b"NATS/1.0\r\n",
    b"NATS/1.0\r\n\r\n",
    b"NATS/1.0 \xff\xff\xff\r\n\r\n",
    b"NATS/1.0 100 \xff\xfe\r\n\r\n",
    b"NATS/1.0 404 No Messages\r\n\r\n",
    b"NATS/1.0 409 Consumer Deleted\r\n\r\n",
    b"NATS/1.0\r\nHepswitch-Batch: \xff\xfe\xed\xa0\x80\r\n\r\n",
    b"NATS/1.0\r\nHepswitch-Batch: " + b"x" * 60_000 + b"\r\n\r\n",
]


async def test_headers_that_are_none(lone: Stream, tmp_path: Path) -> None:
    async with running(lone.url + "&ack_wait=1s", tmp_path) as node:
        for number, header in enumerate(HEADERS):
            await raw(lone.server, f"{lone.name}.0", header, body(number))
        await until(lambda: node.has(*range(len(HEADERS))), "storing")
        await asyncio.wait_for(lone.acknowledged(), 10)
        assert not node.listener.redelivered
