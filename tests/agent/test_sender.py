"""HepSender: what is sent is what arrives, over every transport; a far end that is away costs nothing but room."""

from __future__ import annotations

import logging
import os
import signal
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from far_ends import TcpSink, UdpSink, assert_balanced, packet, until
from hepswitch.agent import HepSender, call, ways
from hepswitch.agent.ways import Addresses
from hepswitch.testing import invite, sip
from hepswitch.wire.hep import Hep
from running import wait_for

ALICE, BOB = ("192.0.2.1", 5060), ("192.0.2.2", 5080)

Make = Callable[..., HepSender]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes senders, which end with the test; each one's books must balance then."""
    made: list[HepSender] = []

    def make(url: str, **options: Any) -> HepSender:
        made.append(HepSender(url, **options))
        return made[-1]

    yield make
    for sender in made:
        sender.close(0.0)
        assert_balanced(sender.stats | {"nodes": {}})


@pytest.fixture
def sink() -> Iterator[UdpSink]:
    with closing(UdpSink()) as sink:
        yield sink


def arrived(sink: UdpSink, count: int = 1) -> list[Hep]:
    wait_for(lambda: len(sink.read()) >= count, f"{count} packets arrive")
    assert len(sink.frames) == count
    return [Hep(frame) for frame in sink.frames]


def delivered(sender: HepSender, count: int) -> Callable[[], bool]:
    return lambda: sender.stats["delivered"] >= count


# ── what is sent ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_packet_says_what_it_was_given(make: Make, sink: UdpSink) -> None:
    sender = make(sink.url, captagent_id=42, node_name="pbx", auth_key="open sesame")
    assert sender.send(
        b"{}", src=ALICE, dst=BOB, protocol="tcp", proto_type="RTCP", correlation_id="c1", time=1.25, vlan_id=7
    )
    (hep,) = arrived(sink)
    assert (hep.src_ip, hep.src_port, hep.dst_ip, hep.dst_port) == (*ALICE, *BOB)
    assert (hep.proto_id, hep.proto_type, hep.time) == ("TCP", "RTCP", 1.25)
    assert (hep.captagent_id, hep.node_name, hep.auth_key, hep.vlan_id) == (42, "pbx", b"open sesame", 7)
    assert (hep.payload, hep.correlation_id, hep.proto_family) == (b"{}", b"c1", "AF_INET")


def test_a_sip_message_finds_its_call(make: Make, sink: UdpSink) -> None:
    sender = make(sink.url)
    assert sender.sip(bytes(invite(call_id="c1").payload or b""), ALICE, BOB)
    assert sender.sip((sip(486, call_id="c2").payload or b"").decode(), ("2001:db8::1", 5060), ("2001:db8::2", 5060))
    assert sender.sip(b"no SIP at all", ALICE, BOB)
    request, reply, garbage = arrived(sink, 3)
    assert (request.correlation_id, request.captagent_id, request.proto_type) == (b"c1", 2001, "SIP")
    assert (reply.correlation_id, reply.src_ip, reply.proto_family) == (b"c2", "2001:db8::1", "AF_INET6")
    assert reply.sip is not None
    assert reply.sip.status == 486
    assert garbage.correlation_id is None


def test_a_line_of_a_log_belongs_to_the_current_call_or_to_the_one_given(make: Make, sink: UdpSink) -> None:
    sender = make(sink.url)
    sender.log("nobody's")
    with call("c1"):
        sender.log("täglich")
        sender.log("another's", correlation_id="c2", src=ALICE, dst=BOB, time=2.5)
    sender.log("x" * 70_000)
    nobody, current, given_one, long = arrived(sink, 4)
    assert (nobody.proto_type, nobody.correlation_id, nobody.payload) == ("LOG", None, b"nobody's")
    assert (current.correlation_id, current.payload) == (b"c1", "täglich".encode())
    assert (given_one.correlation_id, given_one.src_ip, given_one.dst_port, given_one.time) == (
        b"c2", "192.0.2.1", 5080, 2.5,
    )  # fmt: skip
    assert len(long.payload or b"") == 65_000


