"""What tests of loaders have in common: a worker that writes the journal of a store, a loader that runs, the store's row."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from far_ends import packet
from hepswitch.databases.gauge import Gauge
from hepswitch.databases.loader import Loader
from hepswitch.destinations.loaded import LoadedStore


@contextlib.asynccontextmanager
async def loading(folder: Path, table: LoadedStore, drain: float = 5.0) -> AsyncIterator[asyncio.Event]:
    """A running loader of the store `bus`, whatever kind it is; its event ends it."""
    gone = asyncio.Event()
    task = asyncio.create_task(Loader("bus", table, folder / "store:bus").run(gone, drain))
    try:
        yield gone
    finally:
        gone.set()
        await task


@contextlib.asynccontextmanager
async def writing(folder: Path, table: LoadedStore, worker: int = 0) -> AsyncIterator[Callable[..., None]]:
    """An outlet of a worker; call it with the numbers of packets."""
    outlet = table.build("bus", worker, folder)
    await outlet.open()

    def put(*numbers: int, call: str = "c", size: int = 200) -> None:
        for number in numbers:
            assert outlet.offer(packet(number, call=call, size=size, time=1_795_000_000.5))
        outlet.flush()

    try:
        yield put
    finally:
        await outlet.close(1.0)


def row(gauge: Gauge) -> dict[str, Any]:
    """The store's row, when nothing waits in the workers."""
    found = gauge.complete({"queued": 0, "discarded": {}, "refused": {}, "state": "active"})
    assert found["accepted"] == found["delivered"] + found["spooled"] + sum(found["discarded"].values())
    return found
