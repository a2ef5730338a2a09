from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.wire.rtcp import Block, encode, summary, view

BLOCK = struct.pack("!6I", 0xAABB, 64 << 24 | 0xFFFFFE, 4711, 33, 1, 2)
SENDER = struct.pack("!BBH6I", 0x81, 200, 12, 0x1234, 3909999999, 1 << 31, 160, 100, 16000) + BLOCK
NAME = struct.pack("!BBHI", 0x81, 202, 2, 0x9999) + b"\1\1x\0"


def test_a_sender_report_becomes_what_agents_write() -> None:
    payload = encode(SENDER + NAME)
    assert payload is not None
    report = view(payload)
    assert report is not None
    assert (report.type, report.ssrc, report.packets, report.octets) == (200, 0x1234, 100, 16000)
    assert (report.ntp_sec, report.ntp_usec, report.rtp_timestamp) == (3909999999, 1 << 31, 160)
    assert report.blocks == [Block(0xAABB, 64, -2, 4711, 33, 1, 2)]
    assert b'"sdes_ssrc":39321' in payload
    assert summary(payload) == "RTCP SR ssrc=0x1234 packets=100 lost=-2 (25.0%) jitter=33"


def test_a_receiver_report_and_what_is_no_report() -> None:
    assert summary(encode(struct.pack("!BBHI", 0x80, 201, 1, 7)) or b"") == "RTCP RR ssrc=0x7"
    assert encode(NAME) is None
    assert encode(SENDER[:30]) is None
    assert encode(b"\x80\x00" + bytes(170)) is None  # RTP


@pytest.mark.parametrize(
    ("payload", "line"),
    [
        (
            b'{"ssrc":"5","type":201,"report_blocks":[{"packets_lost":null,"ia_jitter":3.5},7]}',
            "RTCP RR ssrc=0x5 jitter=3",
        ),
        (b'{"report_blocks":{},"sender_information":[]}', "RTCP report"),
        (b'{"MOS":4.2,"JITTER":3,"PACKET_LOSS":0,"x":{}}', "report mos=4.2 jitter=3 packet_loss=0"),
        (b'{"a":1}', "a=1"),
        (b"NLR=0.0\r\nJDR=1.0\r\nMOSLQ=4.1", "NLR=0.0 JDR=1.0 MOSLQ=4.1"),
        (b"\xff\0\x1b[31m", "� [31m"),
        (b"{}", "empty report"),
        (b"", ""),
    ],
)
def test_summaries(payload: bytes, line: str) -> None:
    assert summary(payload) == line


KEYS = ["ssrc", "type", "sender_information", "report_blocks", "packets", "ia_jitter", "MOS"]
JSON = st.recursive(
    st.sampled_from([None, True, -1, 7, 1 << 70, 1.5, float("nan"), 1e300, "5", "x", "²", "9" * 40]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_any_json_at_all(value: dict[str, object]) -> None:
    payload = json.dumps(value).encode()
    assert "\n" not in summary(payload)
    view(payload)


@given(st.binary())
def test_any_bytes_at_all(data: bytes) -> None:
    assert "\n" not in summary(data)
    view(data)
    encode(data)
    encode(b"\x81\xc8" + data)