def test_any_payload_of_any_call_arrives_as_it_is(make: Make, sink: UdpSink) -> None:
    sender = make(sink.url)

    @given(payload=st.binary(max_size=300), call_id=st.text(max_size=30), when=st.integers(1, 4_000_000_000))
    def sent_is_received(payload: bytes, call_id: str, when: int) -> None:
        sink.frames.clear()
        assert sender.send(payload, src=ALICE, dst=BOB, correlation_id=call_id, time=when)
        (hep,) = arrived(sink)
        assert (hep.payload, hep.correlation_id or b"", hep.time) == (payload, call_id.encode(), when)

    sent_is_received()


async def test_a_packet_goes_as_it_is_and_in_a_version_that_the_transport_carries(make: Make, sink: UdpSink) -> None:
    old = Hep.new(b"OPTIONS sip:a SIP/2.0\r\n\r\n", version=2, src_ip="192.0.2.1", dst_ip="192.0.2.2")
    by_udp = make(sink.url, node_name="mine")
    assert by_udp.send_packet(old)
    assert by_udp.send_packet(packet(1))
    assert [bytes(hep) for hep in arrived(sink, 2)] == [bytes(old), bytes(packet(1))]
    stream = TcpSink()
    await stream.start()
    try:
        assert make(stream.url).send_packet(old)
        await until(lambda: stream.connections and len(stream.connections[0]) > 6, "the packet arrives")
        hep = Hep(bytes(stream.connections[0]))
        assert (hep.version, hep.payload, old.version) == (3, old.payload, 2)
    finally:
        await stream.stop()


def test_what_no_packet_can_hold_is_the_callers_mistake(make: Make, sink: UdpSink) -> None:
    sender = make(sink.url)
    with pytest.raises(ValueError, match="no address"):
        sender.send(b"", src=("no address", 1), dst=BOB)
    with pytest.raises(ValueError, match="protocol type"):
        sender.send(b"", src=ALICE, dst=BOB, proto_type="SIPP")
    with pytest.raises(TypeError, match="nonsense"):
        sender.send(b"", src=ALICE, dst=BOB, nonsense=1)
    assert sender.stats["accepted"] == 0
    assert sender.stats["state"] == "idle"


def test_what_is_too_large_is_counted(make: Make, sink: UdpSink) -> None:
    sender = make(sink.url)
    assert not sender.send(b"x" * 65_001, src=ALICE, dst=BOB)
    assert sender.send(b"x" * 65_000, src=ALICE, dst=BOB, json_keys=b"y" * 410)
    assert sender.log("goes on")
    assert [hep.payload for hep in arrived(sink)] == [b"goes on"]
    assert sender.flush()
    stats = sender.stats
    assert (stats["accepted"], stats["delivered"]) == (2, 1)
    assert stats["refused"] == {"too large": 1}
    assert stats["discarded"] == {"too large for UDP": 1}


# ── what cannot be ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("http://127.0.0.1", {}, "does not start with one of"),
        ("udp://127.0.0.1:9060?ca=x", {}, "unknown options: ca; known here: none"),
        ("tls://127.0.0.1?weight=2", {}, "known here: ca, cert, key, verify"),
        ("tcp://_hep._tcp.example.net", {}, "name a host and its port"),
        ("tcp://127.0.0.1:0", {}, "needs a port above 0"),
        ("udp://127.0.0.1", {"queue": "much"}, "is not a size"),
        ("udp://127.0.0.1", {"drain": "long"}, "is not a duration"),
        ("udp://127.0.0.1", {"captagent_id": 2**32}, "captagent_id"),
        ("tls://127.0.0.1?verify=maybe", {}, "neither yes nor no"),
    ],
)
def test_a_wrong_setting_is_told_at_once(url: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HepSender(url, **options)


def test_a_certificate_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"ca=.*none\.pem cannot be read"):
        HepSender(f"tls://localhost?ca={tmp_path / 'none.pem'}")


