"""A small lake for the tests of the commands that read one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lakes
from hepswitch.wire.hep import Hep

START = 1_795_000_000
CALLER, PROXY, CALLEE = ("192.0.2.10", 5060), ("192.0.2.1", 5060), ("2001:db8::20", 5062)

SDP = b"v=0\r\nc=IN IP4 192.0.2.10\r\nm=audio 4000 RTP/AVP 8\r\n"


def sip(first: str, call_id: str, cseq: str, sdp: bool = False, user: str = "alice", more: str = "") -> bytes:
    head = (
        f"{first}\r\nVia: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK-{cseq.replace(' ', '')}\r\n"
        f"From: <sip:{user}@example.net>;tag=1\r\nTo: <sip:bob@example.net>\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\n{more}"
    )
    body = SDP if sdp else b""
    kind = "Content-Type: application/sdp\r\n" if sdp else ""
    return f"{head}{kind}Content-Length: {len(body)}\r\n\r\n".encode() + body


def hep(at: float, source: tuple[str, int], target: tuple[str, int], payload: bytes, **chunks: Any) -> bytes:
    micro = round(at * 1_000_000)
    values = {"proto_type": 1, "proto_id": 17, "captagent_id": 7} | chunks
    return bytes(
        Hep.new(
            payload, src_ip=source[0], src_port=source[1], dst_ip=target[0], dst_port=target[1],
            timestamp=START + micro // 1_000_000, timestamp_us=micro % 1_000_000, **values,
        )
    )  # fmt: skip


def answered() -> list[bytes]:
    """A call over two hops, the second with a Call-ID of its own and IPv6; with RTCP, a log line and a retransmission."""
    a, b = "call-a@example.net", "call-b@example.net"
    proxy6 = ("2001:db8::1", 5060)
    out, back, out6, back6 = (CALLER, PROXY), (PROXY, CALLER), (proxy6, CALLEE), (CALLEE, proxy6)
    invite = sip("INVITE sip:bob@example.net SIP/2.0", a, "1 INVITE", sdp=True)
    return [
        hep(0.0, *out, invite),
        hep(0.5, *out, invite),
        hep(0.501, *out, invite, captagent_id=8),
        hep(
            0.502, *out6, sip("INVITE sip:bob@[2001:db8::20] SIP/2.0", b, "1 INVITE", sdp=True, more=f"X-CID: {a}\r\n")
        ),
        hep(0.6, *back6, sip("SIP/2.0 180 Ringing", b, "1 INVITE")),
        hep(1.0, *back6, sip("SIP/2.0 200 OK", b, "1 INVITE", sdp=True)),
        hep(1.1, *back, sip("SIP/2.0 200 OK", a, "1 INVITE", sdp=True)),
        hep(1.2, *out, sip("ACK sip:bob@192.0.2.1 SIP/2.0", a, "1 ACK")),
        hep(
            2.0,
            CALLER,
            ("192.0.2.99", 4001),
            b'{"type":200,"report_blocks":[]}',
            proto_type=5,
            correlation_id=a.encode(),
        ),
        hep(2.5, PROXY, PROXY, b"dialog \x1b[31mconfirmed", proto_type=100, correlation_id=a.encode()),
        hep(4.1, *out, sip("BYE sip:bob@192.0.2.1 SIP/2.0", a, "2 BYE")),
        hep(4.2, *back, sip("SIP/2.0 200 OK", a, "2 BYE")),
    ]


def refused() -> list[bytes]:
    call_id = "busy [x]*1@example.net"
    return [
        hep(
            10.0,
            CALLER,
            PROXY,
            sip("INVITE sip:bob@example.net SIP/2.0", call_id, "1 INVITE", user="carol"),
            proto_id=6,
        ),
        hep(10.1, PROXY, CALLER, sip("SIP/2.0 486 Busy Here", call_id, "1 INVITE", user="carol"), proto_id=6),
    ]


def lake(folder: Path) -> Path:
    """A lake in `folder` with both calls, the first sealed, the second still in the journal."""
    path = folder / "captures"
    lakes.store(path, answered())
    lakes.sealed(path)
    lakes.store(path, refused())
    return path
