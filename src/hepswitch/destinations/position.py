"""How far the journal of a store in a database has been loaded: the file `position` beside its segments. The loader writes
it; the books read it, and the worker, whose frames must not have numbers that are below.

Frames are numbered over all segments (`journal`). Not here: how it gets to disk (`whole_file`).
"""

from __future__ import annotations

import uuid
from pathlib import Path

import msgspec
import structlog

from hepswitch.destinations import whole_file

log = structlog.get_logger("hepswitch.position")

NAME = "position"


class Position(msgspec.Struct):
    """Where the loading of a journal stands, in frame numbers."""

    journal: str = msgspec.field(default_factory=lambda: uuid.uuid4().hex)
    """The journal's name in the database for as long as it exists: 32 hex digits."""
    done: int = 0
    """Every frame below has been dealt with: loaded, or counted in `discarded`."""
    taken: int = 0
    """Every frame below was taken into a batch."""
    begun: list[tuple[int, int]] = []
    """The batches that are not done, as (first, last): after a crash the very same are offered again."""
    discarded: dict[str, int] = {}
    """What did not get into the database, by reason, since there is this journal."""
    state: str = "active"
    """What hinders loading, or "active"."""


def read(folder: Path) -> Position | None:
    """The position of the journal in `folder`; None when there is none, or none that makes sense. Raises OSError."""
    try:
        return whole_file.read(folder / NAME, Position)
    except msgspec.DecodeError as error:
        log.warning("position unreadable", file=str(folder / NAME), error=str(error), starting="at the oldest packet")
        return None


def taken(folder: Path) -> int:
    """The number of the first frame that was not taken into a batch, as far as is known. Raises OSError."""
    known = read(folder)
    return 0 if known is None else known.taken


def write(folder: Path, position: Position) -> None:
    """Replace the position. Raises OSError; the old one stands then."""
    whole_file.write(folder / NAME, position)
