"""The whole switch as a process: packets in, route, books, reload, a worker's death, a clean stop."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import trustme

from hepswitch.wire.hep import Hep
from running import RunningSwitch, running_switch, wait_for

LISTEN = 'listen = ["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]\n'


def _packet(number: int, body: str = "") -> bytes:
    payload = f"OPTIONS sip:a@b SIP/2.0\r\nCall-ID: call-{number}\r\nCSeq: 1 OPTIONS\r\n\r\n{body}".encode()
    return bytes(Hep.new(payload, src_ip="192.0.2.1", dst_ip="192.0.2.2", proto_type=1, captagent_id=number))


def _stored(switch: RunningSwitch, count: int) -> None:
    book = switch.wait_stats(lambda book: book["stores"]["lake"]["delivered"] == count, f"{count} packets stored")
    assert book["balanced"] is True


@pytest.mark.parametrize("workers", [1, 2])
def test_udp_and_tcp_into_the_lake(tmp_path: Path, workers: int) -> None:
    with running_switch(tmp_path, f"{LISTEN}workers = {workers}\n") as switch:
        switch.send_udp(*[_packet(n) for n in range(100)], b"no HEP at all, whatever it is")
        with socket.create_connection(switch.address("tcp")) as stream:
            stream.sendall(b"".join(_packet(n) for n in range(50)))
        _stored(switch, 150)
        book = switch.stats()
        udp, tcp = (book["received"][url] for url in switch.urls)
        assert (udp["packets"], udp["malformed"], tcp["packets"]) == (101, 1, 50)
        assert book["routed"]["packets"] == 150
        assert "hepswitch_received_packets_total{" in switch.get("/metrics")
        assert switch.get("/healthz") == "ok\n"
        assert len(switch.workers()) == workers
    assert switch.event("stopped") is not None


def test_a_script_relays_and_is_reloaded(tmp_path: Path) -> None:
    route = tmp_path / "route.py"
    text = (
        "from hepswitch import hep_route\n@hep_route\ndef r(hep):\n    hep.captagent_id = {}\n    hep.relay('sink')\n"
    )
    route.write_text(text.format(1))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        sink.settimeout(20)
        config = LISTEN + (
            '[hep_route]\nmode = "script"\nscript = "route.py"\n'
            f'[destinations.sink]\nurls = ["udp://127.0.0.1:{sink.getsockname()[1]}"]\n'
        )
        with running_switch(tmp_path, config) as switch:
            switch.send_udp(_packet(7))
            assert Hep(sink.recv(65535)).captagent_id == 1

            route.write_text(text.format(2))
            os.kill(switch.process.pid, signal.SIGHUP)
            wait_for(lambda: switch.event("reloaded"), "reload")
            switch.send_udp(_packet(7))
            assert Hep(sink.recv(65535)).captagent_id == 2

            route.write_text("def broken(:\n")
            os.kill(switch.process.pid, signal.SIGHUP)
            refused = wait_for(lambda: switch.event("not reloaded; what was loaded before goes on"), "refusal")
            assert f"{route}:1:" in refused["errors"][0]
            switch.send_udp(_packet(7))
            assert Hep(sink.recv(65535)).captagent_id == 2
            assert switch.stats()["destinations"]["sink"]["delivered"] == 3


def test_a_route_that_raises_stores_and_says_where(tmp_path: Path) -> None:
    route = tmp_path / "route.py"
    route.write_text("from hepswitch import hep_route\n@hep_route\ndef r(hep):\n    return 1 / 0\n")
    with running_switch(tmp_path, LISTEN + '[hep_route]\nmode = "script"\nscript = "route.py"\n') as switch:
        switch.send_udp(*[_packet(n) for n in range(20)])
        _stored(switch, 20)
        assert switch.stats()["routed"]["errors"] == 20
        switch.said("route raised")
        raised = [entry for entry in switch.log if entry.get("event") == "route raised"]
        assert len(raised) == 1, "a route that always raises does not fill the log"
        assert raised[0]["where"] == f"{route}:4: ZeroDivisionError: division by zero"


def test_a_killed_worker_is_replaced_and_the_books_stay_whole(tmp_path: Path) -> None:
    with running_switch(tmp_path, f"{LISTEN}workers = 2\n") as switch:
        switch.send_udp(*[_packet(n) for n in range(100)])
        _stored(switch, 100)
        wait_for(lambda: switch.workers(), "workers")
        victim = switch.workers()[0]
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: victim not in switch.workers() and len(switch.workers()) == 2, "a new worker")
        switch.send_udp(*[_packet(n) for n in range(100)])
        _stored(switch, 200)


SPLIT = """
from hepswitch import hep_route
@hep_route
def r(hep):
    if hep.captagent_id == 1:
        hep.relay("away")
    else:
        hep.store()
