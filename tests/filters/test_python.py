"""Conditions as functions of a packet, and several in one function that share what they read."""

from __future__ import annotations

import ast
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.packets import LISTS, RECEIVED, Seen, conditions, packets
from hepswitch.filters import compile_filter, compile_value
from hepswitch.filters.language import parse
from hepswitch.filters.python import Scope, compile_tree, expression, function
from hepswitch.filters.tree import Not
from hepswitch.wire.hep import Hep
from traffic import calls, hep

PACKETS = packets()
INVITE = Hep(hep(next(calls(1))))


def holds(text: str, packet: Any = INVITE) -> bool:
    answer = compile_filter(text, LISTS)(packet)
    assert type(answer) is bool
    return answer


@pytest.mark.parametrize(
    "text",
    [
        "sip",
        'sip.method in ["INVITE", "BYE"] and src_ip in 10.0.0.0/8 and not sip.user_agent ~ "friendly-scanner"',
        "sip.is_request and not sip.status",
        "proto_type = SIP and proto_type = 1 and proto_type != RTCP and proto_type in [LOG, SIP] and proto_type < 2",
        "proto_id = UDP",
        "ip in 192.0.2.0/24 and src_ip not in 192.0.2.0/24",
        "src_port in 5060..5090 and dst_port <= 5060",
        r'caller ~ "^\+4930\d+$" and user contains "+4930"',
        "captagent_id = 2001 and captagent_id = 0x7d1",
        "node_name = edge-7 and not vlan_id and vlan_id != 1",
        'payload contains "INVITE" and sip.body ~ "(?m)^m=audio"',
        'sip.header("p-charging-vector") contains "icid-value"',
        'sip.content_type = "application/sdp" and sip.to_domain = voice.example.net',
        'chunk(0x13, type="utf8-string") = edge-7 and chunk(0x0c) = 2001 and not chunk(0x30)',
        "not correlation_id and correlation_id != x",
        "version = 3 and timestamp > 1000",
    ],
)
def test_what_holds_of_an_invite(text: str) -> None:
    assert holds(text)
    assert not holds(f"not ({text})")


def test_what_is_absent_fails_every_test_and_passes_its_opposite() -> None:
    empty = Hep.new(None, proto_type=5)
    for test in ("sip.method = x", "sip.status < 700", "vlan_id >= 0", "src_ip in 0.0.0.0/0", "node_name ~ x", "mos in 0..9",
                 "payload contains x", "sip.cseq in [1, 2]", "caller in @fraud", "correlation_id in @fraud"):  # fmt: skip
        assert not holds(test, empty), test
        assert holds(f"not {test}", empty), test
    assert holds("sip.method != x and node_name !~ x and src_ip not in 0.0.0.0/0 and vlan_id not in 0..9", empty)


def test_lists_are_asked_with_text() -> None:
    packet = Hep.new("", src_ip="10.0.0.1", src_port=5060, correlation_id=b"call-1", proto_type=5)
    assert holds("src_ip in @fraud and src_port in @fraud and correlation_id in @fraud", packet)
    assert not holds("proto_type in @fraud or dst_ip in @fraud", packet)


def test_reports_have_two_numbers() -> None:
    assert [holds("proto_type = report", Hep.new("", proto_type=number)) for number in (32, 99, 34)] == [
        True,
        True,
        False,
    ]


def test_an_address_is_the_same_in_both_forms() -> None:
    packet = Hep.new("", src_ip="::ffff:192.0.2.1", dst_ip="2001:db8::1")
    assert holds("src_ip = 192.0.2.1 and src_ip in 192.0.2.0/24 and ip = 2001:DB8:0::1", packet)


def test_how_a_packet_came_in() -> None:
    seen = Seen(bytes(INVITE))
    text = "received.src_ip in 10.9.0.0/16 and received.transport = udp and received.dst_port = 9060"
    assert holds(text, seen)
    assert not holds(text, INVITE)
    seen.received = None  # type: ignore[assignment]
    assert not holds(text, seen)


def test_tags() -> None:
    class Tagged(Hep):
        tags = frozenset({"lab"})

    tagged = Tagged(bytes(INVITE))
    assert holds('tag("lab") and not tag("other")', tagged)
    assert not holds('tag("lab")', INVITE)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("node_name", "edge-7"),
        ('sip.header("Max-Forwards")', "70"),
        ("sip.status", None),
        ("captagent_id", 2001),
        ("sip", INVITE.sip),
        ("chunk(0x0c)", 2001),
        ("received.src_ip", None),
    ],
)
def test_a_value(text: str, value: object) -> None:
    assert compile_value(text)(INVITE) == value


def test_a_value_of_a_packet_that_came_in() -> None:
    assert compile_value("received.src_ip")(Seen(bytes(INVITE))) == RECEIVED.src_ip


@given(conditions(), st.integers(0, len(PACKETS) - 1))
def test_not_is_the_opposite(text: str, number: int) -> None:
    tree = parse(text, LISTS)
    assert compile_tree(tree, LISTS)(PACKETS[number]) is not compile_tree(Not(tree), LISTS)(PACKETS[number])


# ── several conditions in one function ───────────────────────────────────────────────────────────────────────────────


