"""The whole way of an edge: packets by UDP, a stream of NATS, and processes on either side that are killed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

from hepswitch.books import Listener
from hepswitch.streams.address import Login, parse_address
from hepswitch.streams.message import BATCH
from hepswitch.streams.nats import connect
from hepswitch.streams.packing import unpack
from hepswitch.wire.batch import Batch
from hepswitch.wire.hep import Hep
from running import RunningSwitch, running_switch
from stream_servers import NatsServer, nats_server
from traffic import calls, hep

CALLS = 200

EDGE = """
listen = ["udp://127.0.0.1:0"]
workers = 2
[stores.bus]
url = "{url}"
partitions = 4
packets = 20
flush = "50ms"
"""


def delivered(switch: RunningSwitch, count: int) -> None:
    """All that the edge took is acknowledged, and the books know it."""
    book = switch.wait_stats(lambda book: book["stores"]["bus"]["delivered"] == count, f"{count} packets", 30)
    assert book["balanced"] is True
    assert book["stores"]["bus"]["accepted"] == count
    assert not book["stores"]["bus"]["discarded"]


def loader(switch: RunningSwitch) -> int:
    """The process id of the store's loader."""
    children = Path(f"/proc/{switch.process.pid}/task/{switch.process.pid}/children").read_text().split()
    (pid,) = [int(each) for each in children if b"databases.loader" in Path(f"/proc/{each}/cmdline").read_bytes()]
    return pid


async def in_stream(server: NatsServer) -> list[tuple[str, str, list[bytes]]]:
    """(subject, id, packets) of every message."""
    client = await connect(parse_address(server.url()), Login(), "test")
    stream = client.jetstream()
    found = []
    for place in range(1, (await stream.stream_info("HEP")).state.last_seq + 1):
        message = await stream.get_msg("HEP", place)
        batch = Batch(Listener(server.url()))
        assert message.data is not None
        assert message.subject is not None
        assert message.headers is not None
        assert unpack(batch, message.data, 0) == 0
        found.append((message.subject, message.headers[BATCH], list(batch)))
    await client.close()
    return found


def test_every_packet_is_in_the_stream_once_whoever_is_killed(tmp_path: Path) -> None:
    packets = [hep(message) for message in calls(CALLS)]
    half = len(packets) // 2
    with (
        nats_server(tmp_path / "nats") as server,
        running_switch(tmp_path, EDGE.format(url=server.url())) as switch,
    ):
        switch.send_udp(*packets[:half])
        delivered(switch, half)

        server.kill()
        switch.send_udp(*packets[half:])
        book = switch.wait_stats(
            lambda book: (
                book["stores"]["bus"]["state"] not in ("", "active")
                and book["stores"]["bus"]["spooled"] == len(packets) - half
            ),
            "they wait in the journals",
        )
        assert server.host in book["stores"]["bus"]["state"]
        victims = [loader(switch), switch.workers()[0]]
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        server.start()
        delivered(switch, len(packets))
        found = asyncio.run(in_stream(server))
    stored = [packet for _, _, some in found for packet in some]
    assert Counter(stored) == Counter(packets)
    assert max(Counter(identity for _, identity, _ in found).values()) == 1
    subjects: dict[bytes, set[str]] = {}
    for subject, _, some in found:
        for packet in some:
            subjects.setdefault(Hep(packet).call_identity, set()).add(subject)
    assert len(subjects) == CALLS
    assert all(len(each) == 1 for each in subjects.values())
