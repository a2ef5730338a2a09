"""Switches in a chain over mutual TLS that are cut and killed: every packet is stored, once where docs/howto/mesh.md says so."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from far_ends import Cable, packet
from hepswitch.lake.lake import Lake
from running import RunningSwitch, running_switch, wait_for

RATE = 4000
"""Packets a second from the agent."""


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """ca.pem, and cert.pem and key.pem for localhost; other.pem and other-key.pem of somebody else."""
    for name, authority in (("", trustme.CA()), ("other", trustme.CA())):
        issued = authority.issue_cert("localhost")
        issued.private_key_pem.write_to_path(tmp_path / (f"{name}-key.pem" if name else "key.pem"))
        issued.cert_chain_pems[0].write_to_path(tmp_path / (f"{name}.pem" if name else "cert.pem"))
        if not name:
            authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def storing(port: int, workers: int = 1, more: str = "") -> str:
    return f"""
        listen = ["tls://127.0.0.1:{port}?cert=../cert.pem&key=../key.pem&client_ca=../ca.pem"]
        workers = {workers}
        [stores.lake]
        url = "lake:./captures"
        {more}
    """


def edge(*ports: int, more: str = "", cert: str = "cert.pem", key: str = "key.pem") -> str:
    urls = ", ".join(f'"tls://localhost:{port}?ca=../ca.pem&cert=../{cert}&key=../{key}"' for port in ports)
    return f"""
        listen = ["tcp://127.0.0.1:0"]
        [[rule]]
        relay = "core"
        [destinations.core]
        urls = [{urls}]
        numbered = true
        spool = "256MiB"
        {more}
    """


class Place:
    """A folder with a configuration, and the switch in it: started, killed and started again."""

    def __init__(self, folder: Path, text: str) -> None:
        folder.mkdir()
        self.folder = folder
        self.text = text
        self._stack = contextlib.ExitStack()
        self.switch = self._start()

    def _start(self) -> RunningSwitch:
        return self._stack.enter_context(running_switch(self.folder, self.text))

    def kill(self) -> None:
        """kill -9 of every process."""
        self.switch.kill()
        self._stack.pop_all()

    def again(self) -> None:
        self.switch = self._start()

    def stop(self) -> None:
        self._stack.close()

    def stored(self) -> Counter[int]:
        """The numbers of the packets in its lake."""
        _, rows = Lake(self.folder / "captures").sql("select payload from messages")
        return Counter(int(bytes(row[0]).split(b" ")[0]) for row in rows)


@contextlib.contextmanager
def places(tmp_path: Path, **texts: str) -> Iterator[dict[str, Place]]:
    with contextlib.ExitStack() as stack:
        made = {}
        for name, text in texts.items():
            made[name] = Place(tmp_path / name, text)
            stack.callback(made[name].switch.kill)
            stack.callback(made[name].stop)
        yield made


class Agent:
    """Sends numbered packets over TCP, RATE a second, until it is stopped."""

    def __init__(self, switch: RunningSwitch, first: int = 0) -> None:
        self.sent = first
        self._sock = socket.create_connection(switch.address("tcp"))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(0.01):
            packets = [bytes(packet(n, f"call-{n % 40}")) for n in range(self.sent, self.sent + RATE // 100)]
            self._sock.sendall(b"".join(packets))
            self.sent += len(packets)

    def stop(self) -> int:
        """How many packets were sent."""
        self._stopped.set()
        self._thread.join()
        self._sock.close()
        return self.sent


def destination(switch: RunningSwitch) -> dict[str, Any]:
    row: dict[str, Any] = switch.stats()["destinations"]["core"]
    return row


def delivered(switch: RunningSwitch, count: int) -> None:
    switch.wait_stats(lambda book: book["destinations"]["core"]["delivered"] >= count, f"delivery of {count} packets")


def all_stored(stored: Callable[[], Counter[int]], count: int) -> Counter[int]:
    """What is stored once every one of the first `count` packets is."""
    found: Counter[int] = wait_for(
        lambda: (seen := stored()).keys() >= set(range(count)) and seen, f"{count} packets stored"
    )
    return found


def replayed(switch: RunningSwitch) -> int:
    return sum(row["refused"].get("replayed", 0) for row in switch.stats()["received"].values())


@pytest.mark.parametrize("workers", [1, 2])
def test_cut_connections_and_killed_receivers_cost_and_double_nothing(certificates: Path, workers: int) -> None:
    port = free_port()
    cable = Cable(("127.0.0.1", port))
    with places(certificates, core=storing(port, workers), near=edge(cable.port)) as made:
        core, near = made["core"], made["near"].switch
        agent = Agent(near)

        def flows() -> None:
            before = destination(near)["delivered"]
            wait_for(lambda: destination(near)["delivered"] > before + RATE // 10, "packets flow")

        flows()
        for half in (False, True, False):
            cable.cut(half=half)
            flows()
        os.kill(core.switch.workers()[0], signal.SIGKILL)
        flows()
        core.kill()
        core.again()
        flows()
        assert replayed(core.switch) > 0
        core.stop()
        core.again()
        flows()
        count = agent.stop()
        delivered(near, count)
        stored = all_stored(core.stored, count)
        assert [number for number, times in stored.items() if times > 1] == []
        assert len(stored) == count
        row = destination(near)
        assert (row["accepted"], row["delivered"], row["discarded"]) == (count, count, {})
        assert sum(node["replayed"] for node in row["nodes"].values()) > 0
        assert core.switch.stats()["balanced"]
        assert near.stats()["balanced"]
    cable.close()
