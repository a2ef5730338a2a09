"""What the condition of a question is made of: tests of the lake's columns, joined by `Every` and `Some`.

`in_duckdb` says it to DuckDB; other databases have words of their own (`databases.narrowing`).
Not here: which tests a question comes to (`query`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

Sql = tuple[str, list[Any]]
"""A condition with `?` for every value, and the values."""


@dataclass(frozen=True, slots=True)
class Among:
    """The column is one of these values."""

    column: str
    values: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Like:
    """The text matches a pattern of DuckDB's `glob`: `*` anything, `?` one character, `[abc]` one of these."""

    column: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Contains:
    """The text contains this, in upper or lower case."""

    column: str
    text: str


@dataclass(frozen=True, slots=True)
class Between:
    """The number is between these, both included."""

    column: str
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Absent:
    """The column is null."""

    column: str


@dataclass(frozen=True, slots=True)
class OfCall:
    """The call's name (or a pattern of it) is the Call-ID, or the correlation id of what has none."""

    name: str

    def in_full(self) -> Condition:
        """The same in terms of the others."""
        return Some((same("call_id", self.name), Every((Absent("call_id"), same("correlation_id", self.name)))))


@dataclass(frozen=True, slots=True)
class Since:
    """`ts` is then or later."""

    moment: datetime


@dataclass(frozen=True, slots=True)
class Until:
    """`ts` is earlier."""

    moment: datetime


@dataclass(frozen=True, slots=True)
class Every:
    """All of these hold; true when there are none."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one of these holds; false when there are none."""

    parts: tuple[Condition, ...]


Condition = Among | Like | Contains | Between | Absent | OfCall | Since | Until | Every | Some


def same(column: str, value: str) -> Condition:
    """The text is `value`, or matches it where it is a pattern."""
    return Like(column, value) if is_pattern(value) else Among(column, (value,))


def is_pattern(value: str) -> bool:
    """Whether a person means a pattern by it."""
    return "*" in value or "?" in value


def in_duckdb(condition: Condition) -> Sql:
    """The condition as DuckDB says it."""
    match condition:
        case Among(column, (value,)):
            return f"{column} = ?", [value]
        case Among(column, values):
            return f"{column} in ({', '.join('?' * len(values))})", list(values)
        case Like(column, pattern):
            return f"{column} glob ?", [pattern]
        case Contains(column, text):
            return f"contains(lower({column}), lower(?))", [text]
        case Between(column, low, high):
            return f"{column} between ? and ?", [low, high]
        case Absent(column):
            return f"{column} is null", []
        case OfCall():
            return in_duckdb(condition.in_full())
        case Since(moment):
            return "ts >= ?", [moment]
        case Until(moment):
            return "ts < ?", [moment]
        case Every(parts):
            return _joined(" and ", parts) if parts else ("true", [])
        case Some(parts):
            return _joined(" or ", parts) if parts else ("false", [])


def _joined(word: str, parts: tuple[Condition, ...]) -> Sql:
    said = [in_duckdb(part) for part in parts]
    return f"({word.join(sql for sql, _ in said)})", [value for _, values in said for value in values]
