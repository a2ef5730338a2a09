"""Calls: messages grouped by Call-ID, one row a call. What `search` shows first. And how many of them there are over time.

Not here: the legs of one call and their flow (`ladder`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

import duckdb

from hepswitch.lake.conditions import is_pattern
from hepswitch.lake.query import Query
from hepswitch.lake.reader import Row, fetched
from hepswitch.lake.rows import unix_us

COLUMNS = (
    "start", "end", "method", "from_user", "from_domain", "to_user", "to_domain",
    "status", "reason", "setup", "duration", "messages", "call_id",
)  # fmt: skip
"""What is known of a call. `method` is that of its first request; `status` and `reason` are its first 2xx reply, else its
last final reply, else its last provisional one; `setup` is seconds from the first INVITE to its first reply other than 100
(RFC 6076, 4.3), `duration` from its answer to BYE, null without both; `start` and `end` are its first and last message,
`messages` how many there are."""

LOOKED_AT = (
    "ts", "call_id", "method", "cseq_method", "from_user", "from_domain", "to_user", "to_domain", "status", "reason",
)  # fmt: skip
"""The columns of messages that all of this is known from."""

EXPECTED = (401, 407, 487)
"""Final replies that are no failure: a challenge, which the next request answers, and a caller who gave up."""

_CALLS = """
with {hits}
     chosen as (
       select call_id, min(ts) as start from messages where {meant} and {window} group by call_id
       {before} order by start desc, call_id desc {limit}),
     mine as materialized (select {columns} from messages where call_id in (select call_id from chosen) and {window}),
     firsts as (
       select call_id, arg_min(coalesce(method, cseq_method), ts) as method, min(ts) as start, max(ts) as "end",
              arg_min(from_user, ts) as from_user, arg_min(from_domain, ts) as from_domain,
              arg_min(to_user, ts) as to_user, arg_min(to_domain, ts) as to_domain, count(*) as messages,
              min(ts) filter (method = 'INVITE') as invited, min(ts) filter (method = 'BYE') as ended
       from mine group by call_id),
     replies as (
       select call_id,
              min(ts) filter (status > 100) as heard,
              min(ts) filter (status between 200 and 299) as answered,
              arg_min(status, ts) filter (status between 200 and 299) as good,
              arg_min(reason, ts) filter (status between 200 and 299) as good_reason,
              arg_max(status, ts) filter (status >= 300) as bad,
              arg_max(reason, ts) filter (status >= 300) as bad_reason,
              arg_max(status, ts) filter (status < 200) as waiting,
              arg_max(reason, ts) filter (status < 200) as waiting_reason
       from mine m join firsts f using (call_id) where m.cseq_method = f.method and status is not null group by call_id)
select start, "end", method, from_user, from_domain, to_user, to_domain,
       coalesce(good, bad, waiting) as status,
       case when good is not null then good_reason when bad is not null then bad_reason else waiting_reason end as reason,
       case when method = 'INVITE' and invited <= heard then (epoch_us(heard) - epoch_us(invited)) / 1e6 end as setup,
       case when method = 'INVITE' and answered <= ended then (epoch_us(ended) - epoch_us(answered)) / 1e6 end as duration,
       messages, firsts.call_id
from firsts left join replies using (call_id)
order by start, call_id
"""

_RATE = """
with {hits}
     parts as (
       select call_id, coalesce(method, cseq_method) as about, min(ts) as first,
              bool_or(status between 200 and 299) as good, arg_max(status, ts) filter (status >= 300) as bad
       from messages where {meant} and {window} group by call_id, about),
     ended as (
       select min(first) as start, arg_min({{'good': coalesce(good, false), 'bad': bad}}, first) as last
       from parts group by call_id)
select (epoch_us(start) - ?) // ? as bucket, count(*) as calls,
       count(*) filter (not last.good and last.bad is not null and last.bad not in {expected}) as failed
from ended group by bucket order by bucket
"""


class Part(NamedTuple):
    """Calls that began in one part of a time, counted from 0, and how many of them failed."""

    number: int
    calls: int
    failed: int


def calls(connection: duckdb.DuckDBPyConnection, query: Query) -> list[Row]:
    """The calls in which some message is what `query` means, in the order of their start, with the columns of COLUMNS.

    `query.limit` keeps the latest calls, `query.before` those that come after one. Only messages between `since` and
    `until` are looked at, so a call that reaches out of that time is described by its part inside. `prepare` comes first.
    """
    words, values, times = _meant(query)
    before, place = ("", []) if query.before is None else ("having (min(ts), call_id) < (?, ?)", list(query.before))
    limit = [] if query.limit is None else [query.limit]
    sql = _CALLS.format(**words, columns=", ".join(LOOKED_AT), before=before, limit="limit ?" if limit else "")
    return fetched(connection.execute(sql, [*values, *place, *limit, *times]))


def told_by(rows: Iterable[Row], call_id: str) -> Row | None:
    """What is known of a call by its messages among `rows`; None when none of them carries its Call-ID."""
    import pyarrow as pa

    from hepswitch.destinations.schema import SCHEMA

    table = pa.Table.from_pylist(
        [{name: row[name] for name in LOOKED_AT} for row in rows if row["call_id"] == call_id],
        pa.schema([SCHEMA.field(name) for name in LOOKED_AT]),
    )
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.register("messages", table)
        return next(iter(calls(connection, Query())), None)


def rate(connection: duckdb.DuckDBPyConnection, query: Query, start: datetime, step: int) -> list[Part]:
    """How many of the same calls began in each `step` µs after `start`; what has none is left out. `prepare` comes first.

    A call failed when its first request had no 2xx, and a final reply that is none of EXPECTED.
    """
    words, values, _ = _meant(query)
    sql = _RATE.format(**words, expected=EXPECTED)
    return [Part(*row) for row in connection.execute(sql, [*values, unix_us(start), step]).fetchall()]


def _meant(query: Query) -> tuple[dict[str, str], list[Any], list[Any]]:
    """Words for the statements, the values up to the end of `meant` and `window`, and those of `window` alone."""
    condition, values = query.condition()
    window, times = Query(since=query.since, until=query.until).condition()
    if query.call_id is not None and not is_pattern(query.call_id):
        # Said plainly, so that files and row groups which do not know the call are passed over.
        window, times = f"{window} and call_id = ?", [*times, query.call_id]
        query = replace(query, call_id=None)
    if query.everything:
        return {"hits": "", "meant": "call_id is not null", "window": window}, times, times
    hits = f"hits as (select distinct call_id from messages where {condition} and {window} and call_id is not null),"  # noqa: S608
    return {"hits": hits, "meant": "call_id in (from hits)", "window": window}, [*values, *times, *times], times
