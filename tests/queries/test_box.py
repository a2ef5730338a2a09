"""The one box: what people type, and whatever else."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hepswitch.filters.errors import FilterError
from hepswitch.lake.query import Query
from hepswitch.queries.box import read


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", {}),
        ("  ", {}),
        ("a84b4c76e66710@pc33.atlanta.example.com", {"call_id": "a84b4c76e66710@pc33.atlanta.example.com"}),
        ("3848276298220188511@atlanta.example.com", {"call_id": "3848276298220188511@atlanta.example.com"}),
        ("f81d4fae-7dec-11d0-a765-00a0c91e6bf6", {"call_id": "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"}),
        ("+49 30 1234", {"user": "*49301234"}),
        ("030/1234", {"user": "*301234"}),
        ("(0049) 30-1234", {"user": "*49301234"}),
        ("1000", {"user": "*1000"}),
        ("486", {"status": "486"}),
        ("4XX", {"status": "4xx"}),
        ("invite", {"method": "INVITE"}),
        ("alice", {"user": "alice"}),
        ("+4930*", {"user": "+4930*"}),
        ("sip:alice;phone=1@example.com", {"user": "alice"}),
        ("<sip:+49301234@example.com:5060;user=phone>", {"user": "*49301234"}),
        ("tel:+49301234", {"user": "*49301234"}),
        ("10.0.0.1", {"ip": "10.0.0.1"}),
        ("[2001:DB8::1]", {"ip": "2001:db8::1"}),
        (
            "10.0.0.1:5060",
            {"filter": "(src_ip = 10.0.0.1 and src_port = 5060) or (dst_ip = 10.0.0.1 and dst_port = 5060)"},
        ),
        ("10.0.0.9/8", {"filter": "ip in 10.0.0.0/8"}),
        ("src_ip = 10.0.0.1 and sip.status >= 500", {"filter": "src_ip = 10.0.0.1 and sip.status >= 500"}),
        ("not sip", {"filter": "not sip"}),
    ],
)
def test_what_people_type(text: str, meant: dict[str, Any]) -> None:
    assert read(text) == meant


def test_a_user_of_a_domain() -> None:
    (condition,) = read("alice@example.com").values()
    assert '(sip.from_user = "alice" and sip.from_domain = "example.com")' in condition
    assert condition == f'sip.call_id = "alice@example.com" or {read("sip:alice@example.com:5061")["filter"]}'


def test_a_word_that_may_be_either_is_looked_for_as_both() -> None:
    (condition,) = read("5c38d50d3b945e57").values()
    assert condition.startswith('sip.call_id = "5c38d50d3b945e57" or sip.from_user = "5c38d50d3b945e57" or ')
    assert read("5c38d50d*") == {"user": "5c38d50d*"}


def test_a_condition_that_is_wrong_is_said_to_be() -> None:
    with pytest.raises(FilterError, match="a value is expected"):
        read("src_ip =")
    assert read("Smith = Jones") == {"user": "Smith = Jones"}  # begins like no condition


@given(st.one_of(st.text(), st.from_regex(r"[\w.@:+/\"\\ =<>()~\[\]*?-]{0,40}", fullmatch=True)))
@example("\ud800")
@example('"\\"@x')
@example("a\x00b@c")
def test_any_text_is_a_query_or_a_mistake_in_words(text: str) -> None:
    with contextlib.suppress(ValueError):
        query = Query(**read(text))
        assert query.condition()[0]
