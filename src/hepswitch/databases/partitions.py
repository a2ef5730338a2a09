"""Partitions of layout "homer7": made ahead of time and on demand, dropped when they are old, indexed.

    hep_proto_1_call_20261125_1800        18:00 to 20:00, by create_date, in UTC
    hep_proto_1_call_other                the default partition: times that have no partition

Names are heplify-server's: Homer and other tools select by them. A packet that is late or early by no more than `keep` and
`ahead` gets its partition when it comes. Any other time (an agent's clock says 2044, a recording of last year is replayed)
goes to `TABLE_other`, so that there are never more partitions than `keep` and `ahead` have room for; Homer finds it there.
Rows in `TABLE_other` are deleted `keep` after they came: the table `hepswitch_days` remembers which id each day began with.
What waits there for a time that comes near moves into its partition when that is made.

Several nodes may load into one database. Making is serialised by a lock in the database, so that nobody runs into what
another makes; one of them at a time tends what is there, the others pass. Nothing waits longer than `LOCK_PATIENCE` for a
table that somebody reads: rows go to `TABLE_other` meanwhile, a drop is tried again the next time. A partition that is made
is attached (`ATTACH`), which hinders no reader. With `create = false` partitions are somebody else's.

Not here: which rows (`layouts.homer7`), transactions and COPY (`postgres`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import asyncpg
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from hepswitch.databases.layouts.homer7 import PARENTS, PROTOCOL_KEYS, SMALL_INDEXES, indexes
from hepswitch.databases.layouts.shape import Piece
from hepswitch.databases.layouts.tables import Values
from hepswitch.destinations.databases import PostgresStore
from hepswitch.destinations.layout_tables import Homer7Tables

log = structlog.get_logger("hepswitch.databases")

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

DAYS = "hepswitch_days"
"""The table of which id came first on a day, by table of Homer."""

LOCK_PATIENCE = "3s"
"""How long a table is waited for. Others who want it wait behind us, so it is short."""

AGAIN = timedelta(seconds=60)
"""After which a partition that could not be made is tried again."""

LATEST_WITHOUT_KEEP = timedelta(days=31)
"""How late a packet gets a partition of its own where nothing is ever dropped."""

DELETED_AT_ONCE = 20_000

MAKING, TENDING = 0x48455033_00000001, 0x48455033_00000002
"""Keys of advisory locks: "HEP3" and a number."""

_COLUMNS = """id BIGSERIAL NOT NULL,
    sid varchar NOT NULL,
    create_date timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    protocol_header jsonb NOT NULL,
    data_header jsonb NOT NULL,
    raw varchar NOT NULL"""

_DAYS_DDL = f"""CREATE TABLE IF NOT EXISTS {DAYS} (
    parent varchar NOT NULL,
    day date NOT NULL,
    last_id bigint NOT NULL,
    PRIMARY KEY (parent, day)
);
"""

_PARTITIONS = """SELECT c.relname AS name,
    substring(pg_get_expr(c.relpartbound, c.oid) from $$TO \\('([^']+)'\\)$$)::timestamptz AS ends
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = to_regclass($1::text) AND c.relname ~ ('^' || $1::text || '_[0-9]{8}_[0-9]{4}$')
ORDER BY c.relname"""
"""Those with a name like Homer's, in the order of their names, and when their time is over."""

_DEFAULT = """SELECT c.relname FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partdefid
WHERE p.partrelid = to_regclass($1)"""

_BEGIN_DAY = f"""INSERT INTO {DAYS}
SELECT $1::text, $2::date, coalesce(pg_sequence_last_value(pg_get_serial_sequence($1::text, 'id')::regclass), 0)
ON CONFLICT DO NOTHING"""
_LAST_ID = f"SELECT max(last_id) FROM {DAYS} WHERE parent = $1 AND day <= $2"  # noqa: S608 (a constant)
_FORGET_DAYS = f"DELETE FROM {DAYS} WHERE parent = $1 AND day <= $2"  # noqa: S608 (a constant)

