"""Tracing in a running switch: one call of a thousand, to every kind of destination; traces that come and go."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

from far_ends import UdpSink
from hepswitch.lake.lake import Lake
from hepswitch.lake.query import Query
from hepswitch.testing import hep_packet, rtcp
from hepswitch.wire import ip, pcap
from hepswitch.wire.hep import Hep
from running import RunningSwitch, running_switch, wait_for
from tracing.bench import CALLEE, CALLER, PROXY, hop

OTHER = "192.0.2.4"


def call(number: int) -> list[Hep]:
    """A call with two forks, early dialogs, a re-INVITE and a BYE from the callee, seen on every hop."""
    caller, a, b1, b2 = f"user{number:04}", f"a{number}", f"b1-{number}", f"b2-{number}"
    said: dict[str, Any] = {"call_id": f"call-{number:04}@example.com", "from_user": caller, "from_tag": a}
    back: dict[str, Any] = said | {"from_user": "bob", "to_user": caller, "from_tag": b2, "to_tag": a}
    up, one, two = (f"z9hG4bK{hop_name}{number}" for hop_name in ("up", "f1", "f2"))
    return [
        hop("INVITE", CALLER, PROXY, up, **said),
        hop(100, PROXY, CALLER, up, **said),
        hop("INVITE", PROXY, CALLEE, one, **said),
        hop("INVITE", PROXY, OTHER, two, **said),
        hop("INVITE", PROXY, OTHER, two, **said),
        hop(180, CALLEE, PROXY, one, **said, to_tag=b1),
        hop(180, PROXY, CALLER, up, **said, to_tag=b1),
        hop(183, OTHER, PROXY, two, **said, to_tag=b2),
        hop(183, PROXY, CALLER, up, **said, to_tag=b2),
        hop(200, OTHER, PROXY, two, **said, to_tag=b2),
        hop("CANCEL", PROXY, CALLEE, one, **said),
        hop(200, PROXY, CALLER, up, **said, to_tag=b2),
        hop(487, CALLEE, PROXY, one, **said, to_tag=b1),
        hop("ACK", PROXY, CALLEE, one, **said, to_tag=b1),
        hop("ACK", CALLER, PROXY, f"{up}.2", **said, to_tag=b2),
        hop("INVITE", CALLER, PROXY, f"{up}.3", **said, to_tag=b2, cseq=2),
        hop(200, PROXY, CALLER, f"{up}.3", **said, to_tag=b2, cseq=2),
        hop("BYE", OTHER, PROXY, f"{two}.4", **back, cseq=7),
        hop("BYE", PROXY, CALLER, f"{up}.5", **back, cseq=7),
        hop(200, CALLER, PROXY, f"{up}.5", **back, cseq=7, cseq_method="BYE"),
        hop(200, PROXY, OTHER, f"{two}.4", **back, cseq=7, cseq_method="BYE"),
    ]


def interleaved(calls: list[list[Hep]]) -> Iterator[Hep]:
    """The first message of each call, the second of each, and so on: all of them go on at the same time."""
    for messages in zip_longest(*calls):
        yield from (message for message in messages if message is not None)


def send_stream(switch: RunningSwitch, packets: list[bytes]) -> None:
    with socket.create_connection(switch.address("tcp")) as sock:
        sock.sendall(b"".join(packets))


def post(switch: RunningSwitch, path: str, body: Any) -> Any:
    """What is answered, a refusal too."""
    try:
        return switch.post(path, body)
    except urllib.error.HTTPError as error:
        return json.loads(error.read())


def ctl(switch: RunningSwitch, folder: Path, *words: str) -> str:
    """What `hepswitch ctl` says, run in a folder."""
    command = [sys.executable, "-m", "hepswitch.cli", "ctl", *words, "--url", switch.control]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=True).stdout


ROUTE = """
from hepswitch import sip_route

@sip_route
def route(msg):
    if msg.method == "INVITE" and not msg.to_tag and msg.from_user == "user0500":
        msg.trace("fraud", scope="dialog", attrs="case 7")
