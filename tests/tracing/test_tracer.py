"""The tracer: several traces at once, what the route does besides, switches, masks."""

from __future__ import annotations

from typing import Any

import pytest

from hepswitch.testing import rtcp
from tracing.bench import CALLEE, CALLER, PROXY, Bench, hop


def test_several_traces_of_one_call_send_each_destination_one_copy() -> None:
    def route(msg: Any) -> None:
        if msg.method == "INVITE":
            msg.trace("fraud", attrs="first")
            msg.trace("quality", attrs="second", scope="transaction")

    bench = Bench({"fraud": ["lake", "homer"], "quality": ["lake", "other"]}, sip_route=route)
    bench.run(hop("INVITE"), hop(200, PROXY, CALLER, to_tag="b"), hop("BYE", to_tag="b", cseq=2))
    assert [len(outlet.got) for outlet in (bench["lake"], bench.homer, bench["other"])] == [3, 3, 2]
    assert [got.said["attrs"] for got in bench["lake"].got] == ["first"] * 3
    assert [got.said["attrs"] for got in bench["other"].got] == ["second"] * 2
    rows = bench.traces.account()
    assert (rows["fraud"]["packets"], rows["quality"]["packets"]) == (3, 2)


def test_what_the_route_sends_itself_is_not_sent_once_more() -> None:
    def route(hep: Any) -> None:
        hep.store("lake")
        hep.trace("fraud")

    bench = Bench({"fraud": ["lake", "homer"]}, hep_route=route)
    bench.run(hop("INVITE"), hop(100, PROXY, CALLER))
    assert len(bench["lake"].got) == 2
    assert len(bench.homer.got) == 2
    assert bench.routed.unrouted == 0


def test_a_packet_that_is_only_traced_is_not_unrouted() -> None:
    bench = Bench({"fraud": ["lake"]}, hep_route=lambda hep: hep.trace("fraud"))
    bench.run(hop("INVITE"))
    assert bench.routed.unrouted == 0
    bench["lake"].takes = False
    bench.run(hop("INVITE"))
    assert bench.routed.unrouted == 1
    assert bench.traces.account()["fraud"]["refused"] == 1


def test_a_correlation_id_of_ones_own() -> None:
    bench = Bench(
        {"fraud": ["homer", "lake"]},
        hep_route=lambda hep: hep.sip.is_request and hep.trace("fraud", correlation_id="case-7"),
    )
    packet = hop("INVITE", correlation_id=b"c1")
    bench.run(packet, hop(100, PROXY, CALLER, version=3))
    assert [got.hep.correlation_id for got in bench.homer.got] == [b"case-7", b"case-7"]
    assert [got.said["correlation_id"] for got in bench["lake"].got] == [b"case-7", b"case-7"]


def test_packets_of_every_version_get_it() -> None:
    bench = Bench({"fraud": ["homer"]}, hep_route=lambda hep: hep.trace("fraud", correlation_id=b"case-7"))
    for version in (1, 2):
        packet = hop("INVITE")
        packet.version = version
        bench.run(packet)
    assert [(got.hep.version, got.hep.correlation_id) for got in bench.homer.got] == [(3, b"case-7")] * 2


def test_calls_are_known_by_what_came_in_and_sent_as_the_route_leaves_them() -> None:
    def hide(hep: Any) -> None:
        hep.payload = hep.payload.replace(b"Call-ID: c1", b"Call-ID: xx").replace(b"alice", b"xxxxx")

    def route(hep: Any) -> None:
        hep.mask("all")
        if hep.sip.method == "INVITE":
            hep.trace("fraud")

    bench = Bench({"fraud": ["lake"]}, hep_route=route)
    bench.masks["all"] = hide
    bench.run(hop("INVITE"), hop(100, PROXY, CALLER), hop("BYE", to_tag="b", cseq=2))
    assert len(bench["lake"].got) == 3
    for got in bench["lake"].got:
        assert b"alice" not in bytes(got.hep)
        assert b"Call-ID: xx" in bytes(got.hep)


def test_a_route_that_raises_costs_the_trace_nothing() -> None:
    def route(hep: Any) -> None:
        if hep.sip.method == "INVITE":
            hep.trace("fraud")
        raise RuntimeError("oh")

    bench = Bench({"fraud": ["lake"]}, hep_route=route)
    with pytest.raises(AssertionError):
        bench.run(hop("INVITE"), hop(100, PROXY, CALLER))
    assert len(bench.errors) == 2
    assert len(bench["lake"].got) == 2


def test_a_packet_is_dropped_and_traced_all_the_same() -> None:
    def route(hep: Any) -> None:
        if hep.sip.method == "INVITE":
            hep.trace("fraud")
        hep.drop("lab")

    bench = Bench({"fraud": ["lake"]}, hep_route=route)
    bench.run(hop("INVITE"), hop(100, PROXY, CALLER))
    assert len(bench["lake"].got) == 2
    assert bench.routed.dropped == {"lab": 2}