_INDEXES = """SELECT c.relname AS name, x.indisvalid AS valid
FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid WHERE x.indrelid = to_regclass($1)"""


class Partitions:
    """The partitions of one store, as one connection knows them."""

    def __init__(self, store: PostgresStore) -> None:
        self._create = store.create
        self._tables = store.homer7
        self._there: set[str] = set()
        self._others: dict[str, str] = {}
        self._not_before: dict[str, datetime] = {}

    async def ensure(self, connection: Connection, pieces: Iterable[Piece]) -> None:
        """Make the tables and partitions that rows are to go to, where they are missing. Outside of a transaction.

        What is known to be there costs nothing. asyncpg.PostgresError when a table cannot be made; a partition that cannot
        be made leaves its rows to the default partition, with a warning.
        """
        if not self._create:
            return
        for piece in pieces:
            starts = _starts(piece.rows.column("create_date"), self._step(piece.table))
            names = [_name(piece.table, start) for start in starts]
            if self._there.issuperset(names):
                continue
            now = datetime.now(UTC)
            await self._parent(connection, piece.table)
            for start in starts:
                if self._has_partition(piece.table, start, now):
                    await self._make(connection, piece.table, start, now)

    async def tend(self, connection: Connection, now: datetime) -> None:
        """Make partitions ahead, drop old ones, build what indexes are due; unless another node is at it.

        asyncpg's errors, after which the connection is to be closed: the lock on this work goes with it.
        """
        if not self._create or not await connection.fetchval("SELECT pg_try_advisory_lock($1)", TENDING):
            return
        for parent in PARENTS:
            self._there.update(name for name, _ in await _partitions(connection, parent))
            for start in self._due(parent, now):
                await self._make(connection, parent, start, now)
            await self._drop(connection, parent, now)
            await self._empty_other(connection, parent, now)
        if self._tables.indexes_when_closed:
            await self._index_one(connection, now)
        await connection.execute("SELECT pg_advisory_unlock($1)", TENDING)

    # ── what there should be ───────────────────────────────────────────────────────────────────────────────────────────

    def _step(self, parent: str) -> timedelta:
        return _step(self._tables, parent)

    def _keep(self, parent: str) -> timedelta:
        """How long rows are kept; 0: for ever."""
        own = getattr(self._tables, f"keep_{PARENTS[parent].keep}")
        return timedelta(seconds=self._tables.keep if own is None else own)

    def _due(self, parent: str, now: datetime) -> Iterator[datetime]:
        """The starts of the partitions that there should be whatever comes."""
        return _between(self._step(parent), now, now + timedelta(seconds=self._tables.ahead))

    def _has_partition(self, parent: str, start: datetime, now: datetime) -> bool:
        """Is it a time that gets a partition of its own?"""
        latest = self._keep(parent) or LATEST_WITHOUT_KEEP
        return start <= now + timedelta(seconds=self._tables.ahead) and now - latest < start + self._step(parent)

    # ── making ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _parent(self, connection: Connection, parent: str) -> str:
        """Make a table and its default partition, where they are missing. The name of the latter."""
        if parent not in self._others:
            async with connection.transaction():
                await _lock(connection)
                other = await connection.fetchval(_DEFAULT, parent)
                if other is None or await connection.fetchval("SELECT to_regclass($1) IS NULL", DAYS):
                    await connection.execute(_DAYS_DDL + _parent_ddl(self._tables, parent, other or _other(parent)))
            self._others[parent] = other or _other(parent)
        return self._others[parent]

    async def _make(self, connection: Connection, parent: str, start: datetime, now: datetime) -> None:
        """Make a partition, unless it is there, with the rows that wait for it in the default partition."""
        name, other = _name(parent, start), await self._parent(connection, parent)
        if name in self._there or now < self._not_before.get(name, now):
            return
        statements = _partition_ddl(parent, other, name, _bounds(start, self._step(parent)))
        indexed = _indexes_ddl(self._tables, name, self._at_first(parent, start, now))
        try:
            async with connection.transaction():
                await _lock(connection)
                if await connection.fetchval("SELECT to_regclass($1) IS NULL", name):
                    await connection.execute(indexed.join(statements))
        except asyncpg.PostgresError as error:
            if connection.is_closed():
                raise
            self._not_before[name] = now + AGAIN
            log.warning(
                f"partition {name} cannot be made: its rows go to {other} until it can",
                reason=str(error),
                again_in=f"{AGAIN.total_seconds():g} s",
            )
        else:
            self._not_before.pop(name, None)
            self._there.add(name)

    def _at_first(self, parent: str, start: datetime, now: datetime) -> Sequence[str]:
        """The fields that a new partition has an index of."""
        fields = indexes(self._tables, parent)
        if self._tables.indexes_when_closed and start + self._step(parent) > now:
            return [field for field in fields if field in SMALL_INDEXES]
        return fields

    # ── dropping ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _drop(self, connection: Connection, parent: str, now: datetime) -> None:
        """Drop the partitions whose time has been over for `keep`."""
        keep = self._keep(parent)
        if not keep:
            return
        for name, ends in await _partitions(connection, parent):
            if ends > now - keep:
                break
            try:
                async with connection.transaction():
                    await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_PATIENCE}'")
                    await connection.execute(f"DROP TABLE {name}")
            except asyncpg.PostgresError as error:
                if connection.is_closed():
                    raise
                log.warning(f"partition {name} is old and cannot be dropped: tried again later", reason=str(error))
                return
            self._there.discard(name)
            log.info(f"dropped partition {name}", keep=str(keep))

    async def _empty_other(self, connection: Connection, parent: str, now: datetime) -> None:
        """Delete from the default partition what came `keep` ago; remember what id today began with."""
        keep = self._keep(parent)
        if not keep:
            return
        await connection.execute(_BEGIN_DAY, parent, now.date())
        first = (now - keep).date()
        last_id = await connection.fetchval(_LAST_ID, parent, first)
        if last_id is None:
            return
        other = await self._parent(connection, parent)
        done = await connection.execute(
            f"DELETE FROM {other} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {other} WHERE id <= $1 LIMIT $2))",  # noqa: S608 (names)
            last_id, DELETED_AT_ONCE,
        )  # fmt: skip
        if done != f"DELETE {DELETED_AT_ONCE}":  # that was all of them, until the next day is old enough
            await connection.execute(_FORGET_DAYS, parent, first)

    # ── indexes ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _index_one(self, connection: Connection, now: datetime) -> None:
        """Build the indexes that one closed partition lacks; the next call takes the next. Late packets are not held up."""
        for parent in PARENTS:
            for name, ends in await _partitions(connection, parent):
                if ends > now:
                    break
                there = {row["name"]: row["valid"] for row in await connection.fetch(_INDEXES, name)}
                missing = [field for field in indexes(self._tables, parent) if not there.get(_index_name(name, field))]
                for field in missing:
                    if _index_name(name, field) in there:  # what a build that broke off has left behind
                        await connection.execute(f"DROP INDEX {_index_name(name, field)}")
                    await connection.execute(_index_ddl(self._tables, name, field, "CONCURRENTLY "))
                if missing:
                    log.info(f"built {len(missing)} indexes of partition {name}")
                    return


