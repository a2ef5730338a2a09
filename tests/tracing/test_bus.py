"""A call whose messages are read by several workers: every one of them is traced, once, whoever reads it and when."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepswitch.testing import rtcp
from hepswitch.tracing import bus as buses
from hepswitch.tracing.bus import Bus, make_pairs
from hepswitch.tracing.dynamic import TraceStart
from hepswitch.tracing.sharing import Sharing
from hepswitch.wire.hep import Hep
from tracing.bench import CALLEE, CALLER, PROXY, Bench, hop

OTHER = "192.0.2.4"


class Workers:
    """Benches joined by a bus. They hear when a test says so."""

    def __init__(self, count: int, traces: dict[str, list[str]], *, look_back: float = 1.0, **options: Any) -> None:
        self.pairs = make_pairs(count)
        self.options = traces, look_back, options
        self.busses: list[Bus] = []
        self.benches = [self.bench(number) for number in range(count)]

    def bench(self, number: int) -> Bench:
        """A worker of this number, perhaps in the place of another one."""
        traces, look_back, options = self.options
        mouths = {n: mouth.dup() for n, (_, mouth) in enumerate(self.pairs) if n != number}
        bus = Bus(self.pairs[number][0].dup(), mouths)
        bench = Bench(traces, worker=number, shared=True, **options)
        bench.tracer.share(Sharing(number, bus, bench.traces, bench.table, lambda: bench.now), look_back)
        self.busses.append(bus)
        return bench

    def hear(self, number: int) -> None:
        """This worker hears what has been said to it."""
        bench = self.benches[number]
        sharing(bench).bus.read(bench.tracer.hear, lambda: None)

    def settle(self) -> None:
        """All hear each other until nobody has anything to say."""
        for _ in range(4):
            for number in range(len(self.benches)):
                self.hear(number)

    def close(self) -> None:
        for bus in self.busses:
            bus.close()
        for sock in (sock for pair in self.pairs for sock in pair):
            sock.close()

    def got(self, name: str = "lake") -> Counter[bytes]:
        """The payloads that targets got, in all workers."""
        return Counter(bytes(got.hep.payload or b"") for bench in self.benches for got in bench[name].got)

    def begun(self, id: str = "fraud") -> int:
        return sum(int(bench.traces.account()[id]["calls"]) for bench in self.benches)


@contextmanager
def workers(count: int, traces: dict[str, list[str]] | None = None, **options: Any) -> Iterator[Workers]:
    made = Workers(count, traces or {"fraud": ["lake"]}, **options)
    try:
        yield made
    finally:
        made.close()


def payloads(packets: Sequence[Hep]) -> Counter[bytes]:
    return Counter(bytes(packet.payload or b"") for packet in packets)


def trace_alice(msg: Any) -> None:
    if msg.method == "INVITE" and not msg.to_tag and msg.from_user == "alice":
        msg.trace("fraud", types="all")


def number(packets: list[Hep]) -> list[Hep]:
    """Each with an agent and a body of its own, so that none is like another."""
    for count, packet in enumerate(packets):
        packet.payload = (packet.payload or b"") + f"\r\n{count}".encode()
    return packets


CALL = number([
    hop("INVITE"),
    hop(100, PROXY, CALLER),
    hop("INVITE", PROXY, CALLEE, "z9hG4bK2"),
    hop("INVITE", PROXY, OTHER, "z9hG4bK3"),
    hop(180, CALLEE, PROXY, "z9hG4bK2", to_tag="b1"),
    hop(200, OTHER, PROXY, "z9hG4bK3", to_tag="b2"),
    hop("CANCEL", PROXY, CALLEE, "z9hG4bK2"),
    hop(487, CALLEE, PROXY, "z9hG4bK2", to_tag="b1"),
    hop(200, PROXY, CALLER, to_tag="b2"),
    hop("ACK", branch="z9hG4bK4", to_tag="b2"),
    rtcp("c1"),
    hop("INVITE", branch="z9hG4bK5", to_tag="b2", cseq=2),
    hop("BYE", OTHER, PROXY, "z9hG4bK6", from_tag="b2", to_tag="a", from_user="bob", cseq=7),
    hop(200, PROXY, OTHER, "z9hG4bK6", from_tag="b2", to_tag="a", cseq=7, cseq_method="BYE"),
])  # fmt: skip

OTHERS = number([
    hop("INVITE", call_id="c2", from_user="carol"),
    hop(200, PROXY, CALLER, call_id="c2", from_user="carol", to_tag="b"),
    hop("BYE", from_tag="x", to_tag="y"),  # of another dialog with the same Call-ID
    rtcp("c2"),
])  # fmt: skip

SBC: dict[str, Any] = {"call_id": "leg-2", "from_user": "sbc", "from_tag": "s"}
LEGS = number([
    hop("INVITE", headers={"X-Session": "s-1"}),
    hop(180, PROXY, CALLER, to_tag="b"),
    hop("INVITE", PROXY, CALLEE, "z9hG4bKl", **SBC, correlation_id=b"c1"),
    hop(200, CALLEE, PROXY, "z9hG4bKl", **SBC, to_tag="d"),
    hop("INVITE", PROXY, OTHER, "z9hG4bKm", call_id="leg-3", from_user="sbc", headers={"X-CID": "leg-2"}),
    hop(486, OTHER, PROXY, "z9hG4bKm", call_id="leg-3", from_user="sbc", to_tag="e"),
    rtcp("leg-3"),
    hop("INVITE", PROXY, OTHER, "z9hG4bKo", call_id="leg-4", from_user="sbc", headers={"X-Session": "s-1"}),
    hop(486, OTHER, PROXY, "z9hG4bKo", call_id="leg-4", from_user="sbc", to_tag="f"),
    hop("BYE", CALLEE, PROXY, "z9hG4bKn", call_id="leg-2", from_tag="d", to_tag="s", from_user="bob"),
])  # fmt: skip


@st.composite
def dealings(draw: st.DrawFn, packets: list[Hep], count: int) -> list[tuple[int, Hep | None]]:
    """Which worker reads which packet, in any order; None: it hears what the others have said."""
    order = draw(st.permutations(packets))
    steps: list[tuple[int, Hep | None]] = []
    for packet in order:
        steps += [(n, None) for n in range(count) if draw(st.booleans())]
        steps.append((draw(st.integers(0, count - 1)), packet))
    return steps


def deal(team: Workers, steps: list[tuple[int, Hep | None]]) -> None:
    for n, packet in steps:
        if packet is None:
            team.hear(n)
        else:
            team.benches[n].run(packet)
    team.settle()


def same_everywhere(team: Workers) -> None:
    """Every worker knows the same of every call."""
    copies = [
        {
            call.identity: (
                call.state.ends, call.state.opened, call.state.closed, call.state.talked, call.state.said_goodbye,
                [(order.trace.id, order.types, begun) for order, begun in call.orders.items()],
            )
            for call in bench.table
        }
        for bench in team.benches
    ]  # fmt: skip
    assert all(copy == copies[0] for copy in copies)


@settings(max_examples=60, deadline=None)
@given(steps=dealings(CALL + OTHERS, 3))
def test_a_dialog_is_traced_whole_whoever_reads_what(steps: list[tuple[int, Hep | None]]) -> None:
    with workers(3, sip_route=trace_alice) as team:
        deal(team, steps)
        assert team.got() == payloads(CALL)
        assert team.begun() == 1
        assert sum(bench.tracer.account()["calls"] for bench in team.benches) == 1
        assert sum(bench.routed.unrouted for bench in team.benches) == 3  # RTCP is dropped as no SIP
        same_everywhere(team)


@settings(max_examples=60, deadline=None)
@given(steps=dealings(LEGS + OTHERS, 3), twice=st.booleans())
def test_a_session_of_several_dialogs_too(steps: list[tuple[int, Hep | None]], twice: bool) -> None:
    def route(msg: Any) -> None:
        if msg.method == "INVITE" and not msg.to_tag and msg.from_user == "alice":
            msg.trace("fraud", scope="b2b", types="all")
        if msg.method == "INVITE" and msg.call_id == "leg-2" and twice:
            msg.trace("quality", scope="b2b", types="all")

    traces = {"fraud": ["lake"], "quality": ["other"]}
    with workers(3, traces, sip_route=route, leg_headers=["X-CID", "X-Session"]) as team:
        deal(team, steps)
        assert team.got("lake") == payloads(LEGS)
        assert team.got("other") == payloads(LEGS if twice else [])
        assert (team.begun("fraud"), team.begun("quality")) == (1, int(twice))
        same_everywhere(team)


@settings(max_examples=30, deadline=None)
@given(steps=dealings(CALL + OTHERS, 2))
def test_a_dynamic_trace_and_one_of_the_file_to_the_same_target(steps: list[tuple[int, Hep | None]]) -> None:
    with workers(2, sip_route=trace_alice) as team:
        for bench in team.benches:
            asyncio.run(bench.traces.start(TraceStart("t1", ["store:lake"], caller="alice"), {}, 7))
            bench.tracer.changed()
        deal(team, steps)
        assert team.got() == payloads(CALL)
        assert (team.begun(), team.begun("t1")) == (1, 1)
        packets = [sum(bench.traces.account()[id]["packets"] for bench in team.benches) for id in ("fraud", "t1")]
        assert packets == [len(CALL), len(CALL)]
        same_everywhere(team)


@settings(max_examples=30, deadline=None)
@given(steps=dealings(CALL[:4] + OTHERS, 2))
def test_a_transaction_and_what_is_alone(steps: list[tuple[int, Hep | None]]) -> None:
    with workers(2, hep_route=lambda hep: hep.sip and hep.sip.from_user == "alice" and hep.trace("fraud", "t")) as team:
        deal(team, steps)
        assert team.got() == payloads([*CALL[:4], OTHERS[2]])


def test_what_the_route_masks_or_sends_itself() -> None:
    def hide(hep: Any) -> None:
        hep.payload = hep.payload.replace(b"alice", b"xxxxx").replace(b"c1", b"yy")

    def route(hep: Any) -> None:
        invite = hep.sip.method == "INVITE"
        hep.mask("all")
        if not invite:
            hep.store("lake")
        if invite:
            hep.trace("fraud")

    with workers(2, {"fraud": ["lake", "other"]}, hep_route=route) as team:
        for bench in team.benches:
            bench.masks["all"] = hide
        reply, invite = hop(100, PROXY, CALLER), hop("INVITE")
        team.benches[1].run(reply)
        team.benches[0].run(invite)
        assert not team.benches[1]["other"].got
        team.settle()
        for name in ("lake", "other"):
            assert sum(team.got(name).values()) == 2
            assert not any(b"alice" in payload or b"c1" in payload for payload in team.got(name))
        assert [got.hep.src_ip for got in team.benches[1]["other"].got] == [PROXY]
        assert team.benches[1]["other"].got[0].said["direction"] == "out"


def test_a_call_begins_at_the_hop_nearest_to_the_caller_whoever_read_that() -> None:
    with workers(2, sip_route=trace_alice) as team:
        vias = {"Via": f"SIP/2.0/UDP {PROXY};branch=z9hG4bK2, SIP/2.0/UDP {CALLER};branch=z9hG4bK1"}
        team.benches[1].run(hop("INVITE", PROXY, CALLEE, headers=vias))
        team.benches[0].run(hop("INVITE"))
        assert team.begun() == 2
        team.settle()
        assert team.begun() == 1
        for bench in team.benches:
            (call,) = bench.table
            assert (call.ends.caller[0], call.ends.hub[0]) == (CALLER, PROXY)
        assert [bench.tracer.account()["calls"] for bench in team.benches] == [1, 0]
        team.benches[1].run(hop(200, CALLEE, PROXY, to_tag="b"), hop(200, PROXY, CALLER, to_tag="b"))
        assert [got.said["direction"] for got in team.benches[1]["lake"].got[1:]] == ["in", "out"]


def test_one_looks_back_only_so_far() -> None:
    with workers(2, sip_route=trace_alice) as team:
        team.benches[1].run(hop(100, PROXY, CALLER))
        team.benches[1].now += 1.5
        team.benches[1].run(hop(180, PROXY, CALLER, to_tag="b"))
        team.benches[0].run(hop("INVITE"))
        team.settle()
        assert team.benches[1]["lake"].lines == ["SIP/2.0 180 Ringing"]


def test_nothing_is_kept_without_traces() -> None:
    with workers(2, sip_route=trace_alice) as team:
        tracer = team.benches[0].tracer
        assert tracer.look_back is not None
        team.benches[0].run(*CALL)
        assert len(tracer.look_back) == len(CALL)
        team.benches[0].traces.switch("fraud", False)
        tracer.changed()
        assert tracer.look_back is None
        team.benches[0].start(caller="alice")
        assert tracer.look_back is not None
        assert len(tracer.look_back) == 0
    with workers(2, sip_route=trace_alice, look_back=0.0) as team:
        assert team.benches[0].tracer.look_back is None
    assert Bench({"fraud": ["lake"]}, sip_route=trace_alice).tracer.look_back is None


def test_a_call_lives_in_all_workers_while_it_is_heard_of_in_one() -> None:
    with workers(2, sip_route=trace_alice) as team:
        team.benches[0].run(hop("INVITE"), hop(200, PROXY, CALLER, to_tag="b"))
        team.settle()
        for second in range(4000):
            if second % 1000 == 0:
                team.benches[0].run(hop("INFO", to_tag="b", cseq=second + 2))
                team.settle()
            for bench in team.benches:
                bench.wait(1)
        assert [len(bench.table) for bench in team.benches] == [1, 1]
        team.benches[1].run(hop("BYE", to_tag="b", cseq=9000))
        team.settle()
        for bench in team.benches:
            bench.wait(33)
        assert [len(bench.table) for bench in team.benches] == [0, 0]


def test_a_limit_of_packets_holds_for_all_together() -> None:
    with workers(2, hep_route=lambda hep: None) as team:
        for bench in team.benches:
            asyncio.run(bench.traces.start(TraceStart("t1", ["store:lake"], scope="m", packets=3), {}, 1))
            bench.tracer.changed()
        for count in range(6):
            team.benches[count % 2].run(rtcp(f"c{count}"))
            team.settle()
        assert sum(team.got().values()) == 3


def test_a_worker_that_hears_of_a_trace_later() -> None:
    with workers(2, hep_route=lambda hep: None) as team:
        first, second = team.benches
        asyncio.run(first.traces.start(TraceStart("t1", ["store:lake"], caller="alice"), {}, 4))
        first.tracer.changed()
        first.run(hop("INVITE"))
        team.settle()
        assert len(second.table) == 0
        asyncio.run(second.traces.start(TraceStart("t1", ["store:lake"], caller="alice"), {}, 4))
        second.tracer.changed()
        second.run(hop(100, PROXY, CALLER))
        assert second["lake"].lines == ["SIP/2.0 100 Trying"]


def sharing(bench: Bench) -> Sharing:
    assert bench.tracer.sharing is not None
    return bench.tracer.sharing


def test_a_worker_that_is_started_again_learns_all_calls() -> None:
    with workers(2, sip_route=trace_alice, most=5000) as team:
        team.benches[0].run(*(hop("INVITE", call_id=f"c{count}") for count in range(3000)))
        team.hear(1)  # a part, and is gone
        assert 0 < len(team.benches[1].table) < 3000
        team.benches[1] = new = team.bench(1)

        async def begin_and_end() -> None:
            for bench in team.benches:
                sharing(bench).bus.listen(asyncio.get_running_loop(), bench.tracer.hear, lambda: None)
            await sharing(new).catch_up()
            assert len(new.table) == 3000
            new.run(hop("BYE", to_tag="b", cseq=2, call_id="c2999"))
            await asyncio.gather(*(sharing(bench).finish() for bench in team.benches))
            for bench in team.benches:
                sharing(bench).bus.close()

        asyncio.run(begin_and_end())
        assert new["lake"].lines == ["BYE sip:bob@example.com SIP/2.0"]
        assert [bench.tracer.account()["untold"] for bench in team.benches] == [{}, {}]
        assert [bench.tracer.account()["calls"] for bench in team.benches] == [3000, 0]


def test_one_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hepswitch.tracing.sharing.PATIENCE", 0.01)
    with workers(2) as team:
        asyncio.run(sharing(team.benches[0]).catch_up())
        assert team.benches[0].tracer.account()["untold"] == {"worker does not answer": 1}


def test_what_cannot_be_told_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buses, "MOST_WAITING", 100_000)
    with workers(2, sip_route=trace_alice, most=100_000) as team:
        count = 0
        while not team.benches[0].tracer.account()["untold"]:
            team.benches[0].run(*(hop("INVITE", call_id=f"c{count + more}") for more in range(100)))
            count += 100
        untold = team.benches[0].tracer.account()["untold"]["worker does not listen"]
        team.hear(1)
        assert 0 < untold < count
        assert team.benches[0].tracer.account()["calls"] == count


def test_hostile_words_go_across() -> None:
    with workers(2, hep_route=lambda hep: hep.trace("fraud", attrs="\udcff", correlation_id=b"\xff")) as team:
        long = "x" * 5000
        invite = hop("INVITE", call_id=f"c\udcff{long}", from_tag="\udcfe", branch=long)
        reply = hop(200, PROXY, CALLER, call_id=f"c\udcff{long}", from_tag="\udcfe", branch=long, to_tag="\udcfd")
        team.benches[1].run(hop(100, PROXY, CALLER, call_id=f"c\udcff{long}", from_tag="\udcfe", branch=long))
        team.benches[0].run(invite)
        team.settle()
        team.benches[1].run(reply)
        team.settle()
        assert team.begun() == 1
        assert any(len(call.orders) == 1 for call in team.benches[1].table)
        same_everywhere(team)
