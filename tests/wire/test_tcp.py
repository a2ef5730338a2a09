"""TCP streams as captures show them: sent again, out of order, cut, idle, ports used again."""

from __future__ import annotations

import itertools
import struct
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.wire import plain_sip
from hepswitch.wire import tcp as tcp_module
from hepswitch.wire.tcp import (
    GAP_US,
    IDLE_US,
    LINGER_US,
    LONGEST_MESSAGE,
    LOST,
    MOST_HELD,
    MOST_STREAMS,
    NO_ROOM,
    NOT_SIP,
    SEGMENT,
    Streams,
)

A, B = b"\x0a\0\0\1", b"\x0a\0\0\2"
FIN, SYN, RST, ACK = 1, 2, 4, 16


def sip(number: int, size: int = 0) -> bytes:
    return b"MESSAGE sip:bob@h SIP/2.0\r\nCall-ID: %d\r\nContent-Length: %d\r\n\r\n" % (number, size) + b"x" * size


def tcp(sequence: int, data: bytes, flags: int = ACK, sport: int = 5060) -> bytes:
    return struct.pack("!HHIIBBHHH", sport, 5061, sequence % 2**32, 0, 0x50, flags, 9, 0, 0) + data


class Capture:
    """What a capture sees of connections, and what comes out."""

    def __init__(self) -> None:
        self.losses = Counter[str]()
        self.streams = Streams(self.losses)
        self.found: list[bytes] = []

    def see(
        self, sequence: int, data: bytes = b"", flags: int = ACK, *, at: int = 0, sport: int = 5060, src: bytes = A
    ) -> None:
        segment = tcp(sequence, data, flags, sport)
        self.found += [message for *_, message in self.streams.segment(at, src, B, segment)]

    def expire(self, at: int) -> None:
        self.found += [message for *_, message in self.streams.expire(at)]

    def finish(self) -> None:
        self.found += [message for *_, message in self.streams.finish()]


def test_keep_alive_segments_are_nothing() -> None:
    capture = Capture()
    capture.see(99, b"\0")  # before anything else was captured …
    capture.see(100, sip(1))
    end = 100 + len(sip(1))
    capture.see(end - 1, b"\0")  # … and after: one byte that came before (RFC 9293 section 3.8.4)
    capture.see(end - 1)
    capture.see(end, b"\r\n\r\n")
    capture.see(end + 4, sip(2))
    assert (capture.found, capture.losses) == ([sip(1), sip(2)], {})


def test_a_window_probe_is_the_next_byte() -> None:
    capture, message = Capture(), sip(1, 10)
    capture.see(100, message[:50])
    capture.see(150, message[50:51])
    capture.see(150, message[50:51])
    capture.see(150, message[50:])
    assert capture.found == [message]


