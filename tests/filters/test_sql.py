"""Conditions asked of a lake: the same answers as from Python on the same packets, and what a lake cannot answer."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import given, settings

import lakes
from filters.packets import LISTS, conditions, packets
from hepswitch.filters import FilterError, compile_filter
from hepswitch.filters.fields import FIELDS
from hepswitch.filters.sql import compile_sql
from hepswitch.lake.lake import Lake
from hepswitch.lake.query import Query
from hepswitch.lake.reader import prepare

PACKETS = packets()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The packets, one half sealed and one in the journal."""
    root = tmp_path_factory.mktemp("lake")
    half = len(PACKETS) // 2
    lakes.store(root, map(bytes, PACKETS[:half]))
    lakes.sealed(root)
    lakes.store(root, map(bytes, PACKETS[half:]))
    return Lake(root)


@pytest.fixture(scope="module")
def connection(lake: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    """One for all questions: opening one takes longer than they do."""
    with lake.connect() as connection:
        yield connection


def found(connection: duckdb.DuckDBPyConnection, text: str) -> list[int]:
    query = Query(filter=text, lists=LISTS)
    prepare(connection, query)
    condition, values = query.condition()
    rows = connection.execute(f"select captagent_id from messages where {condition} order by ts", values).fetchall()
    return [number for (number,) in rows]


def meant(text: str) -> list[int]:
    wanted = compile_filter(text, LISTS)
    return [number for number, packet in enumerate(PACKETS) if wanted(packet)]


@settings(max_examples=100)
@given(text=conditions())
def test_a_lake_answers_as_python_does(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    assert found(connection, text) == meant(text)


@pytest.mark.parametrize(
    "text",
    [
        'sip.method in [INVITE, BYE] and src_ip in 10.0.0.0/8 and not sip.user_agent ~ "friendly-scanner"',
        'sip.header("X-Tenant") = acme and sip.status >= 400',
        'not sip.header("X-Tenant") = acme',
        'chunk(0x30, vendor=3, type="uint32") in 2..4 or mos < 200',
        'sip.user_agent = "Ä.B\tC"',
        'payload contains "call-1" and not sip',
        "caller in @fraud or src_port not in @fraud",
        "proto_type = RTCP and version = 3",
        "caller = alice@example.com or callee in [bob@10.0.0.1, +4930123]",
    ],
)
def test_conditions_of_every_kind(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    assert 0 < len(meant(text)) < len(PACKETS)
    assert found(connection, text) == meant(text)


def test_every_field_of_the_table_is_answered_or_refused(connection: duckdb.DuckDBPyConnection) -> None:
    for name, field in FIELDS.items():
        if field.lake is not None or field.any_of:
            assert found(connection, name) == meant(name), name
            continue
        with pytest.raises(FilterError, match=f"a lake does not keep {name}") as caught:
            compile_sql(f"sip and not {name}")
        assert caught.value.offset == len("sip and not ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('sip or tag("lab")', "a lake does not keep tag"),
        ("timestamp > 5", "--since and --until"),
        ("chunk(0x0c) = 5", "write captagent_id"),
        ("chunk(1) = 2", "no generic chunk 0x01"),
        ("caller in @fraud", "known: none"),
    ],
)
def test_what_a_lake_does_not_keep(text: str, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        compile_sql(text)


def test_a_chunk_of_a_vendor_is_kept_whatever_its_number(connection: duckdb.DuckDBPyConnection) -> None:
    assert found(connection, "chunk(1, vendor=3)") == []


def test_other_conditions_narrow_what_is_looked_at(lake: Lake) -> None:
    both = Query(filter='sip.body ~ "v=0"', method="INVITE")
    rows = lake.search(both)
    assert {row["captagent_id"] for row in rows} == set(meant('sip.body ~ "v=0" and sip.method = INVITE'))
    condition, values = both.candidates()
    assert (condition, values) == ("method = ? and true", ["INVITE"])


def test_the_latest_that_fulfil_it(lake: Lake) -> None:
    text = 'sip.header("X-Tenant") = acme'
    rows = lake.search(Query(filter=text, limit=3), ("captagent_id", "ts"))
    assert [row["captagent_id"] for row in rows] == meant(text)[-3:]


def test_calls_in_which_some_message_fulfils_it(lake: Lake) -> None:
    text = 'sip.header("X-Tenant") = acme and sip.method = BYE'
    call_ids = {PACKETS[number].sip.call_id for number in meant(text)} - {None}
    assert {row["call_id"] for row in lake.calls(Query(filter=text))} == call_ids
