"""JSON-RPC 2.0: the examples of its specification, and whatever else may come."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.control.jsonrpc import CallError, Params, answer

CODES = {-32700, -32600, -32601, -32603, 404}


async def call(method: str, params: Params) -> Any:
    match method, params:
        case "subtract", [int(left), int(right)]:
            return left - right
        case "subtract", {"minuend": left, "subtrahend": right}:
            return left - right
        case "data", _:
            return ["hello", 5]
        case "missing", _:
            raise CallError(404, "not there", "look elsewhere")
        case "broken", _:
            raise RuntimeError("oops")
        case _:
            raise CallError(-32601, "Method not found")


def said(body: bytes | str) -> Any:
    octets = asyncio.run(answer(body.encode() if isinstance(body, str) else body, call))
    return None if octets is None else json.loads(octets)


def result(value: Any, id: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "result": value, "id": id}


def code(answered: dict[str, Any]) -> tuple[int, Any]:
    assert answered.keys() == {"jsonrpc", "error", "id"}
    return answered["error"]["code"], answered["id"]


def request(method: str, id: Any = 1, **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "id": id, **more}


@pytest.mark.parametrize("id", [1, "a", -(2**63), 1.5, None, ""])
def test_parameters_by_place_and_by_name(id: Any) -> None:
    assert said(json.dumps(request("subtract", id, params=[42, 23]))) == result(19, id)
    assert said(json.dumps(request("subtract", id, params={"subtrahend": 23, "minuend": 42}))) == result(19, id)
    assert said(json.dumps(request("data", id))) == result(["hello", 5], id)


@pytest.mark.parametrize("method", ["subtract", "foobar", "missing", "broken"])
def test_a_notification_is_not_answered(method: str) -> None:
    assert said(json.dumps({"jsonrpc": "2.0", "method": method, "params": [1, 2]})) is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', (-32700, None)),
        (b"", (-32700, None)),
        (b"\xff", (-32700, None)),
        (b'{"jsonrpc": "2.0", "method": "\xff", "id": 1}', (-32700, None)),
        ("[" * 60_000, (-32700, None)),
        ("[]", (-32600, None)),
        ("1", (-32600, None)),
        ("null", (-32600, None)),
        ('{"jsonrpc": "2.0", "method": 1, "params": "bar"}', (-32600, None)),
        ('{"jsonrpc": "2.0", "method": "data", "params": null, "id": 3}', (-32600, 3)),
        ('{"jsonrpc": 2.0, "method": "data", "id": "x"}', (-32600, "x")),
        ('{"method": "data", "id": "x"}', (-32600, "x")),
        ('{"jsonrpc": "2.0", "method": "data", "id": []}', (-32600, None)),
        ('{"jsonrpc": "2.0", "method": "data", "id": true}', (-32600, None)),
        ('{"jsonrpc": "2.0", "method": "data", "id": 9223372036854775808}', (-32600, None)),
        (json.dumps(request("foobar", "1")), (-32601, "1")),
        (json.dumps(request("broken", "1")), (-32603, "1")),
    ],
)
def test_what_is_wrong_has_its_code(body: bytes | str, expected: tuple[int, Any]) -> None:
    assert code(said(body)) == expected


def test_an_error_of_a_command_is_told_in_full() -> None:
    error = {"code": 404, "message": "not there", "data": "look elsewhere"}
    assert said(json.dumps(request("missing"))) == {"jsonrpc": "2.0", "error": error, "id": 1}


def test_a_batch_is_answered_in_its_order() -> None:
    notification = {"jsonrpc": "2.0", "method": "data"}
    answers = said(json.dumps([request("data", "a"), notification, 1, request("foobar", "b"), {"foo": "boo"}]))
    assert answers[0] == result(["hello", 5], "a")
    assert [code(each) for each in answers[1:]] == [(-32600, None), (-32601, "b"), (-32600, None)]
    assert said(json.dumps([notification, notification])) is None


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["jsonrpc", "method", "params", "id", "x"]), inner),
    max_leaves=10,
)
REQUESTS = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0"), "method": st.sampled_from(["subtract", "data", "broken", "missing"]) | JSONS},
    optional={"id": JSONS, "params": JSONS},
)


@given(st.binary() | (JSONS | REQUESTS | st.lists(REQUESTS)).map(lambda value: json.dumps(value).encode()))
def test_whatever_comes_is_answered_or_a_notification(body: bytes) -> None:
    answers = said(body)
    for each in answers if isinstance(answers, list) else [answers] if answers is not None else []:
        assert each["jsonrpc"] == "2.0"
        assert ("result" in each) != ("error" in each)
        assert "error" not in each or each["error"]["code"] in CODES
