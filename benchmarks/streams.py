"""What a packet costs on its way through a stream: `make bench`, or by itself.

Three NATS servers, each message on all of them. An edge that is at work gets a journal full of calls and publishes it,
then a storing node takes all of it out of the stream: each as fast as it goes, everything on this machine. The
results replace the table in docs/scaling.md. Not here: one server, and Kafka (`stores`); receiving and sealing (`run`,
`stores`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import harness
import stores
from harness import wait_for
from hepswitch.destinations import position
from run import machine, write

sys.path.insert(0, str(harness.ROOT / "examples"))
from fleet.nodes import Node
from fleet.streams import Nats

PAGE = harness.ROOT / "docs" / "scaling.md"
BEGIN, END = "<!-- streams: written by `make bench` -->", "<!-- end of streams -->"
EDGE, STORE = "journal → stream (edge, loader)", "stream → journal (storing node, worker)"


@dataclass(frozen=True, slots=True)
class Done:
    """What had been done by a moment: packets; CPU seconds of our process and of the servers; bytes these read and wrote."""

    packets: int
    at: float
    ours: float
    servers: float
    read: int
    written: int


class Stage:
    """A process of `node` at work, and the servers."""

    def __init__(self, stream: Nats, node: Node, role: str) -> None:
        self._stream, self._node, self._role = stream, node, role

    def done(self) -> Done:
        """By this moment."""
        packets = self._node.published + self._node.stored  # an edge stores nothing, a storing node publishes nothing
        servers, disk = sum(self._stream.cpu().values()), sum(map(_written, self._stream.pids))
        read = self._stream.traffic()["in_bytes"]
        return Done(packets, time.monotonic(), self._node.cpu()[self._role], servers, read, disk)

    def row(self, name: str, before: Done) -> str:
        """What has been done since then, as a row of the table."""
        now = self.done()
        packets = now.packets - before.packets
        figures = [
            f"{packets / (now.at - before.at):,.0f}",
            f"{(now.ours - before.ours) / packets * 1e6:.1f}",
            f"{(now.servers - before.servers) / packets * 1e6:.1f}",
            f"{(now.read - before.read) / packets:,.0f}",
            f"{(now.written - before.written) / packets:,.0f}",
        ]
        return f"| {name} | {' | '.join(figures)} |"


def _written(pid: int) -> int:
    """Bytes that a process has had written to disk."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


def measure(count: int) -> Iterator[str]:
    """The rows of the table, for `count` packets."""
    with harness.workplace() as folder, contextlib.ExitStack() as stack:
        stores.write_journal(folder / "full", count)
        stream = Nats(folder)
        stack.callback(stream.stop)
        url = stream.url()
        configurations = harness.ROOT / "examples" / "fleet" / "nats"
        settings = {"HEPSWITCH_LISTEN": '["udp://127.0.0.1:0"]', "HEPSWITCH_STORES__BUS__URL": url}
        edge = Node(folder, "edge", configurations / "edge.toml", settings)
        listen = json.dumps([stream.listen("1/1")])
        store = Node(folder, "store", configurations / "storing.toml", {"HEPSWITCH_LISTEN": listen})
        for node in (edge, store):
            stack.callback(node.close)
        edge.start()
        wait_for(lambda: edge.publishes, "a look at the first journal", 60.0)
        spool = edge.folder / "spool" / "store:bus"
        (folder / "full").rename(spool / "w1")
        wait_for(lambda: position.read(spool / "w1"), "a look at the journal")
        stage = Stage(stream, edge, "loader")
        before = stage.done()
        wait_for(lambda: edge.published >= count, "all packets in the stream", 600.0)
        yield stage.row(EDGE, before)
        store.start()
        stage = Stage(stream, store, "worker")
        wait_for(lambda: store.stored > 0, "the first packets", 60.0)
        before = stage.done()
        wait_for(lambda: store.stored >= count, "all packets in the store", 600.0)
        yield stage.row(STORE, before)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500_000, help="packets (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="few packets, nothing written")
    options = parser.parse_args()
    count = 20_000 if options.quick else options.count
    rows = [
        "| work | packets/s | our CPU µs | servers' CPU µs | servers read, bytes | servers wrote to disk, bytes |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in measure(count):
        print(row, flush=True)
        rows.append(row)
    said = f"{count:,} SIP messages of calls, 888 bytes on average as HEP; everything on one machine: {machine()}."
    if not options.quick:
        write(PAGE, "\n".join([said, "", *rows]), BEGIN, END)
    return 0


if __name__ == "__main__":
    sys.exit(main())
