"""Captured frames become HEP packets, and whatever does not is counted."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.books import Listener
from hepswitch.wire.envelopes import Envelopes
from hepswitch.wire.hep import Hep
from hepswitch.wire.intake import Intake, looks_like_hep
from hepswitch.wire.ip import FrameBuilder
from hepswitch.wire.pcap import CapturedFrame

A, B = "10.0.0.1", "10.0.0.2"
NOW = 1_700_000_000_000_007
REPORT = struct.pack("!BBHI", 0x80, 201, 1, 7)


def sip(call_id: str = "one@h", body: bytes = b"", first: str = "INVITE sip:bob@h SIP/2.0") -> bytes:
    return f"{first}\r\nCall-ID: {call_id}\r\nCSeq: 1 INVITE\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def sdp(address: str, port: int, more: str = "") -> bytes:
    family = "IP6" if ":" in address else "IP4"
    return f"v=0\r\nc=IN {family} {address}\r\nm=audio {port} RTP/AVP 0\r\n{more}".encode()


class Wire:
    """An intake, and frames put in as Ethernet."""

    def __init__(self, ports: list[tuple[int, int]] | None = None, **options: Any) -> None:
        self.listener = Listener("mirror://test")
        self.intake = Intake(Envelopes(self.listener), [(5060, 5061)] if ports is None else ports, **options)
        self.builder = FrameBuilder()
        self.given = 0

    def put(self, payload: bytes, sport: int = 5060, dport: int = 5060, src: str = A, dst: str = B, **how: Any) -> None:
        for made in self.builder.frames(how.pop("proto", 17), src, sport, dst, dport, payload):
            self.frame(made, **how)

    def frame(self, data: bytes, linktype: int = 1, time_us: int = NOW, original: int = 0, vlan: int = -1) -> None:
        self.intake.add(CapturedFrame(time_us, linktype, data, original or len(data)), vlan)

    def packets(self) -> list[Hep]:
        """What came out since the last time, counted as the flow would."""
        found = [Hep(packet) for packet in self.intake.batch()]
        self.intake.clear()
        self.listener.packets += len(found)
        self.given += len(found)
        return found

    @property
    def balanced(self) -> bool:
        listener = self.listener
        assert listener.malformed == sum(listener.malformed_reasons.values())
        return listener.packets == self.given + listener.malformed + sum(listener.refused.values())


@pytest.mark.parametrize(("src", "dst", "family"), [(A, B, 2), ("2001:db8::1", "2001:db8::2", 10)])
def test_sip_over_udp(src: str, dst: str, family: int) -> None:
    wire = Wire()
    wire.put(sip(), 5060, 40_000, src, dst)
    wire.put(sip("two@h"), 40_000, 5061, src, dst, vlan=7)
    first, second = wire.packets()
    assert bytes(first) == bytes(
        Hep.new(
            sip(), src_ip=src, dst_ip=dst, src_port=5060, dst_port=40_000, timestamp=NOW // 10**6, timestamp_us=7,
            captagent_id=2001, correlation_id=b"one@h",
        )
    )  # fmt: skip
    assert (second.vlan_id, second.correlation_id, second.proto_family) == (7, b"two@h", family)
    assert (wire.listener.frames, wire.listener.packets, wire.balanced) == (2, 2, True)


def test_a_tag_in_the_frame_says_the_vlan() -> None:
    wire = Wire()
    (plain,) = FrameBuilder().frames(17, A, 5060, B, 5060, sip())
    wire.frame(plain[:12] + b"\x88\xa8\0\5\x81\0\x60\7" + plain[12:], vlan=9)
    wire.frame(plain[:12] + b"\x81\0\x60\0" + plain[12:], vlan=9)  # a priority only
    assert [hep.vlan_id for hep in wire.packets()] == [7, 9]


@pytest.mark.parametrize("linktype", [1, 101, 113, 276, 0])
def test_link_types(linktype: int) -> None:
    wire = Wire()
    ip = FrameBuilder().frames(17, A, 5060, B, 5060, sip())[0][14:]
    front = {1: bytes(12) + b"\x08\0", 101: b"", 113: bytes(14) + b"\x08\0", 276: b"\x08\0" + bytes(18), 0: bytes(4)}
    wire.frame(front[linktype] + ip, linktype)
    wire.frame(ip, 147)
    assert [hep.payload for hep in wire.packets()] == [sip()]
    assert wire.listener.frames == 2


def test_other_traffic_is_only_looked_at() -> None:
    wire = Wire()
    wire.put(sip(), 6000, 6001)
    wire.put(sip(), 6000, 6001, proto=6)
    wire.put(b"\x80" + bytes(171), 20_000, 20_002)
    wire.frame(bytes(12) + b"\x08\x06" + bytes(28))
    wire.frame(bytes(12) + b"\x08\0\x45" + bytes(8) + b"\x59" + bytes(60))  # OSPF
    assert wire.packets() == []
    assert (wire.listener.frames, wire.listener.packets) == (5, 0)


def test_without_ports_all_are_wanted() -> None:
    wire = Wire([])
    wire.put(sip(), 6000, 6001)
    wire.put(b"GET /", 6000, 6001)
    assert [hep.payload for hep in wire.packets()] == [sip()]
    assert wire.listener.refused == {"not SIP": 1}


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "keep-alive"),
        (b"\r\n\r\n", "keep-alive"),
        (bytes(4), "keep-alive"),
        (b"\0\1\0\0\x21\x12\xa4\x42" + bytes(12), "keep-alive"),
        (b"hello", "not SIP"),
        (bytes(Hep.new(sip())), "not SIP"),
        (REPORT, "RTCP of no known call"),
    ],
)
def test_what_is_no_sip_is_refused(payload: bytes, reason: str) -> None:
    wire = Wire()
    wire.put(payload)
    assert wire.packets() == []
    assert (wire.listener.refused, wire.listener.bytes, wire.balanced) == ({reason: 1}, len(payload), True)


def test_hep_inside_comes_out_as_it_is() -> None:
    wire = Wire(hep=True)
    inner = bytes(Hep.new(sip(), src_ip=A, captagent_id=9))
    wire.put(inner)
    wire.put(inner, proto=6)
    assert [bytes(hep) for hep in wire.packets()] == [inner, inner]


def test_what_the_capture_cut_is_kept_and_counted() -> None:
    wire = Wire()
    (whole,) = FrameBuilder().frames(17, A, 5060, B, 5060, sip(body=bytes(500)))
    wire.frame(whole[:200], original=len(whole))
    (hep,) = wire.packets()
    assert hep.payload == sip(body=bytes(500))[: 200 - 42]
    assert (wire.listener.truncated, wire.balanced) == (1, True)


def test_what_hep_cannot_say_is_malformed() -> None:
    wire = Wire()
    wire.put(sip(body=bytes(65_450)))
    wire.put(sip(), time_us=2**32 * 10**6)
    assert wire.packets() == []
    assert wire.listener.malformed_reasons == {"too large for HEP": 1, "time after 2106": 1}
    assert wire.balanced


def test_tcp_and_fragments() -> None:
    wire = Wire()
    wire.put(sip() + sip("two@h"), proto=6)
    ip = FrameBuilder().frames(17, A, 5060, B, 5060, sip("three@h", bytes(3000)))[0][14:]
    parts = [ip[20 + at : 20 + at + 1480] for at in range(0, len(ip) - 20, 1480)]
    for number, part in enumerate(parts):
        flags = number * 185 | (0x2000 if number + 1 < len(parts) else 0)
        head = ip[:2] + struct.pack("!HHH", 20 + len(part), 7, flags) + ip[8:20]
        wire.frame(head + part, 101)
    assert [(hep.correlation_id, hep.proto_id) for hep in wire.packets()] == [
        (b"one@h", 6),
        (b"two@h", 6),
        (b"three@h", 17),
    ]
    wire.frame(ip[:2] + struct.pack("!HHH", 1500, 8, 0x2000) + ip[8:1500], 101)
    wire.put(b"nothing of ours", time_us=NOW + 32_000_000, dport=9, sport=9)  # the time goes on
    assert wire.listener.malformed_reasons == {"incomplete fragments": 1}
    assert wire.balanced


def test_rests_of_datagrams_that_nobody_wants_are_nothing_and_make_room() -> None:
    """The filter of a mirror holds their first fragments back and lets the others through."""
    wire = Wire()
    ip = FrameBuilder().frames(17, A, 5060, B, 5060, sip(body=bytes(3000)))[0][14:]
    wire.frame(ip[:2] + struct.pack("!HHH", 1500, 7, 0x2000) + ip[8:1500], 101)
    for number in range(1000):
        wire.frame(ip[:2] + struct.pack("!HHH", 520, 100 + number, 185) + ip[8:20] + bytes(500), 101)
    rest = ip[1500:]
    wire.frame(ip[:2] + struct.pack("!HHH", 20 + len(rest), 7, 185) + ip[8:20] + rest, 101)
    assert [hep.payload for hep in wire.packets()] == [sip(body=bytes(3000))]
    wire.intake.finish()
    assert (wire.listener.malformed, wire.balanced) == (0, True)


def test_a_stream_of_something_else_is_counted_once() -> None:
    wire = Wire()
    for number in range(5):
        wire.put(b"\x16\3\1 no SIP\n" * 20, 40_000, 5061, proto=6, time_us=NOW + number)
    assert wire.packets() == []
    assert (wire.listener.refused, wire.balanced) == ({"not SIP": 1}, True)


def test_what_is_waiting_at_the_end_comes_out() -> None:
    wire = Wire()
    wire.put(sip(body=bytes(50))[:-1], proto=6)
    assert wire.packets() == []
    wire.intake.finish()
    assert [hep.payload for hep in wire.packets()] == [sip(body=bytes(50))[:-1]]


@pytest.mark.parametrize(
    ("body", "src", "dst", "port"),
    [
        (sdp(A, 4000), B, A, 4001),
        (sdp(A, 4000), A, B, 9),
        (sdp(A, 4000, "a=rtcp:5000 IN IP4 10.9.9.9\r\n"), B, "10.9.9.9", 5000),
        (sdp(A, 4000, "a=rtcp-mux\r\n"), B, A, 4000),
        (sdp(B, 4000, f"m=video 6000 RTP/AVP 31\r\nc=IN IP4 {A}\r\n"), B, A, 6001),
        (sdp("2001:db8:0::7", 4000), "2001:db8::1", "2001:db8::7", 4001),
    ],
)
def test_rtcp_of_a_call(body: bytes, src: str, dst: str, port: int) -> None:
    wire = Wire()
    wire.put(sip(body=body))
    wire.put(REPORT, 4001, port, src, dst)
    _, report = wire.packets()
    assert (report.proto_type, report.correlation_id, report.src_ip, report.dst_port) == (5, b"one@h", src, port)
    assert json.loads(report.payload or b"")["type"] == 201
    wire.put(sip("two@h", body))  # the same ports in another call
    wire.put(REPORT, 4001, port, src, dst)
    wire.put(REPORT, 4001, port + 2, "10.7.7.7", dst)
    assert [hep.correlation_id for hep in wire.packets()] == [b"two@h", b"two@h"]
    assert wire.listener.refused == {"RTCP of no known call": 1}


def test_rtcp_that_reports_nothing_and_rtcp_that_nobody_wants() -> None:
    wire = Wire()
    wire.put(sip(body=sdp(A, 4000)))
    wire.put(struct.pack("!BBHI", 0x81, 203, 1, 7), 9, 4001, B, A)  # BYE alone
    assert len(wire.packets()) == 1
    assert wire.listener.refused == {"RTCP without a report": 1}
    deaf = Wire(rtcp=False)
    deaf.put(sip(body=sdp(A, 4000)))
    deaf.put(REPORT, 9, 4001, B, A)
    assert len(deaf.packets()) == 1
    assert deaf.listener.packets == 1


@pytest.mark.parametrize("ports", [[(5, 4)], [(-1, 4)], [(0, 65_536)]])
def test_ranges_that_are_none(ports: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="is no range of ports"):
        Intake(Envelopes(Listener("x")), ports)


PLAIN = [
    FrameBuilder().frames(proto, src, 5060, dst, 5060, payload)[0]
    for proto in (17, 6)
    for src, dst in ((A, B), ("2001:db8::1", "2001:db8::2"))
    for payload in (sip(body=sdp(A, 5060)), REPORT, bytes(Hep.new(sip())), b"\r\n")
]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*PLAIN, b""]),
            st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4),
            st.integers(0, 600),
            st.sampled_from([0, 1, 1, 1, 12, 101, 113, 276]),
            st.integers(0, 2**64 - 1) | st.integers(NOW, NOW + 10**9),
        ),
        max_size=12,
    ),
    st.booleans(),
)
def test_whatever_is_captured_is_accounted_for(frames: list[tuple[Any, ...]], hep: bool) -> None:
    wire = Wire([], hep=hep)
    for data, flips, size, linktype, time_us in frames:
        changed = bytearray(data)
        for at, value in flips:
            if at < len(changed):
                changed[at] = value
        wire.frame(bytes(changed[:size]), linktype, time_us, len(changed))
    wire.intake.finish()
    batch = wire.intake.batch()
    wire.listener.packets += len(batch)
    wire.given += len(batch)
    assert wire.balanced
    assert wire.listener.frames == len(frames)


@given(st.binary(max_size=40), st.sampled_from([b"HEP3", b"EEP3", b"\x1f\x8b", b"\1\x10\2\x11", b""]))
def test_what_looks_like_hep(data: bytes, front: bytes) -> None:
    expected = front in (b"HEP3", b"EEP3", b"\x1f\x8b") or (front[:1] == b"\1" and len(data) >= 12)
    if front:
        assert looks_like_hep(front + data) == expected
