"""Captured frames ⇄ datagrams: what the frames carry, and frames made from captured messages.

`Decoder` reads IPv4 and IPv6 behind any link layer (`wire.link`): fragments put together (`wire.fragments`), what tunnels
carry (`wire.tunnels`), UDP as it is and TCP streams cut into messages (`wire.tcp`). `FrameBuilder` goes the other way, for
export. Not here: files (`wire.pcap`), what a payload says (`wire.intake`, which has a shorter way for plain UDP).
"""

from __future__ import annotations

import random
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from hepswitch.wire import tunnels
from hepswitch.wire.fragments import Fragments
from hepswitch.wire.link import network_at
from hepswitch.wire.pcap import CapturedFrame
from hepswitch.wire.tcp import Found, Streams

TCP, UDP = 6, 17

_IPIP, _IPV6, _ROUTING, _FRAGMENT, _GRE, _AH = 4, 41, 43, 44, 47, 51
_SKIPPED = {0, _ROUTING, 60, 135, 139, 140}  # IPv6 extension headers whose length is in units of 8 bytes
_DEEPEST = 8  # extension headers, and tunnels in one another


class Datagram(NamedTuple):
    """One captured message between packed addresses. `proto_id` is the IP protocol (17 UDP, 6 TCP; 50 SIP in a WebSocket).

    A TCP message has the time of its end. `vlan_id` is the innermost one, -1 when there is none.
    """

    time_us: int
    proto_id: int
    src: bytes
    src_port: int
    dst: bytes
    dst_port: int
    payload: bytes
    vlan_id: int = -1

    @property
    def src_ip(self) -> str:
        """The source address as text."""
        return _text(self.src)

    @property
    def dst_ip(self) -> str:
        """The destination address as text."""
        return _text(self.dst)


class Decoder:
    """Frames in, datagrams out. Holds what is not yet whole; bounded. Raises nothing, whatever the frames hold.

    `losses` counts by reason what was given up: datagrams and streams of which something was not captured.
    """

    def __init__(self) -> None:
        self.losses = Counter[str]()
        self._fragments = Fragments(self.losses)
        self._streams = Streams(self.losses)

    def decode(self, frame: CapturedFrame) -> Iterator[Datagram]:
        """The datagrams and messages that this frame completes: mostly one, or none."""
        at, vlan = network_at(frame.linktype, frame.data)
        if at >= 0:
            yield from self.packet(frame.time_us, frame.data[at:], vlan)

    def expire(self, time_us: int) -> Iterator[Datagram]:
        """Give up what has waited too long at this time of capture: what TCP messages were behind it come out."""
        self._fragments.expire(time_us)
        yield from _messages(self._streams.expire(time_us), -1)

    def finish(self) -> Iterator[Datagram]:
        """At the end of the capture: messages on TCP whose end was not captured."""
        self._fragments.finish()
        yield from _messages(self._streams.finish(), -1)

    def packet(self, time_us: int, packet: bytes, vlan: int = -1, depth: int = 0) -> Iterator[Datagram]:
        """The same as `decode` for a frame of this VLAN from its IP header on."""
        if depth > _DEEPEST or not packet:
            return
        version = packet[0] >> 4
        found = self._ipv4(time_us, packet) if version == 4 else self._ipv6(time_us, packet) if version == 6 else None
        if found is None:
            return
        protocol, src, dst, data = found
        if protocol == UDP and len(data) >= 8:
            size = int.from_bytes(data[4:6], "big")
            payload = data[8:size] if size >= 8 else data[8:]
            sport, dport = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
            inner = tunnels.vxlan(payload, vlan) if dport == tunnels.VXLAN_PORT else None
            if inner is None:
                yield Datagram(time_us, UDP, src, sport, dst, dport, payload, vlan)
        elif protocol == TCP and len(data) >= 20:
            yield from _messages(self._streams.segment(time_us, src, dst, data), vlan)
            return
        elif protocol in (_IPIP, _IPV6):
            inner = data, vlan
        elif protocol == _GRE:
            inner = tunnels.gre(data, vlan)
        else:
            return
        if inner is not None:
            yield from self.packet(time_us, *inner, depth + 1)

    def _ipv4(self, time_us: int, packet: bytes) -> tuple[int, bytes, bytes, bytes] | None:
        """(protocol, source, destination, data) of a whole datagram."""
        header = (packet[0] & 15) * 4
        if header < 20 or len(packet) < header:
            return None
        total = int.from_bytes(packet[2:4], "big")
        data = packet[header : total if total >= header else None]  # 0: the sender's card would have filled it in
        src, dst, protocol = packet[12:16], packet[16:20], packet[9]
        flags = int.from_bytes(packet[6:8], "big")
        if flags & 0x3FFF:
            key = (src, dst, protocol, int.from_bytes(packet[4:6], "big"))
            whole = self._fragments.add(time_us, key, (flags & 0x1FFF) * 8, bool(flags & 0x2000), data)
            if whole is None:
                return None
            data = whole
        return protocol, src, dst, data

    def _ipv6(self, time_us: int, packet: bytes) -> tuple[int, bytes, bytes, bytes] | None:
        if len(packet) < 40:
            return None
        size = int.from_bytes(packet[4:6], "big")
        src, dst, protocol = packet[8:24], packet[24:40], packet[6]
        data = packet[40 : 40 + size] if size else packet[40:]
        for _ in range(_DEEPEST):
            if protocol == _FRAGMENT and len(data) >= 8:
                flags = int.from_bytes(data[2:4], "big")
                protocol, number, part = data[0], int.from_bytes(data[4:8], "big"), data[8:]
                if flags & 0xFFF9:
                    key = (src, dst, protocol, number)
                    whole = self._fragments.add(time_us, key, flags & 0xFFF8, bool(flags & 1), part)
                    if whole is None:
                        return None
                    part = whole
                data = part
            elif (protocol in _SKIPPED or protocol == _AH) and len(data) >= 8:
                length = (data[1] + 2) * 4 if protocol == _AH else (data[1] + 1) * 8
                protocol, data = data[0], data[length:]
            else:
                break
        return protocol, src, dst, data