"""


def test_a_far_end_that_is_away_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "route.py").write_text(SPLIT)
    config = LISTEN + (
        '[hep_route]\nmode = "script"\nscript = "route.py"\n'
        '[destinations.away]\nurls = ["tcp://127.0.0.1:1"]\nspool = "64KiB"\n'
    )
    with running_switch(tmp_path, config) as switch, socket.create_connection(switch.address("tcp")) as busy:
        busy.sendall(_packet(1) * 3000)
        switch.wait_stats(lambda book: book["destinations"]["away"]["discarded"], "a spool that is full")
        with socket.create_connection(switch.address("tcp")) as other:
            other.sendall(_packet(2) * 50)
        _stored(switch, 50)
        busy.sendall(_packet(1) * 1000)
        switch.wait_stats(lambda book: book["routed"]["packets"] == 4050, "the rest")


def test_a_far_end_that_reads_slowly_makes_agents_wait(tmp_path: Path) -> None:
    (tmp_path / "route.py").write_text(SPLIT)
    with socket.create_server(("127.0.0.1", 0)) as slow:
        config = LISTEN + (
            '[hep_route]\nmode = "script"\nscript = "route.py"\n'
            f'[destinations.away]\nurls = ["tcp://127.0.0.1:{slow.getsockname()[1]}"]\nspool = "8MiB"\n'
        )
        with running_switch(tmp_path, config) as switch, socket.create_connection(switch.address("tcp")) as agent:
            far, _ = slow.accept()
            agent.setblocking(False)
            packets = _packet(1, "." * 5000) * 100
            sent = stuck = 0
            while stuck < 50:
                try:
                    sent += agent.send(packets[sent % len(packets) :])
                    stuck = 0
                except BlockingIOError:
                    stuck += 1
                    time.sleep(0.02)  # no wait for anything: the agent looks again
                    assert far.recv(4096), "it reads, slowly"
            assert switch.stats()["destinations"]["away"]["discarded"] == {}
            agent.setblocking(True)
            with far:
                reader = threading.Thread(target=_read_all, args=[far])
                reader.start()
                agent.sendall(packets[sent % len(packets) :])
                count = (sent // len(packets) + 1) * 100
                book = switch.wait_stats(
                    lambda book: book["destinations"]["away"]["delivered"] == count, "delivery of everything"
                )
                assert book["destinations"]["away"]["discarded"] == {}
                switch.stop()
                reader.join()


def _read_all(sock: socket.socket) -> None:
    while sock.recv(1 << 20):
        pass


def test_a_taken_port_is_a_message_and_exit_status_2(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"udp://127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(AssertionError, match="ended at its start") as caught,
            running_switch(tmp_path, f'listen = ["{url}"]\n'),
        ):
            pass
        assert url in str(caught.value)


def test_two_switches_in_a_chain_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    (tmp_path / "route.py").write_text(
        "from hepswitch import hep_route\n@hep_route\ndef r(hep):\n    hep.relay('storing')\n"
    )
    storing, edge = tmp_path / "storing", tmp_path / "edge"
    storing.mkdir()
    edge.mkdir()
    listen = 'listen = ["tls://127.0.0.1:0?cert=../cert.pem&key=../key.pem"]\n'
    with running_switch(storing, listen) as far:
        relay = (
            'listen = ["udp://127.0.0.1:0"]\n[hep_route]\nmode = "script"\nscript = "../route.py"\n'
            f'[destinations.storing]\nurls = ["tls://127.0.0.1:{far.address("tls")[1]}?ca=../ca.pem"]\n'
        )
        with running_switch(edge, relay) as near:
            near.send_udp(*[_packet(n) for n in range(300)])
            _stored(far, 300)
            near.wait_stats(
                lambda book: book["destinations"]["storing"]["delivered"] == 300, "acknowledgement of 300 packets"
            )
            assert near.stats()["balanced"] is True


def test_a_lake_in_use_is_a_message_and_exit_status_1(tmp_path: Path) -> None:
    text = f'listen = ["udp://127.0.0.1:0"]\n[stores.lake]\nurl = "lake:{tmp_path}/captures"\n'
    other = tmp_path / "other"
    other.mkdir()
    with running_switch(tmp_path, text):
        (other / "hepswitch.toml").write_text(f'{text}[control]\nlisten = "127.0.0.1:0"\n')
        command = [sys.executable, "-m", "hepswitch.cli", "run", "--config", str(other / "hepswitch.toml")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "another process writes to this journal: stop the other switch" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_that_hangs_is_replaced(tmp_path: Path) -> None:
    with running_switch(tmp_path, LISTEN) as switch:
        victim = wait_for(switch.workers, "worker")[0]
        os.kill(victim, signal.SIGSTOP)
        wait_for(lambda: victim not in switch.workers() and len(switch.workers()) == 1, "a new worker", 60)
        switch.send_udp(*[_packet(n) for n in range(10)])
        _stored(switch, 10)


def test_spools_that_nobody_would_send_are_reported(tmp_path: Path) -> None:
    forgotten = [tmp_path / "spool" / "old" / "w0", tmp_path / "spool" / "homer" / "w0" / "tcp-10.0.0.1-9060"]
    for folder in forgotten:
        folder.mkdir(parents=True)
    config = LISTEN + '[destinations.homer]\nurls = ["tcp://127.0.0.1:1"]\n'
    with running_switch(tmp_path, config) as switch:
        of_destination = wait_for(lambda: switch.event("spool of what is not configured"), "warning")
        of_node = wait_for(lambda: switch.event("spool of a node that is not configured"), "warning")
    assert [of_destination["folder"], of_node["folder"]] == [str(folder) for folder in forgotten]


def test_nothing_that_a_script_does_ends_the_switch(tmp_path: Path) -> None:
    route = tmp_path / "route.py"
    route.write_text(
        "import sys\nfrom hepswitch import hep_route\n@hep_route\ndef r(hep):\n"
        "    hep.drop(hep.node_name * 9)\n    sys.exit(hep.node_name)\n"
    )
    packet = Hep(_packet(1))
    packet.node_name = "\udcff" * 1000
    with running_switch(tmp_path, LISTEN + '[hep_route]\nmode = "script"\nscript = "route.py"\n') as switch:
        worker = switch.workers()
        switch.send_udp(*[bytes(packet)] * 10)
        book = switch.wait_stats(lambda book: book["routed"]["errors"] == 10, "ten errors")
        assert (book["routed"]["dropped"], book["balanced"]) == ({"?" * 100: 10}, True)
        switch.said("route raised")
        raised = [entry for entry in switch.log if entry.get("event") == "route raised"]
        assert [entry["where"] for entry in raised] == [f"{route}:6: SystemExit: {'?' * 500}"]

        route.write_text("import sys\nsys.exit(0)\n")
        os.kill(switch.process.pid, signal.SIGHUP)
        refused = wait_for(lambda: switch.event("not reloaded; what was loaded before goes on"), "refusal")
        assert refused["errors"] == [f"{route}:2: SystemExit: 0"]
        assert switch.workers() == worker
        _stored(switch, 10)


def test_a_worker_that_was_just_started_has_all_rows_in_the_books(tmp_path: Path) -> None:
    with running_switch(tmp_path, LISTEN) as switch:
        os.kill(switch.workers()[0], signal.SIGKILL)
        wait_for(lambda: switch.event("worker died"), "its death")
        assert switch.stats()["stores"]["lake"]["delivered"] == 0
