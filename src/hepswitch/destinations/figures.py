"""What the loader of a database, the keeper and the uploader of a lake have done: a file in the folder of their store.

They are processes of their own, and may be killed. A file that is replaced as a whole needs no line to them that could
hang, and the next process goes on counting where the last one stopped: the numbers only grow, also over a restart of
the switch. Not here: packets (the books read them from the journals themselves), metrics (`control.metrics`).
"""

from __future__ import annotations

import time
from bisect import bisect_left
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from hepswitch.destinations import whole_file
from hepswitch.logs import Throttle, words

log = structlog.get_logger("hepswitch.figures")

NAME = "figures"
UPLOADS = "uploads"
"""That of an uploader, which has its folder together with a keeper."""

ACTIVE = "active"

LOG_EVERY = 60.0

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds: the upper ends of the buckets of `Durations`; what took longer goes into one more."""


class Durations(msgspec.Struct):
    """How long something took, each time."""

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    def __post_init__(self) -> None:
        if len(self.counts) != len(BOUNDS) + 1:
            raise ValueError("other buckets than ours")

    def add(self, seconds: float) -> None:
        """Once more."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


class Troubles(msgspec.Struct):
    """What went wrong."""

    errors: int = 0
    last_error_at: float | None = None
    """Unix time."""

    def note(self) -> None:
        """Something went wrong now."""
        self.errors += 1
        self.last_error_at = time.time()


class LoaderFigures(msgspec.Struct):
    """Of a loader. `rows` and `bytes` (of HEP) are in the database; `batches` says how many and how long each took.

    `errors`: batches that the server did not take, and packets that it never will.
    """

    rows: int = 0
    bytes: int = 0
    batches: Durations = msgspec.field(default_factory=Durations)
    troubles: Troubles = msgspec.field(default_factory=Troubles)


class KeeperFigures(msgspec.Struct):
    """Of a keeper. `files`, `bytes` (journals included) and when the oldest and newest file were written (Unix time) are as
    of its last round of deleting; of what was sealed since then, the bytes are those of the journal still."""

    segments: Durations = msgspec.field(default_factory=Durations)
    rows: int = 0
    deleted_files: int = 0
    deleted_bytes: int = 0
    files: int = 0
    bytes: int = 0
    oldest: float | None = None
    newest: float | None = None
    troubles: Troubles = msgspec.field(default_factory=Troubles)


class UploaderFigures(msgspec.Struct):
    """Of an uploader. `uploads` says how long each file took, `bytes` how big all were.

    `waiting_files` are old enough and not there yet, the oldest `due_since` (Unix time). `lost_files` went away here before
    they were uploaded; `released_files` were deleted here because they are there, `deleted_files` there because of `keep`.
    `state`: "active", or what is wrong.
    """

    uploads: Durations = msgspec.field(default_factory=Durations)
    bytes: int = 0
    waiting_files: int = 0
    waiting_bytes: int = 0
    due_since: float | None = None
    lost_files: int = 0
    lost_bytes: int = 0
    released_files: int = 0
    released_bytes: int = 0
    deleted_files: int = 0
    deleted_bytes: int = 0
    state: str = ACTIVE
    troubles: Troubles = msgspec.field(default_factory=Troubles)

    def row(self) -> dict[str, Any]:
        """What the books say about it (`hepswitch stats --json`)."""
        return {
            "files": sum(self.uploads.counts),
            "bytes": self.bytes,
            "waiting_files": self.waiting_files,
            "waiting_bytes": self.waiting_bytes,
            "lag": round(self.lag, 3),
            "lost_files": self.lost_files,
            "lost_bytes": self.lost_bytes,
            "failures": self.troubles.errors,
            "state": self.state,
        }

    @property
    def lag(self) -> float:
        """Seconds since the oldest waiting file was due."""
        return 0.0 if self.due_since is None else max(0.0, time.time() - self.due_since)


F = TypeVar("F", LoaderFigures, KeeperFigures, UploaderFigures)


def read(folder: Path, kind: type[F], name: str = NAME) -> F:
    """The figures of the store in `folder`; all 0 when there are none, or none that can be read."""
    try:
        return whole_file.read(folder / name, kind) or kind()
    except (OSError, msgspec.DecodeError) as error:
        log.debug("figures unreadable", file=str(folder / name), error=str(error))
        return kind()


class Ledger(Generic[F]):
    """The figures of the store in `folder`, by the process that makes them."""

    def __init__(self, folder: Path, kind: type[F], name: str = NAME) -> None:
        self.figures: F = read(folder, kind, name)
        self._path = folder / name
        self._written = b""
        self._throttle = Throttle(LOG_EVERY)

    def save(self) -> None:
        """Write them down if they have changed. What cannot be written now is written the next time."""
        text = msgspec.json.encode(self.figures)
        if text == self._written:
            return
        try:
            whole_file.write(self._path, self.figures)
            self._written = text
        except OSError as error:
            if (unsaid := self._throttle.due("write")) is not None:
                log.warning("figures cannot be written", file=str(self._path), error=words(error), not_logged=unsaid)
