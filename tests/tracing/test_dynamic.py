"""Dynamic traces: what they look for, and how they end."""

from __future__ import annotations

import asyncio
import time

import pytest

from hepswitch.testing import rtcp
from hepswitch.tracing.dynamic import TraceStart
from tracing.bench import CALLER, PROXY, Bench, hop


def test_a_dialog_by_its_caller() -> None:
    bench = Bench({})
    bench.start(filter="caller = alice")
    bench.run(
        hop("INVITE"),
        hop(200, PROXY, CALLER, to_tag="b"),
        rtcp("c1"),
        hop("INVITE", call_id="c2", from_user="carol"),
        hop("REGISTER", call_id="c3"),
        hop("BYE", to_tag="b", cseq=2),
    )
    assert [got.line[:6] for got in bench["lake"].got] == ["INVITE", "SIP/2.", '{"type', "BYE si"]
    assert bench.traces.account()["t1"]["calls"] == 1


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [
        ({"caller": "alice"}, 1),
        ({"caller": "alice@example.com"}, 1),
        ({"caller": "alice@example.net"}, 0),
        ({"caller": 'al"ice\\'}, 0),
        ({"callee": "bob"}, 1),
        ({"callee": "carol"}, 0),
        ({"ip": CALLER}, 1),
        ({"ip": PROXY}, 0),
        ({"ip": "192.0.2.0/24", "caller": "alice", "callee": "bob"}, 1),
        ({"ip": CALLER, "caller": "alice", "callee": "carol"}, 0),
        ({"filter": "caller = carol or caller = alice", "callee": "bob"}, 1),
        ({"filter": "caller = alice or caller = bob", "callee": "carol"}, 0),
        ({}, 1),
    ],
)
def test_all_conditions_must_hold(wanted: dict[str, str], seen: int) -> None:
    bench = Bench({})
    bench.start(**wanted)
    bench.run(hop("INVITE"))
    assert len(bench["lake"].got) == seen


def test_transactions_and_messages() -> None:
    bench = Bench({})
    bench.start("t", scope="transaction", filter="sip.method = REGISTER")
    bench.run(hop("REGISTER"), hop(200, PROXY, CALLER, cseq_method="REGISTER"), hop("OPTIONS", cseq=2))
    assert len(bench["lake"].got) == 2
    bench = Bench({})
    bench.start("m", scope="m", filter="sip.status >= 400")
    bench.run(hop("INVITE"), hop(486, PROXY, CALLER), hop("ACK"))
    assert bench["lake"].lines == ["SIP/2.0 486 Busy Here"]


def test_types() -> None:
    bench = Bench({})
    bench.start(types="rtcp")
    bench.run(hop("INVITE"), rtcp("c1"))
    assert [got.line[:6] for got in bench["lake"].got] == ['{"type']


def test_it_goes_on_while_those_of_the_file_are_switched_off() -> None:
    bench = Bench({})
    bench.tracer.on = False
    bench.start()
    bench.run(hop("INVITE"))
    assert len(bench["lake"].got) == 1


def test_it_ends_when_it_is_stopped() -> None:
    async def scene() -> None:
        assert bench.traces.stop("t1") == 1
        assert bench.traces.stop("t1") == 0

    bench = Bench({})
    bench.start()
    bench.run(hop("INVITE"))
    asyncio.run(scene())
    bench.tracer.changed()
    bench.run(hop(100, PROXY, CALLER), hop("INVITE", call_id="c2"))
    assert len(bench["lake"].got) == 1
    bench.wait(1)
    assert not bench.tracer.busy
    assert bench.traces.account()["t1"] == {
        "state": "off", "packets": 1, "requests": 1, "replies": 0, "calls": 1, "refused": 0,
    }  # fmt: skip


def test_it_ends_after_so_many_packets() -> None:
    bench = Bench({})
    bench.start(packets=3)
    bench.run(hop("INVITE"), hop(100, PROXY, CALLER), hop(180, PROXY, CALLER), hop(200, PROXY, CALLER, to_tag="b"))
    assert len(bench["lake"].got) == 3
    bench.wait(1)
    assert not bench.traces.dynamic


def test_it_ends_at_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench({})
    bench.start(seconds=10.0)
    bench.wait(1)
    assert bench.tracer.busy
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 10.5)
    bench.wait(1)
    assert not bench.tracer.busy


def test_one_id_may_be_used_again_and_its_figures_add_up() -> None:
    async def stop() -> None:
        bench.traces.stop("t1")

    bench = Bench({"x": ["other"]})
    for to in ("store:lake", "store:other"):
        bench.start("t1", to=to)
        bench.run(hop("INVITE"))
        asyncio.run(stop())
        bench.tracer.changed()
    assert bench.traces.account()["t1"]["packets"] == 2


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"filter": "caller ="}, "a value"),
        ({"id": "t 1"}, "'t 1' is no id of a trace"),
        ({"id": "t\n"}, "is no id of a trace"),
        ({"scope": "x"}, "is no scope"),
        ({"types": "x"}, "no protocol type"),
        ({"to": "store:nowhere"}, "no store is named 'nowhere'"),
        ({"to": "nowhere"}, "'nowhere' is no target"),
        ({"ip": "not an address"}, "is no IP address"),
        ({"ip": "10.0.0.1 or caller = bob"}, "is no IP address"),
    ],
)
def test_words_that_mean_nothing(wanted: dict[str, str], words: str) -> None:
    bench = Bench({})
    with pytest.raises(ValueError, match=words):
        bench.start(**wanted)
    assert not bench.traces.dynamic


def test_conditions_follow_changed_lists() -> None:
    bench = Bench({})
    asyncio.run(bench.traces.start(TraceStart("t1", ["store:lake"], filter="caller in @vip"), {"vip": {"carol"}}))
    bench.tracer.changed()
    bench.run(hop("INVITE"))
    bench.traces.relist({"vip": {"alice"}})
    bench.run(hop("INVITE"))
    bench.traces.relist({})  # the list is gone: it goes by the old one
    bench.run(hop("INVITE", call_id="c2"))
    assert len(bench["lake"].got) == 2
