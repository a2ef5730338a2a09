"""Names with dates in them."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.destinations.dated import FIELDS, Dated


def test_fields_are_those_of_the_time_in_utc() -> None:
    name = Dated("sip_trace_%Y%m%d_%H%%")
    assert name.at(1_795_000_000_123_456) == "sip_trace_20261118_11%"
    assert name.at(0) == "sip_trace_19700101_00%"
    assert Dated("sip_trace").at(5) == "sip_trace"


@given(
    st.lists(st.sampled_from([*(f"%{field}" for field in FIELDS), "a", ".", "(", "é"]), max_size=8).map("".join),
    st.integers(0, 4_294_967_295),
)
def test_it_is_strftime_and_recognises_its_names(template: str, second: int) -> None:
    name = Dated(template).at(second * 1_000_000 + 7)
    assert name == time.strftime(template, time.gmtime(second))
    assert re.fullmatch(Dated(template).pattern, name)


@pytest.mark.parametrize("template", ["%", "x%B", "%_d", "%-d", "a%é", "%\n"])
def test_other_fields_are_mistakes(template: str) -> None:
    with pytest.raises(ValueError, match=r"has the field %.?; a name may have %Y"):
        Dated(template)


@given(
    st.sampled_from(["x", "a%Y", "a%y%j", "%m-%d", "%d%H", "%H%M", "%M", "%S", "%Y%%"]), st.integers(0, 4_000_000_000)
)
def test_a_name_holds_for_a_step(template: str, second: int) -> None:
    dated = Dated(template)
    first = second * 1_000_000 // dated.step_us * dated.step_us
    assert dated.at(second * 1_000_000) == dated.at(first) == dated.at(first + dated.step_us - 1)
    assert dated.is_constant == (template == "x")


def test_files_with_such_a_name_are_found(tmp_path: Path) -> None:
    for name in ("a-20261118.db", "a-20261117.db", "a-2026111.db", "a-20261118.db-wal", "b"):
        (tmp_path / name).touch()
    (tmp_path / "a-20261116.db").mkdir()
    assert [path.name for path in Dated("a-%Y%m%d.db").found(tmp_path)] == ["a-20261117.db", "a-20261118.db"]
    assert Dated("b").found(tmp_path) == [tmp_path / "b"]
    assert Dated("c").found(tmp_path) == Dated("c%d").found(tmp_path / "missing") == []
