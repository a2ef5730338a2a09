"""Dialogs: every message of a traced one, whatever happens in it, and none of any other."""

from __future__ import annotations

from typing import Any

import pytest

from hepswitch.testing import rtcp
from tracing.bench import CALLEE, CALLER, PROXY, Bench, hop

FRAUD = {"fraud": ["lake"]}


def trace_invites(msg: Any) -> None:
    if msg.method == "INVITE" and not msg.to_tag and msg.from_user == "alice":
        msg.trace("fraud")


@pytest.fixture
def bench() -> Bench:
    return Bench(FRAUD, sip_route=trace_invites)


def test_a_call_through_a_proxy_from_the_first_message_to_the_last(bench: Bench) -> None:
    call = [
        hop("INVITE"),
        hop(100, PROXY, CALLER),
        hop("INVITE", PROXY, CALLEE, "z9hG4bK2"),
        hop("INVITE", PROXY, CALLEE, "z9hG4bK2"),  # again
        hop(180, CALLEE, PROXY, "z9hG4bK2", to_tag="b"),
        hop(180, PROXY, CALLER, to_tag="b"),
        hop(200, CALLEE, PROXY, "z9hG4bK2", to_tag="b"),
        hop(200, PROXY, CALLER, to_tag="b"),
        hop("ACK", branch="z9hG4bK3", to_tag="b"),
        hop("ACK", PROXY, CALLEE, "z9hG4bK4", to_tag="b"),
        hop("INVITE", branch="z9hG4bK5", to_tag="b", cseq=2),  # re-INVITE
        hop(200, PROXY, CALLER, "z9hG4bK5", to_tag="b", cseq=2),
        hop("INFO", CALLEE, PROXY, "z9hG4bK6", from_tag="b", to_tag="a", from_user="bob", to_user="alice"),
        hop("BYE", CALLEE, PROXY, "z9hG4bK7", from_tag="b", to_tag="a", from_user="bob", to_user="alice", cseq=2),
        hop(200, PROXY, CALLEE, "z9hG4bK7", from_tag="b", to_tag="a", cseq=2, cseq_method="BYE"),
    ]
    others = [
        hop("INVITE", call_id="c2", from_user="carol", from_tag="c"),
        hop(200, PROXY, CALLER, call_id="c2", from_user="carol", from_tag="c", to_tag="d"),
        hop("BYE", from_tag="x", to_tag="y"),  # of another dialog with the same Call-ID
    ]
    for packet in call:
        bench.run(packet, *others)
    assert [bytes(got.hep) for got in bench["lake"].got] == [bytes(packet) for packet in call]
    assert bench.traces.account()["fraud"] == {
        "state": "on", "packets": 15, "requests": 8, "replies": 7, "calls": 1, "refused": 0,
    }  # fmt: skip


def test_it_ends_when_both_have_said_goodbye_and_nothing_more_can_follow(bench: Bench) -> None:
    bench.run(hop("INVITE"), hop(200, PROXY, CALLER, to_tag="b"), hop("BYE", branch="z9hG4bK9", to_tag="b", cseq=2))
    bench.wait(31)
    bench.run(hop(200, PROXY, CALLER, "z9hG4bK9", to_tag="b", cseq=2, cseq_method="BYE"))
    assert len(bench["lake"].got) == 4
    bench.wait(33)
    assert len(bench.table) == 0
    bench.run(hop(200, PROXY, CALLER, "z9hG4bK9", to_tag="b", cseq=2, cseq_method="BYE"))
    assert len(bench["lake"].got) == 4
    assert not bench.tracer.busy


