"""JSON out of columns, against Python's own reader."""

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.databases.json_objects import json_objects

KINDS = [pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(), pa.int8(), pa.int16(), pa.int32(), pa.int64()]

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def bounds(kind: pa.DataType) -> tuple[int, int]:
    if str(kind).startswith("u"):
        return 0, 2**kind.bit_width - 1
    return -(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1) - 1


@st.composite
def columns(draw: st.DrawFn) -> tuple[int, list[tuple[str, pa.Array, str | None]]]:
    """Rows, and members with a column each: some of them slices of longer ones."""
    rows, before = draw(st.integers(0, 9)), draw(st.integers(0, 9))
    members = []
    for key in draw(st.lists(TEXTS, max_size=5, unique=True)):
        kind = draw(st.sampled_from([pa.string(), *KINDS]))
        values: st.SearchStrategy[Any] = TEXTS if kind == pa.string() else st.integers(*bounds(kind))
        size = before + rows
        column = pa.array(draw(st.lists(st.none() | values, min_size=size, max_size=size)), kind)
        absent = draw(st.sampled_from([None, '""', "0", '{"a": [1, "2"]}']))
        members.append((key, column.slice(before), absent))
    return rows, members


@given(columns())
def test_what_is_read_is_what_was_there(drawn: tuple[int, list[tuple[str, pa.Array, str | None]]]) -> None:
    rows, members = drawn
    objects = json_objects(members, rows)
    objects.validate(full=True)
    assert len(objects) == rows
    for i, text in enumerate(objects.to_pylist()):
        expected: dict[str, Any] = {}
        for key, column, absent in members:
            value = column[i].as_py()
            if value is not None:
                expected[key] = value.replace("\0", "") if isinstance(value, str) else value
            elif absent is not None:
                expected[key] = json.loads(absent)
        assert json.loads(text) == expected
        assert list(json.loads(text)) == list(expected)


def test_every_character_of_the_lowest_256() -> None:
    text = "".join(map(chr, range(256)))
    objects = json_objects([("a", pa.array([text]), None)], 1)
    assert json.loads(objects[0].as_py())["a"] == text[1:]
    assert (
        objects[0].as_py().startswith('{"a":"\\u0001\\u0002\\u0003\\u0004\\u0005\\u0006\\u0007\\b\\t\\n\\u000b\\f\\r')
    )


def test_a_text_with_nothing_but_escapes_grows_six_times() -> None:
    objects = json_objects([("a", pa.array(["\x1f" * 70_000, '"\\' * 70_000]), None)], 2)
    assert [json.loads(text)["a"] for text in objects.to_pylist()] == ["\x1f" * 70_000, '"\\' * 70_000]


def test_nothing_but_null() -> None:
    column = pa.nulls(2, pa.string())
    assert json_objects([("a", column, '""'), ("b", column, None)], 2).to_pylist() == ['{"a":""}', '{"a":""}']


@pytest.mark.parametrize("kind", [pa.float64(), pa.binary(), pa.large_string(), pa.bool_(), pa.timestamp("us")])
def test_other_types_are_refused(kind: pa.DataType) -> None:
    with pytest.raises(TypeError, match="'a' is of"):
        json_objects([("a", pa.array([None], kind), None)], 1)


def test_columns_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ValueError, match="has 1 rows, not 2"):
        json_objects([("a", pa.array(["x"]), None)], 2)
    with pytest.raises(ValueError, match="-1 rows"):
        json_objects([], -1)
    backwards = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\x04\0\0\0\x02\0\0\0"), pa.py_buffer(b"four")]
    )
    with pytest.raises(ValueError, match="contradicts itself at row 1"):
        json_objects([("a", backwards, None)], 2)
