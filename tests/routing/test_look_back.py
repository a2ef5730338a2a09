"""What has just gone through the flow: known by its names as they came, kept for a time and within bounds."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from hepswitch import books
from hepswitch.routing.flow import Flow
from hepswitch.routing.look_back import LookBack
from hepswitch.routing.packet import Context, TracerBase
from hepswitch.testing import hep_packet, rtcp, sip
from hepswitch.wire.batch import Batch
from hepswitch.wire.hep import Hep
from hepswitch.wire.sip import Sip


def more_names(packet: Hep, message: Sip | None) -> Iterable[str]:
    return message.headers("X-CID") if message is not None and message.method == "INVITE" else ()


class Past:
    """A flow whose tracer does nothing but look back."""

    def __init__(self, most: int = 1 << 20) -> None:
        self.now = 100.0
        self.look_back = LookBack(1.0, most, lambda: self.now, lambda name: f"short:{len(name)}", more_names)
        tracer = TracerBase()
        tracer.look_back = self.look_back
        self.routed = books.Routed()
        context = Context({}, {}, None, self.routed, tracer=tracer)
        self.flow = Flow(context, self.failed, self.route)

    def failed(self, packet: object, error: BaseException) -> None:
        raise AssertionError(error)

    def route(self, hep: Hep) -> None:
        if hep.captagent_id == 7:
            hep.payload = b"hidden"

    def run(self, *packets: Hep) -> None:
        self.flow(
            Batch.of([bytes(packet) for packet in packets], books.Listener("udp://192.0.2.7:9060"), ("192.0.2.9", 4))
        )

    def of(self, name: str) -> list[bytes]:
        return [kept.came for kept in self.look_back.of(name)]


def test_packets_are_known_by_their_call() -> None:
    past = Past()
    first, second, other = sip(100), rtcp("c1"), sip(200, call_id="c2")
    past.run(first, hep_packet(b"of no call"), other, second)
    assert past.of("c1") == [bytes(first), bytes(second)]
    assert past.of("c2") == [bytes(other)]
    assert past.of("c3") == []
    assert len(past.look_back) == 3


def test_an_invite_by_all_its_names() -> None:
    past = Past()
    packet = sip("INVITE", headers={"X-CID": "leg"})
    past.run(packet, sip("INFO", headers={"X-CID": "leg"}))
    assert past.of("leg") == [bytes(packet)]
    assert len(past.of("c1")) == 2


@pytest.mark.parametrize(
    ("call_id", "name"), [("x" * 257, "short:257"), ("x\udcff", "short:2"), ("x" * 256, "x" * 256)]
)
def test_unusual_names_are_shortened(call_id: str, name: str) -> None:
    past = Past()
    past.run(sip(100, call_id=call_id))
    assert len(past.of(name)) == 1


def test_what_is_handed_on_is_what_the_route_left() -> None:
    past = Past()
    packet = sip(100, captagent_id=7)
    past.run(packet)
    (kept,) = past.look_back.of("c1")
    assert bytes(kept.before()) == bytes(packet)
    assert kept.packet().payload == b"hidden"
    assert kept.packet().received == ("udp", "192.0.2.9", 4, "192.0.2.7", 9060)
    assert not kept.packet().went_to("anything")


def test_what_was_unrouted_is_so_no_more_when_somebody_took_it() -> None:
    past = Past()
    past.run(sip(100))
    (kept,) = past.look_back.of("c1")
    assert past.routed.unrouted == 1
    kept.taken()
    kept.taken()
    assert past.routed.unrouted == 0


def test_it_forgets_with_time() -> None:
    past = Past()
    past.run(sip(100))
    past.now += 0.75
    past.run(sip(180))
    past.now += 0.5
    assert len(past.of("c1")) == 1
    past.now += 1
    assert past.of("c1") == []
    assert (len(past.look_back), past.look_back.nbytes, past.look_back.forgotten) == (0, 0, 0)


def test_it_is_bounded_and_counts_what_gives_way() -> None:
    past = Past(most=10_000)
    for number in range(100):
        past.run(sip(100, call_id=f"c{number}"))
        assert past.look_back.nbytes <= 10_000
    kept = len(past.look_back)
    assert 5 < kept < 20
    assert past.look_back.forgotten == 100 - kept
    assert past.of("c0") == []
    assert len(past.of("c99")) == 1
    past.look_back.clear()
    assert (len(past.look_back), past.look_back.nbytes, past.of("c99")) == (0, 0, [])