def test_secrets_are_not_shown(make: Make, sink: UdpSink) -> None:
    sender = make(sink.url, auth_key="open sesame")
    assert repr(sender) == f"<HepSender {sink.url} idle>"
    assert "sesame" not in str(sender.stats)


# ── life ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_after_close_nothing_is_taken(sink: UdpSink) -> None:
    with HepSender(sink.url) as sender:
        assert sender.log("a line")
    assert arrived(sink)
    assert not sender.log("too late")
    assert sender.close()
    assert sender.flush()
    stats = sender.stats
    assert (stats["state"], stats["delivered"], stats["refused"]) == ("closed", 1, {"closed": 1})


def test_one_that_was_never_used_has_no_thread(make: Make, sink: UdpSink) -> None:
    sender = make(sink.url)
    before = threading.active_count()
    assert sender.flush()
    assert sender.close()
    assert sender.stats["state"] == "closed"
    assert threading.active_count() == before


def test_a_far_end_that_never_comes_costs_what_was_queued(make: Make) -> None:
    with closing(UdpSink()) as gone:
        url = f"tcp://127.0.0.1:{gone.port}"
    sender = make(url)
    for _ in range(10):
        assert sender.log("a line")
    assert not sender.flush(0.0)
    assert not sender.close(0.0)
    wait_for(lambda: sender.stats["state"] == "closed", "the end of the thread")
    assert (sender.stats["queued"], sender.stats["discarded"]) == (0, {"shutdown": 10})


