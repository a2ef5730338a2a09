"""What tables of MySQL that are really there can hold, and rows made to fit them."""

import re

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.databases.mysql_tables import Existing, Holds

TEXTS = st.lists(st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=30)), max_size=5)


@given(TEXTS, st.integers(1, 12), st.sampled_from(["utf8mb4", "utf8mb3", "latin1"]))
def test_fitted_text_is_a_head_that_the_column_can_hold(texts: list[str | None], size: int, charset: str) -> None:
    octets = {"utf8mb4": size, "utf8mb3": 3 * size, "latin1": size}[charset]  # the first as TEXT has it: in bytes
    table = Existing("InnoDB", {"x": Holds(size, octets, charset, True)})
    fitted = table.fitted(pa.record_batch({"x": pa.array(texts, pa.string())})).column("x").to_pylist()
    for text, made in zip(texts, fitted, strict=True):
        if text is None:
            assert made is None
            continue
        assert len(made) <= size
        assert len(made.encode()) <= octets
        encoding = {"utf8mb4": "utf-8", "utf8mb3": "utf-8", "latin1": "ascii"}[charset]
        assert made.encode(encoding).decode(encoding) == made
        replaced = {"utf8mb3": "[\U00010000-\U0010ffff]", "latin1": r"[^\x00-\x7f]"}.get(charset, r"(?!)")
        assert re.sub(replaced, "?" if charset == "latin1" else "\ufffd", text).startswith(made)


@given(st.lists(st.one_of(st.none(), st.binary(max_size=20)), max_size=5))
def test_bytes_in_a_text_column_are_as_python_replaces_them(values: list[bytes | None]) -> None:
    table = Existing("InnoDB", {"x": Holds(65535, 65535, "utf8mb4", True)})
    fitted = table.fitted(pa.record_batch({"x": pa.array(values, pa.binary())})).column("x").to_pylist()
    assert fitted == [None if value is None else value.decode("utf-8", "replace") for value in values]
