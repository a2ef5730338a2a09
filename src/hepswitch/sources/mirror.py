"""SIP from the wire: a mirror port, a tap, the host's own traffic (`mirror`), what a router sends in a tunnel (`ipip`).

    listen = ["mirror://eth1?ports=5060-5090,5160", "mirror://any", "ipip://192.0.2.10"]

`mirror://INTERFACE` sees what passes an interface, `any` stands for all of them; `ipip://ADDRESS` what IP in IP (RFC 2003,
4213) and GRE (RFC 2784) carry to an address, 0.0.0.0 and [::] to any. Linux only; needs CAP_NET_RAW. Options:

    ports=5060-5061        ports and ranges of SIP over UDP and TCP
    rtcp=yes               also RTCP of the calls seen, on whatever ports their SDP says
    promisc=yes            mirror: the card takes in what is for others (not with `any`)
    tunnels=yes            mirror: also what IP in IP, GRE, ERSPAN and VXLAN carry
    ring=64MiB             memory of each worker in which the kernel keeps frames until they are read
    snaplen=65535          bytes kept of a frame, 128 at least
    captagent_id=2001      capture id of the packets made here
    node_name=NAME         their node name

The kernel filters (`net.packet_filter`) and keeps what comes through in a ring, which is read a block at a time: a block is
full after about 300 messages or 10 ms. The ring is the socket's, so a worker that is started again goes on where the last
one stopped; the block that it was reading then comes twice. With several workers each pair of addresses belongs to one of
them, so that a dialog between two hosts stays together.

Not here: opening sockets (`net.packet_socket`), and what is in a frame (`wire.intake`).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

import structlog

from hepswitch.books import Listener
from hepswitch.logs import words
from hepswitch.net.bpf import Instruction
from hepswitch.net.packet_filter import capture_filter, tunnel_filter
from hepswitch.net.packet_ring import RETIRE, PacketRing
from hepswitch.net.packet_socket import Capture, close_door, group, is_up, open_again, open_readers, watches
from hepswitch.sources.inlet import Inlet, Source
from hepswitch.sources.options import check_known, number, ports, told, yes
from hepswitch.units import Endpoint, parse_size
from hepswitch.wire.batch import Batch
from hepswitch.wire.envelopes import Envelopes
from hepswitch.wire.intake import Intake

log = structlog.get_logger("hepswitch.sources")

KEYLESS = True

ANY = "any"

OPTIONS = ("ports", "rtcp", "ring", "snaplen", "captagent_id", "node_name")
ONLY_MIRROR = ("promisc", "tunnels")

BLOCKS = 4
"""Blocks taken in one turn of the loop, before others get theirs …"""

TURN = 0.02
"""… and seconds after which no other is begun: a block of small TCP segments takes as long as ten of SIP over UDP."""

TICK = 1.0
"""Seconds between two looks at what waits for its rest, and for an interface that is down or gone."""

LEAST_RING, MOST_RING = 1 << 20, 4 << 30
"""Bytes. The kernel counts the larger end in 32 bits."""

LEAST_SNAPLEN, MOST_SNAPLEN = 128, 0xFFFF
_INTERFACE = re.compile(r"[^/\s:?#\x00-\x1f\x7f-\U0010ffff]{1,15}")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the URL of a listener says."""

    interface: str | None
    address: IPv4Address | IPv6Address | None
    ports: tuple[tuple[int, int], ...]
    rtcp: bool
    promiscuous: bool
    tunnels: bool
    ring: int
    snaplen: int
    captagent_id: int
    node_name: str | None

    def capture(self) -> Capture:
        return Capture(self.interface, self._filter, self.promiscuous, self.ring)

    def envelopes(self, listener: Listener) -> Envelopes:
        return Envelopes(listener, self.captagent_id, self.node_name)

    def _filter(self, cooked: bool) -> list[Instruction]:
        if self.address is not None:
            return tunnel_filter(self.address, self.ports, rtcp=self.rtcp, snaplen=self.snaplen)
        options = {"rtcp": self.rtcp, "tunnels": self.tunnels}
        return capture_filter(self.ports, cooked=cooked, snaplen=self.snaplen, **options)


