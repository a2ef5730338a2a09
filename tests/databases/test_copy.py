"""The data of a binary COPY: byte for byte as a slow encoder makes it, and PostgreSQL reads back what went in."""

from __future__ import annotations

import asyncio
import datetime
import json
import struct
from collections.abc import Sequence
from typing import Any

import asyncpg
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepswitch.databases.copy import FORMS, copy_rows
from servers import Postgres

US = pa.timestamp("us", "UTC")
UNITS = {"s": 1_000_000, "ms": 1000, "us": 1}
YEAR_2000 = 946_684_800_000_000
NUMBERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
TEXTS = ["text", "varchar", "bpchar", "json", "jsonb", "bytea"]
KEPT = st.binary(max_size=30) | st.text(max_size=20).map(str.encode) | st.sampled_from([b"\0", b"a\0b", b"\xff"])


def encoded(column: str, most: int, kind: pa.DataType, value: Any) -> bytes:
    """One value as PostgreSQL's documentation describes it."""
    if value is None:
        return struct.pack(">i", -1)
    if isinstance(value, bytes):
        if column != "bytea":
            text = value.decode("utf-8", "replace").replace("\0", "")
            value = (text[:most] if most else text).encode()
        octets = b"\1" + value if column == "jsonb" else value
    elif pa.types.is_timestamp(kind):
        octets = struct.pack(">q", value * UNITS[kind.unit] - YEAR_2000)
    else:
        octets = struct.pack({"int2": ">h", "int4": ">i", "int8": ">q"}[column], value)
    return struct.pack(">i", len(octets)) + octets


def slow(batch: pa.RecordBatch, columns: Sequence[tuple[str, int]]) -> bytes:
    out = [b"PGCOPY\n\xff\r\n\0", bytes(8)]
    for row in range(batch.num_rows):
        out.append(struct.pack(">h", len(columns)))
        for (name, most), column in zip(columns, batch.columns, strict=True):
            raw = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
            raw = raw.cast(pa.binary()) if pa.types.is_string(column.type) else raw
            out.append(encoded(name, most, column.type, raw[row].as_py()))
    return b"".join([*out, b"\xff\xff"])


def a_column(rows: int) -> st.SearchStrategy[tuple[tuple[str, int], pa.Array[Any]]]:
    """A column's type in PostgreSQL and its values."""

    def numbers(kind: pa.DataType, column: str) -> st.SearchStrategy[Any]:
        bits = min(kind.bit_width - pa.types.is_signed_integer(kind), 8 * int(column[3]) - 1)
        low = -(1 << bits) if pa.types.is_signed_integer(kind) else 0
        values = st.lists(st.none() | st.integers(low, (1 << bits) - 1), min_size=rows, max_size=rows)
        return values.map(lambda values: ((column, 0), pa.array(values, kind)))

    def moments(unit: str, column: str) -> st.SearchStrategy[Any]:
        span = 60_000_000_000_000_000 // UNITS[unit]
        values = st.lists(st.none() | st.integers(-span, span), min_size=rows, max_size=rows)
        return values.map(lambda values: ((column, 0), pa.array(values, pa.timestamp(unit))))

    def texts(column: str, most: int) -> st.SearchStrategy[Any]:
        limit = most if column in ("varchar", "bpchar") else 0
        values = st.lists(st.none() | KEPT, min_size=rows, max_size=rows)
        return values.map(lambda values: ((column, limit), pa.array(values, pa.binary())))

    def strings(column: str) -> st.SearchStrategy[Any]:
        values = st.lists(st.none() | st.text(max_size=20), min_size=rows, max_size=rows)
        return values.map(lambda values: ((column, 0), pa.array(values, pa.string())))

    return st.one_of(
        st.builds(numbers, st.sampled_from(NUMBERS), st.sampled_from(["int2", "int4", "int8"])).flatmap(
            lambda made: made
        ),
        st.builds(moments, st.sampled_from(list(UNITS)), st.sampled_from(["timestamp", "timestamptz"])).flatmap(
            lambda made: made
        ),
        st.builds(texts, st.sampled_from(TEXTS), st.integers(0, 5)).flatmap(lambda made: made),
        st.builds(strings, st.sampled_from(TEXTS)).flatmap(lambda made: made),
    )