def test_forks_live_on_when_one_branch_has_failed(bench: Bench) -> None:
    bench.run(
        hop("INVITE"),
        hop("INVITE", PROXY, CALLEE, "z9hG4bKf1"),
        hop("INVITE", PROXY, "192.0.2.4", "z9hG4bKf2"),
        hop(180, CALLEE, PROXY, "z9hG4bKf1", to_tag="b1"),
        hop(183, "192.0.2.4", PROXY, "z9hG4bKf2", to_tag="b2"),
        hop(486, CALLEE, PROXY, "z9hG4bKf1", to_tag="b1"),
        hop("ACK", PROXY, CALLEE, "z9hG4bKf1", to_tag="b1"),
    )
    bench.wait(120)
    late = [
        hop(200, "192.0.2.4", PROXY, "z9hG4bKf2", to_tag="b2"),
        hop(200, PROXY, CALLER, to_tag="b2"),
        hop("BYE", branch="z9hG4bKx", to_tag="b2", cseq=2),
    ]
    bench.run(*late)
    assert len(bench["lake"].got) == 10
    bench.wait(33)
    assert len(bench.table) == 0


def test_of_two_answered_forks_one_goes_on_when_the_other_ends(bench: Bench) -> None:
    bench.run(
        hop("INVITE"),
        hop(200, PROXY, CALLER, to_tag="b1"),
        hop(200, PROXY, CALLER, to_tag="b2"),
        hop("BYE", branch="z9hG4bKx", to_tag="b1", cseq=2),
        hop(200, PROXY, CALLER, to_tag="b1"),  # sent once more although it is over
    )
    bench.wait(600)
    bench.run(hop("BYE", branch="z9hG4bKy", to_tag="b2", cseq=3))
    assert len(bench["lake"].got) == 6
    bench.wait(33)
    assert len(bench.table) == 0


def test_a_call_that_is_refused_and_tried_again_with_credentials_is_one(bench: Bench) -> None:
    bench.run(hop("INVITE"), hop(407, PROXY, CALLER, to_tag="p"), hop("ACK", to_tag="p"))
    bench.wait(20)
    bench.run(hop("INVITE", branch="z9hG4bK2", cseq=2))
    bench.wait(100)
    bench.run(hop(200, PROXY, CALLER, "z9hG4bK2", to_tag="b", cseq=2))
    assert len(bench["lake"].got) == 5
    assert bench.traces.account()["fraud"]["calls"] == 1


def test_a_cancelled_call(bench: Bench) -> None:
    bench.run(
        hop("INVITE"),
        hop("CANCEL"),
        hop(200, PROXY, CALLER, cseq_method="CANCEL"),
        hop(487, PROXY, CALLER, to_tag="p"),
        hop("ACK", to_tag="p"),
    )
    assert len(bench["lake"].got) == 5
    bench.wait(33)
    assert len(bench.table) == 0


def test_a_silent_call_ends_with_its_session_timer(bench: Bench) -> None:
    bench.run(hop("INVITE"), hop(200, PROXY, CALLER, to_tag="b", headers={"Session-Expires": "600;refresher=uac"}))
    bench.wait(600)
    bench.run(hop("UPDATE", branch="z9hG4bK2", to_tag="b", cseq=2))
    bench.run(
        hop(200, PROXY, CALLER, "z9hG4bK2", to_tag="b", cseq=2, cseq_method="UPDATE", headers={"x": "600"}),
    )  # compact form of Session-Expires
    bench.wait(620)
    assert len(bench.table) == 1
    bench.wait(13)
    assert len(bench.table) == 0


def test_a_silent_call_without_a_session_timer_ends_at_its_greatest_age() -> None:
    bench = Bench(FRAUD, sip_route=trace_invites, max_age=1000.0)
    bench.run(hop("INVITE"), hop(200, PROXY, CALLER, to_tag="b"))
    bench.wait(999)
    assert len(bench.table) == 1
    bench.wait(2)
    assert len(bench.table) == 0


def test_an_invite_that_nobody_answers_ends_when_no_answer_can_come(bench: Bench) -> None:
    bench.run(hop("INVITE"))
    bench.wait(150)
    bench.run(hop(180, PROXY, CALLER, to_tag="b"))
    bench.wait(211)
    assert len(bench.table) == 1
    bench.wait(2)
    assert len(bench.table) == 0


