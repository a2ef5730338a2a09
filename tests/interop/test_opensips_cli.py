"""The real opensips-cli works with a switch, unchanged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from far_ends import UdpSink
from hepswitch.testing import invite, sip
from hepswitch.wire.hep import Hep
from interop.tools import DEADLINE, running
from running import RunningSwitch, running_switch, wait_for

CONFIG = """
listen = ["udp://127.0.0.1:0"]
workers = 1
[hep_route]
mode = "script"
script = "route.py"
[destinations.homer]
urls = ["{one}", "{two}"]
[traces.fraud]
to = ["store:lake"]
"""

ROUTE = """
from hepswitch import hep_route

@hep_route
def route(hep):
    hep.store()
    hep.relay("homer")
"""


class Done(NamedTuple):
    """What a run of opensips-cli came to: its status, the result that it printed, and its complaints."""

    status: int
    result: Any
    errors: str


def command(url: str, *words: str) -> list[str]:
    """`opensips-cli -x …` against `url`."""
    program = Path(sys.executable).with_name("opensips-cli")
    return [str(program), "-o", "communication_type=http", "-o", f"url={url}", "-x", *words]


def opensips_cli(url: str, folder: Path, *words: str) -> Done:
    """Run it; its configuration and history are in `folder`."""
    done = subprocess.run(
        command(url, *words),
        env=os.environ | {"HOME": str(folder)}, capture_output=True, text=True, timeout=DEADLINE, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return Done(done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr)


def call(caller: str) -> list[Hep]:
    """A call from `caller`, from INVITE to the end."""
    said: dict[str, Any] = {"call_id": f"of-{caller}", "from_user": caller}
    return [
        invite(**said),
        sip(180, **said, to_tag="b"),
        sip(200, **said, to_tag="b"),
        sip("ACK", **said, to_tag="b"),
        sip("BYE", **said, to_tag="b", cseq=2),
        sip(200, **said, to_tag="b", cseq=2, cseq_method="BYE"),
    ]


class Bench(NamedTuple):
    """A switch that stores and relays, and opensips-cli."""

    switch: RunningSwitch
    mi: Callable[..., Done]
    nodes: tuple[str, str]

    def send(self, count: int) -> None:
        """That many INVITEs, and as many replies."""
        calls = [str(number) for number in range(count)]
        self.send_all([each for call in calls for each in (invite(call_id=call), sip(200, call_id=call))])

    def send_all(self, packets: list[Hep]) -> None:
        """Packets, and wait until they have gone through the route."""
        routed = self.switch.stats()["routed"]["packets"]
        self.switch.send_udp(*map(bytes, packets))
        self.switch.wait_stats(lambda book: book["routed"]["packets"] == routed + len(packets), "all packets routed")

    def traces(self) -> dict[str, Any]:
        """The traces as the HTTP API tells them."""
        told: dict[str, Any] = json.loads(self.switch.get("/api/v1/traces"))["traces"]
        return told


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("opensips-cli")
    (folder / "route.py").write_text(ROUTE)
    with (
        closing(UdpSink()) as one,
        closing(UdpSink()) as two,
        running_switch(folder, CONFIG.format(one=one.url, two=two.url)) as switch,
    ):

        def mi(*words: str) -> Done:
            return opensips_cli(f"{switch.control}/mi", folder, "mi", *words)

        yield Bench(switch, mi, (one.url, two.url))


def test_core(bench: Bench) -> None:
    assert bench.mi("version").result["Server"].startswith("hepswitch (")
    assert bench.mi("uptime").result.keys() == {"Now", "Up since", "Up time"}
    assert {"tracer:start", "trace_start", "ds_list", "sipcapture:capture"} <= set(bench.mi("which").result)
    processes = bench.mi("ps").result["Processes"]
    assert {row["PID"] for row in processes} >= {bench.switch.process.pid, *bench.switch.workers()}


def test_what_cannot_be_done_is_told(bench: Bench) -> None:
    done = bench.mi("get_statistics", "nothing")
    assert done.status != 0
    assert "404: Statistics Not Found (no statistic is called nothing" in done.errors


def test_capturing_is_switched_off_and_on(bench: Bench) -> None:
    bench.send(20)
    captured = {"sipcapture:captured_requests": 20, "sipcapture:captured_replies": 20}
    assert bench.mi("get_statistics", "sipcapture:").result == captured
    assert bench.mi("sipcapture:capture", "off").result == "OK"
    assert bench.mi("sipcapture:capture").result == {"SIP capturing": "off"}

    bench.send(10)
    assert bench.mi("get_statistics", "sipcapture:", "stores_refused", "hepswitch:balanced").result == captured | {
        "hepswitch:stores_refused": 20,
        "hepswitch:balanced": 1,
    }
    book = bench.switch.stats()
    assert book["stores"]["lake"]["refused"] == {"capture off": 20}
    assert book["destinations"]["homer"]["accepted"] == 60, "relaying goes on"

    assert bench.mi("sipcapture:capture", "capture_mode=on").result == "OK"
    bench.send(5)
    assert bench.switch.stats()["routed"]["captured_requests"] == 25


def test_destinations_are_listed_and_set(bench: Bench) -> None:
    def accepted() -> int:
        number: int = bench.switch.stats()["destinations"]["homer"]["nodes"][bench.nodes[1]]["accepted"]
        return number

    assert bench.mi("ds_set_state", "i", "homer", bench.nodes[1]).result == "OK"
    (homer,) = bench.mi("ds_list").result["PARTITIONS"][0]["SETS"]
    rows = [(row["URI"], row["state"]) for row in homer["Destinations"]]
    assert rows == [(bench.nodes[0], "Active"), (bench.nodes[1], "Inactive")]
    before = accepted()
    bench.send(20)
    assert accepted() == before
    assert bench.mi("dispatcher:set_state", "state=a", "group=homer", f"address={bench.nodes[1]}").result == "OK"
    bench.send(20)
    assert accepted() > before


def test_a_call_is_traced_by_its_caller(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "alice.sip"
    start = ("tracer:start", "id=t1", f"uri=file:{file}", "filter=caller=alice ip=192.0.2.1", "scope=d")
    assert bench.mi(*start).result == "OK"
    assert "500: Bad parameter value" in bench.mi(*start).errors

    told = bench.mi("tracer:trace").result
    fraud, dynamic = told["trace destinations"]
    assert (told["global"], fraud) == ("on", {"name": "fraud", "type": "Database", "uri": "lake", "state": "on"})
    assert dynamic.pop("filters")[0]["filter"]
    assert dynamic == {"name": "t1", "type": "File", "uri": str(file), "state": "dynamic"}

    bench.send_all([each for pair in zip(call("alice"), call("carol"), strict=True) for each in pair])
    bench.switch.wait_stats(lambda book: book["traces"]["t1"]["packets"] == 6, "the whole call")
    assert bench.mi("get_statistics", "tracer:").result == {"tracer:traced_requests": 3, "tracer:traced_replies": 3}
    assert bench.mi("tracer:stop", "t1").result == "OK"
    lines = file.read_text().splitlines()
    assert sum(line == "Call-ID: of-alice" for line in lines) == 6
    assert not any("carol" in line for line in lines)
    assert "t1" not in bench.traces()


def test_tracing_is_switched(bench: Bench) -> None:
    assert bench.mi("tracer:trace", "id=fraud", "mode=off").result == "OK"
    assert bench.traces()["fraud"]["on"] is False
    assert bench.mi("tracer:trace", "mode=off").result == "OK"
    assert json.loads(bench.switch.get("/api/v1/traces"))["on"] is False


def test_its_own_trace_command_shows_a_call(bench: Bench, tmp_path: Path) -> None:
    """It starts a trace to itself, HEP over TCP, and prints what comes."""
    environment = {"HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with running(*command(f"{bench.switch.control}/mi", "trace", "caller=dave"), environment=environment) as cli:
        ours = wait_for(lambda: [id for id in bench.traces() if id.startswith("opensips-cli.")], "its trace")
        bench.send_all(call("erin") + call("dave"))
        wait_for(lambda: sum("Call-ID: of-dave" in line for line in cli.lines) == 6, "the call on its output")
        assert not any("erin" in line for line in cli.lines)
        cli.end(signal.SIGINT)
    assert ours[0] not in bench.traces(), "it has stopped its trace"


def test_a_token_goes_into_the_url(tmp_path: Path) -> None:
    config = 'listen = ["udp://127.0.0.1:0"]\n'
    with running_switch(tmp_path, config, {"HEPSWITCH_CONTROL__TOKEN": "s3cret"}) as switch:
        assert opensips_cli(f"{switch.control}/mi?token=s3cret", tmp_path, "mi", "version").status == 0
        done = opensips_cli(f"{switch.control}/mi?token=x", tmp_path, "mi", "version")
        assert (done.status != 0, "401" in done.errors) == (True, True)
