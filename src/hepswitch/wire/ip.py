"""Link-layer frames ⇄ datagrams: what a capture file's frames carry, and frames made from captured messages.

`Decoder` reads Ethernet (VLAN tags too), raw IP, Linux cooked and loopback frames; IPv4 and IPv6, tunnels of IP in IP,
fragments put together; UDP as it is and TCP streams cut into messages (`wire.tcp`). `FrameBuilder` goes the other way for
export. Not here: files (`wire.pcap`), and what a payload says.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from hepswitch.wire.pcap import CapturedFrame
from hepswitch.wire.tcp import Streams

TCP, UDP = 6, 17
MOST_PARTIAL = 256
"""Datagrams that are waiting for fragments at one time; the oldest is given up first."""
MOST_FRAGMENTS = 1024
"""Of one datagram: 64 bytes each."""

_IPIP, _IPV6, _ROUTING, _FRAGMENT, _AH = 4, 41, 43, 44, 51
_SKIPPED = {0, _ROUTING, 60, 135, 139, 140}  # IPv6 extension headers whose length is in units of 8 bytes
_VLAN = {0x8100, 0x88A8, 0x9100}
_DEEPEST = 8  # tags, extension headers and tunnels in one another


class Datagram(NamedTuple):
    """One captured message. `proto_id` is the IP protocol (17 UDP, 6 TCP); a TCP message has the time of its end."""

    time_us: int
    proto_id: int
    src_ip: str
    src_port: int
    dst_ip: str
    dst_port: int
    payload: bytes


class _Partial:
    """A datagram that comes in fragments (RFC 791 section 3.2, RFC 8200 section 4.5)."""

    __slots__ = ("held", "parts", "size")

    def __init__(self) -> None:
        self.parts: dict[int, bytes] = {}
        self.held = 0
        self.size = -1

    def add(self, offset: int, more: bool, data: bytes) -> bytes | None:
        """The whole datagram once every part is there. Of overlapping parts the earlier bytes count."""
        if offset + len(data) > 65_535 or len(self.parts) == MOST_FRAGMENTS or offset in self.parts:
            return None
        self.parts[offset] = data
        self.held += len(data)
        if not more:
            self.size = offset + len(data)
        if self.size < 0 or self.held < self.size:
            return None
        whole = bytearray()
        for start in sorted(self.parts):
            if start > len(whole):
                return None
            whole += self.parts[start][len(whole) - start :] if start < len(whole) else self.parts[start]
        return bytes(whole[: self.size]) if len(whole) >= self.size else None


class Decoder:
    """Frames in, datagrams out. Holds what is not yet whole; bounded. Raises nothing, whatever the frames hold."""

    def __init__(self) -> None:
        self._partial: dict[tuple[bytes, bytes, int, int], _Partial] = {}
        self._streams = Streams()

    def decode(self, frame: CapturedFrame) -> Iterator[Datagram]:
        """The datagrams and messages that this frame completes: mostly one, or none."""
        at = _network_layer(frame.linktype, frame.data)
        if at is not None:
            yield from self._ip(frame.time_us, frame.data[at:], 0)

    def finish(self) -> Iterator[Datagram]:
        """At the end of the capture: messages on TCP whose end was not captured."""
        for time_us, (src, sport, dst, dport), message in self._streams.finish():
            yield Datagram(time_us, TCP, _text(src), sport, _text(dst), dport, message)

    def _ip(self, time_us: int, packet: bytes, depth: int) -> Iterator[Datagram]:
        if depth > _DEEPEST or not packet:
            return
        found = self._ipv4(packet) if packet[0] >> 4 == 4 else self._ipv6(packet) if packet[0] >> 4 == 6 else None
        if found is None:
            return
        protocol, src, dst, data = found
        if protocol == UDP and len(data) >= 8:
            size = int.from_bytes(data[4:6], "big")
            payload = data[8:size] if size >= 8 else data[8:]
            sport, dport = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
            yield Datagram(time_us, UDP, _text(src), sport, _text(dst), dport, payload)
        elif protocol == TCP and len(data) >= 20:
            for key, message in self._streams.segment(time_us, src, dst, data):
                yield Datagram(time_us, TCP, _text(key[0]), key[1], _text(key[2]), key[3], message)
        elif protocol in (_IPIP, _IPV6):
            yield from self._ip(time_us, data, depth + 1)

    def _ipv4(self, packet: bytes) -> tuple[int, bytes, bytes, bytes] | None:
        """(protocol, source, destination, data) of a whole datagram."""
        header = (packet[0] & 15) * 4
        if header < 20 or len(packet) < header:
            return None
        total = int.from_bytes(packet[2:4], "big")
        data = packet[header : total if total >= header else None]  # 0: the sender's card would have filled it in
        src, dst, protocol = packet[12:16], packet[16:20], packet[9]
        flags = int.from_bytes(packet[6:8], "big")
        if flags & 0x3FFF:
            number = int.from_bytes(packet[4:6], "big")
            whole = self._collect((src, dst, protocol, number), (flags & 0x1FFF) * 8, bool(flags & 0x2000), data)
            if whole is None:
                return None
            data = whole
        return protocol, src, dst, data

    def _ipv6(self, packet: bytes) -> tuple[int, bytes, bytes, bytes] | None:
        if len(packet) < 40:
            return None
        size = int.from_bytes(packet[4:6], "big")
        src, dst, protocol = packet[8:24], packet[24:40], packet[6]
        data = packet[40 : 40 + size] if size else packet[40:]
        for _ in range(_DEEPEST):
            if protocol == _FRAGMENT and len(data) >= 8:
                flags = int.from_bytes(data[2:4], "big")
                key = (src, dst, data[0], int.from_bytes(data[4:8], "big"))
                protocol = data[0]
                whole = (
                    data[8:] if not flags & 0xFFF9 else self._collect(key, flags & 0xFFF8, bool(flags & 1), data[8:])
                )
                if whole is None:
                    return None
                data = whole
            elif (protocol in _SKIPPED or protocol == _AH) and len(data) >= 8:
                length = (data[1] + 2) * 4 if protocol == _AH else (data[1] + 1) * 8
                protocol, data = data[0], data[length:]
            else:
                break
        return protocol, src, dst, data

    def _collect(self, key: tuple[bytes, bytes, int, int], offset: int, more: bool, data: bytes) -> bytes | None:
        partial = self._partial.pop(key, None) or _Partial()
        whole = partial.add(offset, more, data)
        if whole is None:
            self._partial[key] = partial
            if len(self._partial) > MOST_PARTIAL:
                del self._partial[next(iter(self._partial))]
        return whole


def _network_layer(linktype: int, frame: bytes) -> int | None:
    """Where the IP header begins, None when there is none. Numbers: the LINKTYPE_ registry of tcpdump.org."""
    if linktype == 1:
        return _ether(frame, 12)
    if linktype in (12, 14, 101, 228, 229):
        return 0
    if linktype == 113:  # Linux cooked v1
        return _ether(frame, 14)
    if linktype == 276:  # Linux cooked v2
        return 20 if frame[:2] in (b"\x08\x00", b"\x86\xdd") else None
    return (
        4 if linktype in (0, 108) else None
    )  # loopback: the family's number depends on the system, the IP header says it


def _ether(frame: bytes, at: int) -> int | None:
    """Behind the EtherType at `at` and any VLAN tags (802.1Q, 802.1ad)."""
    for _ in range(_DEEPEST):
        kind = int.from_bytes(frame[at : at + 2], "big")
        at += 2
        if kind in (0x0800, 0x86DD):
            return at
        if kind not in _VLAN:
            return None
        at += 2
    return None


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