def test_no_thread_to_be_had_is_counted(make: Make, sink: UdpSink, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    sender = make(sink.url)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_more)
        assert not sender.log("a line")
    assert sender.stats["refused"] == {"no thread": 1}
    assert sender.log("another")
    assert [hep.payload for hep in arrived(sink)] == [b"another"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_fails_is_replaced_and_nothing_is_lost(
    make: Make, sink: UdpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(way: ways.Way) -> bool:
        raise ZeroDivisionError("a bug")

    sender = make(sink.url)
    with monkeypatch.context() as patched:
        patched.setattr(ways.DatagramWay, "carry", fail)
        assert sender.log("first")
        wait_for(lambda: sender.stats["state"] == "inactive", "the end of the thread")
    assert sender.stats["queued"] == 1
    assert sender.log("second")
    assert [hep.payload for hep in arrived(sink, 2)] == [b"first", b"second"]
    assert sender.close()


def test_many_threads_send(make: Make, sink: UdpSink) -> None:
    sender = make(sink.url)
    threads = [
        threading.Thread(target=lambda i=i: [sender.log(f"{i} {n}") for n in range(200)])  # type: ignore[misc]
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert_balanced(sender.stats | {"nodes": {}})
    lines = [(hep.payload or b"").decode().split() for hep in arrived(sink, 800)]
    for i in range(4):
        assert [int(n) for who, n in lines if who == str(i)] == list(range(200))
    assert sender.flush()
    assert (sender.stats["accepted"], sender.stats["delivered"]) == (800, 800)


def test_a_signal_handler_may_send(make: Make, sink: UdpSink) -> None:
    sender = make(sink.url)
    interruptions: list[bool] = []

    def handle(number: int, frame: Any) -> None:
        interruptions.append(sender.log("signal"))

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        sent = 0
        while len(interruptions) < 50:
            sent += sender.log("main")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert sender.flush()
    assert sender.stats["accepted"] == sender.stats["delivered"] == sent + sum(interruptions)


def test_a_signal_may_come_in_while_the_first_packet_starts_the_thread(
    make: Make, sink: UdpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads for one queue would deliver packets twice."""
    sender = make(sink.url)
    thread, eventfd, handled = threading.Thread, os.eventfd, []

    def interrupted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if len(handled) < 4:
                handled.append(sender.log("before"))
            result = function(*arguments, **options)
            if len(handled) < 4:
                handled.append(sender.log("behind"))
            return result

        return call

    with monkeypatch.context() as patched:
        patched.setattr(threading, "Thread", interrupted(thread))
        patched.setattr(os, "eventfd", interrupted(eventfd))
        assert sender.log("main")
    assert handled == [True] * 4
    arrived(sink, 5)
    assert sender.flush()
    assert sender.stats["accepted"] == sender.stats["delivered"] == 5
    assert [each.name for each in threading.enumerate()].count("hepswitch-agent") == 1


def test_the_thread_takes_no_signal_of_the_programs(make: Make, sink: UdpSink) -> None:
    assert make(sink.url).log("a line")
    arrived(sink)
    (thread,) = (each for each in threading.enumerate() if each.name == "hepswitch-agent")
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    blocked = int(status.partition("SigBlk:")[2].split()[0], 16)
    for number in (signal.SIGTERM, signal.SIGPIPE, signal.SIGALRM):
        assert blocked & 1 << number - 1


# ── far ends that go and come ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_full_queue_refuses_and_what_is_in_it_arrives(make: Make) -> None:
    sink = TcpSink()
    await sink.start()
    await sink.stop()
    sender = make(sink.url, queue="64KiB")
    accepted = 0
    while sender.send_packet(packet(accepted)):
        accepted += 1
    assert sender.stats["refused"] == {"queue full": 1}
    assert accepted == (64 << 10) // len(bytes(packet(0)))
    await until(lambda: sender.stats["state"] == "inactive", "the far end is known to be away")
    assert not sender.send_packet(packet(0))
    assert (sender.stats["accepted"], sender.stats["queued"]) == (accepted, accepted)
    await sink.start()
    try:
        await until(lambda: sink.numbers == [list(range(accepted))], "what was queued arrives in order")
        await until(delivered(sender, accepted), "it is acknowledged")
        assert sender.send_packet(packet(accepted))
        assert sender.stats["reconnects"] == 0
    finally:
        await sink.stop()


@pytest.mark.parametrize("reset", [False, True])
async def test_a_stream_that_breaks_loses_nothing(make: Make, caplog: pytest.LogCaptureFixture, reset: bool) -> None:
    caplog.set_level(logging.INFO, "hepswitch.agent")
    sink = TcpSink()
    await sink.start()
    try:
        sender = make(sink.url)
        for number in range(2000):
            assert sender.send_packet(packet(number))
        await until(lambda: sink.received, "traffic flows")
        await sink.stop(reset=reset)
        await until(lambda: sender.stats["state"] == "inactive", "the break is noticed")
        for number in range(2000, 3000):
            assert sender.send_packet(packet(number))
        await sink.start()
        await until(lambda: sink.received == set(range(3000)), "everything arrives")
        await until(delivered(sender, 3000), "it is acknowledged")
        for numbers in sink.numbers:
            assert numbers == list(range(numbers[0], numbers[-1] + 1))
        stats = sender.stats
        assert (stats["accepted"], stats["queued"], stats["discarded"]) == (3000, 0, {})
        assert stats["reconnects"] >= 1
        said = [record.message.split(": ")[0] for record in caplog.records]
        assert said[:2] == [f"{sink.url} is away", f"{sink.url} is back"]
    finally:
        await sink.stop()


async def test_what_may_have_to_go_again_takes_no_room_from_what_is_new(make: Make) -> None:
    sink = TcpSink()
    await sink.start()
    try:
        sender = make(sink.url, queue="64KiB")
        for number in range(150):
            assert sender.send_packet(packet(number))
        await until(delivered(sender, 150), "they are acknowledged")
        await sink.stop(reset=True)
        await until(lambda: sender.stats["state"] == "inactive", "the reset is noticed")
        for number in range(150, 300):
            assert sender.send_packet(packet(number))
        await sink.start()
        await until(lambda: sink.numbers[-1] == list(range(300)), "what the far end may not have read goes again")
        await until(delivered(sender, 300), "it is acknowledged")
        assert (sender.stats["accepted"], sender.stats["replayed"]) == (300, 150)
    finally:
        await sink.stop()


async def test_a_far_end_that_does_not_read_fills_the_queue_and_nothing_else(make: Make) -> None:
    sink = TcpSink()
    await sink.start()
    sink.reading.clear()
    try:
        sender = make(sink.url, queue="1MiB")
        accepted = 0

        def full() -> bool:
            nonlocal accepted
            while sender.send_packet(packet(accepted, size=1000)):
                accepted += 1
            return accepted > 1000 and sender.stats["state"] == "active" and sender.stats["queued"] > 900

        await until(full, "the queue is full")
        sink.reading.set()
        await until(lambda: len(sink.received) == accepted, "everything arrives")
        await until(delivered(sender, accepted), "it is acknowledged")
        assert sender.send_packet(packet(accepted))
    finally:
        await sink.stop()


async def test_tls_with_a_break(make: Make, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    sink = TcpSink(tls=context)
    await sink.start()
    try:
        sender = make(f"{sink.url}?ca={tmp_path / 'ca.pem'}")
        for number in range(500):
            assert sender.send_packet(packet(number))
        await until(delivered(sender, 500), "traffic flows")
        await sink.stop()
        await until(lambda: sender.stats["state"] == "inactive", "the break is noticed")
        for number in range(500, 1000):
            assert sender.send_packet(packet(number))
        await sink.start()
        await until(lambda: sink.received == set(range(1000)), "everything arrives")
        await until(delivered(sender, 1000), "it is acknowledged")
    finally:
        await sink.stop()


async def test_tls_refuses_a_far_end_that_cannot_prove_itself(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    sink = TcpSink(tls=context)
    await sink.start()
    try:
        sender = make(sink.url)
        assert sender.log("a line")
        await until(lambda: sender.stats["state"] == "inactive", "the certificate is refused")
        assert (sender.stats["queued"], sink.received) == (1, set())
        assert "certificate verify failed" in caplog.text
    finally:
        await sink.stop()


def test_datagrams_wait_until_somebody_listens_again(make: Make) -> None:
    with closing(UdpSink()) as before:
        sender = make(before.url)
        assert sender.send_packet(packet(0))
        arrived(before)

    def noticed() -> bool:
        sender.send_packet(packet(1))
        return bool(sender.stats["state"] == "inactive")

    wait_for(noticed, "nobody listens")
    waiting = sender.stats["queued"]
    for number in range(100, 200):
        assert sender.send_packet(packet(number))
    assert sender.stats["queued"] == waiting + 100
    with closing(UdpSink(port=before.port)) as after:
        wait_for(lambda: sum((Hep(frame).payload or b"")[:3].isdigit() for frame in after.read()) == 100, "all arrive")
    assert sender.stats["reconnects"] == 1


def test_of_several_addresses_one_is_taken_that_answers(
    make: Make, sink: UdpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(UdpSink()) as gone:
        dead = ("127.0.0.1", gone.port)
    monkeypatch.setattr(ways, "look_up", lambda host, port: Addresses([dead, ("127.0.0.1", port)]))
    sender = make(f"udp://two.example.net:{sink.port}")
    assert sender.send_packet(packet(7))
    probe, first = arrived(sink, 2)
    assert (probe.keep_alive, first.keep_alive) == (1, None)
    assert bytes(first) == bytes(packet(7))


def test_a_name_that_moves_is_followed(make: Make, sink: UdpSink, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(UdpSink("127.0.0.2", sink.port)) as new_home:
        home = ["127.0.0.1"]
        monkeypatch.setattr(ways, "NAME_HOLDS", 0.0)
        monkeypatch.setattr(ways, "look_up", lambda host, port: Addresses([(home[0], port)]))
        sender = make(f"udp://moving.example.net:{sink.port}")
        assert sender.log("at home")
        arrived(sink)
        home[0] = "127.0.0.2"
        assert sender.log("moved")
        wait_for(lambda: any(Hep(frame).payload == b"moved" for frame in new_home.read()), "the new address")
    assert len(sink.read()) == 1


def test_a_name_that_cannot_be_looked_up_is_named(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    sender = make("udp://no-such-host.invalid")
    assert sender.log("a line")
    wait_for(lambda: "'no-such-host.invalid' cannot be resolved" in caplog.text, "the reason")
    assert sender.stats["queued"] == 1
