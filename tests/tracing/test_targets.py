"""Targets of traces that would come back, and the books of those that are closed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from msgspec import ValidationError
from msgspec.json import decode

from far_ends import TcpSink, UdpSink, packet, until
from hepswitch.config import Config
from hepswitch.control.refusal import RefusedError
from hepswitch.control.traces import TracesAtRunTime
from hepswitch.destinations.file import FileWriter
from hepswitch.destinations.sip import SipOutlet
from hepswitch.sources.ways import parse
from hepswitch.tracing import targets as module
from hepswitch.tracing.dynamic import TraceStart, Watch
from hepswitch.tracing.marks import Mark, Order
from hepswitch.tracing.own import leads_to
from hepswitch.tracing.targets import Targets
from hepswitch.tracing.traces import Trace
from hepswitch.wire.hep import Hep


@pytest.mark.parametrize(
    ("to", "listener", "returns"),
    [
        ("sip:127.0.0.1:5060", "sip://127.0.0.1:5060", True),
        ("sip:localhost", "sip://127.0.0.1:5060", True),
        ("sip:127.0.0.1", "sip://0.0.0.0:5060", True),
        ("sip:[::1]", "sip://[::]:5060", True),
        ("sip:sbc.example.net", "sip://sbc.example.net:5060", True),
        ("sip:127.0.0.1;transport=tcp", "sip://127.0.0.1:5060?transport=tcp", True),
        ("sip:127.0.0.1;transport=tcp", "sip://127.0.0.1:5060", False),
        ("sip:127.0.0.1", "udp://127.0.0.1:5060", False),
        ("sip:127.0.0.1:5061", "sip://127.0.0.1:5060", False),
        ("sip:192.0.2.1", "sip://0.0.0.0:5060", False),
        ("sip:192.0.2.1", "mirror://eth0?ports=5060", False),
        ("hep:127.0.0.1;transport=udp;mark=no", "udp://127.0.0.1:9060", True),
        ("hep:127.0.0.1;mark=no", "tcp://0.0.0.0:9060", True),
        ("hep:127.0.0.1;mark=no", "udp://127.0.0.1:9060", False),
        ("hep:127.0.0.1;transport=udp", "udp://127.0.0.1:9060", False),  # the trail cuts it
        ("file:/tmp/x", "udp://127.0.0.1:9060", False),
        ("store:lake", "udp://127.0.0.1:9060", False),
    ],
)
def test_what_would_come_back(to: str, listener: str, returns: bool) -> None:
    found = leads_to(to, [parse(listener)])
    assert (found is not None) is returns


def test_it_is_refused_at_run_time_and_in_the_file() -> None:
    config = Config(listen=["sip://127.0.0.1:5060"])
    book: dict[str, Any] = {"traces": {}}
    with pytest.raises(RefusedError, match=r"sip:127\.0\.0\.1:5060 comes back at sip://127\.0\.0\.1:5060"):
        TracesAtRunTime(True).check(TraceStart("t", ["sip:127.0.0.1:5060"]), config, book)
    with pytest.raises(RefusedError, match="no host"):
        TracesAtRunTime(True).check(TraceStart("t", ["sip:"]), config, book)
    TracesAtRunTime(True).check(TraceStart("t", ["sip:127.0.0.1:5061"]), config, book)
    with pytest.raises(ValueError, match=r"traces\.x: what goes to sip:localhost comes back"):
        Config.model_validate({"listen": ["sip://127.0.0.1:5060"], "traces": {"x": {"to": ["sip:localhost"]}}})


async def test_what_a_mirror_sees_of_our_own_copies_is_not_sent_again() -> None:
    """Two far ends: a copy for one of them must not go to the other either."""
    udp, tcp = UdpSink(), TcpSink()
    await tcp.start()
    targets = Targets({}, {}, None, 0, 1.0)
    both = await targets.acquire([f"sip:127.0.0.1:{udp.port}", f"sip:127.0.0.1:{tcp.port};transport=tcp"])
    mark = Mark(Order(Trace("t", both), None))
    outlets = [outlet for outlet in targets.outlets if isinstance(outlet, SipOutlet)]
    await until(lambda: any(each.leads_to("127.0.0.1", tcp.port) for each in outlets), "connected")

    def offered(port: int) -> list[bool]:
        ends = {"src_ip": "127.0.0.1", "dst_ip": "127.0.0.1", "src_port": 40_000, "dst_port": port}
        captured: Any = Captured(bytes(Hep.new(b"OPTIONS sip:a SIP/2.0\r\nCall-ID: 1\r\n\r\n", **ends)))
        return [target.give(captured, mark) for target in both]

    assert offered(udp.port) == offered(tcp.port) == [False, False]
    assert offered(5060) == [True, True]
    await targets.close()
    rows = targets.account()
    assert [(row["accepted"], row["refused"]) for row in rows.values()] == [(1, {"loop": 2})] * 2
    udp.close()
    await tcp.stop()


class Captured(Hep):
    """A packet of the flow, as far as targets look at it."""

    def went_to(self, outlet: object) -> bool:
        return False


async def test_the_books_of_closed_targets_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody may trace every call into a file of its own."""
    monkeypatch.setattr(module, "MOST_PAST", 3)
    targets = Targets({}, {}, None, 0, 1.0)
    for number in range(8):
        (target,) = await targets.acquire([f"file:{tmp_path}/{number}"])
        assert targets.outlets[0].offer(packet(number))
        targets.release([target])
        await until(lambda: not targets._leaving, "closed")
    rows = targets.account()
    assert set(rows) == {module.OTHERS, f"file:{tmp_path}/6", f"file:{tmp_path}/7"}
    assert rows[module.OTHERS]["state"] == "closed"
    assert sum(row["accepted"] for row in rows.values()) == sum(row["delivered"] for row in rows.values()) == 8
    (target,) = await targets.acquire([f"file:{tmp_path}/0"])
    assert sum(row["delivered"] for row in targets.account().values()) == 8
    await targets.close()


async def test_a_target_that_is_being_closed_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its disk hangs: whoever waited longer than a worker may take for an answer would cost the worker."""
    monkeypatch.setattr(module, "FAREWELL", 0.05)
    disk = threading.Event()
    write = FileWriter.write
    monkeypatch.setattr(FileWriter, "write", lambda *arguments: disk.wait() and write(*arguments))
    targets = Targets({}, {}, None, 0, 60.0)
    (target,) = await targets.acquire([f"file:{tmp_path}/x"])
    assert targets.outlets[0].offer(packet(1))
    targets.release([target])
    with pytest.raises(OSError, match="is being closed"):
        await targets.acquire([f"file:{tmp_path}/x"])
    disk.set()
    await until(lambda: not targets._leaving, "closed")
    assert await targets.acquire([f"file:{tmp_path}/x"])
    await targets.close()


@pytest.mark.parametrize(
    "wrong",
    [
        b'{"id": "t", "to": ["file:/x"], "seconds": 1e300}',
        b'{"id": "t", "to": ["file:/x"], "packets": 9223372036854775808}',
    ],
)
def test_what_no_trace_can_be(wrong: bytes) -> None:
    with pytest.raises(ValidationError):
        decode(wrong, type=TraceStart)


def test_a_filter_stands_by_itself() -> None:
    """Its brackets would take other conditions away: (a) or (b) and caller = …"""
    with pytest.raises(ValueError, match="does not belong here"):
        Watch(TraceStart("t", ["file:/x"], filter="caller = a) or (caller = b", caller="alice"), {})