def made(columns: Sequence[tuple[tuple[str, int], pa.Array[Any]]]) -> tuple[pa.RecordBatch, list[tuple[str, int]]]:
    arrays = [values for _, values in columns]
    return pa.RecordBatch.from_arrays(arrays, names=[f"c{i}" for i in range(len(arrays))]), [
        each for each, _ in columns
    ]


@given(
    st.integers(0, 20).flatmap(lambda rows: st.lists(a_column(rows), max_size=8)),
    st.integers(0, 20),
    st.integers(0, 20),
)
def test_is_what_the_documentation_says(columns: Any, start: int, length: int) -> None:
    batch, types = made(columns)
    for part in (batch, batch.slice(min(start, batch.num_rows), length)):
        assert copy_rows(part, types) == slow(part, types)


def kept(text: bytes) -> str:
    return text.decode("utf-8", "replace").replace("\0", "")


ROW = st.tuples(
    st.none() | st.integers(-(1 << 15), (1 << 15) - 1),
    st.none() | st.integers(-(1 << 31), (1 << 31) - 1),
    st.none() | st.integers(-(1 << 63), (1 << 63) - 1),
    st.none() | KEPT,
    st.none() | KEPT,
    st.none() | KEPT,
    st.none() | st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5)).map(
        lambda value: json.dumps(value, ensure_ascii=False).replace("\\u0000", "")
    ),
    st.none() | st.datetimes(datetime.datetime(1, 1, 2), datetime.datetime(9999, 12, 30)),
    st.none() | st.datetimes(datetime.datetime(1, 1, 2), datetime.datetime(9999, 12, 30)),
)  # fmt: skip


@settings(max_examples=30)
@given(st.lists(ROW, max_size=20))
def test_postgresql_reads_back_what_went_in(postgres_server: Postgres, rows: list[Any]) -> None:
    names = ("small", "whole", "big", "t", "v", "o", "j", "zoned", "plain")
    types = [
        (name, 0) for name in ("int2", "int4", "int8", "text", "varchar", "bytea", "jsonb", "timestamptz", "timestamp")
    ]
    types[4] = ("varchar", 3)
    kinds = (
        pa.int16(), pa.int32(), pa.int64(), pa.binary(), pa.binary(), pa.binary(), pa.string(), US, pa.timestamp("us"),
    )  # fmt: skip
    arrays = [pa.array([row[i] for row in rows], kind) for i, kind in enumerate(kinds)]
    batch = pa.RecordBatch.from_arrays(arrays, names=list(names))

    async def there_and_back() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(postgres_server.url)
        try:
            await connection.execute(
                "CREATE TEMP TABLE x (small int2, whole int4, big int8, t text, v varchar(3), o bytea, j jsonb,"
                " zoned timestamptz, plain timestamp, id bigserial)"
            )
            data: Any = copy_rows(batch, types)
            await connection.copy_to_table("x", source=data, columns=names, format="binary")
            return await connection.fetch("SELECT * FROM x ORDER BY id")
        finally:
            await connection.close()

    def expected(row: Any) -> tuple[Any, ...]:
        small, whole, big, t, v, o, j, zoned, plain = row
        return (
            small, whole, big, t if t is None else kept(t), v if v is None else kept(v)[:3], o,
            j if j is None else json.loads(j), zoned and zoned.replace(tzinfo=datetime.UTC), plain,
        )  # fmt: skip

    found = asyncio.run(there_and_back())
    read = [tuple(json.loads(v) if k == "j" and v is not None else v for k, v in row.items())[:-1] for row in found]
    assert read == [expected(row) for row in rows]


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("int2", pa.array([1, 40_000], pa.uint16()), "column c: 40000 is too much for int2"),
        ("int4", pa.array([1 << 31], pa.uint32()), "column c: 2147483648 is too much for int4"),
        ("int4", pa.array([-(1 << 31) - 1], pa.int64()), "column c: -2147483649 is too much for int4"),
        ("int8", pa.array([1 << 63], pa.uint64()), "column c: 9223372036854775808 is too much for int8"),
        ("timestamp", pa.array([(1 << 63) - 1], US), "column c: 9223372036854775807 is too much for timestamp"),
        ("timestamptz", pa.array([-(1 << 63)], US), "column c: -9223372036854775808 is too much for timestamptz"),
        (
            "timestamp",
            pa.array([1 << 62], pa.timestamp("s")),
            "column c: 4611686018427387904 is too much for timestamp",
        ),
        (
            "timestamp",
            pa.array([-250_000_000_000], pa.timestamp("s")),
            "column c: -250000000000 is too much for timestamp",
        ),
    ],
)
def test_what_is_beyond_a_type_is_told(column: str, values: pa.Array[Any], said: str) -> None:
    with pytest.raises(OverflowError, match=f"^{said}$"):
        copy_rows(pa.RecordBatch.from_arrays([values], names=["c"]), [(column, 0)])


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        (
            "inet",
            pa.array(["192.0.2.1"]),
            "column c is of type inet, which cannot be written: make it one of int2, int4",
        ),
        ("int4", pa.array(["1"]), "column c is of type int4, which does not take string"),
        ("text", pa.array([1]), "column c is of type text, which does not take int64"),
        (
            "timestamp",
            pa.array([1], pa.timestamp("ns")),
            "column c is of type timestamp, which does not take timestamp",
        ),
        ("int8", pa.array([1.5]), "column c is of type int8, which does not take double"),
    ],
)
def test_types_that_do_not_go_together_are_told(column: str, values: pa.Array[Any], said: str) -> None:
    with pytest.raises(TypeError, match=f"^{said}"):
        copy_rows(pa.RecordBatch.from_arrays([values], names=["c"]), [(column, 0)])


