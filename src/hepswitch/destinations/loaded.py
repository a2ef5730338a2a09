"""Stores that a loader looks after, databases and streams: what their tables in the configuration share.

Packets go into a journal on disk first, as with the lake, so that nothing waits for a server and nothing is lost while it is
away; a process of its own takes them on (`databases.loader`). Not here: the kinds of stores (`databases`, `streams`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from hepswitch.destinations.journaled import JournaledOutlet
from hepswitch.destinations.position import taken
from hepswitch.net.tls import anchored_options
from hepswitch.tables import Duration, Size, Table

SMALLEST_SEGMENT, LARGEST_SEGMENT = 64 << 10, 32 << 20
"""Bytes of a journal segment: an eighth of the spool within these."""


class LoadedStore(Table):
    """What every store has whose journals a loader takes on."""

    schemes: ClassVar[tuple[str, ...]]

    url: str
    flush: Annotated[Duration, Field(gt=0, le=60)] = Field(
        1.0, description="How long a packet may wait for others to be loaded with."
    )
    batch: int = Field(10_000, ge=1, le=100_000, description="So many packets do not wait for more.")
    connections: int = Field(2, ge=1, le=32, description="Batches that are loaded at the same time.")
    spool: Annotated[Size, Field(ge=1 << 20)] = Field(
        4 << 30, description="Bytes on disk that wait while the server is away. Beyond it the oldest are discarded."
    )
    queue: Annotated[Size, Field(ge=1 << 20, le=1 << 30)] = Field(
        64 << 20, description="Bytes that wait in memory, for each worker, while the disk refuses."
    )

    def anchored(self, absolute: Callable[[Path], Path]) -> LoadedStore:
        """The same with absolute paths, where there are any."""
        return self

    def build(self, name: str, worker: int, spool: Path) -> JournaledOutlet:
        """The outlet of the store `name` in worker number `worker`; packets wait below the folder `spool`."""
        path = spool_of(spool, name) / f"w{worker}"
        segment = max(SMALLEST_SEGMENT, min(LARGEST_SEGMENT, self.spool // 8))
        return JournaledOutlet(name, path, queue=self.queue, segment=segment, least_frame=lambda: taken(path))


def spool_of(spool: Path, name: str) -> Path:
    """Where the journals of the store `name` are, below the folder `spool`: no destination can have this name."""
    return spool / f"store:{name}"


def anchored_url(url: str, absolute: Callable[[Path], Path]) -> str:
    """The URL with the files of TLS absolute."""
    address, question, query = url.partition("?")
    return address + question + anchored_options(query, absolute)
