"""Who sends: agents are told apart, bounded in number, and add up over workers."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hepswitch import books
from hepswitch.control.agents import merged
from hepswitch.metering.calls import room
from hepswitch.metering.meter import Meter
from hepswitch.routing.flow import Flow
from hepswitch.routing.packet import Context
from hepswitch.wire.batch import Batch
from hepswitch.wire.hep import Hep
from metering.scene import LISTENER, START, UAC, UAS, Stage, rtcp


def packet(agent: int = 7, node: str | None = None, version: int = 3, **chunks: Any) -> bytes:
    said = {"src_ip": UAC, "dst_ip": UAS, "src_port": 1, "dst_port": 2, "captagent_id": agent, **chunks}
    return bytes(Hep.new(b"OPTIONS sip:a SIP/2.0\r\n\r\n", version=version, **said | ({"node_name": node} if node else {})))


def rows(stage: Stage) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = merged(
        [{"agents": stage.meter.agents.rows(), "forgotten": stage.meter.agents.forgotten}]
    )["agents"]
    return found


def test_agents_are_told_apart_by_all_that_they_are() -> None:
    stage = Stage(sip=False)
    stage.run(packet(), packet(), packet(version=2), packet(agent=8), packet(node="edge"), rtcp(b"{}"))
    stage.run(packet(), peer="192.0.2.10")
    stage.run(packet(), peer="2001:db8::1")
    found = {(row["captagent_id"], row["node_name"], row["src_ip"]): row for row in rows(stage)}
    assert {key: row["packets"] for key, row in found.items()} == {
        (7, "", "192.0.2.9"): 4,
        (8, "", "192.0.2.9"): 1,
        (7, "edge", "192.0.2.9"): 1,
        (7, "", "192.0.2.10"): 1,
        (7, "", "2001:db8::1"): 1,
    }
    first = found[7, "", "192.0.2.9"]
    assert (first["versions"], first["types"], first["listener"]) == ([2, 3], {"sip": 3, "rtcp": 1}, LISTENER)
    assert first["first_seen"].endswith("Z")
    assert first["first_seen"] <= first["last_seen"]
    row = stage.meter.snapshot()
    assert row["nodes"]["7"]["sip"]["packets"] == 5
    assert row["listeners"] == {LISTENER: {"3": {"sip": 6, "rtcp": 1}, "2": {"sip": 1}}}
    assert "sip" not in row, "SIP is not read"


def test_the_skew_of_a_clock_is_seen_and_recordings_have_none() -> None:
    stage = Stage(sip=False)
    now = time.time()
    for _ in range(200):
        stage.run(packet(time=now + 3600), packet(agent=8, time=now - 1e7), packet(agent=9))
    skews = {row["captagent_id"]: row["skew"] for row in rows(stage)}
    assert 3595 < skews[7] < 3601
    assert skews[8] is None
    assert skews[9] is None


def test_of_too_many_agents_the_longest_unseen_is_forgotten() -> None:
    stage = Stage(agents=3, nodes=2, sip=False)
    for agent in (1, 2, 3, 1, 4, 5):
        stage.run(packet(agent))
    assert {row["captagent_id"] for row in rows(stage)} == {1, 4, 5}
    assert stage.meter.agents.forgotten == 2
    row = stage.meter.snapshot()
    assert {node: kinds["sip"]["packets"] for node, kinds in row["nodes"].items()} == {"1": 2, "2": 1, "other": 3}
    assert row["listeners"][LISTENER]["3"]["sip"] == 6, "what it had sent stays counted"


@given(st.lists(st.integers(0, 30), max_size=200), st.integers(1, 8))
def test_the_table_of_agents_is_what_a_list_would_be(sent: list[int], most: int) -> None:
    stage = Stage(agents=most, nodes=100, sip=False)
    known: list[int] = []
    for agent in sent:
        stage.run(packet(agent))
        known = [other for other in known if other != agent][-(most - 1) :] if most > 1 else []
        known.append(agent)
    assert sorted(row["captagent_id"] for row in rows(stage)) == sorted(known)
    counted = stage.meter.snapshot()["nodes"]
    assert {int(node): kinds["sip"]["packets"] for node, kinds in counted.items()} == {
        agent: sent.count(agent) for agent in sent
    }


def test_workers_are_added_up() -> None:
    stages = [Stage(sip=False), Stage(sip=False)]
    for stage in stages:
        stage.run(packet(time=time.time() - 10), packet(8) if stage is stages[0] else packet(version=2))
    answer = merged(
        {"agents": stage.meter.agents.rows(), "forgotten": 1} for stage in stages
    )
    assert answer["forgotten"] == 2
    assert {row["captagent_id"]: (row["packets"], row["versions"]) for row in answer["agents"]} == {
        7: (3, [2, 3]),
        8: (1, [3]),
    }
    assert merged([]) == {"agents": [], "forgotten": 0}


def test_rates_follow() -> None:
    stage = Stage(sip=False)
    stage.run(*[packet()] * 500)
    stage.meter.sweep()
    assert rows(stage)[0]["rate"] > 0


def test_the_route_is_timed() -> None:
    ticks = [0]

    def slow(_: object) -> None:
        ticks[0] += 1
        time.sleep(0.0005)

    meter = Meter(10, 10)
    flow = Flow(Context({}, {}, None, books.Routed()), lambda _, error: None, slow)
    flow.meter = meter
    flow(Batch.of([packet()] * 122, books.Listener(LISTENER), ("192.0.2.9", 1)))
    assert ticks[0] == 122
    assert meter.snapshot()["route_seconds"] >= 122 * 0.0005


@given(st.lists(st.one_of(st.binary(max_size=300), st.text(max_size=200).map(lambda text: f"INVITE {text}".encode()))),
       st.integers(0, 255))  # fmt: skip
def test_whatever_a_payload_holds_nothing_is_raised(payloads: list[bytes], kind: int) -> None:
    stage = Stage(transactions=64)
    for payload in payloads:
        for number in (kind, 1, 5, 34, 35, 38, 50):
            stage.run(bytes(Hep.new(payload, proto_type=number, src_ip=UAC, dst_ip=UAS, time=START)))
    assert books.add(stage.meter.snapshot(), stage.meter.snapshot())["nodes"].keys() <= {"0"}
    assert len(stage.messages()) <= 1


SIP = (
    b"INVITE sip:b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n"
)


@given(st.lists(st.tuples(st.integers(0, len(SIP) - 1), st.binary(max_size=4)), max_size=6), st.integers(0, len(SIP)))
def test_broken_sip_is_read_as_far_as_it_goes(edits: list[tuple[int, bytes]], cut: int) -> None:
    broken = bytearray(SIP[: len(SIP) - cut])
    for at, octets in edits:
        broken[at : at + len(octets)] = octets
    stage = Stage(transactions=64)
    stage.run(bytes(Hep.new(bytes(broken), proto_type=1, src_ip=UAC, dst_ip=UAS, time=START)))
    counted = sum(stage.messages().values()) + stage.sip["unreadable"]
    assert counted == 1
    assert room(64) == len(stage.memory)
