"""A selection → what the store is asked, and where in the pages we are.

A cursor is opaque to others: the time asked about, which "the last hour" would move, and the place after which the next page
begins. Not here: the box (`box`), asking (`finding`).
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import MsgspecError, Struct
from msgspec.json import decode, encode

from hepswitch.filters.errors import FilterError
from hepswitch.lake.conditions import is_pattern
from hepswitch.lake.query import Query
from hepswitch.lake.rows import plain
from hepswitch.queries import box
from hepswitch.queries.questions import Paged, Selection
from hepswitch.units import parse_moment

USUAL = timedelta(hours=1)
"""What is looked through when nobody says since when."""

SAID = ("call_id", "from_user", "to_user", "user", "method", "status", "ip", "user_agent", "filter")
"""What a selection and a Query have in common, but for the time."""

EARLIEST = datetime.min.replace(tzinfo=UTC)

_BOTH = " and "


class Place(Struct, frozen=True, array_like=True):
    """Where a page ended: the moment and the name (Call-ID, packet's id) of what was given last, `again` times with it."""

    since: datetime | None
    until: datetime | None
    moment: datetime
    name: str
    again: int = 0


class WrongQuestionError(ValueError):
    """The question means nothing; says why to a person."""


def query_of(asked: Selection, place: Place | None = None) -> Query:
    """The Query of a selection, with its times as `place` has them if there is one. Raises WrongQuestionError."""
    try:
        return _query_of(asked, place)
    except FilterError as error:
        raise WrongQuestionError(f"filter: {error}") from None
    except ValueError as error:
        raise WrongQuestionError(str(error)) from None


def _query_of(asked: Selection, place: Place | None) -> Query:
    said: dict[str, Any] = {name: value for name in SAID if (value := getattr(asked, name)) is not None}
    for name, value in box.read(asked.q or "").items():
        if name == "filter" and name in said:
            said[name] = _BOTH.join(f"({condition})" for condition in (said[name], value))
        elif name in said:
            raise WrongQuestionError(f"the box and {name} both say what {name} is to be: leave one of them away")
        else:
            said[name] = value
    query = Query(**said)
    since, until = _times(asked, query) if place is None else (place.since, place.until)
    query = replace(query, since=since, until=until)
    query.condition()  # raises what is wrong with it
    return query


def _times(asked: Selection, query: Query) -> tuple[datetime | None, datetime | None]:
    since = None if asked.since is None else parse_moment(asked.since)
    until = None if asked.until is None else parse_moment(asked.until)
    if since is None and (query.call_id is None or is_pattern(query.call_id)):
        end = until or datetime.now(UTC)
        since = max(end, EARLIEST + USUAL) - USUAL
    if since is not None and until is not None and since >= until:
        raise WrongQuestionError(f"since ({plain(since)}) is not before until ({plain(until)})")
    return since, until


def told(query: Query) -> dict[str, Any]:
    """What was looked for, but for the time."""
    return {name: value for name in SAID if (value := getattr(query, name)) is not None}


def moment(time: datetime | None) -> str | None:
    """A time as the API writes it."""
    text: str | None = plain(time)
    return text


def cursor_of(place: Place) -> str:
    """The place as a cursor."""
    return base64.urlsafe_b64encode(encode(place)).decode().rstrip("=")


def place_of(asked: Paged) -> Place | None:
    """The place that the cursor says; None when it is the first page. Raises WrongQuestionError."""
    if asked.cursor is None:
        return None
    try:
        text = asked.cursor.encode("ascii")
        place = decode(base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4)), type=Place)
    except (MsgspecError, binascii.Error, UnicodeError) as error:
        raise WrongQuestionError(f"cursor: take it from `next` of the page before ({error})") from None
    if any(time is not None and time.tzinfo is None for time in (place.since, place.until, place.moment)):
        raise WrongQuestionError("cursor: take it from `next` of the page before (a time without a zone)")
    return place