def parse(url: str) -> Endpoint:
    """See `Way`."""
    scheme, _, rest = url.partition(":")
    if not rest.startswith("//"):
        raise ValueError(f"{url!r}: write {scheme}://{rest}")
    where, _, query = rest[2:].partition("?")
    try:
        endpoint = Endpoint(scheme, where.rstrip("/").strip("[]"), 0, told(query))
        settings(endpoint)
    except ValueError as error:
        raise ValueError(f"{url!r}: {error}") from None
    return endpoint


def settings(endpoint: Endpoint) -> Settings:
    """What the options mean. ValueError with a hint."""
    options = endpoint.options
    mirror = endpoint.scheme == "mirror"
    check_known(options, (*OPTIONS, *ONLY_MIRROR) if mirror else OPTIONS)
    if mirror and not _INTERFACE.fullmatch(endpoint.host):
        raise ValueError(f"{endpoint.host!r} is no name of an interface: write mirror://eth0, or mirror://{ANY}")
    made = Settings(
        interface=endpoint.host if mirror and endpoint.host != ANY else None,
        address=None if mirror else _address(endpoint.host),
        ports=ports(options.get("ports", "5060-5061")),
        rtcp=yes(options, "rtcp"),
        promiscuous=mirror and yes(options, "promisc"),
        tunnels=mirror and yes(options, "tunnels"),
        ring=_size(options, "ring", "64MiB", LEAST_RING, MOST_RING),
        snaplen=_size(options, "snaplen", "65535", LEAST_SNAPLEN, MOST_SNAPLEN),
        captagent_id=number(options, "captagent_id", 2001, 0xFFFFFFFF),
        node_name=options.get("node_name"),
    )
    made.capture().filter(True)
    made.envelopes(Listener(endpoint.scheme))
    return made


def _size(options: dict[str, str], key: str, default: str, least: int, most: int) -> int:
    size = parse_size(options.get(key, default))
    if not least <= size <= most:
        raise ValueError(f"{key}={options[key]} is out of range: {least:,} to {most:,} bytes")
    return size


def _address(text: str) -> IPv4Address | IPv6Address:
    with contextlib.suppress(ValueError):
        if "%" not in text:
            return ip_address(text)
    raise ValueError(f"{text!r} is no address: write ipip://192.0.2.10, or ipip://0.0.0.0 for tunnels to any")


def name(endpoint: Endpoint, sockets: list[socket.socket]) -> str:  # noqa: ARG001
    """See `Way`."""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"{endpoint.scheme}://{host}"


def bind(endpoint: Endpoint, workers: int, receive_buffer: int) -> list[list[socket.socket]]:  # noqa: ARG001
    """See `Way`. The room for what waits is the ring: there is no receive buffer."""
    try:
        return [[sock] for sock in open_readers(settings(endpoint).capture(), workers)]
    except OSError as error:
        raise OSError(error.errno, f"{name(endpoint, [])}: {error.strerror or error}") from error


def source(inlet: Inlet) -> Source:
    """See `Way`."""
    (sock,) = inlet.sockets
    return MirrorSource(sock, inlet.listener, inlet.flow, settings(inlet.endpoint), after=inlet.after)


