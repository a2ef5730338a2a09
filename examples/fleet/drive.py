"""A fleet from its start to its books: two edges, a stream, two storing nodes, packets, and one of each kind killed in turn.

    senders ──UDP──▶ edge1, edge2 ──▶ stream of three servers ──▶ store1, store2 ──▶ a lake each, or one in object storage

Not here: the command line (`run`), what is measured on the way (`watch`), what must hold in the end (`books`).
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import harness
import traffic
from fleet.books import Books, Found, settle
from fleet.nodes import Node
from fleet.streams import STREAMS
from fleet.watch import Calm, Incident, Moment, Watch
from harness import Program, wait_for
from hepswitch.lake.lake import Lake
from hepswitch.lake.remote_part import RemotePart
from object_storage import Bucket, ObjectStorage
from servers import free_port

HERE = Path(__file__).parent

PATIENCE = 120.0
"""Seconds without a packet stored, after which the rest is given up: then the books say what is missing."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is driven: `rate` packets a second over both edges for `seconds`; what is killed stays `away` seconds."""

    stream: str = "nats"
    rate: int = 2000
    seconds: float = 60.0
    away: float = 3.0
    kills: bool = True
    s3: bool = False
    """Both storing nodes write one lake in object storage."""

    @property
    def count(self) -> int:
        """Packets for each edge."""
        return int(self.rate * self.seconds / 2)


def drive(plan: Plan, folder: Path, say: Say) -> Books:
    """All of it in the empty `folder`; `say` is told what happens. AssertionError when something does not start or end."""
    with contextlib.ExitStack() as stack:
        fleet = Fleet(plan, folder, stack, say)
        fleet.load()
        fleet.rest()
        return fleet.books()


