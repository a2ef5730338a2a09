"""Calls as a busy proxy sees them: many at once, interleaved, each with its own identifiers, the same at every run.

Not here: sending.
"""

from __future__ import annotations

import heapq
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from harness import chunk

AGENTS = (
    "Yealink SIP-T46S 66.85.0.5",
    "Grandstream GXP2170 1.0.11.35",
    "Asterisk PBX 18.9.0",
    "Linphone/4.4.10",
    "snomD785/10.1",
)
DOMAINS = ("example.com", "voip.example.net", "pbx.example.org")


@dataclass(frozen=True, slots=True)
class Call:
    """What the messages of one call share."""

    call_id: str
    caller: str
    callee: str
    domain: str
    tags: tuple[str, str]
    branches: tuple[str, str, str]
    agents: tuple[str, str]
    hosts: tuple[int, int]
    ports: tuple[int, int]
    session: int

    def message(self, step: int) -> bytes:
        """The SIP of step 0..6: INVITE, 100, 180, 200, ACK, BYE, 200."""
        reply = step in (1, 2, 3, 6)
        method, number, branch = _KINDS[step]
        source, target = (f"10.0.{host >> 8}.{host & 255}" for host in self.hosts)
        start = f"SIP/2.0 {_REPLIES[step]}" if reply else f"{method} sip:{self.callee}@{self.domain} SIP/2.0"
        to_tag = f";tag={self.tags[1]}" if step not in (0, 1) else ""
        body = self._sdp(target if reply else source) if step in (0, 3) else ""
        kind = "Content-Type: application/sdp\r\n" if body else ""
        return (
            f"{start}\r\nVia: SIP/2.0/UDP {source}:{self.ports[0]};branch=z9hG4bK{self.branches[branch]};rport\r\n"
            f"{'' if reply else 'Max-Forwards: 70' + chr(13) + chr(10)}"
            f"From: <sip:{self.caller}@{self.domain}>;tag={self.tags[0]}\r\n"
            f"To: <sip:{self.callee}@{self.domain}>{to_tag}\r\n"
            f"Call-ID: {self.call_id}\r\nCSeq: {number} {method}\r\n"
            f"Contact: <sip:{self.callee if reply else self.caller}@{target if reply else source}:5060;transport=udp>\r\n"
            f"Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, SUBSCRIBE, NOTIFY, INFO, PUBLISH, MESSAGE, UPDATE\r\n"
            f"Supported: replaces, timer, path, 100rel\r\nUser-Agent: {self.agents[reply]}\r\n"
            f"{kind}Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    def _sdp(self, host: str) -> str:
        return (
            f"v=0\r\no=- {self.session} {self.session} IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
            f"m=audio {10000 + self.session % 20000} RTP/AVP 8 0 9 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n"
            "a=rtpmap:9 G722/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
        )

    def frame(self, step: int, at: float) -> bytes:
        """The message of a step as a HEPv3 frame of time `at`."""
        ends = list(zip(self.hosts, self.ports, strict=True))
        if step in (1, 2, 3, 6):
            ends.reverse()
        (src, src_port), (dst, dst_port) = ends
        chunks = b"".join((
            _FIXED, chunk(3, b"\x0a\x00" + src.to_bytes(2)), chunk(4, b"\x0a\x00" + dst.to_bytes(2)),
            chunk(7, src_port.to_bytes(2)), chunk(8, dst_port.to_bytes(2)),
            chunk(9, int(at).to_bytes(4)), chunk(10, int(at % 1 * 1e6).to_bytes(4)), chunk(15, self.message(step)),
        ))  # fmt: skip
        return b"HEP3" + struct.pack(">H", 6 + len(chunks)) + chunks


_KINDS = (
    ("INVITE", 1, 0),
    ("INVITE", 1, 0),
    ("INVITE", 1, 0),
    ("INVITE", 1, 0),
    ("ACK", 1, 1),
    ("BYE", 2, 2),
    ("BYE", 2, 2),
)
_REPLIES = ("", "100 Trying", "180 Ringing", "200 OK", "", "", "200 OK")
_FIXED = chunk(1, b"\x02") + chunk(2, b"\x11") + chunk(11, b"\x01") + chunk(12, b"\x00\x00\x07\xd1")


def frames(count: int, start: float, rate: float = 40_000.0, seed: int = 1) -> Iterator[tuple[bytes, str]]:
    """`count` HEPv3 frames with the Call-ID of each, in order of time from `start` (seconds) on, `rate` a second."""
    dice = random.Random(seed)
    waiting: list[tuple[float, int, int, Call]] = []
    number, begins = 0, start
    for _ in range(count):
        if not waiting or begins < waiting[0][0]:
            heapq.heappush(waiting, (begins, number, 0, _call(dice)))
            number += 1
            begins += dice.expovariate(rate / 7)
        at, order, step, call = heapq.heappop(waiting)
        yield call.frame(step, at), call.call_id
        if step < 6:
            heapq.heappush(waiting, (at + dice.uniform(0.02, 2.0) * (8 if step == 4 else 1), order, step + 1, call))


def _call(dice: random.Random) -> Call:
    return Call(
        call_id=f"{dice.getrandbits(128):032x}@10.0.0.{dice.randrange(1, 250)}",
        caller=f"1{dice.randrange(10**6):06d}",
        callee=f"49{dice.randrange(10**9):09d}",
        domain=dice.choice(DOMAINS),
        tags=(f"{dice.getrandbits(32):08x}", f"{dice.getrandbits(32):08x}"),
        branches=(f"{dice.getrandbits(48):012x}", f"{dice.getrandbits(48):012x}", f"{dice.getrandbits(48):012x}"),
        agents=(dice.choice(AGENTS), dice.choice(AGENTS)),
        hosts=(dice.randrange(1, 5000), dice.randrange(60000, 60004)),
        ports=(dice.randrange(1024, 65000), 5060),
        session=dice.randrange(10**9),
    )
