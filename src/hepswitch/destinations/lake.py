"""The lake as a store: packets go into this worker's journal, from where the keeper seals them into Parquet.

    [stores.lake]
    url = "lake:./captures"
    keep = "7d"

Delivered means written: the packet survives the death of the process. Packets are written in blocks, at the latest
`flush` after they came. Not here: writing (`journaled`), Parquet (`lake.sealer`), queries (`lake.lake`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from hepswitch.destinations.journaled import FLUSH, ROLL_AFTER, JournaledOutlet
from hepswitch.tables import Duration, Size, Table
from hepswitch.units import parse_duration, parse_size

SEALED_NAME = re.compile(r"w(\d+)-(?:\d+-)?(\d+)\.parquet")


def _lake_url(text: str) -> str:
    if not text.startswith("lake:") or not text.removeprefix("lake:"):
        raise ValueError(
            f'{text!r} is no store known here: write for example url = "lake:./captures", "sqlite:captures.db", '
            '"postgresql://user@host/database", "mysql://…" or "clickhouse://…"'
        )
    return text


def _keep(text: str | float | None) -> float | None:
    if text in (None, "forever"):
        return None
    seconds = parse_duration(text)
    if not seconds:
        raise ValueError('keep must be above 0, or "forever"')
    return seconds


class LakeStore(Table):
    """`[stores.NAME]`: an embedded store, a folder of Parquet files."""

    url: Annotated[str, AfterValidator(_lake_url)] = Field("lake:./captures", description="lake:FOLDER.")
    keep: Annotated[float | None, BeforeValidator(_keep)] = Field(
        "7d",
        validate_default=True,
        description='How long packets are kept, counted from when they were written ("forever": until max_size).',
    )
    max_size: Annotated[int | None, BeforeValidator(lambda text: None if text is None else parse_size(text))] = Field(
        None, description="The files written first are deleted when the lake has grown beyond this size."
    )
    segment: Annotated[Size, Field(ge=64 << 10, le=1 << 30)] = Field(
        32 << 20, description="A journal segment of this size is closed and sealed into Parquet."
    )
    seal_after: Annotated[Duration, Field(gt=0)] = Field(ROLL_AFTER, description="A segment this old is closed, too.")
    flush: Annotated[Duration, Field(gt=0, le=10)] = Field(
        FLUSH, description="How long a packet may wait in memory for others to be written with."
    )
    queue: Annotated[Size, Field(ge=1 << 20, le=1 << 30)] = Field(
        64 << 20, description="Bytes that wait in memory, for each worker, while the disk refuses."
    )

    @field_validator("max_size")
    @classmethod
    def _room_for_something(cls, size: int | None) -> int | None:
        if size == 0:
            raise ValueError("max_size must be above 0: leave it away for no limit")
        return size

    @property
    def path(self) -> Path:
        """The lake's folder."""
        return Path(self.url.removeprefix("lake:"))

    def anchored(self, absolute: Callable[[Path], Path]) -> LakeStore:
        """The same with an absolute path."""
        return self.model_copy(update={"url": f"lake:{absolute(self.path)}"})

    def build(self, name: str, worker: int, spool: Path) -> JournaledOutlet:
        """The outlet of the store `name` in worker number `worker`."""
        return JournaledOutlet(
            name,
            self.path / "journal" / f"w{worker}",
            queue=self.queue,
            segment=self.segment,
            roll_after=self.seal_after,
            flush=self.flush,
            least_segment=functools.partial(_after_sealed, self.path, worker),
        )


def _after_sealed(root: Path, worker: int) -> int:
    """One more than the highest segment of `worker` that was ever sealed, should the journal's folder be lost."""
    names = (SEALED_NAME.fullmatch(file.name) for file in root.glob(f"date=*/hour=*/w{worker}-*.parquet"))
    return max((int(name[2]) + 1 for name in names if name), default=0)
