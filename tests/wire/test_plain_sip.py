"""Plain SIP: cut out of streams however they arrive, and framed so that the next reader finds its end."""

from __future__ import annotations

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.books import Listener
from hepswitch.destinations.balance import Balancer, Node
from hepswitch.wire.batch import Batch
from hepswitch.wire.errors import WireError
from hepswitch.wire.hep import Hep
from hepswitch.wire.plain_sip import Plain, PlainSip, SipReader, message_size

PEER, LOCAL = ("192.0.2.1", 5062), ("192.0.2.9", 5060)


def message(number: int, body: bytes = b"", length: str | None = "Content-Length: {}\r\n") -> bytes:
    head = (
        f"INVITE sip:bob@example.net SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK{number}\r\nCall-ID: call-{number}\r\n"
    )
    return (head + (length or "").format(len(body)) + "\r\n").encode() + body


def reader_of(listener: Listener | None = None) -> SipReader:
    return SipReader(PlainSip(listener or Listener("sip://test?transport=tcp"), stream=True), PEER, LOCAL)


def collect(reader: SipReader, *pieces: bytes) -> list[Hep]:
    batch, found = Batch(None), []
    for piece in pieces:
        with reader.get_buffer() as buffer:
            buffer[: len(piece)] = piece
        reader.fed(len(piece))
        while reader.fill(batch):
            found += [Hep(packet) for packet in batch]
    return found


def test_a_message_becomes_a_packet_of_its_connection() -> None:
    (packet,) = collect(reader_of(), message(7, b"v=0"))
    assert (packet.src_ip, packet.src_port, packet.dst_ip, packet.dst_port) == (*PEER, *LOCAL)
    assert (packet.version, packet.proto_id, packet.proto_type) == (3, 6, "SIP")
    assert (packet.correlation_id, packet.payload) == (b"call-7", message(7, b"v=0"))


@given(
    st.lists(st.tuples(st.binary(max_size=300), st.sampled_from([0, 2, 4])), max_size=15),
    st.lists(st.integers(1, 400), min_size=1),
)
def test_any_split_gives_the_same_messages(bodies: list[tuple[bytes, int]], sizes: list[int]) -> None:
    sent = [message(i, body) for i, (body, _) in enumerate(bodies)]
    stream = b"".join(b"\r\n" * pings + each for each, (_, pings) in zip(sent, bodies, strict=True))
    pieces, i = [], 0
    while stream:
        size = sizes[i % len(sizes)]
        pieces.append(stream[:size])
        stream, i = stream[size:], i + 1
    listener = Listener("sip://test?transport=tcp")
    reader = reader_of(listener)
    assert [packet.payload for packet in collect(reader, *pieces)] == sent
    assert (reader.pending, listener.packets) == (0, 0)


@pytest.mark.parametrize(
    ("form", "bare"),
    [
        (b"l:4\r\n", b"\r\n"),
        (b"CONTENT-LENGTH :\r\n 4\r\n", b"\r\n"),
        (b"Content-Length: 4\n", b"\n"),
    ],
)
def test_content_length_in_every_form(form: bytes, bare: bytes) -> None:
    stream = b"SIP/2.0 200 OK" + bare + b"Call-ID: x" + bare + form + bare + b"body"
    assert [each.payload for each in collect(reader_of(), stream * 2)] == [stream, stream]


def test_without_content_length_there_is_no_body() -> None:
    bare = message(1, length=None)
    assert [each.payload for each in collect(reader_of(), bare + message(2))] == [bare, message(2)]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", "not SIP"),
        (b"\x16\x03\x01\n\0\0\0\0", "not SIP"),
        (b"HEP3\0\x10\n\0", "not SIP"),
        (b"x" * 65_536, "not SIP"),
        (message(2, length="Content-Length: 65536\r\n"), "too long"),
        (message(2, length="Content-Length: 999999999999999999999\r\n"), "too long"),
        (b"INVITE sip:a SIP/2.0\r\n" + b"A: b\r\n" * 11_000, "too long"),
    ],
)
def test_messages_before_what_cannot_be_read_come_first(broken: bytes, reason: str) -> None:
    reader = reader_of()
    (first,) = collect(reader, message(1))
    assert first.payload == message(1)
    with pytest.raises(WireError) as caught:
        collect(reader, broken[:40_000], broken[40_000:])
    assert caught.value.reason == reason


def test_what_no_hep_packet_can_hold_is_counted_and_the_stream_goes_on() -> None:
    listener = Listener("sip://test?transport=tcp")
    body = bytes(65_535 - len(message(1, bytes(60_000))) + 60_000)
    assert len(message(1, body)) == 65_535
    found = collect(reader_of(listener), message(1, body)[:50_000], message(1, body)[50_000:] + message(2))
    assert [packet.payload for packet in found] == [message(2)]
    assert (listener.packets, listener.bytes, listener.refused) == (1, 65_535, {"too large for HEP": 1})


