"""What is asked: the packets that are meant, whatever store they are in, and the condition that this comes to.

Not here: who answers (`reader`, `lake`, `databases.reading`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from hepswitch.filters.python import Lists
from hepswitch.filters.sql import Filter, compile_sql
from hepswitch.lake.conditions import (
    Among,
    Between,
    Condition,
    Contains,
    Every,
    OfCall,
    Since,
    Some,
    Sql,
    Until,
    in_duckdb,
    is_pattern,
    same,
)


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for; everything given must hold. Text with `*` or `?` in it is a pattern, otherwise it must be equal.

    `call_id` finds what carries it as Call-ID, and as correlation id what is not SIP. `user` is in From, To, the request
    URI or P-Asserted-Identity. `status` is 486, or "4xx". `ip` is source or destination. `user_agent` is any part of it,
    in upper or lower case. `since` (included) and `until` (excluded) are aware datetimes. `limit` keeps the latest.
    `before`, the start and the Call-ID of a call, keeps the calls that come after it when the newest comes first. `filter`
    is a condition in the language of `hepswitch.filters` (docs/reference/filters.md), `lists` are those it may name.
    """

    call_id: str | None = None
    correlation_id: str | None = None
    from_user: str | None = None
    to_user: str | None = None
    user: str | None = None
    method: str | None = None
    status: int | str | None = None
    ip: str | None = None
    user_agent: str | None = None
    proto_type: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int | None = None
    before: tuple[datetime, str] | None = None
    filter: str | None = None
    lists: Lists = field(default_factory=dict)

    @property
    def everything(self) -> bool:
        """Whether nothing is wanted but a time."""
        return self.filter is None and not replace(self, since=None, until=None).said().parts

    def condition(self) -> Sql:
        """The condition for DuckDB. FilterError (a ValueError) when `filter` is wrong.

        It may look in tables that `reader.prepare` makes.
        """
        made = self.filtered()
        return self._and(None if made is None else made.exact)

    def candidates(self) -> Sql:
        """A condition for which no such table is needed, true of all rows that are meant and perhaps of others."""
        made = self.filtered()
        return self._and(None if made is None else made.candidates)

    def filtered(self) -> Filter | None:
        """What `filter` means."""
        return None if self.filter is None else compile_sql(self.filter, self.lists)

    def _and(self, more: Sql | None) -> Sql:
        said = [in_duckdb(part) for part in self.said().parts]
        if more is not None:
            said.append(more)
        return " and ".join(sql for sql, _ in said) or "true", [value for _, values in said for value in values]

    def said(self) -> Every:
        """All that is wanted, but for `filter`. ValueError when `status` is none."""
        return Every(tuple(self._parts()))

    def _parts(self) -> Iterator[Condition]:
        if self.call_id is not None:
            yield OfCall(self.call_id)
        for name in ("correlation_id", "from_user", "to_user"):
            if (value := getattr(self, name)) is not None:
                yield same(name, value)
        if self.method is not None:
            # With a status the replies to that method are meant.
            yield same("method" if self.status is None else "cseq_method", self.method.upper())
        if self.user is not None:
            yield Some(tuple(same(name, self.user) for name in ("from_user", "to_user", "ruri_user", "pid_user")))
        if self.status is not None:
            yield Between("status", *_statuses(self.status))
        if self.ip is not None:
            yield Some((same("src_ip", self.ip), same("dst_ip", self.ip)))
        if self.user_agent is not None:
            yield Contains("user_agent", self.user_agent)
        if self.proto_type is not None:
            yield Among("proto_type", (self.proto_type,))
        if self.since is not None:
            yield Since(self.since)
        if self.until is not None:
            yield Until(self.until)

    def hours(self, hour: int) -> bool:
        """Can a packet of this hour (since the epoch) be meant?"""
        early = self.since is not None and (hour + 1) * 3600 <= self.since.timestamp()
        late = self.until is not None and hour * 3600 >= self.until.timestamp()
        return not early and not late

    def needles(self) -> list[bytes] | None:
        """Bytes one of which must be in every packet that is meant; None when that cannot be said."""
        for value in (self.call_id, self.correlation_id):
            if value is not None and not is_pattern(value):
                return [value.encode("utf-8", "surrogateescape")]
        return None


def _statuses(status: int | str) -> tuple[int, int]:
    text = str(status).lower()
    if len(text) == 3 and text.isascii() and text.isdigit():
        return int(text), int(text)
    if len(text) == 3 and text.isascii() and text[0].isdigit() and text[1:] == "xx":
        return int(text[0]) * 100, int(text[0]) * 100 + 99
    raise ValueError(f"{status!r} is no SIP status: write for example 486 or 4xx")
