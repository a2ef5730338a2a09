"""What a condition says, as a tree of tests. `language` makes it, `python` and `sql` read it.

Not here: text, and how a test is carried out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hepswitch.filters.fields import Ref
from hepswitch.networks import Networks

Op = Literal["present", "=", "<", "<=", ">", ">=", "between", "among", "within", "listed", "~", "contains"]
"""`among` is one of some values, `within` in some networks, `listed` in a named list, `~` finds a regular expression."""

Value = None | int | str | tuple[int, int] | frozenset[int] | frozenset[str] | Networks


@dataclass(frozen=True, slots=True)
class Check:
    """One field against a value, which is: nothing for `present`, (low, high) for `between`, a list's name for `listed`, the
    expression for `~`. False when the packet has no such field. `offset` is where the field stands in the text.
    """

    ref: Ref
    op: Op
    value: Value
    offset: int


@dataclass(frozen=True, slots=True)
class Not:
    """Whatever `part` is not."""

    part: Tree


@dataclass(frozen=True, slots=True)
class And:
    """All of `parts`, of which there are at least two."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of `parts`, of which there are at least two."""

    parts: tuple[Tree, ...]


Tree = Check | Not | And | Or