@given(st.binary(max_size=400), st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_any_bytes_are_messages_or_an_error(data: bytes, sizes: list[int]) -> None:
    reader, at = reader_of(), 0
    try:
        for size in sizes:
            collect(reader, data[at : at + size])
            at += size
    except WireError as error:
        assert error.reason in ("not SIP", "too long")  # noqa: PT017 (no error is fine too)


# ── to a destination ─────────────────────────────────────────────────────────────────────────────────────────────────


def captured_in(payload: bytes, kind: str = "SIP") -> Hep:
    return Hep.new(payload, src_ip="192.0.2.1", dst_ip="192.0.2.2", src_port=1, dst_port=2, proto_type=kind)


def written(packet: Hep, version: int) -> list[bytes]:
    """What a node of this version is sent of a packet; nothing when it is refused."""
    node = Node("udp://192.0.2.2:5060", 1.0, version, 1 << 20)
    node.active = True
    balancer = Balancer([node], "first")
    if not balancer.offer(packet, attrs="x", direction="in"):
        assert balancer.refused == {"not SIP": 1}
    return list(node.inbox)


BODY = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\n"


@pytest.mark.parametrize(
    ("captured", "sent"),
    [
        (message(1, BODY), message(1, BODY)),
        (b"\r\n" + message(1, BODY), message(1, BODY)),
        (message(1, BODY, None), message(1, BODY)),
        (message(1, b"", None), message(1, b"")),
        (message(1, BODY)[:-10], message(1, BODY[:-10])),
        (message(1, BODY) + b"\0\0garbage", message(1, BODY)),
        (message(1, BODY, "l: x\r\n"), message(1, BODY, "l: {}\r\n")),
        (message(1, BODY) + message(2), message(1, BODY) + message(2)),
        (message(1, BODY) + b"\r\n" + message(2, BODY, None), message(1, BODY) + message(2, BODY)),
        (message(1, BODY)[:70], message(1, BODY)[:70] + b"\r\nContent-Length: 0\r\n\r\n"),
        (message(1)[:-4], message(1)),
        (message(1)[:-2], message(1)),
        (message(1, BODY)[: -len(BODY) - 3], message(1)),
    ],
)
def test_in_a_stream_content_length_says_what_is_there(captured: bytes, sent: bytes) -> None:
    assert written(captured_in(captured), Plain.STREAM) == [sent]
    assert written(captured_in(captured), Plain.DATAGRAM) == [captured]


@given(
    st.lists(
        st.sampled_from([b"Content-Length: 9", b"l:", b"\r\n", b"\n", b"\r", b" ", b"0", b"x: y", b"\0", b"body"])
    ),
    st.booleans(),
)
def test_whatever_was_captured_a_stream_can_be_read_on(parts: list[bytes], reply: bool) -> None:
    start = b"SIP/2.0 200 OK\r\nCall-ID: 1\r\n" if reply else b"ACK sip:a SIP/2.0\nCall-ID: 1\n"
    (frame,) = written(captured_in(start + b"".join(parts)), Plain.STREAM)
    assert message_size(frame) == len(frame)
    assert [each.payload for each in collect(reader_of(), frame + message(1))] == [frame, message(1)]


@pytest.mark.parametrize(
    "cut", [b"INVITE sip:bob", b"INVITE sip:bob@example.net SIP/2.0\rVia: x", b"ACK tel:1\rl: 4\rbody"]
)
def test_a_start_line_that_was_cut_ends_no_stream(cut: bytes) -> None:
    assert written(captured_in(cut), Plain.DATAGRAM) == [cut]
    assert written(captured_in(cut), Plain.STREAM) == []
    assert written(captured_in(message(1) + cut), Plain.STREAM) in ([message(1)], [])


def test_a_message_that_no_reader_takes_is_left_out() -> None:
    compressed = Hep.new(None, src_ip="192.0.2.1", dst_ip="192.0.2.2", src_port=1, dst_port=2)
    compressed.set("compressed_payload", zlib.compress(message(1, b"".join(b"%05d" % i for i in range(20_000)))))
    assert len(compressed.sip.raw) > 65_535  # type: ignore[union-attr]
    assert written(compressed, Plain.STREAM) == []


def test_wrapped_and_compressed_sip_goes_in_its_own_form() -> None:
    inside = message(1, BODY * 20)
    wrapped, compressed = captured_in(json.dumps({"payload": inside.decode()}).encode()), captured_in(inside)
    assert compressed.compress()
    for packet in (wrapped, compressed):
        assert written(packet, Plain.DATAGRAM) == written(packet, Plain.STREAM) == [inside]


@pytest.mark.parametrize(("payload", "kind"), [(b"hello", "SIP"), (b"", "SIP"), (message(1), "LOG"), (b"{}", "SIP")])
def test_what_is_no_sip_is_refused(payload: bytes, kind: str) -> None:
    assert written(captured_in(payload, kind), Plain.DATAGRAM) == []
    assert written(captured_in(payload, kind), Plain.STREAM) == []


def test_connections_share_what_makes_packets() -> None:
    """Each would keep the room for a whole read of the smallest messages there are otherwise."""
    sip, batch, seen = PlainSip(Listener("sip://test?transport=tcp"), stream=True), Batch(None), []
    readers = [SipReader(sip, (f"192.0.2.{number}", 5060), LOCAL) for number in (1, 2)]
    message = b"INVITE a SIP/2.0\n\n"
    for reader in readers:
        with reader.get_buffer() as buffer:
            buffer[: 300 * len(message)] = 300 * message
        reader.fed(300 * len(message))
    for reader in (*readers, *readers):
        assert reader.fill(batch)
        seen.append((len(batch), Hep(batch[-1]).src_ip))
    assert seen == [(256, "192.0.2.1"), (256, "192.0.2.2"), (44, "192.0.2.1"), (44, "192.0.2.2")]