def _messages(found: Iterable[Found], vlan: int) -> Iterator[Datagram]:
    for time_us, protocol, key, message in found:
        yield Datagram(time_us, protocol, *key, message, vlan)


@lru_cache(4096)
def _text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


# --- building --------------------------------------------------------------------------------------------------------

_ETHERNET = bytes.fromhex("020000000002 020000000001")
_LARGEST_UDP = 65_507  # what fits an IPv4 datagram; less than IPv6 allows
_LARGEST_SEGMENT = 65_495
_SYN, _PSH_ACK = b"\x02", b"\x18"


class FrameBuilder:
    """Ethernet frames that carry given messages, with right lengths and checksums, as an analyser expects them.

    UDP stays UDP. What was captured on TCP, TLS, SCTP or WebSocket, and what is too long for UDP, becomes TCP segments
    whose sequence numbers run on per direction of a connection: plain, because a capture holds the text and not the
    encryption around it.
    """

    def __init__(self) -> None:
        self._sequence: dict[tuple[bytes, int, bytes, int], int] = {}
        self._number = 0

    def frames(
        self, proto_id: int, src_ip: str | None, src_port: int, dst_ip: str | None, dst_port: int, payload: bytes
    ) -> list[bytes]:
        """The frame or frames for one message. An address that is None or no address is written as 0.0.0.0.

        IPv4 beside IPv6 is written as its mapped IPv6 address.
        """
        src, dst = _packed(src_ip), _packed(dst_ip)
        if len(src) != len(dst):
            src, dst = _mapped(src), _mapped(dst)
        sport, dport = src_port & 0xFFFF, dst_port & 0xFFFF
        if proto_id == UDP and len(payload) <= _LARGEST_UDP:
            header = sport.to_bytes(2, "big") + dport.to_bytes(2, "big") + (8 + len(payload)).to_bytes(2, "big")
            return [self._frame(UDP, src, dst, _summed(UDP, src, dst, header, b"", payload))]
        return self._stream(src, sport, dst, dport, payload)

    def _stream(self, src: bytes, sport: int, dst: bytes, dport: int, payload: bytes) -> list[bytes]:
        key = (src, sport, dst, dport)
        answered = self._sequence.get((dst, dport, src, sport), 1)
        frames = []
        for part in _pieces(payload):
            sequence = self._sequence.get(key, 1)
            self._sequence[key] = sequence + len(part) & 0xFFFFFFFF
            frames.append(self._segment(*key, sequence, answered, _PSH_ACK, part))
        return frames

    def _segment(
        self,
        src: bytes,
        sport: int,
        dst: bytes,
        dport: int,
        sequence: int,
        answered: int,
        flags: bytes,
        payload: bytes,
    ) -> bytes:
        header = b"".join((
            sport.to_bytes(2, "big"), dport.to_bytes(2, "big"), sequence.to_bytes(4, "big"),
            answered.to_bytes(4, "big"), b"\x50", flags, b"\xff\xff",         # no options, window
        ))  # fmt: skip
        return self._frame(TCP, src, dst, _summed(TCP, src, dst, header, b"\0\0", payload))

    def _frame(self, protocol: int, src: bytes, dst: bytes, data: bytes) -> bytes:
        if len(src) == 16:
            header = b"\x60\0\0\0" + len(data).to_bytes(2, "big") + bytes((protocol, 64)) + src + dst
            return _ETHERNET + b"\x86\xdd" + header + data
        self._number = self._number + 1 & 0xFFFF
        front = b"\x45\0" + (20 + len(data)).to_bytes(2, "big") + self._number.to_bytes(2, "big")
        front += b"\x40\0\x40" + bytes((protocol,))
        return _ETHERNET + b"\x08\0" + front + _checksum(front + src + dst) + src + dst + data


