"""Calls and messages in pages, and calls over time.

Pages go from the newest to the oldest, and each says where it ended: at a call (its start and Call-ID) or at a packet (its
time and its id). What is stored meanwhile is newer, so it neither moves what is left nor comes twice.
Not here: what is asked for (`selection`), one call (`ladders`).
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hepswitch.lake.query import Query
from hepswitch.lake.reader import Reader, Row, Tie, common
from hepswitch.lake.rows import MICROSECOND, packet_id, plain
from hepswitch.queries.answers import Bucket, FoundCall, FoundCalls, FoundMessage, FoundMessages, Rates
from hepswitch.queries.questions import Calls, Messages, Rate
from hepswitch.queries.selection import USUAL, Place, cursor_of, moment, place_of, query_of, told

LATEST = datetime.max.replace(tzinfo=UTC) - MICROSECOND

STEPS = 2
"""Steps from leg to leg that are gone to count the legs of calls in a list; `Reader.legs` goes further for one call."""


def calls(reader: Reader, asked: Calls, warnings: list[str]) -> FoundCalls:
    """A page of calls."""
    begun = time.perf_counter()
    place = place_of(asked)
    query = query_of(asked, place)
    before = None if place is None else (place.moment, place.name)
    rows = reader.calls(replace(query, limit=asked.limit + 1, before=before))
    shown = rows[-asked.limit :]
    last = None
    if len(rows) > asked.limit:
        last = cursor_of(Place(query.since, query.until, shown[0]["start"], shown[0]["call_id"]))
    legs = count_legs(reader, [row["call_id"] for row in shown])
    found = [found_call(row, legs[row["call_id"]]) for row in reversed(shown)]
    return FoundCalls(calls=found, next=last, **_page(query, warnings, begun))


def found_call(row: Row, legs: int) -> FoundCall:
    """A call as it is answered."""
    return FoundCall(**plain(row), legs=legs)


def count_legs(reader: Reader, call_ids: Collection[str]) -> dict[str, int]:
    """How many Call-IDs are tied to each of these calls, itself included, as far as STEPS steps lead."""
    ties: set[Tie] = set()
    known: set[str] = set()
    passed: set[str] = set()
    new = set(call_ids)
    for _ in range(STEPS):
        if not new:
            break
        known |= new
        found = reader.ties(new)
        passed |= common(found, new)
        ties |= found
        new = {name for tie in found for name in tie if name} - known
    tied = _Ties()
    for tie in ties:
        tied.join([name for name in tie if name and name not in passed])
    legs: dict[str, set[str]] = {}
    for call_id in {call_id for call_id, _, _ in ties if call_id} | set(call_ids):
        legs.setdefault(tied.of(call_id), set()).add(call_id)
    return {call_id: len(legs[tied.of(call_id)]) for call_id in call_ids}


class _Ties:
    """Names in groups (disjoint sets)."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def of(self, name: str) -> str:
        """What stands for the group of a name."""
        while (above := self._above.get(name, name)) != name:
            self._above[name] = self._above.get(above, above)
            name = above
        return name

    def join(self, names: list[str]) -> None:
        for one, other in itertools.pairwise(names):
            self._above[self.of(one)] = self.of(other)


def messages(reader: Reader, asked: Messages, warnings: list[str]) -> FoundMessages:
    """A page of messages."""
    begun = time.perf_counter()
    place = place_of(asked)
    query = query_of(asked, place)
    found = _after(reader, query, place, asked.limit + 1)
    shown = found[: asked.limit]
    last = None
    if len(found) > asked.limit:
        end = moment_and_id(shown[-1])
        again = sum(moment_and_id(row) == end for row in shown)
        if place is not None and (place.moment, place.name) == end:
            again += place.again
        last = cursor_of(Place(query.since, query.until, *end, again))
    given = [found_message(row, asked.payload) for row in shown]
    return FoundMessages(messages=given, next=last, **_page(query, warnings, begun))


def moment_and_id(row: Row) -> tuple[datetime, str]:
    """What packets are ordered by, the newest first, and known again by."""
    return row["ts"], row["id"]


def _after(reader: Reader, query: Query, place: Place | None, count: int) -> list[Row]:
    """The `count` packets that come after a place, each with its `id`."""
    if place is not None:
        until = min(place.moment, LATEST) + MICROSECOND
        query = replace(query, until=until if query.until is None else min(until, query.until))
    size = count
    while True:
        looked_at: Counter[str] = Counter()
        rows = _left(reader.newest(query, size), place, looked_at)
        found = heapq.nlargest(count, rows, key=moment_and_id)
        # Those of the place's own moment that were given before may have taken all the room.
        if len(found) == count or looked_at["rows"] < size:
            return found
        size *= 4


def _left(rows: Iterator[Row], place: Place | None, looked_at: Counter[str]) -> Iterator[Row]:
    """Rows, with their `id`, without those up to the place."""
    given = 0 if place is None else place.again
    for row in rows:
        looked_at["rows"] += 1
        row["id"] = packet_id(row)
        here = moment_and_id(row)
        if place is None:
            yield row
            continue
        if here == (place.moment, place.name):
            given -= 1
            if given < 0:
                yield row
        elif here < (place.moment, place.name):
            yield row


def found_message(row: Row, payload: bool) -> FoundMessage:
    """A packet as it is answered."""
    return FoundMessage(**message_fields(row, payload))


def message_fields(row: Row, payload: bool) -> dict[str, Any]:
    """The fields of a FoundMessage."""
    octets = row["payload"] or b""
    names = set(FoundMessage.__struct_fields__) - {"id", "size", "payload", "payload_base64"}
    fields = {name: plain(row[name]) for name in names} | {"id": packet_id(row), "size": len(octets)}
    return fields | (plain({"payload": octets}) if payload else {})


def rate(reader: Reader, asked: Rate, warnings: list[str]) -> Rates:
    """Calls over the time asked about, in equal parts."""
    begun = time.perf_counter()
    query = query_of(asked)
    start, end = query.since, query.until
    if start is None:  # one call: all the time that it took
        taken = reader.calls(query)
        start = min((row["start"] for row in taken), default=datetime.now(UTC) - USUAL)
        end = end or max((row["end"] + MICROSECOND for row in taken), default=None)
    end = end or datetime.now(UTC)
    step = max(1, -((start - end) // MICROSECOND // asked.buckets))
    parts = {part.number: part for part in reader.rate(replace(query, since=start, until=end), start, step)}
    buckets = []
    for number in range(asked.buckets):
        part = parts.get(number)
        at = moment(start + number * step * MICROSECOND) or ""
        buckets.append(Bucket(at, part.calls if part else 0, part.failed if part else 0))
    page = _page(replace(query, since=start, until=end), warnings, begun)
    return Rates(step=step / 1e6, buckets=buckets, **page)


def _page(query: Query, warnings: list[str], begun: float) -> dict[str, Any]:
    return {
        "since": moment(query.since),
        "until": moment(query.until),
        "asked": told(query),
        "warnings": warnings,
        "seconds": round(time.perf_counter() - begun, 6),
    }
