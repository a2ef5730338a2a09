"""The views of layout "homer5": those of OpenSIPS' `sip_capture` and `report_capture`, whatever the tables' names.

A correlation id of SIP that is the Call-ID reads as none: Homer puts that where there is none. Custom fields are not kept,
nor what `views.opensips` names. Not here: what the tables are (`layouts.homer5`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hepswitch.databases.dialects import Dialect
from hepswitch.databases.views import opensips
from hepswitch.databases.views.view import Held, View
from hepswitch.destinations.layout_tables import OpensipsTables
from hepswitch.lake.reader import Row


def views(dialect: Dialect) -> list[View]:
    """The views of Homer 5's tables."""
    capture, report, _ = opensips.views(OpensipsTables(), dialect)
    call_id = capture.held["call_id"]
    cut = call_id.size if isinstance(call_id, Held) else 0

    def row(got: Mapping[str, Any]) -> Row:
        found = capture.row(got)
        stands_in = (found["correlation_id"] or "")[:cut] == got["callid"]
        return found | {"correlation_id": None} if stands_in else found

    return [replace(capture, picked={**capture.picked, "callid": "callid"}, row=row), report]
