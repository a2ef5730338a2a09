"""Realistic SIP traffic as HEPv3: calls of seven messages (INVITE with SDP, 100, 180, 200 with SDP, ACK, BYE, 200), about
780 bytes each, many calls at once so that their messages interleave. The same seed gives the same bytes.
"""

from __future__ import annotations

import heapq
import random
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

START = 1_795_000_000.0
MESSAGES = 7
AGENTS = [
    "Acme-SBC/7.4.1 (build 2215)",
    "FPBX-16.0.40(18.20.2)",
    "Linksys/SPA942-6.1.5(a)",
    "Yealink SIP-T46S 66.86.0.15",
]


@dataclass(frozen=True)
class Message:
    """One captured SIP message: `time` in seconds, addresses as text."""

    time: float
    source: tuple[str, int]
    target: tuple[str, int]
    payload: bytes


def calls(count: int, per_second: float = 100.0, seed: int = 1, start: float = START) -> Iterator[Message]:
    """The messages of `count` calls in the order of time; `per_second` calls begin each second."""
    dice = random.Random(seed)
    waiting: list[tuple[float, int, Message]] = []
    order = 0
    for number in range(count):
        begin = start + number / per_second
        for message in _call(dice, begin):
            heapq.heappush(waiting, (message.time, order, message))
            order += 1
        while waiting and waiting[0][0] <= begin:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]


def _call(dice: random.Random, begin: float) -> list[Message]:
    caller, callee = (f"+4930{dice.randrange(10**7, 10**8)}" for _ in range(2))
    a = (f"10.{dice.randrange(4)}.{dice.randrange(16)}.{dice.randrange(1, 255)}", 5060)
    b = (f"192.0.2.{dice.randrange(1, 20)}", 5060)
    call_id = f"{dice.randbytes(16).hex()}@{a[0]}"
    from_tag, to_tag = dice.randbytes(6).hex(), dice.randbytes(6).hex()
    agents = dice.choice(AGENTS), dice.choice(AGENTS)
    session, port_a, port_b = dice.randrange(10**9), dice.randrange(10000, 30000, 2), dice.randrange(10000, 30000, 2)
    ring, talk = dice.uniform(0.5, 4.0), dice.uniform(2.0, 60.0)

    def message(
        after: float,
        start_line: str,
        cseq: str,
        branch: str,
        body: str = "",
        tag: bool = True,
        back: bool = False,
        ua: int = 0,
    ) -> Message:
        head = [
            start_line,
            f"Via: SIP/2.0/UDP {a[0]}:5060;branch=z9hG4bK{branch};rport",
            f'From: "Customer {caller[-4:]}" <sip:{caller}@voice.example.net>;tag={from_tag}',
            f"To: <sip:{callee}@voice.example.net>" + (f";tag={to_tag}" if tag else ""),
            f"Call-ID: {call_id}",
            f"CSeq: {cseq}",
            f"Contact: <sip:{caller if not back else callee}@{(a if not back else b)[0]}:5060;transport=udp>",
            "Max-Forwards: 70",
            "Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, INFO",
            "Supported: replaces, timer, 100rel, path, gruu",
            f"User-Agent: {agents[ua]}",
            f"P-Asserted-Identity: <sip:{caller}@voice.example.net>",
            f"P-Charging-Vector: icid-value={call_id[:20]};orig-ioi=voice.example.net",
        ]
        if body:
            head.append("Content-Type: application/sdp")
        head.append(f"Content-Length: {len(body)}")
        payload = "\r\n".join([*head, "", body]).encode()
        return Message(begin + after, b if back else a, a if back else b, payload)

    def sdp(ip: str, port: int) -> str:
        return (
            f"v=0\r\no=- {session} {session} IN IP4 {ip}\r\ns=call\r\nc=IN IP4 {ip}\r\nt=0 0\r\n"
            f"m=audio {port} RTP/AVP 8 0 18 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:18 G729/8000\r\n"
            "a=fmtp:18 annexb=no\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n"
        )

    invite, ack, bye = (dice.randbytes(8).hex() for _ in range(3))
    uri = f"sip:{callee}@{b[0]}:5060"
    return [
        message(0.0, f"INVITE {uri} SIP/2.0", "1 INVITE", invite, sdp(a[0], port_a), tag=False),
        message(0.02, "SIP/2.0 100 Trying", "1 INVITE", invite, tag=False, back=True, ua=1),
        message(0.3, "SIP/2.0 180 Ringing", "1 INVITE", invite, back=True, ua=1),
        message(ring, "SIP/2.0 200 OK", "1 INVITE", invite, sdp(b[0], port_b), back=True, ua=1),
        message(ring + 0.05, f"ACK {uri} SIP/2.0", "1 ACK", ack),
        message(ring + talk, f"BYE {uri} SIP/2.0", "2 BYE", bye),
        message(ring + talk + 0.03, "SIP/2.0 200 OK", "2 BYE", bye, back=True, ua=1),
    ]


def hep(message: Message, captagent_id: int = 2001, correlation_id: bytes = b"", proto_type: int = 1) -> bytes:
    """The HEPv3 packet that a capture agent sends for `message`."""
    microseconds = round(message.time * 1_000_000)
    chunks = [
        (1, b"\x02"),
        (2, b"\x11"),
        (3, socket.inet_aton(message.source[0])),
        (4, socket.inet_aton(message.target[0])),
        (7, struct.pack(">H", message.source[1])),
        (8, struct.pack(">H", message.target[1])),
        (9, struct.pack(">I", microseconds // 1_000_000)),
        (10, struct.pack(">I", microseconds % 1_000_000)),
        (11, bytes([proto_type])),
        (12, struct.pack(">I", captagent_id)),
        (0x13, b"edge-7"),
        *([(0x11, correlation_id)] if correlation_id else []),
        (15, message.payload),
    ]
    body = b"".join(struct.pack(">HHH", 0, chunk, len(value) + 6) + value for chunk, value in chunks)
    return b"HEP3" + struct.pack(">H", len(body) + 6) + body
