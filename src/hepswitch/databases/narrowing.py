"""Conditions as a server's SQL over one table: true of all rows that are meant, and perhaps of others.

What comes back is looked at again exactly (`reading`), so a column that is cut, a pattern that SQL says otherwise, or a
field without a column cost time and no truth. Not here: what the columns are (`views`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from hepswitch.databases.dialects import Dialect
from hepswitch.databases.views.view import IDENTITY, Constant, Held, Kind, View
from hepswitch.filters.language import parse
from hepswitch.filters.tree import And, Check, Not, Or, Tree
from hepswitch.lake.conditions import (
    Absent,
    Among,
    Between,
    Condition,
    Contains,
    Every,
    Like,
    OfCall,
    Since,
    Some,
    Until,
    same,
)
from hepswitch.lake.query import Query

LARGEST: Final = 0xFFFFFFFF
REPLACED: Final = "\ufffd"
"""What stands in the lake's columns for bytes that are no text."""

_LEAST_CODE, _MOST_CODE = 100, 999


def needed(query: Query) -> Condition:
    """All that servers can be asked of what `query` means."""
    said = query.said()
    if query.filter is None:
        return said
    of_filter = _of_tree(parse(query.filter, query.lists), True)
    return said if of_filter is None else Every((*said.parts, of_filter))


def _of_tree(tree: Tree, positive: bool) -> Condition | None:
    """What the condition (or its opposite) needs; None when that cannot be said in terms of columns."""
    match tree:
        case Not(part):
            return _of_tree(part, not positive)
        case And(parts) | Or(parts):
            found = [_of_tree(part, positive) for part in parts]
            said = tuple(part for part in found if part is not None)
            if isinstance(tree, And) == positive:
                return Every(said) if said else None
            return Some(said) if len(said) == len(found) else None
        case Check():
            return _of_check(tree) if positive else None


def _of_check(test: Check) -> Condition | None:
    column, wanted = test.ref.field.lake, test.value
    if column in (None, "payload", "chunks") or test.ref.kind == "yes/no":
        return None
    match test.op, wanted:
        case "=", str() | int():
            return Among(column, (wanted,))
        case "among", frozenset():
            return Among(column, tuple(sorted(wanted)))
        case "between", (int(low), int(high)):
            return Between(column, low, high)
        case ((">" | ">="), int()):
            return Between(column, wanted, LARGEST)
        case (("<" | "<="), int()):
            return Between(column, 0, wanted)
    return None


