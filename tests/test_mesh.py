"""Switches in a chain over mutual TLS, cut and killed: every packet is stored, and once where docs/howto/mesh.md says so."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from far_ends import Cable, packet
from hepswitch.lake.lake import Lake
from running import DEADLINE, RunningSwitch, running_switch, wait_for

EXAMPLES = Path(__file__).parents[1] / "examples" / "mesh"

RATE = 4000
"""Packets a second from the agent."""


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    """A folder for the places of a mesh, and in it the certificates of all of them, and those of a stranger."""
    folder = tmp_path / "certs"
    folder.mkdir()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name in ("edge", "relay", "core", "stranger"):
        issued = (trustme.CA() if name == "stranger" else authority).issue_cert("localhost")
        issued.private_key_pem.write_to_path(folder / f"{name}-key.pem")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    return tmp_path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def is_turned_away(certs: Path, name: str, port: int) -> bool:
    """Whether a listener ends the connection of one who shows this certificate; TimeoutError when it does not."""
    context = ssl.create_default_context(cafile=str(certs / "ca.pem"))
    context.load_cert_chain(certs / f"{name}.pem", certs / f"{name}-key.pem")
    with socket.create_connection(("127.0.0.1", port), DEADLINE) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="localhost") as sock:
                return sock.recv(1) == b""
        except (ssl.SSLError, ConnectionError):
            return True


def example(name: str, listen: int = 0, **hosts: int) -> str:
    """A configuration of examples/mesh, on these ports of this machine, with everything in its own folder."""
    text = (EXAMPLES / f"{name}.toml").read_text()
    for host, port in hosts.items():
        text = text.replace(f"{host}.example.net:9061", f"localhost:{port}")
    text = re.sub(r"0\.0\.0\.0:906[01]", f"127.0.0.1:{listen}", text)
    text = text.replace("/var/lib/hepswitch/", "").replace("certs/", "../certs/")
    return text[: text.index("[control]")]


def storing(port: int) -> str:
    return example("core", port)


def edge(port: int) -> str:
    return example("edge", relay=port)


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
    """The row of the one that a switch has."""
    (row,) = switch.stats()["destinations"].values()
    return dict(row)


def delivered(switch: RunningSwitch, count: int) -> dict[str, Any]:
    """The destination's row once so many are delivered."""
    wait_for(lambda: destination(switch)["delivered"] >= count, f"delivery of {count} packets")
    return destination(switch)


def flows(switch: RunningSwitch) -> None:
    """Wait until more is delivered."""
    delivered(switch, destination(switch)["delivered"] + RATE // 10)


def refused(switch: RunningSwitch, reason: str) -> int:
    return sum(row["refused"].get(reason, 0) for row in switch.stats()["received"].values())


def stored(count: int, *places: Place) -> Counter[int]:
    """What is stored once every one of the first `count` packets is."""
    expected = set(range(count))

    def look() -> Counter[int] | None:
        seen = sum((place.stored() for place in places), Counter[int]())
        return seen if seen.keys() >= expected else None

    found: Counter[int] = wait_for(look, f"{count} packets stored")
    return found


def assert_once(found: Counter[int]) -> None:
    assert [number for number, times in found.items() if times > 1] == []


def test_cut_lines_and_kills_at_both_ends_cost_and_double_nothing(sites: Path) -> None:
    cable = Cable(("127.0.0.1", free_port()))
    with places(sites, core=storing(cable.target[1]), near=edge(cable.port)) as made:
        core, near = made["core"], made["near"]
        agent = Agent(near.switch)
        flows(near.switch)
        for half in (False, True):
            cable.cut(half=half)
            flows(near.switch)
        wait_for(lambda: refused(core.switch, "replayed"), "something came again")
        os.kill(core.switch.workers()[0], signal.SIGKILL)
        flows(near.switch)
        core.kill()
        core.again()
        flows(near.switch)
        core.stop()
        core.again()
        flows(near.switch)
        count = agent.stop()
        row = delivered(near.switch, count)
        assert_once(stored(count, core))
        assert (row["accepted"], row["delivered"], row["discarded"]) == (count, count, {})
        assert sum(node["replayed"] for node in row["nodes"].values()) > 0
        assert core.switch.stats()["balanced"]

        # What a killed sender had on disk, some of which had arrived already.
        cable.plugged = False
        cable.cut()
        agent = Agent(near.switch, count)
        wait_for(lambda: agent.sent >= count + 2 * RATE, "a while without a line")
        count, before = agent.stop(), count
        near.switch.wait_stats(
            lambda book: book["destinations"]["middle"]["spooled"] == count - before, "all is on disk"
        )
        cable.plugged = True
        delivered(near.switch, before + 1)
        near.kill()
        near.again()
        assert_once(stored(count, core))
        near.switch.wait_stats(lambda book: book["destinations"]["middle"]["spooled"] == 0, "nothing waits")
    cable.close()


def test_a_chain_of_three_shares_calls_and_survives_the_death_of_any(sites: Path) -> None:
    one, two, middle = free_port(), free_port(), free_port()
    texts = {"core1": storing(one), "core2": storing(two), "relay": example("relay", middle, core1=one, core2=two)}
    texts = {name: text.replace("workers = 2", "workers = 1") for name, text in texts.items()}
    with places(sites, **texts, near=edge(middle)) as made:
        first, second, relay, near = made["core1"], made["core2"], made["relay"], made["near"].switch
        assert is_turned_away(sites / "certs", "stranger", middle)
        agent = Agent(near)
        wait_for(lambda: len(first.stored()) > 400 and len(second.stored()) > 400, "each has some of the calls")
        assert not {n % 40 for n in first.stored()} & {n % 40 for n in second.stored()}, "a call is on one node"
        first.kill()
        flows(relay.switch)
        first.again()
        flows(relay.switch)
        count = agent.stop()
        delivered(relay.switch, count)
        assert_once(stored(count, first, second))
        relay.kill()
        agent = Agent(near, count)
        wait_for(lambda: agent.sent > count + RATE // 10, "packets for a relay that is away")
        relay.again()
        assert stored(agent.stop(), first, second)
