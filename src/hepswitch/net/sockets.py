"""Listening sockets: IPv4 and IPv6, receive buffers as large as the kernel gives, one port for many workers, and
how many descriptors there may be.

Not here: reading them (`net.udp`, `sources`) and TLS (`net.tls`).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import resource
import socket
from dataclasses import replace

import structlog

from hepswitch.net import bpf
from hepswitch.units import Endpoint

log = structlog.get_logger("hepswitch.net")

BACKLOG = 1024
"""Connections that wait to be accepted; the kernel caps it at net.core.somaxconn."""

SO_RCVBUFFORCE = 33
SO_ATTACH_REUSEPORT_CBPF = 51


def bind_udp(endpoint: Endpoint, receive_buffer: int, *, reuse_port: bool = False) -> socket.socket:
    """A non-blocking UDP socket bound to `endpoint`, with `receive_buffer` bytes if the kernel gives them.

    `reuse_port` lets further sockets bind the same port. A smaller buffer than asked for is logged with
    its remedy. Raises OSError that says what to do.
    """
    sock = _bound(endpoint, socket.SOCK_DGRAM, reuse_port=reuse_port)
    got = request_receive_buffer(sock, receive_buffer)
    if got < receive_buffer:
        _warn_small_buffer(receive_buffer, got)
    return sock


def listen_tcp(endpoint: Endpoint, backlog: int = BACKLOG) -> socket.socket:
    """A non-blocking listening TCP socket on `endpoint`. Raises OSError that says what to do."""
    sock = _bound(endpoint, socket.SOCK_STREAM, reuse_port=False)
    # Accepted sockets inherit these: a peer that vanished without a word is noticed within about two minutes.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
    sock.listen(backlog)
    return sock


def bind_shared(endpoint: Endpoint, workers: int, receive_buffer: int) -> list[list[socket.socket]]:
    """A UDP socket for each of `workers` on the same port, datagrams spread evenly over them. Raises OSError."""
    first = bind_udp(endpoint, receive_buffer, reuse_port=workers > 1)
    bound = replace(endpoint, port=first.getsockname()[1])
    others = [bind_udp(bound, receive_buffer, reuse_port=True) for _ in range(workers - 1)]
    if others:
        spread_evenly(first, workers)
    return [[sock] for sock in (first, *others)]


def listen_shared(endpoint: Endpoint, workers: int) -> list[list[socket.socket]]:
    """One listening TCP socket that all `workers` accept from. Raises OSError."""
    sock = listen_tcp(endpoint)
    return [[sock] for _ in range(workers)]


def is_local(ip: str) -> bool:
    """Whether this machine has the address: then, and only then, a socket can be bound to it."""
    with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((ip, 0))
        except OSError:
            return False
    return True


def raise_descriptor_limit() -> None:
    """Let this process, and those that it starts, have as many descriptors as the system gives them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # "unlimited" is more than the kernel gives (fs.nr_open)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def descriptors_beside(reserve: int) -> int:
    """Descriptors that this process may have beside `reserve` others: a quarter of its limit at least."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        limit = 1 << 20
    return max(limit - reserve, limit // 4)


def request_receive_buffer(sock: socket.socket, size: int) -> int:
    """Ask for a receive buffer of `size` bytes; gives what there is now.

    SO_RCVBUFFORCE goes beyond net.core.rmem_max with CAP_NET_ADMIN; without, the kernel gives at most that.
    """
    # The kernel doubles the size for its own overhead, in a signed int, and reads back the doubled one.
    size = min(size, (1 << 30) - 1)
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    return given_receive_buffer(sock)


def given_receive_buffer(sock: socket.socket) -> int:
    """Bytes of its receive buffer, as they were asked for."""
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2


def receive_buffer_hint(asked: int, got: int) -> str:
    """What to tell a person whose socket got a smaller buffer than `asked` (both in bytes)."""
    return (
        f"the kernel gave a UDP receive buffer of {got:,} bytes instead of {asked:,}: bursts may be lost. "
        f"Raise its limit: sysctl -w net.core.rmem_max={asked} (keep it in /etc/sysctl.d/), then restart"
    )


def spread_evenly(sock: socket.socket, count: int) -> None:
    """Spread datagrams at random, hence evenly, over the `count` sockets sharing the port of `sock`.

    Without it SO_REUSEPORT chooses by the sender's address, so that one busy sender keeps one socket busy. The
    program (classic BPF) belongs to the group of sockets: one call is enough. Raises OSError.
    """
    # A random number, modulo n: the index of a socket.
    program = [(bpf.LD_W, 0, 0, bpf.AD_RANDOM), (bpf.MOD, 0, 0, count), (bpf.RET_A, 0, 0, 0)]
    bpf.attach(sock, program, option=SO_ATTACH_REUSEPORT_CBPF)


def _bound(endpoint: Endpoint, kind: socket.SocketKind, *, reuse_port: bool) -> socket.socket:
    """A non-blocking socket bound to the first address of `endpoint.host` that can be had."""
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=kind, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        why = error.strerror if isinstance(error, socket.gaierror) else "no host can be called so"
        raise OSError(f"{endpoint}: {endpoint.host!r} is no address here: {why}") from error
    failure = OSError(errno.EADDRNOTAVAIL, "no address")
    for family, _, _, _, address in found:
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            if kind == socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(endpoint.host != "::"))
            sock.bind(address)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise OSError(failure.errno, f"{endpoint}: {_advice(failure, endpoint)}") from failure


def _advice(error: OSError, endpoint: Endpoint) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "the port is in use: stop the program that has it (ss -lnp) or take another port"
        case errno.EADDRNOTAVAIL:
            return f"{endpoint.host} is no address of this machine (see ip addr); 0.0.0.0 and [::] mean all"
        case errno.EACCES:
            return "ports below 1024 need CAP_NET_BIND_SERVICE: choose a higher port or grant it"
        case _:
            return os.strerror(error.errno) if error.errno else str(error)


@functools.cache
def _warn_small_buffer(asked: int, got: int) -> None:
    """Once for each pair of sizes: several sockets of one listener have the same to say."""
    log.warning(receive_buffer_hint(asked, got))
