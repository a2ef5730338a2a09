"""The view of layout "messages", whose table has the columns of the lake. Nothing need be read out of payloads.

Empty text is null (see `layouts.messages`). Not here: what the table is (`layouts.messages`).
"""

from __future__ import annotations

from datetime import UTC

import pyarrow as pa

from hepswitch.databases.dialects import Dialect
from hepswitch.databases.layouts.messages import FIELDS, as_in_lake
from hepswitch.databases.views.view import Clock, Held, Kind, View
from hepswitch.lake.reader import TIES
from hepswitch.lake.rows import MICROSECOND

_TEXTS = [field.name for field in FIELDS if pa.types.is_string(field.type)]
_NUMBERS = [field.name for field in FIELDS if pa.types.is_integer(field.type)]


def views(dialect: Dialect) -> list[View]:
    """The one view."""
    clock = Clock(
        "ts",
        MICROSECOND,
        lambda moment: moment.astimezone(UTC),
        lambda value: value.astimezone(UTC),
        # As the table's parts are ordered.
        "toStartOfHour(ts) desc, ts",
    )
    held = {name: Held(dialect.quoted(name), name) for name in _TEXTS}
    held |= {name: Held(dialect.quoted(name), name, Kind.NUMBER) for name in _NUMBERS}
    picked = {field.name: field.name for field in FIELDS}
    return [
        View(frozenset(picked), clock, picked, {**held}, TIES, lambda got: as_in_lake(dict(got))),
    ]
