from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hepswitch.wire.sdp import parse
from hepswitch.wire.sip import Sip

OFFER = b"""v=0\r
o=alice 1 1 IN IP4 10.0.0.1\r
c=IN IP4 10.0.0.1/127\r
t=0 0\r
m=audio 49170/2 RTP/AVP 0 8\r
a=rtcp:53020 IN IP6 2001:db8::7\r
m=video 0 RTP/AVP 31\r
m=video 51372 RTP/AVP 99\r
c=IN IP6 2001:db8::2\r
m=application 40000 UDP/X x\r
a=rtcp-mux\r
"""


def test_addresses_of_media() -> None:
    sdp = parse(OFFER)
    assert sdp is not None
    assert sdp.address == "10.0.0.1"
    assert [(m.type, m.port, m.proto, m.formats) for m in sdp.media[:2]] == [
        ("audio", 49170, "RTP/AVP", ["0", "8"]),
        ("video", 0, "RTP/AVP", ["31"]),
    ]
    assert sdp.media_addresses == [("10.0.0.1", 49170), ("2001:db8::2", 51372), ("10.0.0.1", 40000)]
    assert sdp.rtcp_addresses == [("2001:db8::7", 53020), ("2001:db8::2", 51373), ("10.0.0.1", 40000)]


def test_in_a_multipart_body() -> None:
    body = b"--x\nContent-Type: application/sdp\n\n" + OFFER + b"--x\nContent-Type: application/isup\n\n\1\2\xff\n--x--"
    sip = Sip(b"INVITE sip:b SIP/2.0\nContent-Type: multipart/mixed;boundary=x\n\n" + body)
    assert sip.sdp is not None
    assert sip.sdp.media_addresses[0] == ("10.0.0.1", 49170)


def test_nothing_in_it() -> None:
    assert parse(b"Signal=5\r\nDuration=160") is None
    assert Sip(b"BYE sip:b SIP/2.0\r\n\r\n").sdp is None
    broken = parse(b"m=audio\nm=audio x\nm=audio 99999 y\nm=audio 65535\nc=IN\nc=\na=rtcp:\na=rtcp:x")
    assert broken is not None
    assert [m.port for m in broken.media] == [65535]
    assert broken.media_addresses == broken.rtcp_addresses == []


LINES = st.sampled_from(
    [b"m=", b"c=", b"a=rtcp:", b"audio 1 ", b"IN IP4 ", b"\xff", b"\n", b"\r\n", b"1", b"/", b" ", "²".encode()]
)


@given(st.one_of(st.binary(), st.lists(LINES).map(b"".join)))
def test_any_bytes_at_all(body: bytes) -> None:
    sdp = parse(body)
    if sdp is not None:
        assert all(0 < port < 65536 for _, port in sdp.media_addresses + sdp.rtcp_addresses)