def statements(store: PostgresStore, now: datetime) -> str:
    """The statements that make all tables of the layout, and their partitions from `now` on."""
    tables = store.homer7
    parts = [_DAYS_DDL]
    for parent in PARENTS:
        parts.append(_parent_ddl(tables, parent, _other(parent)))
        step = _step(tables, parent)
        for start in _between(step, now, now + timedelta(seconds=tables.ahead)):
            name, (low, high) = _name(parent, start), _bounds(start, step)
            parts.append(
                f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {parent} FOR VALUES FROM ({low}) TO ({high});\n"
            )
            parts.append(_indexes_ddl(tables, name, indexes(tables, parent)))
    return "".join(parts)


async def _lock(connection: Connection) -> None:
    """Be the only one who makes tables, until the transaction ends."""
    await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_PATIENCE}'")
    await connection.execute(f"SELECT pg_advisory_xact_lock({MAKING})")


async def _partitions(connection: Connection, parent: str) -> list[tuple[str, datetime]]:
    return [(row["name"], row["ends"]) for row in await connection.fetch(_PARTITIONS, parent)]


# ── names and statements ───────────────────────────────────────────────────────────────────────────────────────────────


def _name(parent: str, start: datetime) -> str:
    return f"{parent}_{start:%Y%m%d_%H%M}"


