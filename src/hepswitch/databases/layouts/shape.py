"""What every layout is made of: columns of a type that each kind of server has a word for, tables, and rows for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

import pyarrow as pa


class Type(Enum):
    """What a column holds. Rows have it as the Arrow type given; a server has its own word for it."""

    MOMENT = "µs with time zone"
    """timestamp[us, tz=UTC]; PostgreSQL timestamptz."""
    SECOND = "whole seconds, UTC, no time zone"
    """timestamp[s]; MySQL DATETIME, SQLite text `2026-11-25 19:30:00`."""
    INTEGER = "32 bits"
    """int32 or a smaller integer."""
    BIG = "64 bits"
    """int64."""
    TEXT = "short text"
    """string, no more than `Column.size` characters where the server wants a limit."""
    MESSAGE = "a payload"
    """binary: any bytes. Where a server's column holds text only, its module says what replaces what is none."""
    JSON = "JSON text"
    """string."""


class Column(NamedTuple):
    """A column. Null is allowed when there is no `default`; `default` is what stands there for nothing."""

    name: str
    type: Type
    size: int = 0
    default: str | int | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of a table: an `id` that the server counts up, then `columns`. `indexes`: columns of each index."""

    role: str
    """What is kept there, in the layout's words: `sip_capture`, `report_capture` …"""
    columns: tuple[Column, ...]
    indexes: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows for one table: `rows` has exactly the columns of `shape`, by name and in order."""

    table: str
    shape: Shape
    rows: pa.RecordBatch
    foreign: bool = False
    """The table is none that the store must have: a route named it, or it is of a day that only strange clocks speak of."""


class Layout(Protocol):
    """Rows out of records."""

    extras: Sequence[str]
    """Columns that it needs beside those of the record schema (`destinations.records.EXTRAS`)."""

    def pieces(self, batch: pa.RecordBatch) -> list[Piece]:
        """The rows of a batch, by table. Every record becomes one row, or none where `unfit` says so."""

    def unfit(self, batch: pa.RecordBatch) -> pa.StringArray | None:
        """For each record why this layout has no row for it (null: it has one); None when all have."""