class Statement:
    """SQL in the making, with its values in the order of their placeholders."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.values: list[Any] = []

    def mark(self, value: Any) -> str:
        """A placeholder for a value."""
        bound = self.dialect.bound(value)
        self.values.append(bound)
        return self.dialect.mark(len(self.values), bound)

    def where(self, condition: Condition, view: View) -> str | bool:
        """The condition over a table that `view` fits; True where nothing can be said, False where no row can be meant."""
        match condition:
            case Every(parts):
                return self._joined(parts, view, False)
            case Some(parts):
                return self._joined(parts, view, True)
            case OfCall(name):
                return self.where(same(IDENTITY, name) if IDENTITY in view.held else _of_call(name), view)
            case Since(moment):
                return f"{self._clock(view)} >= {self.mark(view.clock.value(moment))}"
            case Until(moment):
                # A moment within the column's step belongs to the row before it, too.
                return f"{self._clock(view)} <= {self.mark(view.clock.value(moment))}"
        held = view.held.get(condition.column)
        if isinstance(held, Constant):
            return _of_constant(condition, held.value)
        return True if held is None else self._of_column(condition, held)

    def _joined(self, parts: Sequence[Condition], view: View, either: bool) -> str | bool:
        """`either` of the parts, or all of them."""
        before = len(self.values)
        said: list[str] = []
        for part in parts:
            sql = self.where(part, view)
            if sql is either:
                del self.values[before:]
                return either
            if isinstance(sql, str):
                said.append(sql)
        return f"({(' or ' if either else ' and ').join(said)})" if said else not either

    def _clock(self, view: View) -> str:
        return self.dialect.quoted(view.clock.column)

    def _of_column(self, condition: Among | Like | Contains | Between | Absent, held: Held) -> str | bool:
        match condition, held.kind:
            case Absent(), Kind.TEXT:
                return self.dialect.absent(held.sql)
            case Among(_, values), Kind.INSIDE:
                return self._inside([str(value) for value in values], held)
            case Among(_, values), Kind.NUMBER:
                return f"{held.sql} in ({', '.join(map(self.mark, values))})"
            case Among(_, values), _:
                texts = [self._cut(str(value), held) for value in values]
                return f"{held.sql} in ({', '.join(map(self.mark, texts))})"
            case Between(_, low, high), Kind.NUMBER:
                return f"{held.sql} between {self.mark(low)} and {self.mark(high)}"
            case Between(_, low, high), Kind.CODE:
                short = f"{self.dialect.length}({held.sql}) < 3"
                within = max(low, _LEAST_CODE), min(high, _MOST_CODE)
                if within[0] > within[1]:
                    return short if low < _LEAST_CODE else False
                codes = f"{held.sql} between {self.mark(str(within[0]))} and {self.mark(str(within[1]))}"
                return f"({codes} or {short})" if low < _LEAST_CODE else codes
            case Like(_, pattern), Kind.INSIDE:
                if REPLACED in pattern:
                    return True
                found = self.dialect.like(held.sql, self.mark(f"%{self._pattern(pattern)}%"))
                return f"({found} or {self._json(held)})"
            case Like(_, pattern), Kind.TEXT:
                return self._or_cut(self.dialect.like(held.sql, self.mark(self._pattern(pattern))), held)
            case Contains(_, text), Kind.TEXT:
                pattern = self.mark(self._anywhere(text))
                return self._or_cut(self.dialect.like_any_case(held.sql, pattern), held)
        return True

    def _cut(self, text: str, held: Held) -> str:
        return text[: held.size] if held.size else text

    def _or_cut(self, sql: str, held: Held) -> str:
        """What was cut may match in the part that is not there."""
        return f"({sql} or {self.dialect.length}({held.sql}) >= {held.size})" if held.size else sql

    def _inside(self, texts: Sequence[str], held: Held) -> str | bool:
        if any(REPLACED in text or not text for text in texts):
            return True
        found = [self.dialect.found_in(self.mark(text), held.sql) for text in texts]
        return f"({' or '.join([*found, self._json(held)])})"

    def _json(self, held: Held) -> str:
        """In JSON a text may be written in another way."""
        return self.dialect.like(held.sql, self.mark("{%"))

    def _pattern(self, glob: str) -> str:
        """A pattern of `like` that matches whatever `glob` does. Ranges and escapes match anything."""
        plain = re.split(r"[*?]|\[.*", glob.partition("\\")[0], flags=re.DOTALL)
        return "%".join(map(self.dialect.plain, plain)) + ("%" if "[" in glob or "\\" in glob else "")

    def _anywhere(self, text: str) -> str:
        """A pattern that finds the text in either case. Letters beyond ASCII have another idea of case in each database.

        So have i and k, which are İ and the sign of Kelvin in lower case.
        """
        parts = "%".join(map(self.dialect.plain, re.split(r"[^\x00-\x7f]+|[ik]", text, flags=re.IGNORECASE)))
        return f"%{parts}%"


def _of_call(name: str) -> Condition:
    """What `OfCall` is in columns that may have an empty text for nothing: each part of it by itself finds an index."""
    nothing = Absent("call_id"), Among("call_id", ("",))
    return Some((same("call_id", name), *(Every((none, same("correlation_id", name))) for none in nothing)))


def _of_constant(condition: Among | Like | Contains | Between | Absent, value: int | None) -> bool:
    match condition:
        case Absent():
            return value is None
        case Among(_, values):
            return value in values
        case Between(_, low, high):
            return value is not None and low <= value <= high
        case Like() | Contains():
            return value is not None
