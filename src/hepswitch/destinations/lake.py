"""The lake as a store: packets go into this worker's journal, from where the keeper seals them into Parquet.

    [stores.lake]
    url = "lake:./captures"
    keep = "7d"
    remote = "s3://bucket/lake?region=eu-central-1"

Delivered means written: the packet survives the death of the process. Packets are written in blocks, at the latest
`flush` after they came. Not here: writing (`journaled`), Parquet (`lake.sealer`), uploading (`lake.uploader`), queries
(`lake.lake`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from hepswitch.destinations.journaled import FLUSH, ROLL_AFTER, JournaledOutlet
from hepswitch.destinations.remote_url import NODE, RemoteUrl
from hepswitch.tables import Duration, Secret, Size, Table
from hepswitch.units import parse_duration, parse_size

REMOTE_KEYS = ("access_key", "secret_key", "node", "upload_after", "keep_local")
"""What says something about `remote` only."""

SEALED_NAME = re.compile(r"w(\d+)-(?:\d+-)?(\d+)\.parquet")


def _lake_url(text: str) -> str:
    if not text.startswith("lake:") or not text.removeprefix("lake:"):
        raise ValueError(
            f'{text!r} is no store known here: write for example url = "lake:./captures", "sqlite:captures.db", '
            '"postgresql://user@host/database", "mysql://…" or "clickhouse://…"'
        )
    return text


def _remote_url(text: str) -> str:
    RemoteUrl.parse(text)
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
    remote: Annotated[str, AfterValidator(_remote_url)] | None = Field(
        None,
        description="Where the files go, too: s3://BUCKET[/PREFIX][?endpoint=https://HOST:PORT][&region=NAME][&ca=FILE] or "
        "file:///FOLDER. Several nodes may write to one place.",
    )
    access_key: Secret | None = Field(
        None,
        description='The key of the storage: a text, "env:NAME" or "file:PATH". Without it: what the environment, the '
        "configuration files of AWS or the machine's role say.",
    )
    secret_key: Secret | None = Field(None, description="What belongs to access_key.")
    node: Annotated[str, Field(pattern=rf"^{NODE.pattern}$", max_length=100)] | None = Field(
        None,
        description="What the names of this node's files begin with. Without it: the host name, as it was when the first "
        'file was uploaded, with "_" for "-".',
    )
    upload_after: Duration = Field(300.0, description="A file this old is uploaded: most merging is done by then.")
    keep_local: Annotated[Duration, Field(gt=0)] | None = Field(
        None, description="How long uploaded files stay in the folder. Without it: as long as keep says."
    )

    @field_validator("max_size")
    @classmethod
    def _room_for_something(cls, size: int | None) -> int | None:
        if size == 0:
            raise ValueError("max_size must be above 0: leave it away for no limit")
        return size

    @model_validator(mode="after")
    def _belongs_to_a_remote(self) -> LakeStore:
        idle = [name for name in REMOTE_KEYS if getattr(self, name) != type(self).model_fields[name].default]
        if self.remote is None and idle:
            raise ValueError(
                f'{idle[0]} is for a lake with remote = "s3://…": write that, too, or leave {idle[0]} away'
            )
        if (self.access_key is None) != (self.secret_key is None):
            raise ValueError("access_key and secret_key come together: give both, or none")
        return self

    @property
    def path(self) -> Path:
        """The lake's folder."""
        return Path(self.url.removeprefix("lake:"))

    def anchored(self, absolute: Callable[[Path], Path]) -> LakeStore:
        """The same with absolute paths."""
        remote = self.remote and RemoteUrl.parse(self.remote).anchored(absolute)
        return self.model_copy(update={"url": f"lake:{absolute(self.path)}", "remote": remote})

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