class Counting:
    """Counts what is read of a packet."""

    def __init__(self, packet: object) -> None:
        self.packet = packet
        self.reads: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        self.reads[name] += 1
        value = getattr(self.packet, name)
        if name == "sip" and value is not None:
            self.reads["sip"] -= 1
            self.reads["the message"] += 1
            return _Within(value, self.reads)
        return value


class _Within(Counting):
    def __init__(self, packet: object, reads: Counter[str]) -> None:
        super().__init__(packet)
        self.reads = reads


def first_of(*texts: str) -> Any:
    """A function that gives the number of the first condition that holds, else None: three rules in a row, for one."""
    scope = Scope(LISTS)
    body: list[ast.stmt] = []
    for number, text in enumerate(texts):
        body.append(ast.If(expression(parse(text, LISTS), scope), [ast.Return(ast.Constant(number))], []))
    return function([*scope.begin(), *body], scope)


def test_three_conditions_read_each_field_once() -> None:
    route = first_of(
        "sip.method = OPTIONS and src_ip in 10.0.0.0/8",
        "sip.method = REGISTER or captagent_id = 7 and sip.from_user = nobody",
        "src_ip in 10.0.0.0/8 and sip.method in [INVITE, BYE] and captagent_id > 7",
    )
    packet = Counting(INVITE)
    assert route(packet) == 2
    assert +packet.reads == {"the message": 1, "method": 1, "captagent_id": 1, "src_ip": 1}


@given(st.lists(conditions(), min_size=2, max_size=5), st.integers(0, len(PACKETS) - 1))
def test_shared_reading_changes_no_answer(texts: list[str], number: int) -> None:
    packet = PACKETS[number]
    alone = [compile_filter(text, LISTS)(packet) for text in texts]
    expected = alone.index(True) if True in alone else None
    counting = Counting(packet)
    assert first_of(*texts)(counting) == expected
    assert all(count == 1 for name, count in (+counting.reads).items() if name not in ("get", "header"))


def edited(*steps: str, change: Any, changed: str) -> Any:
    """A function that answers all `steps`; when one holds, it calls `change` with the packet and forgets `changed`."""
    scope = Scope(LISTS)
    answers: list[bool] = []
    body: list[ast.stmt] = []
    hep = ast.Name(scope.packet, ast.Load())
    for text in steps:
        test = expression(parse(text, LISTS), scope)
        with scope.branch():
            then = [ast.Expr(ast.Call(scope.constant(change), [hep], [])), *scope.forget(changed)]
            then.append(ast.Expr(ast.Call(scope.constant(answers.append), [ast.Constant(True)], [])))
        other: list[ast.stmt] = [ast.Expr(ast.Call(scope.constant(answers.append), [ast.Constant(False)], []))]
        body.append(ast.If(test, then, other))
    return function([*scope.begin(), *body, ast.Return(scope.constant(answers))], scope)


@pytest.mark.parametrize(
    ("changed", "value", "before", "after"),
    [
        ("captagent_id", 5, "captagent_id = 2001", "captagent_id = 5 and chunk(12) = 5"),
        ("node_name", None, "node_name", "not node_name"),
        ("src_ip", "2001:db8::1", "src_ip in 10.0.0.0/8", "src_ip = 2001:db8::1 and proto_family = 10"),
        ("payload", b"SIP/2.0 200 OK\r\n\r\n", "sip.method = INVITE", "sip.status = 200 and not sip.method"),
        ("proto_type", 100, "sip and sip.method", "not sip and not sip.method and proto_type = LOG"),
        ("version", 2, "version = 3 and node_name", "version = 2 and not node_name"),
    ],
)
def test_what_an_edit_changed_is_read_again(changed: str, value: object, before: str, after: str) -> None:
    route = edited(before, after, before, change=lambda hep: setattr(hep, changed, value), changed=changed)
    assert route(INVITE.copy()) == [True, True, False]


def test_what_an_edit_on_every_way_changed_is_read_again() -> None:
    scope = Scope()
    hep = ast.Name(scope.packet, ast.Load())
    before, after = parse("captagent_id = 2001"), parse("captagent_id = 5")
    change = ast.Assign([ast.Attribute(hep, "captagent_id", ast.Store())], ast.Constant(5), lineno=1)
    first = ast.If(expression(before, scope), [ast.Pass()], [ast.Return(ast.Constant("not even before"))])
    body = [first, change, *scope.forget("captagent_id"), ast.Return(expression(after, scope))]
    assert function([*scope.begin(), *body], scope)(INVITE.copy()) is True


def test_an_edit_that_did_not_happen_costs_no_reading() -> None:
    route = edited("captagent_id = 5", "captagent_id = 2001", change=lambda hep: None, changed="node_name")
    packet = Counting(INVITE)
    assert route(packet) == [False, True]
    assert packet.reads["captagent_id"] == 1


def test_tags_set_between_two_conditions() -> None:
    class Tagged(Hep):
        tags: set[str]

    packet = Tagged(bytes(INVITE))
    packet.tags = set()
    route = edited('not tag("a")', 'tag("a")', change=lambda hep: hep.tags.add("a"), changed="tags")
    assert route(packet) == [True, True]


def test_what_somebody_wrote_is_never_code() -> None:
    assert not holds("caller = \"__import__('os').abort()\"")
    assert compile_filter("sip").__globals__["__builtins__"] == {}  # type: ignore[attr-defined]