def _other(parent: str) -> str:
    return f"{parent}_other"


def _index_name(partition: str, field: str) -> str:
    """As PostgreSQL folds the name that heplify-server gives it."""
    return f"{partition}_{field}".lower()


def _step(tables: Homer7Tables, parent: str) -> timedelta:
    return timedelta(seconds=getattr(tables, f"step_{PARENTS[parent].step}"))


def _starts(moments: Values, step: timedelta) -> list[datetime]:
    """Where the partitions start that moments (timestamp[us]) belong to."""
    micros = step // timedelta(microseconds=1)
    found: Values = pc.unique(pc.divide(moments.cast(pa.int64()), micros))
    return [datetime.fromtimestamp(number * micros // 1_000_000, UTC) for number in found.to_pylist()]


def _between(step: timedelta, first: datetime, last: datetime) -> Iterator[datetime]:
    start = datetime.fromtimestamp(first.timestamp() // step.total_seconds() * step.total_seconds(), UTC)
    while start <= last:
        yield start
        start += step


def _bounds(start: datetime, step: timedelta) -> tuple[str, str]:
    return f"'{start:%Y-%m-%d %H:%M}+00'", f"'{start + step:%Y-%m-%d %H:%M}+00'"


def _parent_ddl(tables: Homer7Tables, parent: str, other: str) -> str:
    return (
        f"CREATE TABLE IF NOT EXISTS {parent} (\n    {_COLUMNS}\n) PARTITION BY RANGE (create_date);\n"
        f"CREATE TABLE IF NOT EXISTS {other} PARTITION OF {parent} DEFAULT;\n"
    ) + _indexes_ddl(tables, other, indexes(tables, parent))


def _partition_ddl(parent: str, other: str, name: str, bounds: tuple[str, str]) -> tuple[str, str]:
    """What comes before the indexes of a partition that is made, and after."""
    low, high = bounds
    early = f"DELETE FROM {other} WHERE create_date >= {low} AND create_date < {high} RETURNING *"  # noqa: S608 (names)
    move = f"WITH early AS ({early}) INSERT INTO {name} SELECT * FROM early;\n"  # noqa: S608 (names)
    table = f"CREATE TABLE {name} (LIKE {parent} INCLUDING DEFAULTS INCLUDING STORAGE);\n"
    return (
        f"LOCK TABLE {other} IN ACCESS EXCLUSIVE MODE;\n" + table + move,
        f"ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ({low}) TO ({high});\n",
    )


def _indexes_ddl(tables: Homer7Tables, partition: str, fields: Iterable[str]) -> str:
    return "".join(_index_ddl(tables, partition, field) for field in fields)


def _index_ddl(tables: Homer7Tables, partition: str, field: str, how: str = "") -> str:
    match field:
        case "create_date" if tables.brin:
            keys = "USING brin (create_date)"
        case "create_date" | "sid":
            keys = f"({field})"
        case _:
            header = "protocol_header" if field in PROTOCOL_KEYS else "data_header"
            keys = f"(({header}->>'{field}'))"
    return f"CREATE INDEX {how}IF NOT EXISTS {_index_name(partition, field)} ON {partition} {keys};\n"