class LoneFrameBuilder(FrameBuilder):
    """Makes of each message on TCP a connection of its own, which a SYN begins. Remembers nothing.

    For captures that several write into, or that are continued later: nobody knows the others' sequence numbers there, and
    to an analyser the same numbers are the same bytes once more, which it does not look at.
    """

    def _stream(self, src: bytes, sport: int, dst: bytes, dport: int, payload: bytes) -> list[bytes]:
        first = random.getrandbits(32)
        self._sequence = {(src, sport, dst, dport): first + 1 & 0xFFFFFFFF}
        syn = self._segment(src, sport, dst, dport, first, 0, _SYN, b"")
        return [syn, *super()._stream(src, sport, dst, dport, payload)]


def _pieces(payload: bytes) -> list[bytes]:
    return [payload[at : at + _LARGEST_SEGMENT] for at in range(0, len(payload), _LARGEST_SEGMENT)] or [b""]


def _packed(address: str | None) -> bytes:
    convert: Callable[[int, str], bytes] = socket.inet_pton
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return convert(family, address or "0.0.0.0")
        except (OSError, ValueError):
            continue
    return bytes(4)


def _mapped(address: bytes) -> bytes:
    return address if len(address) == 16 else bytes(10) + b"\xff\xff" + address


def _checksum(data: bytes) -> bytes:
    """The Internet checksum (RFC 1071): a sum in one's complement is the number modulo 65535."""
    return (0xFFFF - int.from_bytes(data + bytes(len(data) % 2), "big") % 0xFFFF).to_bytes(2, "big")


def _summed(protocol: int, src: bytes, dst: bytes, header: bytes, behind: bytes, payload: bytes) -> bytes:
    """header + checksum + behind + payload, the checksum over them and the pseudo header."""
    size = len(header) + 2 + len(behind) + len(payload)
    pseudo = src + dst + protocol.to_bytes(4, "big") + size.to_bytes(4, "big")
    checksum = _checksum(pseudo + header + b"\0\0" + behind + payload)
    return header + (b"\xff\xff" if checksum == b"\0\0" else checksum) + behind + payload
