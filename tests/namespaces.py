"""Network namespaces for tests: interfaces of their own, made and removed with the test. Needs root."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import selectors
import socket
import struct
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_ETH_P_ALL, _OUTGOING = 3, 4
_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x17
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace with its loopback up. `name` is what `ip netns exec` takes."""

    def __init__(self) -> None:
        self.name = f"hepswitch-{uuid.uuid4().hex[:8]}"
        run("ip", "netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    @property
    def command(self) -> list[str]:
        """Before a command, so that it runs inside."""
        return ["ip", "netns", "exec", self.name]

    def ip(self, *words: str) -> None:
        run("ip", "-n", self.name, *words)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """What this thread opens meanwhile is inside."""
        with open("/proc/thread-self/ns/net") as before:  # noqa: PTH123 (a descriptor is wanted)
            _enter(Path("/run/netns") / self.name)
            try:
                yield
            finally:
                _check(_libc.setns(before.fileno(), _CLONE_NEWNET))

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket inside."""
        with self.entered():
            return socket.socket(family, kind, protocol)

    def remove(self) -> None:
        run("ip", "netns", "del", self.name)


def _enter(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        _check(_libc.setns(fd, _CLONE_NEWNET))
    finally:
        os.close(fd)


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    made = Namespace()
    try:
        yield made
    finally:
        made.remove()


@contextlib.contextmanager
def pair() -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces joined by veth interfaces: `west` with 10.9.0.1 and fd09::1, `east` with 10.9.0.2 and fd09::2."""
    with namespace() as west, namespace() as east:
        run("ip", "-n", west.name, "link", "add", "west", "type", "veth", "peer", "name", "east", "netns", east.name)
        set_up(west, "west", 1)
        set_up(east, "east", 2)
        yield west, east


def set_up(inside: Namespace, interface: str, host: int) -> None:
    """Give the interface its addresses, usable at once."""
    inside.ip("addr", "add", f"10.9.0.{host}/24", "dev", interface)
    inside.ip("addr", "add", f"fd09::{host}/64", "dev", interface, "nodad")
    inside.ip("link", "set", interface, "up")


@contextlib.contextmanager
def trunk(vlan: int) -> Iterator[tuple[Namespace, Namespace, Namespace]]:
    """As `pair`, with a switch between the two, the third namespace: its interface `trunk` carries all, tagged with `vlan`.

    What goes east leaves by it, what goes west comes in. Not the kernel's VLAN interfaces: not every kernel has them.
    """
    with contextlib.ExitStack() as stack:
        west, east, middle = (stack.enter_context(namespace()) for _ in range(3))
        run("ip", "-n", middle.name, "link", "add", "trunk", "type", "veth", "peer", "name", "far")
        for host, (end, name) in enumerate(((west, "west"), (east, "east")), start=1):
            run(
                "ip",
                "-n",
                middle.name,
                "link",
                "add",
                f"to-{name}",
                "type",
                "veth",
                "peer",
                "name",
                name,
                "netns",
                end.name,
            )
            _fill_in_checksums(end, name)
            set_up(end, name, host)
        ports = {}
        for name in ("to-west", "trunk", "far", "to-east"):
            middle.ip("link", "set", name, "up")
            ports[name] = stack.enter_context(middle.socket(socket.AF_PACKET, socket.SOCK_RAW))
            with middle.entered():
                ports[name].bind((name, _ETH_P_ALL))
        stop = threading.Event()
        thread = threading.Thread(target=_switch, args=(ports, (0x8100 << 16 | vlan).to_bytes(4), stop))
        thread.start()
        stack.callback(thread.join)
        stack.callback(stop.set)
        yield west, east, middle


def _switch(ports: dict[str, socket.socket], tag: bytes, stop: threading.Event) -> None:
    """Hands frames on until told to stop. The kernel takes the tag out of those that come in."""
    onward = {"to-west": "trunk", "to-east": "far", "trunk": "to-west", "far": "to-east"}
    with selectors.DefaultSelector() as selector:
        for name, sock in ports.items():
            selector.register(sock, selectors.EVENT_READ, name)
        while not stop.is_set():
            for key, _ in selector.select(0.05):
                frame, link = ports[key.data].recvfrom(65_536)
                if link[2] != _OUTGOING:
                    tagged = frame[:12] + tag + frame[12:] if key.data.startswith("to-") else frame
                    ports[onward[key.data]].send(tagged)


def _fill_in_checksums(inside: Namespace, interface: str) -> None:
    """Let the kernel, not the interface, compute checksums and cut segments: nobody here would do it later."""
    value = ctypes.create_string_buffer(struct.pack("=II", _ETHTOOL_STXCSUM, 0))
    with inside.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCETHTOOL, struct.pack("@16sP16x", interface.encode(), ctypes.addressof(value)))
