# ruff: noqa: E501
"""Answers of the API as they are in earnest, for the stand-in: calls out of `traffic`, and a switch with two agents."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

NOW = 1_795_003_600.0
"""The moment at which the data was made."""

NUMBERS = ["+493012345678", "+441632960123", "+12025550143", "2001", "2002", "alice", "bob", "conference"]
ENDS = [(200, "OK")] * 8 + [
    (486, "Busy Here"),
    (487, "Request Terminated"),
    (404, "Not Found"),
    (503, "Service Unavailable"),
]


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def call(number: int, now: float = NOW) -> dict[str, Any]:
    dice = random.Random(number)
    status, reason = dice.choice(ENDS)
    start = now - number * 2.8 - dice.uniform(0.1, 2.5)
    setup = round(dice.uniform(0.2, 5), 6)
    duration = round(dice.uniform(4, 600), 6) if status == 200 else None
    return {
        "call_id": f"{dice.randbytes(12).hex()}@10.0.{number % 4}.{number % 200}",
        "start": stamp(start),
        "end": stamp(start + setup + (duration or 0.1)),
        "method": "REGISTER" if number % 17 == 5 else "INVITE",
        "from_user": dice.choice(NUMBERS),
        "from_domain": "voice.example.net",
        "to_user": dice.choice(NUMBERS),
        "to_domain": "voice.example.net",
        "status": status,
        "reason": reason,
        "setup": setup,
        "duration": duration,
        "messages": dice.choice([7, 7, 9, 14]),
        "legs": dice.choice([1, 1, 1, 2]),
    }


CALLS = [call(number) for number in range(1_250)]


def one_call() -> dict[str, Any]:
    """A call of two legs through an SBC, with a challenge, a retransmission, RTCP and a log line."""
    start = NOW - 60
    legs = ["a84b4c76e66710@10.0.0.1", "b2b-77dfe1c0@10.0.0.2"]
    hosts = [("10.0.0.1", "phone"), ("10.0.0.2", "sbc1"), ("192.0.2.7", None)]
    events: list[dict[str, Any]] = []

    def sip(offset: float, source: int, target: int, line: str, leg: int, cseq: int, method: str, **more: Any) -> None:
        reply = line.startswith("SIP/2.0")
        body = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8\r\na=sendrecv\r\n"
        sdp = bool(more.pop("sdp", False))
        payload = (
            f"{line}\r\nVia: SIP/2.0/UDP {hosts[source][0]}:5060;branch=z9hG4bK{leg}{cseq}\r\n"
            f'From: "Alice Liddell" <sip:2001@voice.example.net>;tag=f{leg}\r\n'
            f"To: <sip:+493012345678@voice.example.net>{';tag=t' + str(leg) if reply and '100' not in line else ''}\r\n"
            f"Call-ID: {legs[leg]}\r\nCSeq: {cseq} {method}\r\nUser-Agent: Acme-SBC/7.4.1\r\n"
            + (
                f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n\r\n{body}"
                if sdp
                else "Content-Length: 0\r\n\r\n"
            )
        )
        events.append(
            event(
                offset,
                "reply" if reply else "request",
                source,
                target,
                line.removeprefix("SIP/2.0 ") if reply else method,
            )
            | {
                "leg": leg,
                "status": int(line.split()[1]) if reply else None,
                "method": method,
                "cseq": cseq,
                "sdp": sdp,
                "dialog": leg,
            }
            | more
        )
        events[-1]["message"]["payload"] = payload
        events[-1]["message"]["size"] = len(payload)

    def event(offset: float, kind: str, source: int, target: int, label: str) -> dict[str, Any]:
        return {
            "id": f"{len(events) + 1}", "at": stamp(start + offset), "offset": offset, "kind": kind, "source": source, "target": target,
            "label": label, "leg": 0, "status": None, "method": None, "cseq": None, "sdp": False, "retransmission": False,
            "copies": 1, "dialog": None, "quality": None,
            "message": {
                "src_ip": hosts[source][0], "src_port": 5060, "dst_ip": hosts[target][0], "dst_port": 5060, "proto": "UDP",
                "captagent_id": 2001, "node_name": "edge-7", "size": 96, "payload": '{"sender_information":{}}',
            },
        }  # fmt: skip

    invite = "INVITE sip:+493012345678@voice.example.net SIP/2.0"
    sip(0.0, 0, 1, invite, 0, 1, "INVITE", sdp=True)
    sip(0.004, 1, 0, "SIP/2.0 407 Proxy Authentication Required", 0, 1, "INVITE")
    sip(0.021, 0, 1, "ACK sip:+493012345678@voice.example.net SIP/2.0", 0, 1, "ACK")
    sip(0.024, 0, 1, invite, 0, 2, "INVITE", sdp=True)
    sip(0.026, 1, 0, "SIP/2.0 100 Trying", 0, 2, "INVITE")
    sip(0.031, 1, 2, invite, 1, 101, "INVITE", sdp=True)
    sip(0.531, 1, 2, invite, 1, 101, "INVITE", sdp=True, retransmission=True)
    sip(0.590, 2, 1, "SIP/2.0 180 Ringing", 1, 101, "INVITE")
    sip(0.593, 1, 0, "SIP/2.0 180 Ringing", 0, 2, "INVITE")
    sip(4.211, 2, 1, "SIP/2.0 200 OK", 1, 101, "INVITE", sdp=True)
    sip(4.214, 1, 0, "SIP/2.0 200 OK", 0, 2, "INVITE", sdp=True)
    sip(4.240, 0, 1, "ACK sip:+493012345678@10.0.0.2 SIP/2.0", 0, 2, "ACK")
    sip(4.243, 1, 2, "ACK sip:+493012345678@192.0.2.7 SIP/2.0", 1, 101, "ACK")
    events.append(event(9.3, "rtcp", 2, 1, "RTCP") | {"quality": {"loss": 0.4, "jitter": 3.2, "mos": 4.3}})
    events.append(event(9.6, "rtcp", 0, 1, "RTCP") | {"quality": {"loss": 6.1, "jitter": 48.0, "mos": 2.9}})
    events.append(event(11.0, "log", 1, 1, "log"))
    events[-1]["message"]["payload"] = "NOTICE: media timeout of 2001 is near <5 s>"
    sip(20.211, 0, 1, "BYE sip:+493012345678@10.0.0.2 SIP/2.0", 0, 3, "BYE")
    sip(20.214, 1, 0, "SIP/2.0 200 OK", 0, 3, "BYE")
    sip(20.215, 1, 2, "BYE sip:+493012345678@192.0.2.7 SIP/2.0", 1, 102, "BYE")
    sip(20.260, 2, 1, "SIP/2.0 200 OK", 1, 102, "BYE")
    summary = call(1) | {
        "call_id": legs[0], "start": stamp(start), "end": stamp(start + 20.26), "method": "INVITE", "from_user": "2001", "to_user": "+493012345678",
        "status": 200, "reason": "OK", "setup": 0.59, "duration": 16.0, "messages": len(events), "legs": 2, "outcome": "answered, 16.0 s",
    }  # fmt: skip
    endpoints = [{"label": f"{host}:5060", "host": host, "name": name} for host, name in hosts]
    return {"call": summary, "legs": legs, "endpoints": endpoints, "events": events, "warnings": [], "seconds": 0.012}


def live(number: int) -> dict[str, Any]:
    """A packet of the live stream."""
    dice = random.Random(number)
    reply = dice.random() < 0.5
    return {
        "at": stamp(NOW + number / 10), "src_ip": "10.0.0.1", "src_port": 5060, "dst_ip": "192.0.2.7", "dst_port": 5060, "proto_type": 1,
        "captagent_id": 2001, "node_name": "edge-7", "method": None if reply else "INVITE", "status": dice.choice([100, 180, 200, 486, 503]) if reply else None,
        "reason": "…" if reply else None, "cseq_method": "INVITE", "from_user": dice.choice(NUMBERS), "to_user": dice.choice(NUMBERS),
        "call_id": CALLS[number % 40]["call_id"], "correlation_id": None, "size": 780, "outcome": dice.choice(["stored", "relayed", "dropped"]),
    }  # fmt: skip


AGENTS = {
    "agents": [
        {"captagent_id": 2001, "node_name": "edge-7", "src_ip": "10.0.0.1", "listener": "udp://0.0.0.0:9060", "versions": [3], "packets": 1_204_311,
         "bytes": 940_000_000, "rate": 412.5, "types": {"sip": 1_100_000, "rtcp": 104_311}, "skew": 0.002, "first_seen": stamp(NOW - 86400), "last_seen": stamp(NOW)},
        {"captagent_id": 2002, "node_name": None, "src_ip": "10.0.0.9", "listener": "tcp://0.0.0.0:9060", "versions": [2, 3], "packets": 911,
         "bytes": 700_000, "rate": 0.0, "types": {"sip": 911}, "skew": 7200.4, "first_seen": stamp(NOW - 9000), "last_seen": stamp(NOW - 1900)},
    ],
    "forgotten": 0,
}  # fmt: skip
STATUS = {
    "version": "0.1.0", "uptime": 93_211.0, "capturing": True, "tracing": True, "workers": 2,
    "processes": [{"pid": 11, "kind": "supervisor"}, {"pid": 12, "kind": "worker 1"}, {"pid": 13, "kind": "worker 2"}, {"pid": 14, "kind": "keeper lake"}],
    "listeners": ["udp://0.0.0.0:9060", "tcp://0.0.0.0:9060"],
    "hints": ["The kernel dropped 120 packets of udp://0.0.0.0:9060: raise the receive buffer: sysctl -w net.core.rmem_max=33554432"],
}  # fmt: skip
STATS = {
    "received": {"udp://0.0.0.0:9060": {"packets": 1_204_311, "bytes": 940_000_000, "malformed": 12, "refused": {"access": 4}, "kernel_drops": 120},
                 "tcp://0.0.0.0:9060": {"packets": 911, "bytes": 700_000, "malformed": 0, "refused": {}, "kernel_drops": 0}},
    "routed": {"packets": 1_205_206, "dropped": {"options": 20_112}, "unrouted": 3, "errors": 1},
    "destinations": {"homer": {"accepted": 1_100_000, "delivered": 1_088_000, "queued": 0, "spooled": 12_000, "discarded": {},
                     "nodes": {"udp://10.0.0.1:9060": {"state": "active", "delivered": 1_088_000, "queued": 0, "spooled": 0, "discarded": {}}}}},
    "stores": {"lake": {"accepted": 1_185_000, "delivered": 1_184_900, "queued": 100, "spooled": 0, "discarded": {}}},
    "traces": {}, "uptime": 93_211.0, "balanced": True,
}  # fmt: skip
DESTINATIONS = {
    "homer": {"policy": "call", "nodes": [
        {"url": "udp://10.0.0.1:9060", "state": "enabled", "health": "active", "weight": 1, "priority": 0, "accepted": 1_088_000, "delivered": 1_088_000,
         "queued": 0, "spooled": 0, "since": stamp(NOW - 86_400), "last_error": None},
        {"url": "tcp://10.0.0.2:9060", "state": "enabled", "health": "inactive", "weight": 2, "priority": 0, "accepted": 12_000, "delivered": 0,
         "queued": 0, "spooled": 12_000, "since": stamp(NOW - 300), "last_error": "Connection refused"}]},
}  # fmt: skip
EVENTS = {
    "events": [
        {"at": stamp(NOW - 31), "level": "error", "event": "route failed", "process": "worker 1",
         "details": {"script": "route.py:12", "error": "AttributeError: 'NoneType' object has no attribute 'method'"}},
        {"at": stamp(NOW - 300), "level": "warning", "event": "node is away", "process": "worker 2", "details": {"node": "tcp://10.0.0.2:9060"}},
    ]
}  # fmt: skip
TRACES = {"on": True, "traces": {}, "calls": 0, "evicted": 0}
