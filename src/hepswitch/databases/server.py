"""What the loader asks of a server: rows in, whole and once. A module for each kind of server keeps this contract.

Not here: which rows (`layouts`), when and in what batches (`loader`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from hepswitch.databases.layouts.shape import Layout, Piece

MARKS = "hepswitch_loaded"
"""The table that remembers which batches were loaded: journal, first, last (frame numbers), loaded_at."""


class ContentError(Exception):
    """The server will never take these rows; says why. Nothing of the batch was stored.

    `table`: a route named it, and it takes no row whatever is in it, so that nobody has to find out which row it is.
    """

    def __init__(self, text: str, table: str | None = None) -> None:
        super().__init__(text)
        self.table = table


def unusable(piece: Piece, text: str) -> OSError | ContentError:
    """The error to raise for a table that is missing or has not the columns of the piece; `text` says it.

    The store's own tables somebody will mend, and rows wait for it. A foreign one must not hold up the others.
    """
    return ContentError(text, piece.table) if piece.foreign else OSError(text)


class Mark(NamedTuple):
    """Which frames a batch is: `first` up to, but not including, `last` of the journal `journal` (32 hex digits).

    `done`: every frame below it is loaded; marks that end there or before may be forgotten.
    """

    journal: str
    first: int
    last: int
    done: int


class Server(Protocol):
    """One connection. Methods are called one at a time."""

    layout: Layout
    """Which rows it makes of records."""

    async def open(self) -> None:
        """Connect. OSError when the server is away, refuses, or lacks something; its text says what to do."""

    async def load(self, batch: pa.RecordBatch, mark: Mark) -> None:
        """Store the rows of a batch and its mark in one transaction, or nothing when the mark is there already.

        A batch that was given up half-way may be offered again with the same mark: its rows are stored once.
        OSError: the server is away, busy, or lacks a table or a right; the batch is offered again later, after `close` and
        `open`. ContentError: it is the rows; the loader finds out which.
        """

    async def maintain(self) -> None:
        """What is to be done from time to time: partitions ahead, old ones away, indexes. OSError as above.

        Called after `open` and about once a minute on one connection of a store.
        """

    async def rows(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """What a query gives. Placeholders are the driver's own. OSError as above; ValueError when the query is wrong."""

    async def close(self) -> None:
        """Let go of the connection, without waiting for a server that does not answer."""
