"""Tables of layout "messages" in ClickHouse: the statements that make them, and whether one that is there will do.

A part of the table is a day of arrival (`received_ts`), and `keep` counts from then, as retention of the lake does: an agent
whose clock says 1970 or 2044 neither loses its packets at once, nor keeps them for ever, nor makes thousands of parts.
Inside, rows lie by the hour of the packet (`ts`), then by call, so that both "from 14:05 to 14:10" and "this Call-ID" read
little; Bloom filters do the rest. Days are dropped whole, so that a packet lives up to a day longer than `keep`; what is
older than that when it is loaded is not kept at all.

With `cluster` the table is a Distributed one over `TABLE_local` on every node, replicated by the macros {shard} and
{replica} of the servers; a call is kept together on a shard.

Not here: rows (`layouts.messages`), running these statements (`clickhouse`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import pyarrow as pa

from hepswitch.databases.layouts.messages import FIELDS, INDEXED
from hepswitch.destinations.databases import ClickhouseStore

WINDOW = 10_000
"""So many inserts a table remembers, to know those again that come twice."""

FEW = frozenset(
    {
        "src_ip", "dst_ip", "node_name", "method", "reason", "cseq_method", "ruri_domain", "from_domain", "to_domain",
        "user_agent", "content_type", "received_ip",
    }
)  # fmt: skip
"""Columns with the same few values again and again."""

_FAMILIES = {
    "String": re.compile(r"(LowCardinality\()?(Nullable\()?String\)*"),
    "DateTime64": re.compile(r"DateTime64\(.*\)"),
    "UInt": re.compile(r"(Nullable\()?U?Int\d+\)?"),
}
_ALONE = re.compile(r"(?!Replicated|Shared)\w*MergeTree\b")
_WINDOW = re.compile(r"\bnon_replicated_deduplication_window = (\d+)")
_KEPT = re.compile(r"TTL toDateTime\(received_ts\) \+ toIntervalSecond\((\d+)\)")


def statements(store: ClickhouseStore, database: str, table: str) -> list[str]:
    """What makes a table, without semicolons."""
    on = _on(store)
    below = local(store, table)
    engine = "ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')"
    window = "replicated" if store.cluster else "non_replicated"
    lines = [*map(_column, FIELDS), "    INDEX ts_range ts TYPE minmax GRANULARITY 1"]
    lines += [f"    INDEX {name}_bloom {name} TYPE bloom_filter(0.01) GRANULARITY 1" for name in INDEXED]
    made = [
        f"CREATE TABLE IF NOT EXISTS {quoted(database)}.{quoted(below)}{on}\n(\n" + ",\n".join(lines) + "\n)\n"
        f"ENGINE = {engine if store.cluster else 'MergeTree'}\n"
        "PARTITION BY toYYYYMMDD(received_ts)\n"
        "ORDER BY (toStartOfHour(ts), call_id, ts)\n"
        + (f"TTL {_ttl(store.keep)}\n" if store.keep is not None else "")
        + f"SETTINGS {window}_deduplication_window = {WINDOW}, ttl_only_drop_parts = 1"
    ]
    if store.cluster:
        made.append(
            f"CREATE TABLE IF NOT EXISTS {quoted(database)}.{quoted(table)}{on}\n"
            f"AS {quoted(database)}.{quoted(below)}\n"
            f"ENGINE = Distributed('{store.cluster}', {text(database)}, {text(below)}, "
            "cityHash64(if(call_id = '', correlation_id, call_id)))"
        )
    return made


def lacking(columns: Mapping[str, str]) -> str | None:
    """Why a table with these columns (name → type) will not do; None when it will."""
    missing = [field for field in FIELDS if field.name not in columns]
    if missing:
        adds = ", ".join(f"ADD COLUMN {field.name} {_type(field)}" for field in missing)
        return f"lacks the columns {', '.join(field.name for field in missing)}: ALTER TABLE … {adds}"
    for field in FIELDS:
        wanted = _type(field)
        family = next(pattern for word, pattern in _FAMILIES.items() if word in wanted)
        if not family.fullmatch(columns[field.name]):
            return f"has a column {field.name} of type {columns[field.name]}, which must be {wanted}"
    return None


def forgets(engine: str) -> bool:
    """Whether a table with this engine (system.tables.engine_full) does not know an insert again that comes twice."""
    window = _WINDOW.search(engine)
    return _ALONE.match(engine) is not None and (window is None or window[1] == "0")


def new_ttl(store: ClickhouseStore, database: str, table: str, engine: str) -> str | None:
    """The statement that gives a table with this engine the retention of the store; None when it has it."""
    kept = _KEPT.search(engine)
    if store.keep is None or (kept is not None and int(kept[1]) == int(store.keep)):
        return None
    return f"ALTER TABLE {quoted(database)}.{quoted(local(store, table))}{_on(store)} MODIFY TTL {_ttl(store.keep)}"


def local(store: ClickhouseStore, table: str) -> str:
    """The table that has the rows: with `cluster` the one below the Distributed table."""
    return f"{table}_local" if store.cluster else table


def quoted(name: str) -> str:
    """A name as SQL has it."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def text(value: str) -> str:
    """A text as SQL has it."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _on(store: ClickhouseStore) -> str:
    return f" ON CLUSTER '{store.cluster}'" if store.cluster else ""


def _ttl(keep: float) -> str:
    return f"toDateTime(received_ts) + toIntervalSecond({int(keep)})"


def _column(field: pa.Field[pa.DataType]) -> str:
    name, kind = field.name, _type(field)
    if name in ("payload", "chunks"):
        codec = "ZSTD(3)"
    elif pa.types.is_timestamp(field.type):
        codec = "Delta, ZSTD(1)"
    else:
        codec = "ZSTD(1)"
    return f"    {name} {kind} CODEC({codec})"


def _type(field: pa.Field[pa.DataType]) -> str:
    """The type of a column."""
    if pa.types.is_timestamp(field.type):
        return f"DateTime64({ {'us': 6, 'ms': 3}[field.type.unit] }, 'UTC')"
    if pa.types.is_integer(field.type):
        return f"Nullable(UInt{field.type.bit_width})"
    return "LowCardinality(String)" if field.name in FEW else "String"
