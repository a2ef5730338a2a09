"""Media: what descriptions of calls hold, and what they may cost."""

from __future__ import annotations

from hepswitch.wire import media, sdp
from hepswitch.wire.media import MOST_UNREAD, Media

HERE, THERE = b"\x0a\0\0\1", b"\x0a\0\0\2"


def described(port: int) -> bytes:
    return b"v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio %d RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n" % port


def test_the_call_of_an_address() -> None:
    known = Media()
    known.learn(b"one", described(4000))
    known.learn(b"two", described(5000))
    assert known.call_of(THERE, 9, HERE, 4001) == b"one"
    assert known.call_of(HERE, 5001, THERE, 9) == b"two"
    assert known.call_of(THERE, 4001, THERE, 5001) is None


def test_tiny_descriptions_that_nobody_asks_for_are_bounded_by_what_they_cost() -> None:
    known = Media()
    for number in range(100_000):
        known.learn(b"%d" % number, described(2 * number % 60_000) if number == 99_999 else b"m=")
    assert len(known) < MOST_UNREAD / 150
    assert known.call_of(THERE, 9, HERE, 2 * 99_999 % 60_000 + 1) == b"99999"
    assert len(known) == 1


def test_what_is_far_too_long_for_an_address_is_not_remembered() -> None:
    known = Media()
    before = media._packed.cache_info().currsize
    for number in range(10):
        known.learn(b"x", b"m=audio 4000 RTP/AVP 0\nc=IN IP4 " + b"%d" % number * 50_000)
    assert known.call_of(THERE, 1, HERE, 2) is None
    assert media._packed.cache_info().currsize == before


def test_of_a_description_only_lines_that_say_something_are_read() -> None:
    assert len(sdp._LINES.findall(b"a=x\n" * 10_000 + described(4000))) == 3
    assert sdp.parse(b"m=audio 8 RTP/AVP 0\rc=IN IP4 10.0.0.9\ra= rtcp:77\r") == sdp.Sdp(
        media=[sdp.Media("audio", 8, "RTP/AVP", ["0"], "10.0.0.9", 77)]
    )
