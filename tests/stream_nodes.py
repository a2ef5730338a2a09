"""A storing node for tests of streams: a source, a flow and a store in the test's own process; and messages to publish."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path

from far_ends import number, packet
from hepswitch import books
from hepswitch.destinations.journaled import JournaledOutlet
from hepswitch.journal import read_blocks, segments
from hepswitch.routing.flow import Flow
from hepswitch.routing.packet import Context
from hepswitch.sources import ways
from hepswitch.sources.inlet import Inlet, Places, Source
from hepswitch.wire import record


def body(*numbers: int) -> bytes:
    """The packets of these numbers, as a message has them."""
    return b"".join(bytes(packet(each)) for each in numbers)


def identity(first: int, last: int, journal: str = "0" * 32) -> str:
    """The id of a message with these packets."""
    return f"{journal}-{first}-{last}-feed"


def stored(folder: Path) -> Counter[int]:
    """How often each packet is in the journals of the store in `folder`."""
    return Counter(
        number(record.read(frame).hep)
        for journal in folder.glob("w*")
        for segment in segments(journal)
        for block in read_blocks(segment.path)
        for frame in block
    )


class StoringNode:
    """A listener on `url` and a store in `folder`."""

    def __init__(self, url: str, folder: Path, worker: int = 0) -> None:
        self.folder = folder
        endpoint = ways.parse(url)
        way = ways.WAYS[endpoint.scheme]
        way.bind(endpoint, 1, 0)
        self.store = JournaledOutlet("lake", folder / f"w{worker}", queue=1 << 20, segment=1 << 20)
        self.listener = books.Listener(way.name(endpoint, []), keyless=way.KEYLESS)
        self.routed = books.Routed()
        self.errors: list[BaseException] = []
        flow = Flow(
            Context({}, {"lake": self.store}, self.store, self.routed), lambda _, error: self.errors.append(error)
        )
        self.source: Source = way.source(
            Inlet(
                endpoint=endpoint, sockets=[], listener=self.listener, flow=flow, after=self.store.flush,
                written=self.written, allowed=lambda _: True, places=Places(), worker=0, reader=0, folder=folder,
            )
        )  # fmt: skip
        self.store.on_pressure = self._press

    def _press(self) -> None:
        self.source.pause() if self.store.full else self.source.resume()  # type: ignore[attr-defined]

    def written(self) -> Awaitable[bool]:
        waits = self.store.written()

        async def wait() -> bool:
            if waits is not None:
                await asyncio.wait([waits])
            return waits is None or waits.result()

        return wait()

    async def start(self) -> None:
        await self.store.open()
        await self.source.start(asyncio.get_running_loop())

    async def stop(self) -> None:
        await self.source.stop()
        await self.store.close(1.0)
        assert not self.errors
        row = self.listener
        assert row.packets == row.malformed + sum(row.refused.values()) + self.routed.packets

    @property
    def stored(self) -> Counter[int]:
        """How often each packet is in the store."""
        return stored(self.folder)

    def has(self, *numbers: int) -> bool:
        """Whether the store has exactly these packets, each once."""
        return self.stored == Counter(dict.fromkeys(numbers, 1))
