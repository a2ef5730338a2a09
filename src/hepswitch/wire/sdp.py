"""Sdp: what a captured session description says about media addresses (RFC 8866, RFC 3605).

Tolerant: lines that are no `x=` line are passed over, so a multipart body works too. Not here: codecs' parameters
(a=fmtp), offer and answer, or any check of the grammar.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_LINES = re.compile(rb"[\r\n]([mc]|a(?==[ \t]*(?:rtcp|rtpmap:|sendrecv|sendonly|recvonly|inactive)))=([^\r\n]*)")
"""Those that are read. Most are not, and a hostile body could hold thousands."""

MOST_MEDIA = 256
"""Media sections that are read; a hostile body could hold thousands."""


DIRECTIONS = frozenset({"sendrecv", "sendonly", "recvonly", "inactive"})

FIXED = {
    "0": "PCMU/8000", "3": "GSM/8000", "4": "G723/8000", "8": "PCMA/8000", "9": "G722/8000", "10": "L16/44100/2",
    "11": "L16/44100", "13": "CN/8000", "15": "G728/8000", "18": "G729/8000", "26": "JPEG/90000", "31": "H261/90000",
    "34": "H263/90000",
}  # fmt: skip
"""Payload types whose encoding is fixed (RFC 3551, section 6)."""


MOST_CODECS = 256
"""Those of a medium that are read."""


@dataclass(slots=True)
class Media:
    """One `m=` section. `address` is its own `c=` or the session's, None when neither is there.

    `direction` is its own attribute or the session's (RFC 8866, section 6.7), `codecs` what a=rtpmap says of its formats.
    """

    type: str
    port: int
    proto: str
    formats: list[str]
    address: str | None = None
    rtcp_port: int | None = None
    rtcp_address: str | None = None
    direction: str = "sendrecv"
    codecs: dict[str, str] = field(default_factory=dict)

    @property
    def encodings(self) -> list[str]:
        """What the formats are, in order: `PCMU/8000` by a=rtpmap or, for the numbers that are fixed, by RFC 3551."""
        return [self.codecs.get(number) or FIXED.get(number, number) for number in self.formats]

    @property
    def rtcp(self) -> tuple[str, int] | None:
        """Where RTCP goes: a=rtcp (RFC 3605), the RTP port for a=rtcp-mux, else the port above RTP's."""
        address = self.rtcp_address or self.address
        port = self.rtcp_port or self.port + 1
        return (address, port) if address and self.port and 0 < port < 65536 else None


@dataclass(slots=True)
class Sdp:
    """A session description. `address` is the session's `c=`, without a multicast TTL."""

    address: str | None = None
    media: list[Media] = field(default_factory=list)
    direction: str = "sendrecv"

    @property
    def media_addresses(self) -> list[tuple[str, int]]:
        """(address, port) of every medium that is not refused (port 0), in order."""
        return [(media.address, media.port) for media in self.media if media.address and media.port]

    @property
    def rtcp_addresses(self) -> list[tuple[str, int]]:
        """(address, port) where RTCP of every medium goes, in order."""
        return [found for media in self.media if (found := media.rtcp)]


def parse(body: bytes) -> Sdp | None:
    """The session description in `body`, None when there is neither a `c=` nor an `m=` line. Raises nothing."""
    sdp = Sdp()
    medium: Media | None = None
    for kind, rest in _LINES.findall(b"\n" + body):
        value = rest.decode("utf-8", "surrogateescape").strip()
        if kind == b"m":
            if len(sdp.media) == MOST_MEDIA:
                break
            medium = _medium(value, sdp)
            if medium is not None:
                sdp.media.append(medium)
        elif kind == b"c":
            address = _address(value)
            if medium is not None:
                medium.address = address or medium.address
            else:
                sdp.address = address
        elif value in DIRECTIONS:
            (sdp if medium is None else medium).direction = value
        elif medium is not None:
            _attribute(medium, value)
    return sdp if sdp.address or sdp.media else None


def _attribute(medium: Media, value: str) -> None:
    name, _, said = value.partition(":")
    if name == "rtcp":
        _rtcp(medium, said)
    elif name == "rtcp-mux":
        medium.rtcp_port = medium.port
    elif name == "rtpmap":
        number, _, encoding = said.strip().partition(" ")
        if len(medium.codecs) < MOST_CODECS:
            medium.codecs[number] = encoding.strip()


def _medium(value: str, sdp: Sdp) -> Media | None:
    """`audio 49170/2 RTP/AVP 0 8`; None when there is no port in it."""
    words = value.split()
    port = _port(words[1].partition("/")[0]) if len(words) > 1 else None
    if port is None:
        return None
    proto = words[2] if len(words) > 2 else ""
    return Media(words[0], port, proto, words[3:], sdp.address, direction=sdp.direction)


def _address(value: str) -> str | None:
    """`IN IP4 224.2.1.1/127/3` → 224.2.1.1; None when it is not an Internet address."""
    words = value.split()
    if len(words) < 3 or words[0].upper() != "IN" or words[1].upper() not in ("IP4", "IP6"):
        return None
    return words[2].partition("/")[0]


def _rtcp(medium: Media, value: str) -> None:
    """`53020` or `53020 IN IP6 2001:db8::1`."""
    port, _, rest = value.strip().partition(" ")
    number = _port(port)
    if number:
        medium.rtcp_port = number
        medium.rtcp_address = _address(rest)


def _port(text: str) -> int | None:
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else None
    return number if number is not None and number < 65536 else None
