"""Transactions and messages: what belongs to one, and what a wider scope becomes."""

from __future__ import annotations

from typing import Any

import pytest

from hepswitch.routing.packet import RouteError
from hepswitch.testing import rtcp
from tracing.bench import CALLEE, CALLER, PROXY, Bench, hop

FRAUD = {"fraud": ["lake"]}


def tracing(**how: Any) -> Bench:
    def route(msg: Any) -> None:
        if msg.is_request and msg.method not in ("ACK", "CANCEL", "PRACK"):
            msg.trace("fraud", **how)

    return Bench(FRAUD, sip_route=route)


def test_a_transaction_on_every_hop_and_in_every_branch() -> None:
    bench = tracing(scope="t")
    wanted = [
        hop("INVITE"),
        hop(100, PROXY, CALLER),
        hop("INVITE", PROXY, CALLEE, "z9hG4bK2"),
        hop("CANCEL"),
        hop(487, PROXY, CALLER, to_tag="b"),
        hop("ACK", to_tag="b"),
    ]
    bench.run(*wanted, hop("PRACK", cseq=2, to_tag="b"), hop("ACK", from_tag="other", to_tag="b"))
    assert [bytes(got.hep) for got in bench["lake"].got] == [bytes(packet) for packet in wanted]


def test_a_transaction_ends() -> None:
    bench = tracing()
    bench.run(hop("REGISTER"), hop(200, PROXY, CALLER, cseq_method="REGISTER", to_tag="r"))
    assert len(bench["lake"].got) == 2
    bench.wait(33)
    assert len(bench.table) == 0


def test_the_callees_transaction_with_the_same_number_is_another_one() -> None:
    bench = Bench(FRAUD, sip_route=lambda msg: msg.method == "INFO" and msg.trace("fraud", scope="transaction"))
    bench.run(hop("INFO", to_tag="b"), hop("OPTIONS", PROXY, CALLER, from_tag="b", to_tag="a"))
    assert bench["lake"].lines == ["INFO sip:bob@example.com SIP/2.0"]


def test_a_message_alone() -> None:
    bench = tracing(scope="message")
    bench.run(hop("INVITE"), hop(200, PROXY, CALLER, to_tag="b"))
    assert bench["lake"].lines == ["INVITE sip:bob@example.com SIP/2.0"]
    assert len(bench.table) == 0


@pytest.mark.parametrize("scope", ["d", "transaction", "b2b", None])
def test_a_reply_is_traced_as_a_message(scope: str | None) -> None:
    bench = Bench(FRAUD, sip_route=lambda msg: msg.trace("fraud", scope=scope))
    bench.run(hop(200, PROXY, CALLER, to_tag="b"))
    assert bench["lake"].lines == ["SIP/2.0 200 OK"]
    assert len(bench.table) == 0


def test_what_is_no_sip_is_traced_as_it_is() -> None:
    bench = Bench(FRAUD, hep_route=lambda hep: hep.trace("fraud"))
    bench.run(rtcp("c1"))
    assert len(bench["lake"].got) == 1
    bench = Bench(FRAUD, hep_route=lambda hep: hep.trace("fraud", types="sip"))
    bench.run(rtcp("c1"))
    assert not bench["lake"].got


def test_sip_without_a_call_id_is_traced_as_a_message() -> None:
    bench = Bench(FRAUD, hep_route=lambda hep: hep.trace("fraud"))
    packet = hop("INVITE")
    packet.payload = b"INVITE sip:bob@example.com SIP/2.0\r\nCSeq: 1 INVITE\r\n\r\n"
    bench.run(packet, packet)
    assert len(bench["lake"].got) == 2
    assert len(bench.table) == 0


def test_a_trace_that_there_is_not() -> None:
    bench = Bench(FRAUD, hep_route=lambda hep: hep.trace("frod"))
    with pytest.raises(AssertionError):
        bench.run(hop("INVITE"))
    assert isinstance(bench.errors[0], RouteError)
    assert str(bench.errors[0]) == ("no trace is named 'frod'; configured: fraud. Add [traces.frod] or mend the route")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"scope": "call"}, "'call' is no scope"),
        ({"types": "voice"}, "no protocol type is called 'voice'"),
        ({"types": "300"}, "300 is no protocol type"),
        ({"types": " | "}, "there are no types"),
        ({"flags": "x"}, "'x' are no flags"),
    ],
)
def test_words_that_mean_nothing(how: dict[str, str], words: str) -> None:
    bench = Bench(FRAUD, hep_route=lambda hep: hep.trace("fraud", **how))
    with pytest.raises(AssertionError):
        bench.run(hop("INVITE"))
    assert isinstance(bench.errors[0], ValueError)
    assert words in str(bench.errors[0])
