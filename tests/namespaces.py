"""Network namespaces for tests: interfaces of their own, made and removed with the test. Needs root."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

_CLONE_NEWNET = 0x40000000
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
