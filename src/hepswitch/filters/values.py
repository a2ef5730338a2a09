"""The values of a condition: a word or quoted text → what the kind of its field needs.

Mistakes are FilterErrors at the place. Not here: where a value may stand (`language`).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Final

from hepswitch.filters.errors import FilterError
from hepswitch.filters.fields import NAMES, Kind
from hepswitch.filters.tokens import Token, place
from hepswitch.filters.tree import Op, Value
from hepswitch.networks import Networks, spellings

_MOST: Final = (1 << 64) - 1
_NUMBER: Final = re.compile(r"[0-9]{1,20}|0[xX][0-9a-fA-F]{1,16}")


def number(text: str, kind: Kind, name: str, token: Token, most: int = _MOST) -> int:
    """The number that `token` says, decimal or 0x…; by its name where the kind has names and the name has one number."""
    found = _numbers(text, kind, name, token, most)
    if len(found) != 1:
        raise FilterError(text, token.offset, f"{token.text} is the name of {_either(found)}: write the number")
    return next(iter(found))


def equal(text: str, kind: Kind, name: str, token: Token) -> tuple[Op, Value]:
    """The test that a field of this kind is what `token` says."""
    if kind == "number":
        return "=", number(text, kind, name, token)
    if kind in ("text", "octets"):
        return "=", token.text
    return "among", among(text, kind, name, [token])


def among(text: str, kind: Kind, name: str, found: Sequence[Token]) -> frozenset[int] | frozenset[str]:
    """All values that `found` says."""
    if kind == "address":
        return frozenset[str]().union(*(_address(text, token) for token in found))
    if kind in ("text", "octets"):
        return frozenset(token.text for token in found)
    return frozenset[int]().union(*(_numbers(text, kind, name, token) for token in found))


def span(text: str, kind: Kind, name: str, low: Token, high: Token) -> tuple[int, int]:
    """A range of numbers, both ends included."""
    if kind in ("text", "octets", "address"):
        raise FilterError(text, low.offset, f"{name} is no number ({kind}): a range is one of numbers")
    ends = number(text, kind, name, low), number(text, kind, name, high)
    if ends[0] > ends[1]:
        raise FilterError(text, low.offset, f"this range is empty: write {ends[1]}..{ends[0]}")
    return ends


def networks(text: str, found: Sequence[Token]) -> Networks:
    """The networks and addresses that `found` names."""
    for token in found:
        try:
            Networks([token.text])
        except ValueError as error:
            raise FilterError(text, token.offset, str(error)) from None
    return Networks(token.text for token in found)


def regex(text: str, token: Token) -> str:
    """A regular expression that can be compiled (`re`)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what Python warns of, it means to read in another way one day
            re.compile(token.text)
    except re.error as error:
        at = token.offset if error.pos is None or token.kind == "word" else place(text, token, error.pos)
        raise FilterError(text, at, f"this regular expression is wrong: {error.msg}") from None
    except (Warning, OverflowError, RecursionError) as error:
        raise FilterError(text, token.offset, f"this regular expression cannot be used: {error}") from None
    return token.text


def _numbers(text: str, kind: Kind, name: str, token: Token, most: int = _MOST) -> frozenset[int]:
    if token.kind == "word" and _NUMBER.fullmatch(token.text):
        found = int(token.text, 16 if token.text[:2].lower() == "0x" else 10)
        if found > most:
            raise FilterError(text, token.offset, f"{name} is at most {most}")
        return frozenset({found})
    names = NAMES.get(kind)
    if names is None:
        quoted = ", without quotes" if token.kind == "text" else ""
        raise FilterError(text, token.offset, f"{name} is a number{quoted}: {token.text!r} is none")
    same = frozenset(one for one, other in names.items() if other.casefold() == token.text.casefold())
    if not same:
        known = ", ".join(dict.fromkeys(names.values()))
        raise FilterError(text, token.offset, f"no {kind} is called {token.text!r}: use its number, or one of {known}")
    return same


def _address(text: str, token: Token) -> frozenset[str]:
    try:
        return spellings(token.text)
    except ValueError as error:
        hint = "; for a network write in" if "/" in token.text else ""
        raise FilterError(text, token.offset, f"{error}{hint}") from None


def _either(found: frozenset[int]) -> str:
    return " and ".join(str(one) for one in sorted(found))
