"""Calls: messages grouped by Call-ID, one row a call. What `search` shows first.

Not here: the legs of one call and their flow (`ladder`).
"""

from __future__ import annotations

import duckdb

from hepswitch.lake.conditions import is_pattern
from hepswitch.lake.query import Query
from hepswitch.lake.reader import Row, fetched

COLUMNS = (
    "start", "end", "method", "from_user", "from_domain", "to_user", "to_domain",
    "status", "reason", "duration", "messages", "call_id",
)  # fmt: skip
"""What is known of a call. `method` is that of its first request; `status` and `reason` are its first 2xx reply, else its
last final reply, else its last provisional one; `duration` is seconds from the answer of an INVITE to BYE, null without
both; `start` and `end` are its first and last message, `messages` how many there are."""

_CALLS = """
with hits as (select distinct call_id from messages where {condition} and {window} and call_id is not null),
     firsts as (
       select call_id, arg_min(coalesce(method, cseq_method), ts) as method, min(ts) as start, max(ts) as "end",
              arg_min(from_user, ts) as from_user, arg_min(from_domain, ts) as from_domain,
              arg_min(to_user, ts) as to_user, arg_min(to_domain, ts) as to_domain, count(*) as messages
       from messages where call_id in (from hits) and {window} group by call_id
       order by start desc, call_id desc {limit}),
     replies as (
       select call_id,
              min(ts) filter (status between 200 and 299) as answered,
              arg_min(status, ts) filter (status between 200 and 299) as good,
              arg_min(reason, ts) filter (status between 200 and 299) as good_reason,
              arg_max(status, ts) filter (status >= 300) as bad,
              arg_max(reason, ts) filter (status >= 300) as bad_reason,
              arg_max(status, ts) filter (status < 200) as waiting,
              arg_max(reason, ts) filter (status < 200) as waiting_reason
       from messages m join firsts f using (call_id) where m.cseq_method = f.method
             and status is not null and {window} group by call_id),
     ends as (
       select call_id, min(ts) as ended from messages
       where method = 'BYE' and call_id in (select call_id from firsts) and {window} group by call_id)
select start, "end", method, from_user, from_domain, to_user, to_domain,
       coalesce(good, bad, waiting) as status,
       case when good is not null then good_reason when bad is not null then bad_reason else waiting_reason end as reason,
       case when method = 'INVITE' and answered <= ended then (epoch_us(ended) - epoch_us(answered)) / 1e6 end as duration,
       messages, firsts.call_id
from firsts left join replies using (call_id) left join ends using (call_id)
order by start, call_id
"""


def calls(connection: duckdb.DuckDBPyConnection, query: Query) -> list[Row]:
    """The calls in which some message is what `query` means, in the order of their start, with the columns of COLUMNS.

    `query.limit` keeps the latest calls. Only messages between `since` and `until` are looked at, so a call that reaches
    out of that time is described by its part inside. `prepare` comes first.
    """
    condition, values = query.condition()
    window, times = Query(since=query.since, until=query.until).condition()
    if query.call_id is not None and not is_pattern(query.call_id):
        # Said plainly, so that files and row groups which do not know the call are passed over.
        window, times = f"{window} and call_id = ?", [*times, query.call_id]
    sql = _CALLS.format(condition=condition, window=window, limit="" if query.limit is None else "limit ?")
    limit = [] if query.limit is None else [query.limit]
    return fetched(connection.execute(sql, [*values, *times, *times, *limit, *times, *times]))
