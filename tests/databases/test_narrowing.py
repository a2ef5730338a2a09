"""Conditions in the words of each server: what is a pattern, a quote or an escape stays a value."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from hepswitch.databases.dialects import (
    ClickhouseDialect,
    Dialect,
    MysqlDialect,
    PostgresDialect,
    SqliteDialect,
)
from hepswitch.databases.narrowing import Statement, needed
from hepswitch.databases.views import opensips
from hepswitch.databases.views.view import View
from hepswitch.destinations.layout_tables import OpensipsTables
from hepswitch.lake.conditions import Among, Between, Condition, Contains, Every, Like, OfCall, Since, Some, Until
from hepswitch.lake.query import Query

MOMENT = datetime(2026, 11, 25, 19, 30, 0, 500_000, UTC)
SECOND = MOMENT.replace(microsecond=0)
DIALECTS: list[Dialect] = [PostgresDialect(), MysqlDialect(), SqliteDialect()]


def capture(dialect: Dialect) -> View:
    return opensips.views(OpensipsTables(), dialect)[0]


def said(condition: Condition, dialect: Dialect | None = None) -> tuple[str | bool, list[object]]:
    dialect = dialect or SqliteDialect()
    statement = Statement(dialect)
    return statement.where(condition, capture(dialect)), statement.values


@pytest.mark.parametrize(
    ("glob", "pattern"),
    [
        ("a*", "a%"),
        ("*a?b", "%a%b"),
        ("50%_*", "50!%!_%"),
        ("!*", "!!%"),
        ("a[bc]d*", "a%%"),
        ("a\\*b*", "a%"),
    ],
)
def test_a_pattern_matches_what_a_glob_matches(glob: str, pattern: str) -> None:
    like = '("from_user" like ? escape \'!\' or instr("from_user", char(0)) > 0)'
    sql = f'({like} or length("from_user") >= 100)'
    assert said(Like("from_user", glob)) == (sql, [pattern])


def test_every_server_has_its_own_words() -> None:
    condition = Every((Among("from_user", ("o'brien",)), Since(MOMENT), Until(MOMENT)))
    text = '"from_user" in ({}) and "date" >= {} and "date" <= {}'
    assert [said(condition, dialect) for dialect in DIALECTS] == [
        (f"({text.format('$1::text', '$2::timestamptz', '$3::timestamptz')})", ["o'brien", SECOND, SECOND]),
        (f"({text.format('%s', '%s', '%s').replace(chr(34), '`')})", ["o'brien", *[SECOND.replace(tzinfo=None)] * 2]),
        (f"({text.format('?', '?', '?')})", ["o'brien", "2026-11-25 19:30:00", "2026-11-25 19:30:00"]),
    ]
    assert ClickhouseDialect().mark(1, "x") == "{p1:String}"
    assert ClickhouseDialect().plain("50%_\\") == "50\\%\\_\\\\"


def test_what_cannot_be_said_does_not_narrow() -> None:
    assert said(Among("vlan_id", (7,))) == (True, [])
    assert said(Some((Among("from_user", ("a",)), Among("vlan_id", (7,))))) == (True, [])
    assert said(Every((Among("from_user", ("a",)), Among("vlan_id", (7,))))) == ('("from_user" in (?))', ["a"])


def test_tables_in_which_nothing_can_be_are_not_asked() -> None:
    assert said(Among("proto_type", (5,))) == (False, [])
    assert said(Every((Among("from_user", ("a",)), Among("proto_type", (5,))))) == (False, [])


def test_text_is_cut_as_the_column_cuts_it() -> None:
    assert said(Among("from_user", ("x" * 300,)))[1] == ["x" * 100]
    assert PostgresDialect().bound("a\0b") == "ab"


def test_case_beyond_ascii_is_left_open() -> None:
    assert said(Contains("user_agent", "50% Ägent"))[1] == ["%50!% %gent%"]
    assert said(Contains("user_agent", "Linksys"))[1] == ["%L%n%sys%"]


def test_a_call_without_a_call_id() -> None:
    sql = (
        '("callid" in (?) or ("callid" is nullif(1, 1) and "correlation_id" in (?)) '
        'or ("callid" in (?) and "correlation_id" in (?)))'
    )
    assert said(OfCall("x")) == (sql, ["x", "x", "", "x"])
    assert '("callid" is null and' in str(said(OfCall("x"), PostgresDialect())[0])


def test_statuses_below_100() -> None:
    assert said(Between("status", 0, 99)) == ('length("method") < 3', [])
    assert said(Between("status", 0, 200)) == ('("method" between ? and ? or length("method") < 3)', ["100", "200"])
    assert said(Between("status", 1000, 2000)) == (False, [])


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("sip.from_user = alice", ["alice"]),
        ("sip.from_user = alice and not sip.to_user = bob", ["alice"]),
        ("sip.from_user = alice or sip.to_user = bob", ["alice", "bob"]),
        ("sip.from_user = alice or not sip.to_user = bob", []),
        ("sip.status >= 500", ["500", "999"]),
        ("not (sip.from_user = alice)", []),
        ('sip.header("X-Tenant") = acme and src_port in 5060..5070', [5060, 5070]),
        ("src_ip in 10.0.0.0/8", []),
    ],
)
def test_of_a_filter_what_a_column_says(text: str, values: list[object]) -> None:
    assert said(needed(Query(filter=text)))[1] == values
