"""The flow: what becomes of each packet of a batch, and that the books say so."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hepswitch import books
from hepswitch.routing.flow import Flow
from hepswitch.routing.packet import Context, Message, Packet, RouteError
from hepswitch.wire.batch import Batch
from hepswitch.wire.hep import Hep

INVITE = b"INVITE sip:bob@example.net SIP/2.0\r\nCall-ID: c1\r\nFrom: <sip:alice@a>;tag=1\r\nCSeq: 1 INVITE\r\n\r\n"


class Outlet:
    """Takes packets as an outlet does and keeps copies; the seam between routing and destinations."""

    def __init__(self, accepts: bool = True) -> None:
        self.accepts = accepts
        self.packets: list[bytes] = []
        self.options: list[dict[str, Any]] = []

    def offer(self, packet: Hep, **options: Any) -> bool:
        if self.accepts:
            self.packets.append(bytes(packet))
            self.options.append(options)
        return self.accepts


class Bench:
    """A flow between a listener and recording outlets."""

    def __init__(self, hep_route: Any = None, sip_route: Any = None, accepts: bool = True) -> None:
        self.homer, self.lake = Outlet(accepts), Outlet(accepts)
        self.routed = books.Routed()
        self.listener = books.Listener("udp://127.0.0.1:9060")
        self.errors: list[BaseException] = []
        self.context = Context({"homer": self.homer}, {"lake": self.lake}, self.lake, self.routed)
        self.flow = Flow(self.context, lambda _, error: self.errors.append(error), hep_route, sip_route)

    def run(self, *packets: bytes, peer: tuple[str, int] | None = ("192.0.2.9", 4000)) -> None:
        self.flow(Batch.of(list(packets), self.listener, peer))


def sip(payload: bytes = INVITE, **chunks: Any) -> bytes:
    return bytes(
        Hep.new(payload, src_ip="192.0.2.1", dst_ip="192.0.2.2", src_port=1, dst_port=2, proto_type=1, **chunks)
    )


def rtcp() -> bytes:
    return bytes(Hep.new(b"{}", src_ip="192.0.2.1", dst_ip="192.0.2.2", proto_type=5, correlation_id=b"c1"))


def test_without_a_route_everything_is_stored() -> None:
    bench = Bench()
    bench.run(sip(), rtcp())
    assert bench.lake.packets == [sip(), rtcp()]
    assert (bench.routed.packets, bench.routed.unrouted) == (2, 0)


def test_bad_packets_are_counted_and_cost_no_neighbour() -> None:
    bench = Bench()
    bench.run(sip(), b"HEP3\x00\x02", b"garbage that is no HEP", sip())
    assert len(bench.lake.packets) == 2
    assert (bench.listener.packets, bench.listener.malformed, bench.routed.packets) == (4, 2, 2)
    assert sum(bench.listener.malformed_reasons.values()) == 2


def test_an_edit_is_seen_by_what_comes_after_it_alone() -> None:
    def route(hep: Packet) -> None:
        assert hep.relay("homer") is True
        hep.captagent_id = 4711
        hep.store()

    bench = Bench(route)
    bench.run(sip(captagent_id=1))
    assert Hep(bench.homer.packets[0]).captagent_id == 1
    assert Hep(bench.lake.packets[0]).captagent_id == 4711


def test_outcomes() -> None:
    def route(hep: Packet) -> None:
        if hep.proto_type == "RTCP":
            hep.drop("lab")
            hep.drop("twice counts once")

    bench = Bench(route)
    bench.run(sip(), rtcp())
    assert (bench.routed.packets, bench.routed.unrouted, dict(bench.routed.dropped)) == (2, 1, {"lab": 1})


def test_a_refused_packet_is_unrouted_and_the_route_is_told() -> None:
    answers = []
    bench = Bench(lambda hep: answers.append(hep.relay("homer")), accepts=False)
    bench.run(sip())
    assert answers == [False]
    assert bench.routed.unrouted == 1


def test_resume_goes_on_in_the_sip_route_with_the_same_packet() -> None:
    seen = []

    def hep_route(hep: Packet) -> None:
        hep.captagent_id = 7
        hep.resume_sip()

    def sip_route(msg: Message) -> None:
        seen.append((msg.method, msg.call_id, msg.hep.captagent_id, msg.received.src_ip))
        msg.store(table="calls_%Y", custom_field1="x")

    bench = Bench(hep_route, sip_route)
    bench.run(sip())
    assert seen == [("INVITE", "c1", 7, "192.0.2.9")]
    assert bench.lake.options[0]["table"] == "calls_%Y"
    assert bench.lake.options[0]["custom_field1"] == "x"


def test_no_sip_to_resume_is_a_drop_with_a_reason() -> None:
    bench = Bench(lambda hep: hep.resume_sip(), lambda msg: msg.store())
    bench.run(rtcp())
    assert dict(bench.routed.dropped) == {"not SIP": 1}


def test_the_sip_mode_runs_the_sip_route_alone() -> None:
    bench = Bench(None, lambda msg: msg.relay("homer"))
    bench.run(sip(), rtcp())
    assert bench.homer.packets == [sip()]
    assert dict(bench.routed.dropped) == {"not SIP": 1}


def test_report_stores_under_the_given_correlation_id() -> None:
    bench = Bench(lambda hep: hep.report(b"call-1", table="rtcp"))
    bench.run(rtcp())
    assert bench.lake.options == [{"table": "rtcp", "correlation_id": "call-1"}]


def test_a_route_that_raises_is_told_and_the_next_packet_goes_on() -> None:
    def route(hep: Packet) -> None:
        if hep.proto_type == "RTCP":
            raise KeyError("script's own")
        hep.store()

    bench = Bench(route)
    bench.run(rtcp(), sip())
    assert [type(error) for error in bench.errors] == [KeyError]
    assert bench.lake.packets == [sip()]


def test_an_error_handler_that_raises_costs_no_neighbour() -> None:
    bench = Bench(lambda hep: hep.relay("homer") if hep.proto_type == "SIP" else 1 / 0)
    bench.errors = None  # type: ignore[assignment]  # so that appending to it raises
    bench.run(rtcp(), sip(), rtcp(), sip())
    assert bench.homer.packets == [sip(), sip()]
    assert (bench.listener.packets, bench.routed.packets) == (4, 4)
    assert (bench.routed.unrouted, bench.routed.errors) == (2, 2)


def test_an_unknown_name_names_the_known_ones() -> None:
    bench = Bench(lambda hep: hep.relay("hommer"))
    bench.run(sip())
    assert isinstance(bench.errors[0], RouteError)
    assert "'hommer'; configured: homer" in str(bench.errors[0])


def test_a_kept_packet_takes_its_bytes_along() -> None:
    kept: list[Packet] = []
    bench = Bench(kept.append)
    bench.run(sip(captagent_id=1), sip(captagent_id=2))
    bench.run(sip(captagent_id=3))
    assert [hep.captagent_id for hep in kept] == [1, 2, 3]
    assert {id(hep) for hep in kept}.__len__() == 3
    assert kept[0].received.src_port == 4000
    assert kept[0].sip is not None
    assert kept[0].sip.call_id == "c1"


def test_a_kept_message_keeps_its_packet() -> None:
    kept: list[Message] = []
    bench = Bench(None, kept.append)
    bench.run(sip(captagent_id=1))
    bench.run(sip(captagent_id=2))
    assert [msg.hep.captagent_id for msg in kept] == [1, 2]


def test_packets_that_nobody_keeps_share_one_object() -> None:
    seen = set()
    bench = Bench(lambda hep: seen.add(id(hep)))
    bench.run(*[sip()] * 50)
    assert len(seen) == 1


def test_reasons_are_bounded() -> None:
    counter = iter(range(5000))
    bench = Bench(lambda hep: hep.drop(f"reason {next(counter)}"))
    bench.run(*[sip()] * 5000)
    assert len(bench.routed.dropped) == 1001
    assert bench.routed.dropped["other"] == 4000


@pytest.mark.parametrize("value", [b"", ""])
def test_report_needs_a_correlation_id(value: str | bytes) -> None:
    bench = Bench(lambda hep: hep.report(value))
    bench.run(rtcp())
    assert "needs a correlation id" in str(bench.errors[0])


@pytest.mark.parametrize("error", [SystemExit(3), RecursionError(), MemoryError(), GeneratorExit()])
def test_whatever_a_route_raises_is_its_own_error(error: BaseException) -> None:
    def route(hep: Packet) -> None:
        raise error

    bench = Bench(route)
    bench.run(sip(), sip())
    assert bench.errors == [error, error]
    assert (bench.routed.packets, bench.routed.unrouted) == (2, 2)


def test_reasons_and_tags_are_bounded_and_can_be_written_down() -> None:
    def route(hep: Packet) -> None:
        hep.tag("\udcff" + "t" * 1000)
        assert hep.tags == {"?" + "t" * 99}
        hep.drop("\udcff" + "r" * 1000)

    bench = Bench(route)
    bench.run(sip(), sip())
    assert bench.errors == []
    assert bench.routed.snapshot()["dropped"] == {"?" + "r" * 99: 2}
    msgspec.json.encode(bench.routed.snapshot())


def test_a_packet_that_a_script_built_has_nowhere_to_go() -> None:
    def route(hep: Packet) -> None:
        for own in (Packet(bytes(hep)), type(hep)(bytes(hep))):
            assert own.received is None
            for act in (
                lambda own=own: own.relay("homer"),
                lambda own=own: own.store(),
                lambda own=own: own.report("c1"),
                lambda own=own: own.mask("x"),
                lambda own=own: own.drop("x"),
                lambda own=own: Message(own, INVITE).store(),
            ):
                with pytest.raises(RouteError, match="did not come in"):
                    act()
        hep.drop("tried")

    bench = Bench(route)
    bench.run(sip())
    assert (bench.errors, bench.routed.dropped) == ([], {"tried": 1})


# ── capturing switched off ───────────────────────────────────────────────────────────────────────────────────────────


def test_while_capturing_is_off_nothing_is_stored_and_that_is_said() -> None:
    bench = Bench()
    bench.context.capturing = False
    bench.run(sip(), rtcp())
    assert bench.lake.packets == []
    assert (bench.routed.dropped, bench.routed.unrouted) == ({"capture off": 2}, 0)
    assert bench.context.held == {"lake": 2}
    bench.context.capturing = True
    bench.run(sip())
    assert len(bench.lake.packets) == 1
    assert bench.routed.dropped == {"capture off": 2}


def test_what_a_route_sends_elsewhere_is_not_dropped_because_capturing_is_off() -> None:
    answers: list[bool] = []

    def route(hep: Packet) -> None:
        answers.append(hep.store())
        answers.append(hep.report("c1", store="lake"))
        assert not hep.stored
        if hep.proto_type == "RTCP":
            hep.relay("homer")
        elif hep.captagent_id == 7:
            hep.drop("seven")

    bench = Bench(route)
    bench.context.capturing = False
    bench.run(rtcp(), sip(captagent_id=7), sip())
    assert answers == [False] * 6
    assert len(bench.homer.packets) == 1
    assert (bench.routed.dropped, bench.routed.unrouted) == ({"seven": 1, "capture off": 1}, 0)
    assert bench.context.held == {"lake": 6}


def test_a_store_that_there_is_not_is_a_mistake_whether_capturing_is_on_or_off() -> None:
    bench = Bench(lambda hep: hep.store("lak"))
    bench.context.capturing = False
    bench.run(sip())
    assert isinstance(bench.errors[0], RouteError)


# ── what is captured, as OpenSIPS counts it ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("payload", "chunks", "counted"),
    [
        (INVITE, {}, (1, 0)),
        (b"SIP/2.0 200 OK\r\n\r\n", {}, (0, 1)),
        (b"\r\n\r\nsip/2.0 180 Ringing\r\n\r\n", {}, (0, 1)),
        (b"SIP/2.0 ", {}, (0, 1)),
        (b"A sip:", {}, (0, 0)),
        (b"", {}, (0, 0)),
        (b"\r\n\r\n", {}, (0, 0)),
        (b"GET / HTTP/1.1\r\n\r\n", {}, (0, 0)),
        (msgspec.json.encode({"payload": INVITE.decode()}), {}, (1, 0)),
        (msgspec.json.encode({"payload": "SIP/2.0 200 OK\r\n\r\n"}), {}, (0, 1)),
        (b'{"a": 1}', {}, (0, 0)),
        (INVITE, {"proto_type": 100}, (0, 0)),
    ],
)
def test_requests_and_replies_that_are_stored_are_counted(
    payload: bytes, chunks: dict[str, int], counted: tuple[int, int]
) -> None:
    packet = bytes(Hep.new(payload, **{"src_ip": "192.0.2.1", "proto_type": 1, **chunks}))
    bench = Bench()
    bench.run(packet, packet)
    assert (bench.routed.captured_requests, bench.routed.captured_replies) == tuple(2 * number for number in counted)


def test_what_is_reported_relayed_or_refused_is_not_captured() -> None:
    def route(hep: Packet) -> None:
        hep.report("c1")
        hep.relay("homer")

    bench, refusing = Bench(route), Bench(accepts=False)
    for each in (bench, refusing):
        each.run(sip())
        assert (each.routed.captured_requests, each.routed.captured_replies) == (0, 0)
