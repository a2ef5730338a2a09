"""Tracing in a switch with several workers: the datagrams of one call are spread over them at random."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack, closing
from itertools import cycle
from pathlib import Path

from far_ends import UdpSink
from hepswitch.wire.hep import Hep
from running import RunningSwitch, running_switch, wait_for
from test_traces_live import ROUTE, call, interleaved, post

SENT_AT_ONCE = 1000
"""Datagrams that certainly fit in the receive buffers of two workers."""


def send(switch: RunningSwitch, packets: list[bytes], before: int = 0) -> None:
    """From several sockets, as fast as they are read. `before`: packets that were read already."""
    with ExitStack() as stack:
        agents = cycle([stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(8)])
        for start in range(0, len(packets), SENT_AT_ONCE):
            batch = packets[start : start + SENT_AT_ONCE]
            for agent, packet in zip(agents, batch, strict=False):
                agent.sendto(packet, switch.address())
            sent = before + start + len(batch)
            switch.wait_stats(lambda book, sent=sent: book["routed"]["packets"] >= sent, f"{sent} packets read")


def traced(sink: UdpSink, count: int) -> list[bytes]:
    """The SIP messages that a HEP target has got, when it has got so many, sorted."""
    frames = wait_for(lambda: len(sink.read()) >= count and sink.frames, f"{count} traced packets")
    return sorted(bytes(Hep(frame).payload or b"") for frame in frames)


def messages_of(packets: list[Hep]) -> list[bytes]:
    return [bytes(packet.payload or b"") for packet in packets]


def config(homer: UdpSink) -> str:
    return f"""
        listen = ["udp://127.0.0.1:0"]
        workers = 2
        [hep_route]
        mode = "sip"
        script = "route.py"
        [destinations.homer]
        urls = ["{homer.url}"]
        [traces.fraud]
        to = ["destination:homer"]
    """


def test_one_call_of_a_thousand_read_by_two_workers(tmp_path: Path) -> None:
    (tmp_path / "route.py").write_text(ROUTE)
    calls = [call(number) for number in range(1000)]
    with closing(UdpSink()) as homer, running_switch(tmp_path, config(homer)) as switch:
        send(switch, [bytes(message) for message in interleaved(calls)])
        assert traced(homer, 21) == sorted(messages_of(calls[500]))
        book = switch.stats()
        assert book["balanced"]
        assert book["traces"]["fraud"] == {
            "state": "on", "packets": 21, "requests": 10, "replies": 11, "calls": 1, "refused": 0,
        }  # fmt: skip
        assert book["tracer"] == {"calls": 1, "evicted": {}, "untold": {}, "forgotten": 0}
        assert book["routed"]["unrouted"] == 21_000 - 21


def test_whole_calls_at_once_and_a_dynamic_trace(tmp_path: Path) -> None:
    (tmp_path / "route.py").write_text(ROUTE.replace('== "user0500"', 'in ("user0000", "user0007", "user0049")'))
    calls = [call(number) for number in range(100)]
    wanted = messages_of([*calls[0], *calls[7], *calls[49]])
    with closing(UdpSink()) as homer, running_switch(tmp_path, config(homer)) as switch:
        send(switch, [bytes(message) for messages in calls[:50] for message in messages])
        assert traced(homer, 63) == sorted(wanted)
        started = {"id": "t1", "to": ["destination:homer"], "filter": 'caller ~ "user00[67]"'}
        assert post(switch, "/api/v1/traces", started) == {"started": "t1"}
        send(switch, [bytes(message) for messages in calls[50:] for message in messages], 50 * 21)
        wanted += [message for number in range(60, 80) for message in messages_of(calls[number])]
        assert traced(homer, 63 + 20 * 21) == sorted(wanted)
        rows = switch.stats()["traces"]
        assert (rows["fraud"]["calls"], rows["t1"]["calls"]) == (3, 20)


def test_workers_die_in_the_middle_of_a_call(tmp_path: Path) -> None:
    (tmp_path / "route.py").write_text(ROUTE.replace("user0500", "user0001"))
    messages = [bytes(message) for message in call(1)]
    with closing(UdpSink()) as homer, running_switch(tmp_path, config(homer)) as switch:
        send(switch, messages[:4])
        assert len(traced(homer, 4)) == 4
        for old in wait_for(lambda: len(switch.workers()) == 2 and switch.workers(), "two workers"):
            before = set(switch.workers())
            os.kill(old, signal.SIGKILL)
            wait_for(lambda before=before: set(switch.workers()) - before, "another worker")
            post(switch, "/api/v1/traces/switch", {"on": True, "id": "fraud"})  # answered when it has started
        switch.send_udp(*messages[4:])
        assert traced(homer, 21) == sorted(messages_of(call(1)))
        assert switch.stats()["tracer"]["untold"] == {}
