"""Values in the configuration that speak of something else in it: names of tables, conditions, fields.

They are checked where they stand, so that a mistake is reported with its line. What there is to refer to comes as the
context of the validation: `{"destinations": names, "stores": names, "masks": names, "lists": names}`; without a context (a
worker that gets a checked configuration) names are taken as they are. Not here: the tables themselves.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo

from hepswitch.filters.language import parse, parse_field

TABLES = {"destinations": "destination", "stores": "store", "masks": "mask", "lists": "list"}
"""Tables that can be referred to, and what one of them is called."""


def check_name(table: str, name: str, info: ValidationInfo) -> str:
    """`name`, if there is one in `table`. ValueError else, with what is there."""
    names = (info.context or {}).get(table)
    if names is None or name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there is: {', '.join(sorted(names)) or 'none'}"
    raise ValueError(f"no {TABLES[table]} is named {name!r}; {hint} (add [{table}.{name}])")


def _known(table: str) -> Callable[[str, ValidationInfo], str]:
    return lambda name, info: check_name(table, name, info)


def _condition(text: str, info: ValidationInfo) -> str:
    lists = (info.context or {}).get("lists")
    if lists is not None:
        parse(text, dict.fromkeys(lists, ()))
    return text


def _field(text: str) -> str:
    parse_field(text)
    return text


DestinationName = Annotated[str, AfterValidator(_known("destinations"))]
StoreName = Annotated[str, AfterValidator(_known("stores"))]
MaskName = Annotated[str, AfterValidator(_known("masks"))]
Condition = Annotated[str, AfterValidator(_condition)]
"""A condition of the filter language (docs/reference/filters.md)."""
FieldText = Annotated[str, AfterValidator(_field)]
"""A field of the filter language: `node_name`, `sip.from_user`, `sip.header("X-Tenant")`."""
