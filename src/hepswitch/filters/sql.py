"""Conditions as SQL over a lake's view `messages`: text → a condition of DuckDB's dialect with `?`, and its values.

SQL itself compares, so that columns' statistics let files be passed over. Whatever SQL would do in another way than `python`
does (regular expressions, networks, lists), or cannot do (header fields, chunks without a column), becomes an `Ask`: fetch
the values of a column among the rows that can be meant at all, test them here, and offer the keys that passed as a table for
the condition to look in. So both back ends answer alike. The one difference: text that is not UTF-8 shows U+FFFD in a lake.

Not here: DuckDB (`lake.reader` asks), other conditions of a search.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from hepswitch.filters.errors import FilterError
from hepswitch.filters.fields import COLUMN_CHUNKS, FIELDS
from hepswitch.filters.language import parse
from hepswitch.filters.python import Lists, compile_ref, predicate
from hepswitch.filters.tree import And, Check, Not, Or, Tree
from hepswitch.wire.chunks import by_id
from hepswitch.wire.hep import Hep
from hepswitch.wire.sip import Sip, looks_like_sip
from hepswitch.wire.values import unwrap

Sql = tuple[str, list[Any]]
"""A condition with `?`, and the values for them."""

_NO_LISTS: Final[Lists] = {}
_COMPARED: Final = ("present", "=", "<", "<=", ">", ">=", "between", "among", "contains")
_YES: Final = {
    "sip": "coalesce(method, status::varchar, call_id) is not null",
    "sip.is_request": "method is not null",
}
_CAN_BE_SIP: Final = "coalesce(proto_type, 1) in (0, 1, 50)"


@dataclass(frozen=True, slots=True)
class Ask:
    """A question whose answer the condition needs as a table `table` with the one column `key` (text).

    It is to hold `key` of the rows whose `value` passes `test`; null never passes. Both are SQL expressions over `messages`,
    `distinct` says whether few different values are expected.
    """

    table: str
    key: str
    value: str
    distinct: bool
    test: Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition over `messages`.

    `exact` holds for the rows that are meant, once `asks` are answered. `candidates` needs no answers and holds for all of
    them and perhaps for others.
    """

    exact: Sql
    candidates: Sql
    asks: list[Ask] = field(default_factory=list)


def compile_sql(text: str, lists: Lists = _NO_LISTS) -> Filter:
    """The condition `text` as SQL. Raises FilterError, also where it names what a lake does not keep."""
    asks: list[Ask] = []

    def exact(test: Check) -> Sql:
        return _compared(test) if _by_sql(test) else _asked(text, test, lists, asks)

    tree = parse(text, lists)
    made = _rendered(tree, True, exact)
    return Filter(made, _rendered(tree, True, lambda test: _compared(test) if _by_sql(test) else None), asks)


def _rendered(tree: Tree, positive: bool, leaf: Callable[[Check], Sql | None]) -> Sql:
    """The tree, or its opposite, as SQL. `not` is pushed down to the tests: where `leaf` cannot say, either may hold."""
    match tree:
        case Not(part):
            return _rendered(part, not positive, leaf)
        case And(parts) | Or(parts):
            found = [_rendered(part, positive, leaf) for part in parts]
            word = " and " if isinstance(tree, And) == positive else " or "
            return f"({word.join(sql for sql, _ in found)})", [value for _, values in found for value in values]
        case Check():
            said = leaf(tree)
            if said is None:
                return "true", []
            return said if positive else (f"({said[0]}) is not true", said[1])


def _by_sql(test: Check) -> bool:
    """Whether the test is a comparison with a column of its own."""
    lake = test.ref.field.lake
    return test.ref.field.name in _YES or (lake not in (None, "payload", "chunks") and test.op in _COMPARED)


def _compared(test: Check) -> Sql:
    wanted: Any = test.value
    if test.ref.field.name in _YES:
        return _YES[test.ref.field.name], []
    column = test.ref.field.lake
    match test.op:
        case "present":
            return (
                f"{column} <> ''" if test.ref.kind in ("text", "octets", "address") else f"{column} is not null"
            ), []
        case "between":
            return f"{column} between ? and ?", list(wanted)
        case "among":
            return f"{column} in ({', '.join('?' * len(wanted))})", sorted(wanted)
        case "contains":
            return f"contains({column}, ?)", [wanted]
        case _:
            return f"{column} {test.op} ?", [wanted]


def _asked(text: str, test: Check, lists: Lists, asks: list[Ask]) -> Sql:
    lake = _kept(text, test)
    table = f"filter_{len(asks)}"
    passes = predicate(test, lists)
    if lake in ("payload", "chunks"):
        read = compile_ref(test.ref)
        of: Callable[[bytes], Any] = _Payload if lake == "payload" else _chunks
        asks.append(Ask(table, f"md5({lake})", lake, lake == "chunks", lambda raw: passes(read(of(raw)))))
        gate = f"{_CAN_BE_SIP} and " if test.ref.field.owner == "sip" else ""
        return f"({gate}md5({lake}) in (select key from {table}))", []  # noqa: S608 (names of ours)
    key = lake if test.ref.kind in ("text", "octets", "address") else f"{lake}::varchar"
    test_of = (lambda said: passes(said.encode())) if test.ref.kind == "octets" else passes
    asks.append(Ask(table, key, lake, True, test_of))
    return f"{key} in (select key from {table})", []  # noqa: S608


def _kept(text: str, test: Check) -> str:
    """The column that holds the field or what it can be read from; FilterError when a lake does not keep it."""
    asked = test.ref.field
    if asked.lake is None:
        hint = "; its time is said by --since and --until" if asked.name.startswith("timestamp") else ""
        raise FilterError(text, test.offset, f"a lake does not keep {asked.name}{hint}")
    if asked.name == "chunk":
        number, _, vendor = test.ref.arguments
        assert isinstance(number, int)
        if number <= COLUMN_CHUNKS and not vendor:
            known = by_id.get(number)
            hint = f": write {known.name}" if known is not None and FIELDS[known.name].lake is not None else ""
            raise FilterError(text, test.offset, f"a lake keeps no generic chunk 0x{number:02x} as it was{hint}")
    return asked.lake


class _Payload:
    """A payload of a lake, as far as a condition looks at a packet."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    @property
    def sip(self) -> Sip | None:
        raw = unwrap(self.payload) if self.payload.startswith(b"{") else self.payload
        return Sip(raw) if raw is not None and looks_like_sip(raw) else None


def _chunks(raw: bytes) -> Hep:
    """A packet of the chunks that have no column."""
    return Hep(b"HEP3" + (len(raw) + 6).to_bytes(2) + raw)
