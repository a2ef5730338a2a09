"""Taps: what watchers get of the packets that go by, and what they cost when that is too much."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepswitch.filters import FilterError
from hepswitch.routing.packet import Packet
from hepswitch.testing import hep_packet, invite, rtcp, sip
from hepswitch.tracing import taps as module
from hepswitch.tracing.patience import OutOfPatienceError, Patience
from hepswitch.tracing.tap_rows import MOST_PAYLOAD, MOST_TEXT, row_of
from hepswitch.tracing.taps import Taps, Watching
from hepswitch.wire.hep import Hep
from tracing.bench import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench({"fraud": ["lake"]}, hep_route=_route)


def _route(hep: Packet) -> None:
    match hep.captagent_id:
        case 1:
            hep.store("lake")
        case 2:
            hep.relay("homer")
            hep.trace("fraud", scope="message")
        case 3:
            hep.drop("lab")
        case 4:
            hep.mask("names")


def watch(bench: Bench, filter: str | None = None, payload: bool = False, **lists: Any) -> Taps:
    taps = Taps(bench.context, lambda: bench.now)
    taps.watch(Watching(7, filter, payload), lists)
    return taps


def rows(taps: Taps) -> list[dict[str, Any]]:
    return [json.loads(bytes(row)) for _, row in taps.take([7])[7].rows]


def test_a_row_says_what_came_and_what_became_of_it(bench: Bench) -> None:
    taps = watch(bench)
    packet = invite(captagent_id=1, node_name="edge-7", correlation_id=b"x1", time=1_795_000_000.25)
    bench.run(packet)
    message = packet.sip
    assert message is not None
    [row] = rows(taps)
    assert row == {
        "at": "2026-11-18T11:06:40.250000Z",
        "src_ip": packet.src_ip, "src_port": packet.src_port, "dst_ip": packet.dst_ip, "dst_port": packet.dst_port,
        "proto_id": 17, "proto_type": 1, "captagent_id": 1, "node_name": "edge-7",
        "method": "INVITE", "status": None, "reason": None, "cseq_method": "INVITE",
        "from_user": message.from_user, "to_user": message.to_user, "call_id": message.call_id, "correlation_id": "x1",
        "size": len(packet.payload or b""), "outcome": "stored",
    }  # fmt: skip


def test_every_outcome_has_its_word(bench: Bench) -> None:
    taps = watch(bench)
    bench.run(*(invite(captagent_id=number) for number in (1, 2, 3, 5)))
    bench.stores["lake"].takes = bench.homer.takes = False
    bench.run(invite(captagent_id=1), invite(captagent_id=2))
    bench.context.capturing = False
    bench.run(invite(captagent_id=1))
    assert [row["outcome"] for row in rows(taps)] == [
        "stored", "relayed, traced", "dropped: lab", "unrouted", "refused", "refused", "dropped: capture off",
    ]  # fmt: skip
    assert (bench.routed.unrouted, dict(bench.routed.dropped)) == (3, {"lab": 1, "capture off": 1})


def test_a_route_is_told_what_became_of_its_packet() -> None:
    became = []

    def route(hep: Packet) -> None:
        became.append(hep.became)
        hep.relay("homer")
        hep.drop("enough")
        became.append(hep.became)

    Bench({}, hep_route=route).run(invite())
    assert became == ["unrouted", "relayed, dropped: enough"]


def test_what_a_route_masked_is_neither_shown_nor_found(bench: Bench) -> None:
    def mask(hep: Hep) -> None:
        hep.payload = (hep.payload or b"").replace(b"alice", b"xxxxx")

    bench.masks["names"] = mask
    taps = watch(bench, 'payload contains "alice"', True)
    bench.run(invite(captagent_id=4), invite(captagent_id=5))
    found = taps.take([7])[7]
    assert (found.seen, found.matched, len(found.rows)) == (2, 1, 1)
    taps = watch(bench, "captagent_id = 4", True)
    bench.run(invite(captagent_id=4))
    [row] = rows(taps)
    assert row["from_user"] == "xxxxx"
    assert "alice" not in row["payload"]


def test_filters_know_lists_and_what_is_not_sip(bench: Bench) -> None:
    taps = watch(bench, "sip.from_user in @fraud or proto_type = RTCP", fraud={"eve"})
    bench.run(invite(from_user="eve"), invite(), rtcp(), sip(200))
    assert [(row["from_user"], row["proto_type"]) for row in rows(taps)] == [("eve", 1), (None, 5)]
    taps.relist({"fraud": {"alice"}})
    bench.run(invite(from_user="eve"), invite(from_user="alice"))
    assert [row["from_user"] for row in rows(taps)] == ["alice"]
    taps.relist({})  # the list is gone: the old one holds
    bench.run(invite(from_user="alice"))
    assert len(rows(taps)) == 1
    with pytest.raises(FilterError):
        taps.watch(Watching(8, "sip.method ="), {})


def test_nobody_asks_the_taps_when_nobody_watches(bench: Bench) -> None:
    taps = watch(bench)
    assert bench.context.taps is taps
    bench.run(invite())
    assert taps.take([]) == {}
    assert bench.context.taps is None
    bench.run(invite())
    assert taps.take([7]) == {}


def test_what_does_not_fit_is_counted_as_missed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 3)
    taps = watch(bench, "sip.method = INVITE")
    bench.run(*([invite(), sip(200)] * 5))
    found = taps.take([7])[7]
    assert (len(found.rows), found.seen, found.matched, found.missed, found.skipped) == (3, 10, 5, 2, 0)
    bench.run(invite())
    assert taps.take([7])[7].missed == 0, "taken: there is room again"


def test_bytes_are_bounded_for_each_and_for_all(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(row_of(Packet(bytes(invite(captagent_id=1))), payload=True))
    monkeypatch.setattr(module, "MOST_BYTES", size + 1)
    taps = watch(bench, payload=True)
    taps.watch(Watching(8, None, True), {})
    bench.run(*[invite(captagent_id=1)] * 4)
    taken = taps.take([7, 8])
    assert [(len(found.rows), found.missed) for found in taken.values()] == [(2, 2), (2, 2)]
    monkeypatch.setattr(module, "MOST_OF_ALL", 2 * size + 1)
    bench.run(*[invite(captagent_id=1)] * 4)
    taken = taps.take([7, 8])
    assert sum(len(found.rows) for found in taken.values()) == 3
    assert sum(found.missed for found in taken.values()) == 5


def test_a_filter_that_takes_too_long_is_asked_less(bench: Bench) -> None:
    """The clock goes on by 4 ms with each answer: two or three of them are a tap's part of a tenth of a second."""
    taps = watch(bench, 'payload ~ "INVITE"')
    tap = taps._taps[7]
    wants = tap.wants
    assert wants is not None

    def slow(packet: Packet) -> bool:
        bench.now += 0.004
        return wants(packet)

    tap.wants = slow
    bench.run(*[invite()] * 20)
    found = taps.take([7])[7]
    assert (found.seen, found.matched, found.skipped, len(found.rows)) == (20, 3, 17, 3)
    bench.now += 0.1
    bench.run(invite())
    assert taps.take([7])[7].matched == 1