def test_types_and_what_else_belongs_to_the_call() -> None:
    def route(msg: Any) -> None:
        if msg.method == "INVITE":
            msg.trace("fraud", types="sip|rtcp")

    bench = Bench(FRAUD, sip_route=route)
    log = rtcp("c1")
    log.proto_type = 100
    bench.run(hop("INVITE"), rtcp("c1"), log, rtcp("c2"))
    assert [int(got.hep.proto_type or 0) for got in bench["lake"].got] == [1, 5]


def test_rtcp_alone() -> None:
    bench = Bench(FRAUD, sip_route=lambda msg: msg.trace("fraud", types="rtcp"))
    bench.run(hop("INVITE"), rtcp("c1"))
    assert [int(got.hep.proto_type or 0) for got in bench["lake"].got] == [5]


@pytest.mark.parametrize(
    ("flags", "seen"),
    [
        ("C", ["INVITE sip:bob@example.com SIP/2.0", "SIP/2.0 200 OK"]),
        ("c", ["INVITE sip:bob@example.com SIP/2.0"]),
        ("Cc", None),
    ],
)
def test_one_side_of_a_call(flags: str, seen: list[str] | None) -> None:
    bench = Bench(FRAUD, sip_route=lambda msg: msg.is_request and msg.trace("fraud", flags=flags))
    packets = [hop("INVITE"), hop("INVITE", PROXY, CALLEE, "z9hG4bK2"), hop(200, PROXY, CALLER, to_tag="b")]
    bench.run(*packets)
    assert bench["lake"].lines == (
        seen or [(packet.payload or b"").partition(b"\r\n")[0].decode() for packet in packets]
    )


def test_direction_is_seen_from_the_node_in_the_middle(bench: Bench) -> None:
    bench.run(hop("INVITE"), hop("INVITE", PROXY, CALLEE, "z9hG4bK2"), hop(200, CALLEE, PROXY, "z9hG4bK2", to_tag="b"))
    assert [got.said["direction"] for got in bench["lake"].got] == ["in", "out", "in"]


def test_an_invite_inside_a_dialog_is_traced_as_a_transaction(bench: Bench) -> None:
    bench = Bench(FRAUD, sip_route=lambda msg: msg.method == "INVITE" and msg.trace("fraud", scope="dialog"))
    bench.run(
        hop("INVITE", to_tag="b", cseq=7, branch="z9hG4bK7"),
        hop(200, PROXY, CALLER, "z9hG4bK7", to_tag="b", cseq=7),
        hop("BYE", to_tag="b", cseq=8, branch="z9hG4bK8"),
    )
    assert bench["lake"].lines == ["INVITE sip:bob@example.com SIP/2.0", "SIP/2.0 200 OK"]


def test_the_table_is_bounded_and_says_what_it_gave_up() -> None:
    bench = Bench(FRAUD, sip_route=lambda msg: msg.method == "INVITE" and msg.trace("fraud"), most=3)
    for number in range(5):
        bench.run(hop("INVITE", call_id=f"n{number}"))
    assert len(bench.table) == 3
    assert bench.table.evicted == {"table full": 2}
    for number in range(5):
        bench.run(hop(100, PROXY, CALLER, call_id=f"n{number}"))
    assert len(bench["lake"].got) == 5 + 3


def test_calls_of_one_call_id_are_bounded() -> None:
    bench = Bench(FRAUD, sip_route=lambda msg: msg.method == "INVITE" and msg.trace("fraud"), most=1000)
    for number in range(100):
        bench.run(hop("INVITE", from_tag=f"t{number}"))
    assert len(bench.table) == 64
    assert bench.table.evicted == {"too many of one Call-ID": 36}


def test_call_ids_of_any_length_are_told_apart() -> None:
    bench = Bench(FRAUD, sip_route=lambda msg: msg.method == "INVITE" and msg.trace("fraud"))
    bench.run(hop("INVITE", call_id="x" * 5000 + "1"))
    bench.run(hop(100, PROXY, CALLER, call_id="x" * 5000 + "2"), hop(100, PROXY, CALLER, call_id="x" * 5000 + "1"))
    assert len(bench["lake"].got) == 2
