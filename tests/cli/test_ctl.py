"""`hepswitch ctl` with a real switch: nodes drained, paused and weighed, and the configuration read again."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from far_ends import UdpSink
from hepswitch.cli import main
from hepswitch.wire.hep import Hep
from running import RunningSwitch, running_switch, wait_for

ROUTE = "from hepswitch import hep_route\n@hep_route\ndef r(hep):\n    hep.relay('homer')\n"


def _run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
    return result.exit_code, result.output


def _packet(number: int) -> bytes:
    return bytes(Hep.new(b"x", src_ip="192.0.2.1", proto_type=100, captagent_id=number, correlation_id=b"%d" % number))


class Bench:
    """A switch that relays everything to `homer`, a set of UDP sinks."""

    def __init__(self, folder: Path, sinks: list[UdpSink]) -> None:
        self.folder = folder
        self.sinks = sinks
        self.switch: RunningSwitch
        (folder / "route.py").write_text(ROUTE)

    def config(self, homer: list[str], more: str = "", workers: int = 2) -> str:
        urls = json.dumps(homer)
        return (
            f'listen = ["udp://127.0.0.1:0"]\nworkers = {workers}\n'
            f'[hep_route]\nmode = "script"\nscript = "route.py"\n[destinations.homer]\nurls = {urls}\n{more}'
        )

    def write(self, text: str) -> None:
        (self.folder / "hepswitch.toml").write_text(f'{text}\n[control]\nlisten = "127.0.0.1:0"\n')

    def ctl(self, *arguments: str) -> tuple[int, str]:
        return _run("ctl", *arguments, "--url", self.switch.control)

    def nodes(self) -> dict[str, dict[str, Any]]:
        sets = json.loads(self.ctl("dispatcher", "list", "homer", "--json")[1])
        return {node["url"]: node for node in sets["homer"]["nodes"]}

    def send(self, count: int = 40) -> list[int]:
        """Packets, and how many of them each sink has got."""
        before = [len(sink.read()) for sink in self.sinks]
        self.switch.send_udp(*[_packet(n) for n in range(count)])
        wait_for(lambda: sum(len(sink.read()) for sink in self.sinks) == sum(before) + count, "all packets")
        return [len(sink.frames) - was for sink, was in zip(self.sinks, before, strict=True)]


@pytest.fixture
def sinks() -> Iterator[list[UdpSink]]:
    with closing(UdpSink()) as one, closing(UdpSink()) as two:
        yield [one, two]


@pytest.fixture
def bench(tmp_path: Path, sinks: list[UdpSink]) -> Iterator[Callable[..., Bench]]:
    bench = Bench(tmp_path, sinks)
    with running_switch(tmp_path, bench.config([sink.url for sink in sinks])) as switch:
        bench.switch = switch
        yield bench


def test_nodes_are_listed_drained_weighed_and_enabled_again(bench: Bench) -> None:
    one, two = (sink.url for sink in bench.sinks)
    assert min(bench.send()) > 0
    status, table = bench.ctl("dispatcher", "list")
    assert status == 0
    assert all(word in table for word in ("homer", "call", one, two, "active"))
    assert sum(node["delivered"] for node in bench.nodes().values()) == 40, "of both workers"

    assert bench.ctl("dispatcher", "drain", "homer", one, "--wait") == (0, f"homer: {one}: disabled\n")
    assert [node["state"] for node in bench.nodes().values()] == ["disabled", "active"]
    assert bench.send()[0] == 0

    status, said = bench.ctl(
        "dispatcher", "set", "homer", one, "--state", "enabled", "--weight", "0.5", "--priority", "7"
    )
    assert (status, said) == (0, f"homer: {one}: state enabled, weight 0.5, priority 7\n")
    node = bench.nodes()[one]
    assert (node["state"], node["weight"], node["priority"]) == ("active", 0.5, 7)
    assert bench.send()[1] == 0, "a higher priority comes first"

    assert bench.ctl("dispatcher", "set", "homer", "udp://127.0.0.1:1", "--weight", "2") == (
        1,
        f"homer has no node 'udp://127.0.0.1:1' (there are: {one}, {two})\n",
    )
    assert bench.ctl("dispatcher", "list", "homr") == (1, "no destination is named 'homr' (configured: homer)\n")
    assert bench.switch.stats()["balanced"] is True


def test_a_worker_that_is_started_again_hears_of_the_changes(bench: Bench) -> None:
    one = bench.sinks[0].url
    assert bench.ctl("dispatcher", "set", "homer", one, "--state", "disabled")[0] == 0
    for victim in bench.switch.workers():
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: victim not in bench.switch.workers() and len(bench.switch.workers()) == 2, "a new worker")  # noqa: B023
    wait_for(lambda: bench.nodes().get(one, {}).get("accepted") == 0, "both answer")
    assert bench.send()[0] == 0
    assert bench.nodes()[one]["state"] == "disabled"


def test_reload_moves_nodes_adds_and_removes_sets_and_forgets_what_the_file_says_anew(bench: Bench) -> None:
    one, two = (sink.url for sink in bench.sinks)
    bench.send()
    assert bench.ctl("dispatcher", "set", "homer", one, "--weight", "9")[0] == 0

    # a set more, which the new route uses; a node less
    (bench.folder / "route.py").write_text(ROUTE.replace("'homer'", "'backup'"))
    bench.write(bench.config([one], f'[destinations.backup]\nurls = ["{two}"]\n'))
    assert bench.ctl("reload") == (0, "reloaded; changed: destinations\n")
    assert bench.send() == [0, 40]
    assert bench.nodes()[one]["weight"] == 9, "the file says nothing new of it"

    # the other way round, with what needs a restart beside it
    (bench.folder / "route.py").write_text(ROUTE)
    bench.write(bench.config([f"{one}?weight=2"], workers=3))
    os.kill(bench.switch.process.pid, signal.SIGHUP)
    wait_for(lambda: [entry for entry in bench.switch.log if entry.get("restart") == ["workers"]], "reload by SIGHUP")
    assert bench.send() == [40, 0]
    assert bench.nodes()[one]["weight"] == 2, "the file says so now"
    book = bench.switch.wait_stats(
        lambda book: book["destinations"]["backup"]["nodes"][two]["state"] == "closed", "the end of the old set"
    )
    assert book["destinations"]["backup"]["delivered"] == 40, "sums never go back"
    assert book["balanced"] is True

    # and the removed set is back
    bench.write(bench.config([one], f'[destinations.backup]\nurls = ["{two}"]\n'))
    status, said = bench.ctl("dispatcher", "reload")
    assert (status, said) == (0, "reloaded; changed: destinations\n")
    row = bench.switch.stats()["destinations"]["backup"]
    assert (row["delivered"], row["nodes"][two]["state"]) == (40, "active")


def test_a_file_with_mistakes_is_refused_as_a_whole(bench: Bench) -> None:
    one = bench.sinks[0].url
    bench.write(bench.config([one, "http://x"]).replace("workers = 2", "workers = 0"))
    status, said = bench.ctl("reload")
    assert status == 1
    assert ":2: workers: " in said
    assert "'http://x' does not start with" in said
    bench.write(bench.config([one]))
    (bench.folder / "route.py").write_text("def broken(:\n")
    status, said = bench.ctl("reload")
    assert (status, "route.py:1: " in said) == (1, True)
    assert bench.ctl("dispatcher", "reload")[0] == 0, "which leaves the route alone"
    assert list(bench.nodes()) == [one]
    assert bench.send() == [40, 0]
    bench.switch.said("not reloaded; what was loaded before goes on")


def test_control_is_found_by_the_configuration_file(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = tmp_path / "hepswitch.toml"
    config.write_text(f'[control]\nlisten = "{address}"\n')
    status, said = _run("ctl", "reload", "--config", str(config))
    assert (status, f"no switch answers at http://{address}" in said) == (1, True)
    config.write_text('[control]\nlisten = "127.0.0.1:0"\n')
    assert _run("ctl", "reload", "--config", str(config))[0] == 2


@pytest.mark.parametrize(
    "said",
    [
        b'HTTP/1.1 409 No\r\nContent-Length: 43\r\n\r\n{"error": "one \\u001b]0;x\\u0007\\ntwo"}     ',
        b"HTTP/1.1 500 one \x1b[2J two\r\nContent-Length: 0\r\n\r\n",
        b"one \x1b[2J two\r\n\r\n",
    ],
)
def test_what_another_program_answers_is_not_obeyed_by_a_terminal(said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        code, output = _run("ctl", "reload", "--url", f"http://127.0.0.1:{server.getsockname()[1]}")
        thread.join()
    assert code == 1
    assert "one ?" in output
    assert "two" in output
    assert not set(output) & {"\x1b", "\x07"}


def test_capturing_is_switched_in_all_workers_and_those_to_come(tmp_path: Path) -> None:
    with running_switch(tmp_path, 'listen = ["udp://127.0.0.1:0"]\nworkers = 2\n') as switch:

        def send(count: int) -> None:
            before = switch.stats()["routed"]["packets"]
            switch.send_udp(*[_packet(n) for n in range(count)])
            switch.wait_stats(lambda book: book["routed"]["packets"] == before + count, "all packets routed")

        assert _run("ctl", "capture", "off", "--url", switch.control) == (0, "capturing: off\n")
        send(20)
        for victim in switch.workers():
            switch.stats()
            os.kill(victim, signal.SIGKILL)
            wait_for(lambda: victim not in switch.workers() and len(switch.workers()) == 2, "a new worker")  # noqa: B023
        send(20)
        book = switch.stats()
        assert (book["stores"]["lake"]["accepted"], book["stores"]["lake"]["refused"]) == (0, {"capture off": 40})
        assert (book["routed"]["dropped"], book["balanced"]) == ({"capture off": 40}, True)
        assert _run("ctl", "capture", "on", "--url", switch.control) == (0, "capturing: on\n")
        send(10)
        assert switch.stats()["stores"]["lake"]["accepted"] == 10