def test_a_search_without_end_is_broken_off(bench: Bench) -> None:
    taps = watch(bench, 'sip.user_agent ~ "^(a+)+$"')
    bench.run(invite(headers={"User-Agent": "a" * 64 + "!"}), invite(headers={"User-Agent": "aaa"}))
    found = taps.take([7])[7]
    assert (found.seen, found.skipped, found.matched) == (2, 1, 1)


def test_patience_lets_errors_through_and_leaves_nothing_behind() -> None:
    patience = Patience(0.01)
    assert patience.ask(len, "abc") == 3
    with pytest.raises(TypeError):
        patience.ask(len, 3)
    with pytest.raises(OutOfPatienceError):
        patience.ask(re.compile("(a+)+$").search, "a" * 64 + "!")
    total = sum(
        number * number % 7 for number in range(300_000)
    )  # longer than its time: nobody is interrupted any more
    assert total > 0


@given(st.binary(max_size=400), st.booleans())
@settings(max_examples=200, deadline=None)
def test_whatever_a_packet_holds_a_row_is_json(payload: bytes, payloads: bool) -> None:
    start = b"INVITE sip:b SIP/2.0\r\nCall-ID: " + payload[:40].replace(b"\r", b"").replace(b"\n", b"") + b"\r\n"
    packet = Packet(bytes(Hep.new(start + payload, node_name="\x1b[31m", correlation_id=payload[:20])))
    row = row_of(packet, payloads)
    assert b"\n" not in row
    read = json.loads(row)
    assert read["size"] == len(start + payload)
    assert ("payload" in read or "payload_base64" in read) == payloads


def test_texts_and_payloads_are_cut(bench: Bench) -> None:
    long = Packet(bytes(invite(call_id="c" * 3000)))
    assert len(json.loads(row_of(long, payload=False))["call_id"]) == MOST_TEXT
    packet = Packet(bytes(hep_packet(b"")))
    packet.payload = "é".encode() * 30_000 + b"x"
    packet.compress()
    assert "cut" not in json.loads(row_of(packet, payload=True))
    big = Hep.new("€" * 20_000)
    big.compress()
    inflated = Packet(bytes(big))
    assert len(inflated.payload or b"") < MOST_PAYLOAD
    assert json.loads(row_of(inflated, payload=True))["payload"] == "€" * 20_000


def test_time_that_is_no_time_is_shown(bench: Bench) -> None:
    taps = watch(bench)
    bench.run(Hep.new(b"x", timestamp=2**32 - 1, timestamp_us=2**32 - 1))
    assert re.fullmatch(r"2106-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", rows(taps)[0]["at"])
