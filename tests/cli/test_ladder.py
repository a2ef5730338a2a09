"""`ladder`: the flow of a call as text and JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from cli import recorded
from hepswitch.cli.drawing import draw
from hepswitch.cli.ladder import cli
from hepswitch.destinations.schema import SCHEMA
from hepswitch.lake.ladder import build


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded.lake(tmp_path_factory.mktemp("lake"))


def ladder(lake: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--lake", str(lake)])


def test_text(lake: Path) -> None:
    result = ladder(lake, "call-a@example.net")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0].startswith("alice@example.net → bob@example.net   answered, 3.0 s")
    assert lines[1:3] == ["A Call-ID call-a@example.net", "B Call-ID call-b@example.net"]
    assert all(
        host in result.output for host in ("192.0.2.10:5060", "192.0.2.1:5060", "[2001:db8::20]", ":5062", "192.0.2.99")
    )
    order = [
        "INVITE (SDP)",
        "INVITE (SDP) ×2 ↻",
        "180 Ringing (INVITE)",
        "200 OK (INVITE, SDP)",
        "ACK",
        "RTCP SR",
        "confirmed",
        "BYE",
    ]
    at = -1
    for label in order:
        at = result.output.index(label, at + 1)
    assert "\x1b" not in result.output
    assert "↻ retransmission" in lines[-1]


def test_either_leg_gives_the_whole_call(lake: Path) -> None:
    assert json.loads(ladder(lake, "call-b@example.net", "--json").output) == json.loads(
        ladder(lake, "call-a@example.net", "--json").output
    )


def test_json(lake: Path) -> None:
    told = json.loads(ladder(lake, "call-a@example.net", "--json", "--full").output)
    assert told["outcome"] == "answered, 3.0 s"
    events = told["events"]
    assert [event["kind"] for event in events].count("reply") == 4
    assert [(event["retransmission"], event["copies"]) for event in events[:2]] == [(False, 1), (True, 2)]
    assert events[0]["payload"].startswith("INVITE sip:bob")
    assert [event["leg"] for event in events if event["kind"] in ("rtcp", "log")] == [0, 0]


def test_a_prefix_is_enough_when_it_is_the_only_one(lake: Path) -> None:
    assert ladder(lake, "busy [x]*").output == ladder(lake, "busy [x]*1@example.net").output
    result = ladder(lake, "call-")
    assert result.exit_code == 1
    assert "call-a@example.net\n  call-b@example.net" in result.stderr


def test_unknown_call(lake: Path) -> None:
    result = ladder(lake, "nobody")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "hepswitch search" in result.stderr


def test_no_lake(tmp_path: Path) -> None:
    result = ladder(tmp_path / "nothing", "x")
    assert result.exit_code == 1
    assert "--lake" in result.stderr


def test_times(lake: Path) -> None:
    assert (
        f"{datetime.fromtimestamp(recorded.START, UTC):%H:%M:%S}.500000"
        in ladder(lake, "call-a@example.net", "--utc").output
    )
    assert "+2.000" not in ladder(lake, "call-a@example.net", "--delta").output


def test_ascii_only_where_the_terminal_knows_nothing_else(lake: Path) -> None:
    output = CliRunner(charset="ascii").invoke(cli, ["call-a@example.net", "--full", "--lake", str(lake)]).stdout_bytes
    assert b"-- INVITE (SDP) --" in output
    assert output.isascii()


def row(**values: Any) -> dict[str, Any]:
    names = (
        "call_id correlation_id proto_type src_ip src_port dst_ip dst_port proto_id captagent_id node_name method "
        "status reason cseq cseq_method from_user from_domain to_user to_domain from_tag to_tag via_branch "
        "content_type payload"
    )
    return dict.fromkeys(names.split()) | {"ts": datetime(2026, 11, 23, tzinfo=UTC), "proto_type": 1} | values


def test_ports_of_one_host_that_talk_to_each_other_are_columns_of_their_own() -> None:
    ends = {"src_ip": "127.0.0.1", "dst_ip": "127.0.0.1", "call_id": "c", "method": "INVITE"}
    model = build([row(**ends, src_port=5060, dst_port=5080), row(**ends, src_port=5080, dst_port=5090)])
    assert [endpoint.label for endpoint in model.endpoints] == ["127.0.0.1:5060", "127.0.0.1:5080", "127.0.0.1:5090"]


def test_a_host_with_several_ports_is_one_column() -> None:
    ends = {"src_ip": "192.0.2.1", "dst_ip": "192.0.2.2", "dst_port": 5060, "call_id": "c", "method": "INVITE"}
    model = build([row(**ends, src_port=40001), row(**ends, src_port=40002)])
    assert [endpoint.label for endpoint in model.endpoints] == ["192.0.2.1", "192.0.2.2:5060"]


hosts = st.sampled_from([None, "192.0.2.1", "192.0.2.2", "2001:db8:1111:2222:3333:4444:5555:6666", "2001:db8::2"])
rows = st.builds(
    row,
    call_id=st.sampled_from([None, "a", "b", "x" * 300]),
    correlation_id=st.sampled_from([None, "a"]),
    proto_type=st.sampled_from([None, 1, 1, 1, 5, 34, 100, 200]),
    src_ip=hosts, src_port=st.sampled_from([None, 0, 5060]), dst_ip=hosts, dst_port=st.sampled_from([None, 5060, 5061]),
    method=st.none() | st.text(max_size=40), status=st.none() | st.integers(0, 999), reason=st.none() | st.text(),
    cseq_method=st.none() | st.just("INVITE"), content_type=st.none() | st.just("multipart/mixed"),
    payload=st.none() | st.binary(),
    ts=st.integers(0, 10**9).map(lambda us: datetime(2026, 11, 23, tzinfo=UTC) + timedelta(microseconds=us)),
)  # fmt: skip


@given(
    st.lists(rows, min_size=1, max_size=12),
    st.integers(20, 200),
    st.sampled_from(["relative", "delta", "utc"]),
    st.booleans(),
)
def test_whatever_is_captured_can_be_drawn(
    captured: list[dict[str, Any]], width: int, times: str, unicode: bool
) -> None:
    model = build(sorted(captured, key=lambda each: each["ts"]))
    assert sum(event.copies for event in model.events) == len(captured)
    for line in draw(model, width, times, full=True, unicode=unicode):
        assert line.plain.isprintable() or "\t" in line.plain
        assert unicode or line.plain.isascii()


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 3)), max_size=30))
def test_copies_and_retransmissions_of_one_message(seen: list[tuple[int, int]]) -> None:
    """Each agent's packet is a copy of the first event within 250 ms that it has not been seen in, else an event itself."""
    rows, expected, at = [], [], recorded_time()
    for milliseconds, agent in seen:
        at += timedelta(milliseconds=milliseconds)
        rows.append(row_of(at, agent))
        event = next(
            (one for one in expected if agent not in one[1] and at - one[0] < timedelta(milliseconds=250)), None
        )
        if event is None:
            expected.append((at, {agent}))
        else:
            event[1].add(agent)
    events = build(rows).events
    assert [(event.at, event.copies) for event in events] == [(at, len(agents)) for at, agents in expected]
    assert [event.retransmission for event in events] == [bool(place) for place in range(len(events))]


def recorded_time() -> datetime:
    return datetime(2026, 11, 18, tzinfo=UTC)


def row_of(at: datetime, agent: int) -> dict[str, Any]:
    said = {"ts": at, "proto_type": 1, "method": "OPTIONS", "call_id": "a", "captagent_id": agent, "payload": b"x"}
    return dict.fromkeys(SCHEMA.names) | said
