"""One call that has everything the Call screen must draw, as packets of capture agents.

alice → SBC (first Call-ID) → proxy (second Call-ID, tied to the first by the correlation id), which forks to two phones of
bob. The INVITE is sent three times before the SBC answers, the mobile phone is cancelled when the desk phone answers, there
is a hold (re-INVITE with sendonly), RTCP of both sides, a log line, a message that two agents captured, and a display
name that is Latin-1 rather than UTF-8. `long_call` is one dialog of as many messages as wanted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from traffic import Message, hep

START = 1_795_000_000.0
CALL_ID = "a84b4c76e66710@pc33.example.net"
SECOND_CALL_ID = "b2bua-77f1-0001@192.0.2.1"
ALICE, SBC = ("198.51.100.10", 5060), ("192.0.2.1", 5060)
PROXY, DESK, MOBILE = ("192.0.2.2", 5060), ("203.0.113.21", 5060), ("203.0.113.22", 5060)
ALICE_MEDIA, SBC_MEDIA = ("198.51.100.10", 20001), ("192.0.2.1", 30001)


@dataclass(frozen=True)
class _Leg:
    """What the messages of one leg have in common."""

    call_id: str
    from_tag: str
    via: str

    def message(
        self,
        at: float,
        ends: tuple[tuple[str, int], tuple[str, int]],
        start_line: str,
        cseq: str,
        branch: str,
        to_tag: str = "",
        body: str = "",
        more: tuple[str, ...] = (),
        name: bytes = b"Alice",
    ) -> Message:
        source, target = ends
        head = [
            start_line,
            f"Via: SIP/2.0/UDP {self.via}:5060;branch=z9hG4bK{branch};rport",
            *more,
            f'From: "\0" <sip:+4930111@voice.example.net>;tag={self.from_tag}',
            "To: <sip:+4989222@voice.example.net>" + (f";tag={to_tag}" if to_tag else ""),
            f"Call-ID: {self.call_id}",
            f"CSeq: {cseq}",
            f"Contact: <sip:{source[0]}:5060>",
            "Max-Forwards: 70",
            "User-Agent: Acme-SBC/7.4.1 (build 2215)",
        ]
        if body:
            head.append("Content-Type: application/sdp")
        head.append(f"Content-Length: {len(body)}")
        payload = "\r\n".join([*head, "", body]).encode().replace(b"\0", name)
        return Message(START + at, source, target, payload)


A = _Leg(CALL_ID, "1928301774", "198.51.100.10")
B = _Leg(SECOND_CALL_ID, "sbc-42", "192.0.2.1")


def sdp(ip: str, port: int, payloads: str = "8 0 101", direction: str = "sendrecv") -> str:
    """An offer or answer of one audio stream."""
    return (
        f"v=0\r\no=- 74321 74321 IN IP4 {ip}\r\ns=call\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP {payloads}\r\n"
        "a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n"
        f"a=ptime:20\r\na={direction}\r\n"
    )


def packets() -> list[bytes]:
    """The call as HEP packets in the order of time."""
    return [packet for _, packet in sorted(_packets(), key=lambda timed: timed[0])]


def _packets() -> Iterator[tuple[float, bytes]]:
    for message in _first_leg():
        yield message.time, hep(message)
    for message in _second_leg():
        yield message.time, hep(message, correlation_id=CALL_ID.encode())
    twice = next(message for message in _second_leg() if message.payload.startswith(b"INVITE"))
    yield twice.time + 0.004, hep(Message(twice.time + 0.004, twice.source, twice.target, twice.payload), 2002)
    for message in _reports():
        yield message.time, hep(message, correlation_id=CALL_ID.encode(), proto_type=5)
    line = b"WARNING: route 7: gateway 203.0.113.22 answered late, next target is tried"
    log = Message(START + 2.2, PROXY, PROXY, line)
    yield log.time, hep(log, correlation_id=SECOND_CALL_ID.encode(), proto_type=100)


def _first_leg() -> list[Message]:
    out, back, uri = (ALICE, SBC), (SBC, ALICE), "sip:+4989222@voice.example.net"
    offer, answer = sdp(ALICE[0], 20000), sdp(SBC[0], 30000, "8 101")
    invite = (out, f"INVITE {uri} SIP/2.0", "1 INVITE", "a1")
    return [
        *(A.message(at, *invite, body=offer, name=b"Alice M\xfcller") for at in (0.0, 0.5, 1.5)),
        A.message(1.52, back, "SIP/2.0 100 Trying", "1 INVITE", "a1"),
        A.message(2.1, back, "SIP/2.0 180 Ringing", "1 INVITE", "a1", "sbc-a"),
        A.message(6.31, back, "SIP/2.0 200 OK", "1 INVITE", "a1", "sbc-a", answer),
        A.message(6.36, out, f"ACK {uri} SIP/2.0", "1 ACK", "a2", "sbc-a"),
        A.message(18.0, out, f"INVITE {uri} SIP/2.0", "2 INVITE", "a3", "sbc-a", sdp(ALICE[0], 20000, "8", "sendonly")),
        A.message(18.01, back, "SIP/2.0 100 Trying", "2 INVITE", "a3", "sbc-a"),
        A.message(18.2, back, "SIP/2.0 200 OK", "2 INVITE", "a3", "sbc-a", sdp(SBC[0], 30000, "8", "recvonly")),
        A.message(18.25, out, f"ACK {uri} SIP/2.0", "2 ACK", "a4", "sbc-a"),
        A.message(31.4, out, f"BYE {uri} SIP/2.0", "3 BYE", "a5", "sbc-a"),
        A.message(31.43, back, "SIP/2.0 200 OK", "3 BYE", "a5", "sbc-a"),
    ]


def _second_leg() -> list[Message]:
    uri, offer = "sip:+4989222@203.0.113.2", sdp(SBC[0], 30010)
    to_proxy, from_proxy = (SBC, PROXY), (PROXY, SBC)
    via = ("Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKb1", "Record-Route: <sip:192.0.2.2;lr>")
    return [
        B.message(1.55, to_proxy, f"INVITE {uri} SIP/2.0", "1 INVITE", "b1", body=offer),
        B.message(1.56, from_proxy, "SIP/2.0 100 Trying", "1 INVITE", "b1"),
        B.message(1.58, (PROXY, DESK), "INVITE sip:bob@203.0.113.21 SIP/2.0", "1 INVITE", "f1", "", offer, via),
        B.message(1.59, (PROXY, MOBILE), "INVITE sip:bob@203.0.113.22 SIP/2.0", "1 INVITE", "f2", "", offer, via),
        B.message(1.7, (DESK, PROXY), "SIP/2.0 180 Ringing", "1 INVITE", "f1", "desk", more=via),
        B.message(1.75, from_proxy, "SIP/2.0 180 Ringing", "1 INVITE", "b1", "desk"),
        B.message(2.9, (MOBILE, PROXY), "SIP/2.0 180 Ringing", "1 INVITE", "f2", "mobile", more=via),
        B.message(6.2, (DESK, PROXY), "SIP/2.0 200 OK", "1 INVITE", "f1", "desk", sdp(DESK[0], 4000, "8 101"), via),
        B.message(6.21, (PROXY, MOBILE), "CANCEL sip:bob@203.0.113.22 SIP/2.0", "1 CANCEL", "f2"),
        B.message(6.22, from_proxy, "SIP/2.0 200 OK", "1 INVITE", "b1", "desk", sdp(DESK[0], 4000, "8 101")),
        B.message(6.24, (MOBILE, PROXY), "SIP/2.0 200 OK", "1 CANCEL", "f2", "mobile"),
        B.message(6.25, (MOBILE, PROXY), "SIP/2.0 487 Request Terminated", "1 INVITE", "f2", "mobile"),
        B.message(6.26, (PROXY, MOBILE), "ACK sip:bob@203.0.113.22 SIP/2.0", "1 ACK", "f2", "mobile"),
        B.message(6.4, to_proxy, f"ACK {uri} SIP/2.0", "1 ACK", "b2", "desk"),
        B.message(6.41, (PROXY, DESK), "ACK sip:bob@203.0.113.21 SIP/2.0", "1 ACK", "b2", "desk"),
        B.message(31.5, to_proxy, f"BYE {uri} SIP/2.0", "2 BYE", "b3", "desk"),
        B.message(31.51, (PROXY, DESK), "BYE sip:bob@203.0.113.21 SIP/2.0", "2 BYE", "b3", "desk"),
        B.message(31.6, (DESK, PROXY), "SIP/2.0 200 OK", "2 BYE", "b3", "desk"),
        B.message(31.61, from_proxy, "SIP/2.0 200 OK", "2 BYE", "b3", "desk"),
    ]


def _reports() -> Iterator[Message]:
    """Sender reports of both sides, every five seconds; what alice hears gets worse."""
    for number in range(5):
        for side, (source, target) in enumerate(((ALICE_MEDIA, SBC_MEDIA), (SBC_MEDIA, ALICE_MEDIA))):
            lost = number * 9 if side == 0 else 0
            block = {"source_ssrc": 77 + side, "fraction_lost": lost, "packets_lost": lost * 2, "highest_seq_no": 250,
                     "ia_jitter": 40 + 60 * number, "lsr": 0, "dlsr": 0}  # fmt: skip
            report = {"sender_information": {"ntp_timestamp_sec": 1, "ntp_timestamp_usec": 0, "rtp_timestamp": 160,
                      "packets": 250 * (number + 1), "octets": 40000 * (number + 1)}, "ssrc": 70 + side, "type": 200,
                      "report_count": 1, "report_blocks": [block]}  # fmt: skip
            yield Message(START + 9.5 + 4.5 * number + 0.7 * side, source, target, json.dumps(report).encode())


def long_call(messages: int) -> Iterator[bytes]:
    """One dialog with INFO after INFO: about `messages` SIP messages under `LONG_CALL_ID`."""
    leg = _Leg(LONG_CALL_ID, "long", "198.51.100.10")
    out, back, uri = (ALICE, SBC), (SBC, ALICE), "sip:ivr@192.0.2.1"
    yield hep(leg.message(0.0, out, f"INVITE {uri} SIP/2.0", "1 INVITE", "l1", body=sdp(ALICE[0], 20000)))
    yield hep(leg.message(0.2, back, "SIP/2.0 200 OK", "1 INVITE", "l1", "ivr", sdp(SBC[0], 30000)))
    yield hep(leg.message(0.3, out, f"ACK {uri} SIP/2.0", "1 ACK", "l2", "ivr"))
    for number in range(2, messages // 2):
        yield hep(leg.message(number * 0.4, out, f"INFO {uri} SIP/2.0", f"{number} INFO", f"i{number}", "ivr"))
        yield hep(leg.message(number * 0.4 + 0.1, back, "SIP/2.0 200 OK", f"{number} INFO", f"i{number}", "ivr"))


LONG_CALL_ID = "long-ivr-menu@198.51.100.10"