def test_switches() -> None:
    results: list[bool] = []
    bench = Bench({"fraud": ["lake"]}, hep_route=lambda hep: results.append(hep.trace("fraud")))
    bench.traces.switch("fraud", False)
    bench.run(hop("INVITE"))
    bench.traces.switch("fraud", True)
    bench.run(hop("INVITE"))
    bench.tracer.on = False
    bench.run(hop("INVITE"), hop(100, PROXY, CALLER))  # a call under way is not traced on
    bench.tracer.on = True
    bench.run(hop(180, PROXY, CALLER, to_tag="b"))
    assert results == [False, True, False, False, True]
    assert bench["lake"].lines == ["INVITE sip:bob@example.com SIP/2.0", "SIP/2.0 180 Ringing"]
    with pytest.raises(LookupError, match="no trace of the configuration is named 'x': fraud"):
        bench.traces.switch("x", True)


def test_calls_seen_by_several_agents_are_traced_from_each() -> None:
    bench = Bench({"fraud": ["lake"]}, sip_route=lambda msg: msg.method == "INVITE" and msg.trace("fraud"))
    first, second = hop("INVITE", captagent_id=1), hop("INVITE", captagent_id=2)
    bench.run(first, second, hop(100, PROXY, CALLER, captagent_id=1), hop(100, PROXY, CALLER, captagent_id=2))
    assert [got.hep.captagent_id for got in bench["lake"].got] == [1, 2, 1, 2]


# ── sessions of several dialogs ──────────────────────────────────────────────────────────────────────────────────────


def b2b(**table: Any) -> Bench:
    return Bench(
        {"fraud": ["lake"]},
        sip_route=lambda msg: (
            msg.from_user == "alice" and msg.is_request and msg.trace("fraud", scope="b2b", types="all")
        ),
        **table,
    )


LEG = {"call_id": "c2", "from_user": "sbc", "from_tag": "s"}


def test_a_leg_that_names_the_other_one_in_its_correlation_id() -> None:
    bench = b2b()
    bench.run(
        hop("INVITE"),
        hop("INVITE", PROXY, CALLEE, "z9hG4bKl", **LEG, correlation_id=b"c1"),
        hop(200, CALLEE, PROXY, "z9hG4bKl", **LEG, to_tag="b"),
        hop("BYE", CALLEE, PROXY, call_id="c2", from_tag="b", to_tag="s", from_user="bob"),
        rtcp("c2"),
        rtcp("c1"),
        hop("INVITE", call_id="c3", from_user="sbc"),
    )
    assert len(bench["lake"].got) == 6


def test_a_leg_that_names_the_other_one_in_a_header() -> None:
    bench = b2b(leg_headers=["X-CID"])
    bench.run(
        hop("INVITE"),
        hop("INVITE", PROXY, CALLEE, "z9hG4bKl", **LEG, headers={"X-CID": "c1"}),
        hop(180, CALLEE, PROXY, "z9hG4bKl", **LEG, to_tag="b"),
        # and a third leg that names the second
        hop("INVITE", PROXY, "192.0.2.9", "z9hG4bKm", call_id="c4", from_user="sbc", headers={"X-CID": "c2"}),
    )
    assert len(bench["lake"].got) == 4


def test_legs_with_a_name_in_common() -> None:
    bench = b2b(leg_headers=["X-Session"])
    bench.run(
        hop("INVITE", headers={"X-Session": "s-1"}),
        hop("INVITE", PROXY, CALLEE, "z9hG4bKl", **LEG, headers={"X-Session": "s-1"}),
        hop("INVITE", PROXY, CALLEE, "z9hG4bKn", call_id="c5", from_user="sbc", headers={"X-Session": "s-2"}),
    )
    assert len(bench["lake"].got) == 2


def test_a_session_lives_as_long_as_one_of_its_legs() -> None:
    bench = b2b()
    bench.run(
        hop("INVITE"),
        hop("INVITE", PROXY, CALLEE, "z9hG4bKl", **LEG, correlation_id=b"c1"),
        hop(200, CALLEE, PROXY, "z9hG4bKl", **LEG, to_tag="b"),
        hop(486, PROXY, CALLER, to_tag="x"),
    )
    bench.wait(100)
    assert len(bench.table) == 1
    bench.run(hop("INVITE", PROXY, "192.0.2.9", "z9hG4bKm", call_id="c4", from_user="sbc", correlation_id=b"c1"))
    assert len(bench["lake"].got) == 5
    bench.wait(5000)
    assert len(bench.table) == 0
    bench.run(hop("INVITE", PROXY, "192.0.2.9", "z9hG4bKm", call_id="c6", from_user="sbc", correlation_id=b"c1"))
    assert len(bench["lake"].got) == 5
