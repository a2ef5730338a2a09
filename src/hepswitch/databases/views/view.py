"""What a view is made of: which tables it fits, which column has what of the lake's, and how a row becomes one of the lake.

A layout need not have a column for what the payload says: the payload is read again. A column only narrows what is read.
Not here: conditions in SQL (`databases.narrowing`), reading payloads (`databases.rebuilt`).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from functools import lru_cache
from typing import Any

from hepswitch.lake.reader import Row
from hepswitch.lake.rows import EPOCH, MICROSECOND

SECOND = timedelta(seconds=1)

SIP = 1
PORT, LARGEST = 0xFFFF, 0xFFFFFFFF

IDENTITY = "call_id, else correlation_id"
"""Stands among the columns for one that has the Call-ID and, for what has none, the correlation id."""

OF_SIP = (
    "call_id", "method", "status", "reason", "cseq", "cseq_method", "ruri_user", "ruri_domain", "from_user", "from_domain",
    "from_tag", "to_user", "to_domain", "to_tag", "via_branch", "contact_user", "pid_user", "auth_user", "user_agent",
    "content_type", "reason_header", "callid_aleg",
)  # fmt: skip
"""The lake's columns that are null for what is no SIP."""


IN_ONE_LINE = (
    "ruri_user", "ruri_domain", "from_user", "from_domain", "from_tag", "to_user", "to_domain", "to_tag", "via_branch",
    "contact_user", "pid_user", "callid_aleg",
)  # fmt: skip
"""Those of them that stand in the payload as they are, so that it can be searched for them."""


class Kind(Enum):
    """How a column has what the lake's column would have."""

    TEXT = "as text, empty or null for nothing"
    NUMBER = "as a number"
    CODE = "a SIP status as text; anything else is none"
    INSIDE = "somewhere in this text, among other things"


@dataclass(frozen=True, slots=True)
class Held:
    """What of a lake's column the table has: `sql` over its `column`; text is cut after `size` characters (0: never)."""

    sql: str
    column: str
    kind: Kind = Kind.TEXT
    size: int = 0


@dataclass(frozen=True, slots=True)
class Constant:
    """The lake's column has the same value in every row of the table."""

    value: int | None


NEVER = Constant(None)


@dataclass(frozen=True, slots=True)
class Clock:
    """The column of a table by which its rows are found in time: indexed, in steps of `step`, rounded down.

    `value` turns a moment into what the database compares the column with, `moment` what it gives into a moment.
    `order`: what rows are sorted by, latest first, where it is not just the column.
    """

    column: str
    step: timedelta
    value: Callable[[datetime], Any]
    moment: Callable[[Any], datetime]
    order: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """How one kind of table shows the lake's columns.

    A table is of this kind when it has the columns `known_by` and its name matches `named` (a regular expression).
    `picked`: what is read of a row, by the name that `row` knows it by. `held` narrows what is read; a lake's column that is
    not in it can be anything. `indexed`: by which of the columns of `reader.TIES` rows are found at once.
    """

    known_by: frozenset[str]
    clock: Clock
    picked: Mapping[str, str]
    held: Mapping[str, Held | Constant]
    indexed: tuple[str, ...]
    row: Callable[[Mapping[str, Any]], Row]
    named: str = ".*"

    def fits(self, table: str, columns: Collection[str]) -> bool:
        """Whether a table is of this kind."""
        return self.known_by <= set(columns) and re.fullmatch(self.named, table) is not None

    def over(self, columns: Collection[str], opaque: Collection[str], sizes: Mapping[str, int]) -> View:
        """The same for a table that has these columns: what it lacks is read as null, and narrows nothing.

        In columns that are `opaque` no text can be found. Those in `sizes` hold so many characters, whatever the layout has.
        """
        picked = {name: column if column in columns else "" for name, column in self.picked.items()}
        held = {
            name: _cut(what, sizes)
            for name, what in self.held.items()
            if isinstance(what, Constant)
            or (what.column in columns and not (what.kind is Kind.INSIDE and what.column in opaque))
        }
        return replace(self, picked=picked, held=held)


def _cut(held: Held | Constant, sizes: Mapping[str, int]) -> Held | Constant:
    """The same in a table whose columns may be shorter than the layout's."""
    if isinstance(held, Constant) or held.kind is not Kind.TEXT:
        return held
    found = [size for size in (held.size, sizes.get(held.column)) if size]
    return replace(held, size=min(found, default=0))


@lru_cache(maxsize=4096)
def address(text: str | None) -> str | None:
    """An address; None for what is none, as other programs may have written it."""
    if not text:
        return None
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def number(value: Any, most: int) -> int | None:
    """A number from 1 to `most`, else None: 0 stands for nothing."""
    return int(value) if value and 0 < int(value) <= most else None


def octets(value: str | bytes | None) -> bytes | None:
    """A payload, from a column of either type."""
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def agent(text: str | None) -> Row:
    """Of the agent either its number or its name, where a column has the one or the other."""
    if text and text.isascii() and text.isdigit():
        return {"captagent_id": number(text, LARGEST)}
    return {"node_name": text or None}


def micros(value: int) -> datetime:
    """The moment that is so many µs after 1970."""
    return EPOCH + value * MICROSECOND