def test_each_column_needs_a_type() -> None:
    with pytest.raises(ValueError, match="1 types for 2 columns"):
        copy_rows(pa.record_batch({"a": [1], "b": [2]}), [("int4", 0)])


@pytest.mark.parametrize("ends", [[0, 5, 3, 6], [0, -1, 2, 6], [0, 100, 2, 6]])
def test_texts_outside_their_buffer_are_refused(ends: list[int]) -> None:
    buffers = [None, pa.py_buffer(struct.pack("<4i", *ends)), pa.py_buffer(b"abcdef")]
    batch = pa.RecordBatch.from_arrays([pa.Array.from_buffers(pa.binary(), 3, buffers)], names=["c"])
    with pytest.raises(ValueError, match=r"column c: row \d lies outside its buffer"):
        copy_rows(batch, [("text", 0)])


class Lying:
    """An array of 100 rows, and a batch of it, whose buffers are what one likes: Arrow itself makes no such thing."""

    num_rows, num_columns, offset, schema = 100, 1, 0, pa.schema({"c": pa.null()})

    def __init__(self, kind: pa.DataType, buffers: list[bytes | None]) -> None:
        self.type = kind
        self._buffers = [each if each is None else pa.py_buffer(each) for each in buffers]

    def __len__(self) -> int:
        return self.num_rows

    def column(self, i: int) -> Lying:
        return self

    def buffers(self) -> list[pa.Buffer | None]:
        return self._buffers


@pytest.mark.parametrize(
    ("kind", "column", "buffers"),
    [
        (pa.int32(), "int4", [None, bytes(4 * 99)]),
        (pa.int32(), "int4", [None, None]),
        (pa.int32(), "int4", [bytes(12), bytes(4 * 100)]),
        (pa.binary(), "text", [None, bytes(4 * 100), b""]),
        (pa.binary(), "text", [None, None, None]),
    ],
)
def test_buffers_shorter_than_their_rows_are_refused(kind: pa.DataType, column: str, buffers: list[Any]) -> None:
    lying: Any = Lying(kind, buffers)
    with pytest.raises(ValueError, match="column c: its buffer is shorter than its rows"):
        copy_rows(lying, [(column, 0)])


def test_every_type_has_its_test() -> None:
    assert set(FORMS) == {"int2", "int4", "int8", "timestamp", "timestamptz", *TEXTS}