@given(st.lists(st.tuples(st.integers(1, 80), st.integers(0, 60)), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_sent_again_with_other_boundaries(steps: list[tuple[int, int]], base: int) -> None:
    stream = b"".join(sip(number, 20 * number) for number in range(4))
    capture = Capture()
    capture.see(base - 1, flags=SYN)
    at = 0
    for ahead, again in itertools.cycle(steps):
        if at >= len(stream):
            break
        start = max(at - again, 0)
        capture.see(base + start, stream[start : at + ahead])
        at += ahead
    assert capture.found == [sip(number, 20 * number) for number in range(4)]
    assert not capture.losses


def test_both_directions_end_at_the_same_time() -> None:
    capture = Capture()
    for src in (A, B):
        capture.see(10, sip(1), src=src)
    for src in (A, B):
        capture.see(10 + len(sip(1)), flags=FIN | ACK, src=src)
    for src in (A, B):
        capture.see(11 + len(sip(1)), src=src)
    assert capture.found == [sip(1)] * 2
    capture.finish()
    assert capture.found == [sip(1)] * 2


def test_an_end_that_overtakes_the_last_data() -> None:
    capture, message = Capture(), sip(1, 50)
    capture.see(0, message[:40])
    capture.see(len(message), flags=FIN | ACK)
    capture.see(40, message[40:])
    assert capture.found == [message]


def test_what_is_sent_again_after_the_end_is_known() -> None:
    capture = Capture()
    capture.see(0, sip(1), FIN | ACK)
    capture.see(0, sip(1), FIN | ACK)
    capture.see(len(sip(1)) + 1)
    capture.see(0, sip(1), FIN | ACK)
    assert capture.found == [sip(1)]


def test_a_reset_ends_it_with_what_there_is() -> None:
    capture = Capture()
    capture.see(0, sip(1, 50)[:-1])
    capture.see(7, flags=RST)
    assert capture.found == [sip(1, 50)[:-1]]


def test_ports_are_used_again() -> None:
    capture = Capture()
    for base, flags in ((1000, SYN), (900, SYN), (2**31, 0), (2**31 - 2**25, 0)):
        if flags:
            capture.see(base - 1, flags=flags)
            capture.see(base - 1, flags=flags)  # sent again
        capture.see(base, sip(base % 7))
        capture.see(base + len(sip(0)), sip(8, 9)[:-1], FIN | ACK if base == 900 else ACK)
    capture.finish()
    assert capture.found == [m for base in (1000, 900, 2**31, 2**31 - 2**25) for m in (sip(base % 7), sip(8, 9)[:-1])]
    assert not capture.losses


def test_a_gap_is_waited_for_and_then_taken_as_lost() -> None:
    capture, message = Capture(), sip(1, 300)[:-2] + b"\r\n"
    capture.see(0, message[:100])
    capture.see(200, message[200:] + sip(2), at=5)
    capture.expire(5 + GAP_US)
    assert capture.found == []
    capture.expire(6 + GAP_US)
    assert capture.found == [message[:100], sip(2)]
    assert capture.losses == {LOST: 1, NOT_SIP: 1}
    capture.see(200 + len(message[200:] + sip(2)), sip(3), at=7 + GAP_US)
    assert capture.found[-1] == sip(3)


def test_the_stream_itself_notices_a_gap_too() -> None:
    capture = Capture()
    capture.see(0, sip(1))
    capture.see(1000, sip(2), at=1)
    capture.see(1000 + len(sip(2)), sip(3), at=2 + GAP_US)
    assert capture.found == [sip(1), sip(2), sip(3)]
    assert capture.losses == {LOST: 1}


def test_silent_streams_are_over() -> None:
    capture = Capture()
    capture.see(0, sip(1, 9)[:-1])
    capture.see(0, sip(2), FIN | ACK, sport=1)
    capture.expire(LINGER_US + 1)
    assert len(capture.streams) == 1
    capture.expire(IDLE_US)
    assert capture.found == [sip(2)]
    capture.expire(IDLE_US + 1)
    assert capture.found == [sip(2), sip(1, 9)[:-1]]
    assert (len(capture.streams), capture.streams.held) == (0, 0)


def test_streams_are_bounded_in_number_and_in_bytes() -> None:
    capture = Capture()
    for number in range(MOST_STREAMS + 3):
        capture.see(0, sip(number)[:40], sport=number)
    assert len(capture.streams) == MOST_STREAMS
    assert (capture.losses, len(capture.found)) == ({NO_ROOM: 3}, 3)
    capture = Capture()
    for number in range(MOST_STREAMS + 3):
        capture.see(0, flags=SYN, sport=number)  # somebody looks for open ports
    assert (len(capture.streams), capture.losses) == (MOST_STREAMS, {})
    capture = Capture()
    for number in range(200):
        capture.see(0, b"x", sport=number, flags=SYN)
        for at in range(10, 20):
            capture.see(at * 60_000, bytes(59_000), sport=number)
        assert capture.streams.held <= MOST_HELD
    assert capture.losses[NO_ROOM] > 50


def test_many_small_segments_behind_a_gap_hold_what_they_cost() -> None:
    capture = Capture()
    capture.see(0, b"ab")
    for number in range(100):
        capture.see(10 + 2 * number, b"x")
    assert capture.streams.held >= 100 * SEGMENT


def test_headers_that_come_in_small_pieces_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []

    def head_size(data: bytearray, searched: int) -> int:
        looked.append(len(data) - searched)
        return plain_sip.head_size(data, searched)

    monkeypatch.setattr(tcp_module, "head_size", head_size)
    message = sip(1, 30_000).replace(b"\r\n\r\n", b"\r\n" + b"a: b\r\n" * 10_000 + b"\r\n")
    capture = Capture()
    for at in range(0, len(message), 20):
        capture.see(at, message[at : at + 20])
    assert capture.found == [message]
    assert sum(looked) < 2 * len(message)


def test_what_is_no_message_is_passed_over_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = []
    monkeypatch.setattr(
        tcp_module, "message_start", lambda data: starts.append(plain_sip.message_start(data)) or starts[-1]
    )
    capture = Capture()
    capture.see(0, b"x\n" * 30_000 + sip(1) + b"no line of SIP\n")
    assert (capture.found, capture.losses) == ([sip(1)], {NOT_SIP: 1})
    assert len(starts) == 2


@pytest.mark.parametrize(
    "long", [b"MESSAGE sip:bob@h SIP/2.0\r\n", b"MESSAGE sip:bob@h SIP/2.0\r\nl: 99999999\r\n", b"HEP3\0\5"]
)
def test_a_message_that_is_too_long_is_none(long: bytes) -> None:
    """Start lines without an end are given up together: each of them would be looked at to the end otherwise."""
    capture = Capture()
    data = long * (LONGEST_MESSAGE // len(long) + 1) + b"\r\n\r\n"
    for at in range(0, len(data), 60_000):
        capture.see(at, data[at : at + 60_000])
    capture.see(len(data), sip(1))
    assert (capture.found[-1], capture.losses) == (sip(1), {NOT_SIP: 1})


def ws(data: bytes, opcode: int = 1, key: bytes = b"", final: bool = True) -> bytes:
    size = len(data)
    length = bytes((size,)) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    masked = bytes((length[0] | (0x80 if key else 0),)) + length[1:]
    return (
        bytes((opcode | 0x80 * final,)) + masked + key + bytes(b ^ key[i % 4] if key else b for i, b in enumerate(data))
    )


UPGRADE = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n"


@given(st.integers(1, 200), st.sampled_from([(UPGRADE, b"\1\2\3\xff"), (SWITCHED, b"")]))
def test_sip_in_a_websocket(size: int, way: tuple[bytes, bytes]) -> None:
    head, key = way
    stream = (
        head + ws(sip(1), key=key) + ws(b"\r\n\r\n", key=key) + ws(b"", 9, key) + ws(sip(2, 300)[:50], 2, key, False)
    )
    stream += ws(b"ping", 9, key) + ws(sip(2, 300)[50:], 0, key) + ws(sip(3), key=key)
    capture = Capture()
    capture.see(-1, flags=SYN)
    for at in range(0, len(stream), size):
        capture.see(at, stream[at : at + size])
    assert capture.found == [sip(1), sip(2, 300), sip(3)]
    assert not capture.losses
    assert {
        protocol for _, protocol, _, _ in capture.streams.segment(0, A, B, tcp(len(stream), ws(sip(4), key=key)))
    } == {50}


def test_a_websocket_with_a_gap_and_one_that_is_compressed() -> None:
    capture = Capture()
    stream = UPGRADE + ws(sip(1, 200))
    capture.see(0, stream[:-50])
    capture.see(len(stream), ws(sip(2)), at=1)
    capture.expire(GAP_US + 2)
    assert (capture.found, capture.losses) == ([sip(2)], {LOST: 1})
    capture.see(0, UPGRADE + b"\xc1\x05hello", sport=1)
    capture.see(len(UPGRADE) + 7, b"\xc1\x05hello" + ws(sip(3))[:9], sport=1)
    capture.finish()
    assert (capture.found, capture.losses) == ([sip(2)], {LOST: 1, NOT_SIP: 1})


@given(
    st.lists(
        st.tuples(
            st.integers(0, 200) | st.integers(0, 2**32 - 1),
            st.binary(max_size=6) | st.sampled_from([sip(1), sip(2, 30), UPGRADE, ws(sip(3)), b"HEP3\0\x07x", b"\r\n"]),
            st.integers(0, 63),
            st.integers(0, 2**63),
            st.integers(0, 2),
        ),
        max_size=40,
    )
)
def test_any_segments_at_all(segments: list[tuple[int, bytes, int, int, int]]) -> None:
    capture = Capture()
    for sequence, data, flags, at, sport in segments:
        capture.see(sequence, data, flags, at=at, sport=sport)
        capture.expire(at)
        assert capture.streams.held == sum(stream.held for stream in capture.streams._streams.values())
    capture.finish()
    assert (len(capture.streams), capture.streams.held) == (0, 0)
