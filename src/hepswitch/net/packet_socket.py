"""Sockets that see what passes an interface (AF_PACKET): one for each reader, and whether their interface is there.

Nothing gets in before all is ready: a socket refuses every frame until its readers share the traffic and its own filter is
set. Not here: reading (`net.packet_ring`), the filters (`net.packet_filter`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from hepswitch.net import bpf
from hepswitch.net.bpf import Instruction
from hepswitch.net.packet_filter import NOTHING, share_by_hosts
from hepswitch.net.packet_ring import request_ring

# <linux/if_packet.h>, <linux/if_ether.h>, <linux/if_arp.h>, <linux/sockios.h>
_SOL_PACKET = 263
_ADD_MEMBERSHIP, _FANOUT, _FANOUT_DATA = 1, 18, 22
_PROMISC = 1
_BY_PROGRAM, _UNIQUE = 6, 0x2000
_ETH_P_ALL = 3
_ETHERNET, _LOOPBACK = 1, 772
_SIOCGIFFLAGS, _SIOCGIFHWADDR = 0x8913, 0x8927
_IFF_UP = 1


@dataclass(frozen=True, slots=True)
class Capture:
    """What to capture: an interface (None: all), the filter for frames with Ethernet headers (False) and for cooked ones
    (True), whether the card is to take in what is for others, and bytes of each reader's ring.
    """

    interface: str | None
    filter: Callable[[bool], list[Instruction]]
    promiscuous: bool
    ring: int


def open_readers(capture: Capture, count: int) -> list[socket.socket]:
    """A capturing socket for each of `count` readers. Raises OSError that says what to do."""
    with contextlib.ExitStack() as made:
        socks = [made.enter_context(_opened(capture)) for _ in range(count)]
        if count > 1:
            _join(socks[0], 0, _UNIQUE)
            for sock in socks[1:]:
                _join(sock, group(socks[0]))
        for sock in socks:
            bpf.attach(sock, capture.filter(sock.type == socket.SOCK_DGRAM))
        made.pop_all()
    return socks


def open_again(capture: Capture, first_group: int) -> socket.socket:
    """A socket for one reader, whose interface was made anew. Raises OSError.

    `first_group`: what its readers shared the traffic by at the start, 0 when there is one reader. All of them find the same
    new group by it, without a word between them.
    """
    with contextlib.ExitStack() as made:
        sock = made.enter_context(_opened(capture))
        if first_group:
            assert capture.interface is not None
            index = socket.if_nametoindex(capture.interface)
            _join(sock, zlib.crc32(f"{first_group}/{index}".encode()) & 0xFFFF)
        bpf.attach(sock, capture.filter(sock.type == socket.SOCK_DGRAM))
        made.pop_all()
    return sock


def group(sock: socket.socket) -> int:
    """The number of the group of readers that `sock` belongs to, with its kind; 0: none."""
    return sock.getsockopt(_SOL_PACKET, _FANOUT)


def close_door(sock: socket.socket) -> None:
    """Let nothing more into the ring; what is in it stays."""
    bpf.attach(sock, NOTHING)


def is_up(interface: str) -> bool | None:
    """None when there is no such interface."""
    try:
        return bool(_asked(_SIOCGIFFLAGS, interface) & _IFF_UP)
    except OSError:
        return None


def watches(sock: socket.socket, interface: str) -> bool:
    """Is `sock` bound to the interface of that name, as it is now?"""
    return bool(sock.getsockname()[0] == interface)


def _opened(capture: Capture) -> socket.socket:
    """A socket that captures nothing yet."""
    if capture.interface is not None and is_up(capture.interface) is None:
        there = ", ".join(sorted(name for _, name in socket.if_nameindex()))
        raise OSError(errno.ENODEV, f"there is no interface {capture.interface!r} here; there are: {there}")
    # Only Ethernet has its headers read; of every other link the kernel gives what it carries.
    ethernet = capture.interface is not None and _asked(_SIOCGIFHWADDR, capture.interface) in (_ETHERNET, _LOOPBACK)
    try:
        # One for all interfaces cannot be bound: it captures from the start. What it had before its ring is gone with that.
        protocol = 0 if capture.interface is not None else socket.htons(_ETH_P_ALL)
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW if ethernet else socket.SOCK_DGRAM, protocol)
    except PermissionError as error:
        raise PermissionError(
            error.errno,
            "capturing needs CAP_NET_RAW: run as root, or let systemd grant it (AmbientCapabilities=CAP_NET_RAW)",
        ) from error
    try:
        sock.setblocking(False)
        bpf.attach(sock, NOTHING)
        _request_ring(sock, capture.ring)
        if capture.interface is not None:
            sock.bind((capture.interface, _ETH_P_ALL))
        if capture.interface is not None and capture.promiscuous:
            # struct packet_mreq: interface, kind, an address that has no meaning here. The kernel takes it back at the end.
            membership = struct.pack("=iHH8x", socket.if_nametoindex(capture.interface), _PROMISC, 0)
            sock.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, membership)
    except BaseException:
        sock.close()
        raise
    return sock


def _request_ring(sock: socket.socket, size: int) -> None:
    try:
        request_ring(sock, size)
    except OSError as error:
        raise OSError(
            error.errno, f"no memory for a ring of {size:,} bytes: choose a smaller one (ring=16MiB)"
        ) from error


def _join(sock: socket.socket, number: int, flags: int = 0) -> None:
    """Share the traffic with the sockets of a group. Raises OSError."""
    try:
        sock.setsockopt(_SOL_PACKET, _FANOUT, number & 0xFFFF | (_BY_PROGRAM | flags) << 16)
        bpf.attach(sock, share_by_hosts(), _SOL_PACKET, _FANOUT_DATA)
    except OSError as error:
        raise OSError(
            error.errno,
            f"several workers cannot share the interface ({os.strerror(error.errno or 0)}): is it up (ip link)?",
        ) from error


def _asked(request: int, interface: str) -> int:
    """A 16-bit answer about an interface. Raises OSError when there is none of that name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        # struct ifreq: the name, then the flags, or a socket address that begins with the kind of hardware
        answer = fcntl.ioctl(sock, request, struct.pack("16s24x", interface.encode()))
    value: int = struct.unpack_from("=H", answer, 16)[0]
    return value