class MirrorSource:
    """Reads the ring of `sock` (owned from now on) and calls `flow(batch)`, which must not raise.

    `after()` is called once at the end of each turn that found something. An interface that goes down or away is waited for;
    `listener.interruptions` counts how often.
    """

    def __init__(
        self,
        sock: socket.socket,
        listener: Listener,
        flow: Callable[[Batch], None],
        settings: Settings,
        *,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        self._sock = sock
        self._listener = listener
        self._flow = flow
        self._settings = settings
        self._after = after
        self._group = group(sock)
        self._ring = PacketRing(sock, listener, settings.ring)
        self._intake = Intake(settings.envelopes(listener), settings.ports, rtcp=settings.rtcp)
        self._loop: asyncio.AbstractEventLoop
        self._timer: asyncio.TimerHandle
        self.interrupted = False
        self._complained = ""

    async def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to read."""
        self._loop = loop
        loop.add_reader(self._sock, self._wake)
        self._look_at_interface()
        self._timer = loop.call_later(TICK, self._tick)

    async def stop(self) -> None:
        """Take what was captured already, then close the socket."""
        self._loop.remove_reader(self._sock)
        self._timer.cancel()
        close_door(self._sock)
        await asyncio.sleep(3 * RETIRE / 1000)  # for the block that is not full yet; nothing new gets into it
        while self._turn():
            pass
        self._intake.finish()
        if self._hand_on():
            self._after()
        self._close()

    def _wake(self) -> None:
        """A block is there, or the interface is not any more."""
        if not self._turn() and self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._look_at_interface()

    def _turn(self) -> bool:
        """Take up to BLOCKS blocks; False when none was there."""
        found, end = False, time.monotonic() + TURN
        try:
            for _ in range(BLOCKS):
                if not self._block():
                    break
                found = True
                if time.monotonic() > end:
                    break
            self._ring.count_drops()
        except OSError as error:
            self._complain("cannot read", error)
        if found:
            self._after()
        return found

    def _block(self) -> bool:
        """Take one block; False when none was there. Whatever comes of it: one that stayed would be read for ever."""
        is_ready = True
        try:
            is_ready = self._ring.read(self._intake)
            if is_ready:
                self._hand_on()
        finally:
            if is_ready:
                self._ring.release()
        return is_ready

    def _hand_on(self) -> bool:
        """False when there was nothing to hand on."""
        batch = self._intake.batch()
        found = len(batch) > 0
        if found:
            self._flow(batch)
        self._intake.clear()
        return found

    def _tick(self) -> None:
        self._intake.expire(time.time_ns() // 1000)
        if self._hand_on():
            self._after()
        if self.interrupted:
            self._look_for_interface()
        self._timer = self._loop.call_later(TICK, self._tick)

    # ── an interface that comes and goes ───────────────────────────────────────────────────────────────────────────

    def _there(self) -> bool:
        """Is the interface up, and the one that the socket is bound to?"""
        interface = self._settings.interface
        return interface is None or (watches(self._sock, interface) and bool(is_up(interface)))

    def _look_at_interface(self) -> None:
        if self.interrupted or self._there():
            return
        self.interrupted = True
        self._listener.interruptions += 1
        state = "gone" if is_up(self._settings.interface or "") is None else "down"
        log.warning("nothing is captured: the interface is not there", listener=self._listener.url, interface=state)

    def _look_for_interface(self) -> None:
        """Go on when it is back: the kernel sees to one that was down, but one that was made anew is another."""
        interface = self._settings.interface
        assert interface is not None
        try:
            if is_up(interface) and not watches(self._sock, interface):
                self._change_to(open_again(self._settings.capture(), self._group))
        except OSError as error:
            self._complain("cannot capture again", error)
        if self._there():
            self.interrupted, self._complained = False, ""
            log.info("the interface is back", listener=self._listener.url)

    def _change_to(self, sock: socket.socket) -> None:
        """Read `sock` instead."""
        ring = PacketRing(sock, self._listener, self._settings.ring)
        self._loop.remove_reader(self._sock)
        while self._turn():
            pass  # what the old interface still brought
        self._close()
        self._sock, self._ring = sock, ring
        self._loop.add_reader(sock, self._wake)

    def _close(self) -> None:
        self._ring.close()
        self._sock.close()

    def _complain(self, what: str, error: OSError) -> None:
        """Once, not at every turn."""
        if self._complained != str(error):
            self._complained = str(error)
            log.error(what, listener=self._listener.url, error=words(error))
