"""Text into trees: what is meant, and mistakes at their place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.filters import FilterError, compile_filter
from hepswitch.filters.fields import FIELDS, FUNCTIONS
from hepswitch.filters.language import DEEPEST, parse, parse_field
from hepswitch.filters.tokens import LONGEST
from hepswitch.filters.tree import And, Check, Not, Or, Tree
from hepswitch.networks import Networks
from hepswitch.wire import chunks
from hepswitch.wire.sip import Sip

LISTS = {"fraud": {"+4930"}}


def said(tree: Tree) -> object:
    """A tree as nested tuples."""
    match tree:
        case Not(part):
            return "not", said(part)
        case And(parts):
            return "and", *map(said, parts)
        case Or(parts):
            return "or", *map(said, parts)
        case Check(ref, op, value):
            name = (ref.field.name, *ref.arguments) if ref.arguments else ref.field.name
            return (name, op) if value is None else (name, op, value)


METHOD, STATUS = ("sip.method", "=", "INVITE"), ("sip.status", ">=", 400)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("sip", ("sip", "present")),
        ("sip.method = INVITE", METHOD),
        ('sip.method=="INVITE"', METHOD),
        ("sip.method != INVITE", ("not", METHOD)),
        ("sip.status >= 400", STATUS),
        ("sip.status>=0x190", STATUS),
        ("not sip.method = INVITE and sip.status >= 400", ("and", ("not", METHOD), STATUS)),
        ("not (sip.method = INVITE and sip.status >= 400)", ("not", ("and", METHOD, STATUS))),
        ("sip or sip.method = INVITE and sip.status >= 400", ("or", ("sip", "present"), ("and", METHOD, STATUS))),
        ("not not sip", ("not", ("not", ("sip", "present")))),
        ("sip\n  and\tsip", ("and", ("sip", "present"), ("sip", "present"))),
        ("src_port in 5060..5090", ("src_port", "between", (5060, 5090))),
        ("src_port not in 5060 .. 5090", ("not", ("src_port", "between", (5060, 5090)))),
        ("src_port in [5060, 5061]", ("src_port", "among", frozenset({5060, 5061}))),
        ("src_ip in 10.0.0.0/8", ("src_ip", "within", Networks(["10.0.0.0/8"]))),
        ("src_ip in [10.0.0.0/8, 2001:db8::1]", ("src_ip", "within", Networks(["10.0.0.0/8", "2001:db8::1"]))),
        ("src_ip = 2001:DB8::1", ("src_ip", "among", frozenset({"2001:db8::1"}))),
        ("ip = 10.0.0.1", ("or", *((f"{side}_ip", "among", frozenset({"10.0.0.1", "::ffff:10.0.0.1"}))
                                   for side in ("src", "dst")))),
        ("proto_type = rtcp", ("proto_type", "among", frozenset({5}))),
        ("proto_type = REPORT", ("proto_type", "among", frozenset({32, 99}))),
        ("proto_type in [SIP, 100]", ("proto_type", "among", frozenset({1, 100}))),
        ("proto_id != TCP", ("not", ("proto_id", "among", frozenset({6})))),
        (r'sip.user_agent ~ "(?i)\d+ \"x\" \\\\"', ("sip.user_agent", "~", r'(?i)\d+ "x" \\')),
        ("sip.user_agent !~ scanner", ("not", ("sip.user_agent", "~", "scanner"))),
        ('payload contains "in"', ("payload", "contains", "in")),
        ("caller = +4930123", ("sip.from_user", "=", "+4930123")),
        ("callee = a@b", ("and", ("sip.ruri_user", "=", "a"), ("sip.ruri_domain", "=", "b"))),
        ("caller in [x, a@b]", ("or", ("sip.from_user", "=", "x"),
                                ("and", ("sip.from_user", "=", "a"), ("sip.from_domain", "=", "b")))),
        ("sip.from_user = a@b", ("sip.from_user", "=", "a@b")),
        ("sip.from_user in [a@b, c]", ("sip.from_user", "among", frozenset({"a@b", "c"}))),
        ("caller in @fraud", ("sip.from_user", "listed", "fraud")),
        ('sip.header("X-Tenant") = acme', (("sip.header", "x-tenant"), "=", "acme")),
        ('chunk(0x30, vendor=3, type="uint32") < 9', (("chunk", 0x30, "uint32", 3), "<", 9)),
        ("chunk(12) = 9", (("chunk", 12, "uint32", None), "=", 9)),
        ('chunk(0x30) = "a b"', (("chunk", 0x30, "octet-string", None), "=", "a b")),
        ('not tag("lab")', ("not", (("tag", "lab"), "present"))),
    ],
)  # fmt: skip
def test_what_is_meant(text: str, tree: object) -> None:
    assert said(parse(text, LISTS)) == tree


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", "", "a field is expected here"),
        ("src_prt = 1", "src_prt", "did you mean src_port?"),
        ("method = INVITE", "method", "did you mean sip.method?"),
        ("sip and nothing", "nothing", "no field is called 'nothing'"),
        ('src_port = "5060"', '"5060"', "src_port is a number, without quotes"),
        ("src_port = 5060x", "5060x", "src_port is a number"),
        ("src_port = 18446744073709551616", "18446744073709551616", "at most"),
        ("src_port in 5060", "5060", "brackets"),
        ("src_port in 9..3", "9", "write 3..9"),
        ("sip.method in a..b", "a", "a range is one of numbers"),
        ('sip.status ~ "4"', "~", "sip.status is no text (number)"),
        ("sip.method < 4", "<", "sip.method is no number (text)"),
        ("sip = 1", "=", "sip is a yes/no"),
        ('tag("x") in [a]', "in", "tag is a yes/no"),
        ('sip.method ~ "a\\"b(c"', "(c", "missing )"),
        ('sip.method ~ "[[a]"', '"[[a]"', "cannot be used"),
        ("src_ip in [10.0.0.0/8, 10.0.0.1/8]", "10.0.0.1/8", "write 10.0.0.0/8"),
        ("src_ip = 10.0.0.0/8", "10.0.0.0/8", "for a network write in"),
        ("proto_type = FOO", "FOO", "no payload type is called 'FOO'"),
        ("proto_type < REPORT", "REPORT", "32 and 99"),
        ("caller in @fruad", "@fruad", "known: @fraud"),
        ("caller = and", "and", "quotes"),
        ("caller in [a b]", "b]", "] is missing"),
        ("(sip", "", ") is missing"),
        ("sip)", ")", "does not belong here"),
        ("sip sip", " sip"[1:], "and, or, or the end"),
        ("sip.method not INVITE", "INVITE", "in is missing behind not"),
        ("sip.header = x", "= x", "write sip.header("),
        ('sip.header("")', '""', "a name is expected"),
        ("src_ip(1)", "(1)", "takes no arguments"),
        ("chunk(0x30, size=1)", "size", "vendor= or type="),
        ('chunk(0x30, type="uint9")', '"uint9"', "no chunk type"),
        ("chunk(65536)", "65536", "at most 65535"),
        ("caller = 'a'", "'a'", "double quotes"),
        ('caller = "a', '"a', "has no end"),
        ("caller = \udcff", "\udcff", "not UTF-8"),
        ("caller in @", "@", "a list's name"),
        ("not " * (DEEPEST + 1) + "sip", None, "nested deeper"),
        ("(" * (DEEPEST + 1), None, "nested deeper"),
        ("sip or " * 2000, None, "at most"),
    ],
)  # fmt: skip
def test_mistakes_at_their_place(text: str, place: str | None, message: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text, LISTS)
    assert message in caught.value.message
    assert caught.value.text == text
    if place is not None:
        assert caught.value.offset == (text.rindex(place) if place else len(text))


def test_the_caret_stands_under_the_place() -> None:
    with pytest.raises(FilterError) as caught:
        parse("sip.method = INVITE\n\tand src_prt = 5060\nand sip")
    assert str(caught.value).splitlines() == [
        "no field is called 'src_prt'; did you mean src_port?",
        "   and src_prt = 5060",
        "       ^",
    ]


@given(st.integers(0, 3000))
def test_the_caret_in_a_long_line(before: int) -> None:
    with pytest.raises(FilterError) as caught:
        parse("sip or " * (before // 7) + "sipp or " + "sip or " * 100 + "sip")
    _, line, caret = str(caught.value).splitlines()
    assert line[caret.index("^") :].startswith("sipp")
    assert len(line) < 140


def test_a_value_is_one_field() -> None:
    assert parse_field('sip.header("X-Tenant")').arguments == ("x-tenant",)
    with pytest.raises(FilterError, match="src_ip, dst_ip"):
        parse_field("ip")
    with pytest.raises(FilterError, match="does not belong here"):
        parse_field("src_ip = 1")


WORDS = ["sip", "sip.method", "src_ip", "src_port", "proto_type", "chunk", "tag", "sip.header", "caller", "vendor", "type",
         "and", "or", "not", "in", "contains"]  # fmt: skip
SIGNS = ["=", "!=", "~", "!~", "<", "..", "(", ")", "[", "]", ",", '"', "'", "\\", "\0"]
VALUES = ['"a"', "@fraud", "5060", "0x1f", "10.0.0.0/8", "::1", "REPORT", "é", "\ud800", '"(?i)["']


@given(st.one_of(st.text(), st.lists(st.sampled_from(WORDS + SIGNS + VALUES), max_size=30).map(" ".join)))
def test_any_text_is_a_condition_or_a_mistake(text: str) -> None:
    mistake = None
    try:
        compile_filter(text, LISTS)
    except FilterError as error:
        mistake = error
    if mistake is not None:
        assert 0 <= mistake.offset <= len(text)
        assert "^" in str(mistake)


@given(st.sampled_from(["(", "not ", '"', "[", "sip.method ~ (", "sip and "]))
def test_no_length_or_depth_breaks_it(piece: str) -> None:
    text = (piece * LONGEST)[:LONGEST]
    with pytest.raises(FilterError):
        compile_filter(text)


def test_a_deep_regular_expression_is_a_mistake_at_most() -> None:
    with pytest.raises(FilterError, match="regular expression"):
        parse('sip.method ~ "' + "(" * 4000 + ")" * 4000 + '"')


def test_the_longest_conditions_work() -> None:
    deepest = "(" * DEEPEST + "sip" + ")" * DEEPEST
    widest = "sip or " * (LONGEST // 7 - 1) + "sip"
    assert said(parse(deepest)) == ("sip", "present")
    compile_filter(widest)


def test_the_table_covers_chunks_and_names_what_there_is() -> None:
    assert {chunk.name for chunk in chunks.GENERIC} < set(FIELDS)
    assert not set(FIELDS) & set(FUNCTIONS)
    for field in FIELDS.values():
        if field.owner == "sip" and not field.any_of:
            assert hasattr(Sip, field.attribute), field.name
        assert all(name in FIELDS for name in [*field.any_of, *filter(None, [field.domain])])
