"""Names with dates in them."""

from __future__ import annotations

import re
import time

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