class Fleet:
    """The servers of a fleet, all up; they end with `stack`."""

    def __init__(self, plan: Plan, folder: Path, stack: contextlib.ExitStack, say: Say) -> None:
        self._plan, self._say = plan, say
        self._stream = stream = STREAMS[plan.stream](folder)
        stack.callback(stream.stop)
        self._edges = [
            Node(folder, f"edge{number}", HERE / stream.scheme / "edge.toml", {
                "HEPSWITCH_LISTEN": json.dumps([f"udp://127.0.0.1:{free_port()}"]),
                "HEPSWITCH_STORES__BUS__URL": stream.url(),
            })
            for number in (1, 2)
        ]  # fmt: skip
        self._bucket = _bucket(folder / "s3", stack) if plan.s3 else None
        self._stores = [
            Node(folder, f"store{number}", HERE / stream.scheme / "storing.toml", {
                "HEPSWITCH_LISTEN": json.dumps([stream.listen(f"{number}/2")]),
                **({} if self._bucket is None else _uploading(self._bucket, f"store{number}")),
            })
            for number in (1, 2)
        ]  # fmt: skip
        for node in self._nodes:
            stack.callback(node.close)
        _at_once(Node.start, self._nodes)
        wait_for(lambda: all(edge.publishes for edge in self._edges), "edges that publish")
        say(f"{stream.url()}, {', '.join(node.name for node in self._nodes)} are up")
        self._watch = Watch(self._edges, self._stores)
        self._sent: list[int] = []
        self._incidents: list[Incident] = []
        self._calm: Calm = {}

    @property
    def _nodes(self) -> list[Node]:
        return [*self._stores, *self._edges]

    def load(self) -> None:
        """Send the packets, and let things happen meanwhile."""
        seconds = self._plan.seconds
        with contextlib.ExitStack() as stack:
            senders = [stack.enter_context(self._sender(number)) for number in range(len(self._edges))]
            self._watch.start()
            self._pass(0.1 * seconds)
            before = Moment.of(self._edges, self._stores, self._stream)
            self._pass(0.2 * seconds)
            self._calm = Moment.of(self._edges, self._stores, self._stream).since(before)
            if self._plan.kills:
                self._happens(0.2 * seconds, self._edges[0].kill, self._edges[0].start)
                self._happens(0.45 * seconds, self._stream.hurt, self._stream.mend)
                self._happens(0.7 * seconds, self._stores[0].kill, self._stores[0].start)
            self._sent = [sender.finish(seconds + 60.0)["sent"] for sender in senders]
        self._say(f"{sum(self._sent)} packets sent, {self._watch.behind()} on their way")

    def _sender(self, edge: int) -> Program:
        """Sends the packets of an edge."""
        count, node = self._plan.count, self._edges[edge]
        return harness.blast(node.address, frames(node.folder, edge), count, self._plan.rate // 2, max(count // 7, 1))

    def _happens(self, at: float, hurt: Callable[[], str], mend: Callable[[], None]) -> None:
        """Do harm and make it good again."""
        self._pass(at)
        incident = Incident(hurt(), self._watch.now)
        self._incidents.append(incident)
        self._say(f"{incident.began:6.1f} s: {incident.what}")
        self._pass(self._watch.now + self._plan.away)
        mend()
        incident.mended = self._watch.now
        self._say(f"{incident.mended:6.1f} s: back")

    def _pass(self, until: float) -> None:
        """Let the fleet work until that many seconds after the first packet."""
        time.sleep(max(0.0, until - self._watch.now))

    def rest(self) -> None:
        """Wait until nothing is on its way any more, or nothing has come for a long while."""
        least, since = self._watch.behind(), time.monotonic()

        def over() -> bool:
            nonlocal least, since
            behind = self._watch.behind()
            if behind != least:
                least, since = behind, time.monotonic()
            return behind == 0 or time.monotonic() - since > PATIENCE

        wait_for(over, "an end of what is on its way", float("inf"))
        self._watch.end()
        self._say(f"{self._watch.now:6.1f} s: all that will come has come")
        if self._bucket is not None:
            bucket, stored = self._bucket, sum(node.stored for node in self._stores)
            wait_for(lambda: _count(_remote(bucket)) >= stored, "all packets in object storage", PATIENCE)
            self._say(f"{self._watch.now:6.1f} s: all of it is in object storage: {len(bucket.names())} files")

    def books(self) -> Books:
        """End everything, and see what has come of it."""
        held = self._stream.held()
        _at_once(Node.stop, self._nodes)
        found = Found(self._sent)
        for lake in [Lake(node.lake) for node in self._stores] if self._bucket is None else [_remote(self._bucket)]:
            found.add(lake)
        books = settle(self._edges, self._stores, self._sent, self._plan.rate / 2, held, found)
        books.figures["incidents"] = self._watch.told(self._incidents, self._plan.rate)
        books.figures["calm"] = self._calm
        return books


def _bucket(folder: Path, stack: contextlib.ExitStack) -> Bucket:
    """A bucket of an S3 server that ends with `stack`."""
    folder.mkdir()
    storage = ObjectStorage(folder)
    stack.callback(storage.stop)
    return storage.bucket()


def _uploading(bucket: Bucket, node: str) -> dict[str, str]:
    """What makes a node's lake a part of the one there: quickly, as nobody waits five minutes for an example."""
    keys = {**bucket.table, "node": node, "seal_after": "5s", "upload_after": "5s"}
    return {f"HEPSWITCH_STORES__LAKE__{key.upper()}": value for key, value in keys.items()}


def _remote(bucket: Bucket) -> Lake:
    """The lake there, read without any node."""
    return Lake(None, remote=RemotePart(bucket.remote(), None, _refuse))


def _refuse(warning: str) -> None:
    raise AssertionError(f"the lake in object storage is not all there: {warning}")


def _count(lake: Lake) -> int:
    """The packets in a lake."""
    _, [(count,)] = lake.sql("SELECT count(*) FROM messages")
    return int(count)


def _at_once(do: Callable[[Node], None], nodes: Sequence[Node]) -> None:
    """Do it with all nodes side by side, and wait for it. Raises what the first of them raised that failed."""
    with ThreadPoolExecutor() as threads:
        for _ in threads.map(do, nodes):
            pass


def frames(folder: Path, edge: int) -> Path:
    """A file for `blast`: the messages of some calls, with room for the numbers of calls and packets, and the edge's."""
    heads = f"{harness.CALL}00000000\r\nX-Edge: {edge}\r\n{harness.NUMBER}000000000\r\n".encode()
    path = folder / "calls.hep"
    with path.open("wb") as file:
        for message in traffic.calls(100):
            payload = re.sub(rb"Call-ID: .*\r\n", heads, message.payload)
            file.write(traffic.hep(replace(message, time=time.time(), payload=payload)))
    return path