"""


def in_pcap(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        decoder = ip.Decoder()
        return [datagram.payload for frame in pcap.read(file) for datagram in decoder.decode(frame)]


def in_text(path: Path) -> list[bytes]:
    """The messages in a file: behind each head line up to the next one. (The calls above have no bodies.)"""
    parts = path.read_bytes().split(b"\r\n\r\n\n\n")
    return [part.partition(b"\n")[2] + b"\r\n\r\n" for part in parts if part]


def test_one_call_of_a_thousand_reaches_every_kind_of_destination(tmp_path: Path) -> None:
    (tmp_path / "route.py").write_text(ROUTE)
    daemon = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    daemon.bind(str(tmp_path / "log"))
    daemon.settimeout(30)
    logged: list[bytes] = []
    reader = threading.Thread(target=lambda: logged.extend(daemon.recv(65536) for _ in range(21)), daemon=True)
    reader.start()
    calls = [call(number) for number in range(1000)]
    wanted = [message.payload for message in calls[500]]
    with closing(UdpSink()) as homer, closing(UdpSink()) as phone, closing(daemon):
        config = f"""
            listen = ["tcp://127.0.0.1:0"]
            [hep_route]
            mode = "sip"
            script = "route.py"
            [destinations.homer]
            urls = ["{homer.url}"]
            [stores.lake]
            url = "lake:./lake"
            [stores.traces]
            url = "sqlite:traces.db"
            [traces.fraud]
            to = [
                "store:lake", "store:traces", "destination:homer", "sip:127.0.0.1:{phone.port}", "file:fraud.sip",
                "pcap:fraud.pcapng", "syslog:local0:info@unix:{tmp_path / "log"}",
            ]
        """
        with running_switch(tmp_path, config) as switch:
            send_stream(switch, [bytes(message) for message in interleaved(calls)])
            book = switch.wait_stats(
                lambda book: (
                    book["routed"]["packets"] == 21_000
                    and all(row["queued"] == 0 for key in ("destinations", "stores") for row in book[key].values())
                ),
                "all packets routed and delivered",
            )
            assert [
                Hep(frame).payload for frame in wait_for(lambda: len(homer.read()) >= 21 and homer.frames, "HEP")
            ] == wanted
            assert wait_for(lambda: len(phone.read()) >= 21 and phone.frames, "SIP") == wanted
        assert book["balanced"]
        assert book["traces"]["fraud"] == {
            "state": "on", "packets": 21, "requests": 10, "replies": 11, "calls": 1, "refused": 0,
        }  # fmt: skip
        assert {name: row["delivered"] for name, row in book["destinations"].items()} == {
            "homer": 21,
            f"sip:127.0.0.1:{phone.port}": 21,
            f"file:{tmp_path / 'fraud.sip'}": 21,
            f"pcap:{tmp_path / 'fraud.pcapng'}": 21,
            f"syslog:local0:info@unix:{tmp_path / 'log'}": 21,
        }
        assert book["routed"]["unrouted"] == 21_000 - 21
        reader.join(30)
    assert [line.partition(b"\n")[2] for line in logged] == wanted
    assert in_text(tmp_path / "fraud.sip") == wanted
    assert in_pcap(tmp_path / "fraud.pcapng") == wanted
    rows = (
        sqlite3.connect(tmp_path / "traces.db")
        .execute("SELECT msg, trace_attrs, callid, direction FROM sip_trace ORDER BY id")
        .fetchall()
    )
    assert [row[0].encode() for row in rows] == wanted
    assert {row[1:3] for row in rows} == {("case 7", "call-0500@example.com")}
    assert [row[3] for row in rows[:4]] == ["in", "out", "out", "out"]
    stored = [Hep(packet) for packet in Lake(tmp_path / "lake", lambda _: None).packets(Query(), lambda _: None)]
    assert sorted(bytes(hep.payload or b"") for hep in stored) == sorted(wanted)


def test_a_dynamic_trace_starts_and_stops_under_load(tmp_path: Path) -> None:
    calls = [call(number) for number in range(60)]
    config = 'listen = ["tcp://127.0.0.1:0"]\n[hep_route]\nmode = "store"\n'
    with running_switch(tmp_path, config) as switch:
        start = ["--id", "t1", "--to", "file:x.sip", "--filter", "caller=user0007", "--scope", "dialog"]
        assert ctl(switch, tmp_path, "trace", "start", *start) == f"t1: started, to file:{tmp_path / 'x.sip'}\n"
        wanted = {"id": "t1", "to": [f"file:{tmp_path / 'x.sip'}"]}
        assert "already" in post(switch, "/api/v1/traces", wanted)["error"]
        wanted["id"] = "t2"
        assert "a value is expected here" in post(switch, "/api/v1/traces", wanted | {"filter": "caller ="})["error"]
        assert "/proc/nowhere" in post(switch, "/api/v1/traces", wanted | {"to": ["file:/proc/nowhere/x"]})["error"]
        traffic = threading.Thread(target=send_stream, args=(switch, [bytes(one) for one in interleaved(calls)]))
        traffic.start()
        switch.wait_stats(lambda book: book["traces"]["t1"]["packets"] == 21, "one call traced")
        traffic.join()
        shown = json.loads(switch.get("/api/v1/traces"))
        assert shown["traces"]["t1"] | {"until": None} == {
            "on": True, "to": [f"file:{tmp_path / 'x.sip'}"], "dynamic": True, "filter": "(caller=user0007)",
            "scope": "dialog", "types": [], "packets": 21, "requests": 10, "replies": 11, "calls": 1, "refused": 0,
            "until": None, "left": None,
        }  # fmt: skip
        assert ctl(switch, tmp_path, "trace", "stop", "t1") == "t1: stopped\n"
        assert "no dynamic trace" in post(switch, "/api/v1/traces/stop", {"id": "t1"})["error"]
        switch.wait_stats(
            lambda book: book["destinations"][f"file:{tmp_path / 'x.sip'}"]["delivered"] == 21, "the file is written"
        )
        send_stream(switch, [bytes(message) for message in calls[7]])
        book = switch.wait_stats(lambda book: book["routed"]["packets"] == 61 * 21, "sent once more")
        assert book["traces"]["t1"]["packets"] == 21
        assert book["balanced"]
    assert in_text(tmp_path / "x.sip") == [message.payload for message in calls[7]]


def test_traces_are_there_again_when_a_worker_died(tmp_path: Path) -> None:
    config = 'listen = ["udp://127.0.0.1:0"]\n[traces.fraud]\nto = ["store:lake", "file:gone/fraud.sip"]\n'
    with running_switch(tmp_path, config) as switch:
        post(switch, "/api/v1/traces", {"id": "t1", "to": [f"file:{tmp_path / 'x.sip'}"], "packets": 3, "scope": "m"})
        post(switch, "/api/v1/traces/switch", {"on": False, "id": "fraud"})
        switch.send_udp(bytes(call(1)[0]), bytes(hep_packet(b"a log", proto_type=100)))
        switch.wait_stats(lambda book: book["traces"]["t1"]["packets"] == 2, "traced")
        (worker,) = switch.workers()
        (tmp_path / "gone" / "fraud.sip").unlink()
        (tmp_path / "gone").rmdir()
        (tmp_path / "gone").touch()  # no target of the file may keep packets from being stored
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: switch.workers() not in ([], [worker]), "another worker")
        switch.wait_stats(lambda book: "t1" in book["traces"], "the trace is there")
        assert json.loads(switch.get("/api/v1/traces"))["traces"]["fraud"]["on"] is False
        switch.send_udp(*(bytes(rtcp()) for _ in range(3)))
        switch.wait_stats(lambda book: book["traces"]["t1"]["packets"] == 3, "as many as were asked for")
        assert "gone/fraud.sip" in switch.said("trace goes on without a target")["error"]


def test_a_reload_changes_traces_between_two_packets(tmp_path: Path) -> None:
    def config(to: str, more: str = "") -> str:
        return (
            'listen = ["udp://127.0.0.1:0"]\n[hep_route]\nmode = "sip"\nscript = "route.py"\n'
            f'[traces.fraud]\nto = ["{to}"]\n{more}'
        )

    (tmp_path / "route.py").write_text(ROUTE.replace("user0500", "user0001"))
    messages = call(1)
    with running_switch(tmp_path, config("file:one.sip")) as switch:
        switch.send_udp(*(bytes(message) for message in messages[:4]))
        switch.wait_stats(lambda book: book["traces"]["fraud"]["packets"] == 4, "the beginning traced")
        (tmp_path / "hepswitch.toml").write_text(config("file:two.sip", "[traces.more]\nto = ['store:lake']\n"))
        done = post(switch, "/api/v1/reload", {})
        assert done["changed"] == ["traces"]
        switch.send_udp(*(bytes(message) for message in messages[4:]))
        book = switch.wait_stats(lambda book: book["traces"]["fraud"]["packets"] == 21, "all of it traced")
        assert set(book["traces"]) == {"fraud", "more"}
        (tmp_path / "hepswitch.toml").write_text(config("file:two.sip?mode=0640"))
        assert post(switch, "/api/v1/reload", {})["changed"] == ["traces"]
        switch.send_udp(bytes(messages[0]))
        name = f"file:{tmp_path / 'two.sip'}"
        switch.wait_stats(lambda book: book["destinations"][name]["delivered"] == 18, "written with other options")
        (tmp_path / "hepswitch.toml").write_text(config("file:/proc/nowhere/x"))
        assert "traces.fraud.to: file:/proc/nowhere/x: " in post(switch, "/api/v1/reload", {})["error"]
        (tmp_path / "hepswitch.toml").write_text(config("destination:homer"))
        assert "no destination is named 'homer'" in post(switch, "/api/v1/reload", {})["error"]
    assert in_text(tmp_path / "one.sip") == [message.payload for message in messages[:4]]
    assert in_text(tmp_path / "two.sip") == [message.payload for message in (*messages[4:], messages[0])]


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("store:nowhere", "no store is named 'nowhere'; there is: lake (add [stores.nowhere])"),
        ("destination:x", "no destination is named 'x'; there is: none (add [destinations.x])"),
        ("ftp:x", "'ftp:x' is no target: write store:NAME, destination:NAME, sip:HOST:PORT"),
        ("file:", "file:"),
    ],
)
def test_a_target_that_cannot_be(tmp_path: Path, to: str, words: str) -> None:
    from hepswitch.config import ConfigError, load

    path = tmp_path / "hepswitch.toml"
    path.write_text(f'[traces.fraud]\nto = ["store:lake", "{to}"]\n')
    with pytest.raises(ConfigError) as caught:
        load(path, environment={})
    assert f"{path}:2: traces.fraud.to.1: " in str(caught.value)
    assert words in str(caught.value)
