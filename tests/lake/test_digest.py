"""What the end of a file says about the calls in it: never no about one that is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepswitch.destinations.schema import SCHEMA
from hepswitch.lake import parquet
from hepswitch.lake.digest import digest, footer

IDS = st.lists(st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=40)), max_size=60)


def written(path: Path, *groups: dict[str, list[str | None]]) -> bytes:
    """A file of ours whose row groups have these ids and nothing else."""
    return parquet.write(path, map(table, groups), parquet.QUICK).read_bytes()


def table(ids: dict[str, list[str | None]]) -> pa.Table:
    rows = max(map(len, ids.values()))
    columns = {}
    for field in SCHEMA:
        values: list[Any] = ids.get(field.name, [])
        values = [*values, *[None if field.nullable else 0] * (rows - len(values))]
        columns[field.name] = pa.array(values, field.type)
    return pa.table(columns, SCHEMA)


def reading(data: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, length: data[offset : offset + length]


@settings(deadline=None, max_examples=40)
@given(groups=st.lists(st.fixed_dictionaries(dict.fromkeys(parquet.IDENTITIES, IDS)), min_size=1, max_size=4))
def test_what_is_there_may_be_there(tmp_path_factory: pytest.TempPathFactory, groups: list[dict[str, Any]]) -> None:
    data = written(tmp_path_factory.mktemp("file") / "w0.parquet", *groups)
    size = footer(data)
    assert size is not None
    about = digest(data[-size:])  # the footer is enough to say where the rest is
    assert about is not None
    for value in {value for group in groups for values in group.values() for value in values if value is not None}:
        assert about.may_hold(value.encode(), reading(data)), value
    if all(value is None for group in groups for values in group.values() for value in values):
        assert not about.may_hold(b"somebody", reading(data))


def test_what_is_not_there_mostly_is_not(tmp_path: Path) -> None:
    ids = [sorted(f"{number * 7919 % 4001:06x}@host" for number in range(start, start + 2000)) for start in (0, 2000)]
    data = written(tmp_path / "w0.parquet", *({"correlation_id": some} for some in ids))
    about = digest(data)
    assert about is not None
    assert about.first > 0
    wrong = sum(about.may_hold(f"{number:06x}@other".encode(), reading(data)) for number in range(4001))
    assert wrong < 400  # two filters of one in 25 at most, for twice as many values as they are made for
    # Bits that cannot be read say nothing.
    assert about.may_hold(b"000100@other", lambda offset, length: None)


@pytest.mark.parametrize(
    "end", [b"", b"PAR1", b"x" * 100, b"\xff\xff\xff\x7fPAR1", b"\x08\x00\x00\x00PAR1", bytes(64) + b"\x10\0\0\0PAR1"]
)
def test_what_is_no_parquet_has_none(end: bytes) -> None:
    assert digest(end) is None


def test_a_file_of_somebody_else_has_none(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"call_id": ["a"]}), tmp_path / "other.parquet")
    assert digest((tmp_path / "other.parquet").read_bytes()) is None


def test_a_file_without_bloom_filters_is_told_by_its_values(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table({"call_id": ["b", "d"]}), tmp_path / "old.parquet")
    about = digest((tmp_path / "old.parquet").read_bytes())
    assert about is not None
    assert [value for value in b"abcde" if about.may_hold(bytes([value]), reading(b""))] == list(b"bcd")
