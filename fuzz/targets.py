"""One target for each decoder. Its docstring is the invariant, in one sentence; a target that returns has found it kept.

A target takes any bytes and a source of chance. It raises nothing: `WireError` is caught where it is allowed.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

from hepswitch.books import Listener, Routed
from hepswitch.metering.calls import room
from hepswitch.metering.meter import Meter
from hepswitch.routing.flow import Flow
from hepswitch.routing.packet import Context
from hepswitch.streams.packing import Packer, unpack
from hepswitch.wire import pcap as pcap_module
from hepswitch.wire import sdp as sdp_module
from hepswitch.wire.batch import Batch
from hepswitch.wire.chunks import by_name
from hepswitch.wire.envelopes import Envelopes
from hepswitch.wire.errors import WireError
from hepswitch.wire.frames import Frames
from hepswitch.wire.hep import Hep
from hepswitch.wire.intake import Intake
from hepswitch.wire.pcap import CapturedFrame
from hepswitch.wire.plain_sip import PlainSip, SipReader, head_size, message_size, message_start
from hepswitch.wire.record import read, write
from hepswitch.wire.sip import Sip
from hepswitch.wire.stream import FrameReader


class BrokenInvariantError(Exception):
    """A decoder did not keep what its target promises."""


def must(holds: bool, what: str) -> None:
    """Raise `BrokenInvariantError` saying `what` should have held."""
    if not holds:
        raise BrokenInvariantError(what)


def readable(kind: type) -> tuple[str, ...]:
    """The attributes of a class that can be read."""
    return tuple(
        name
        for name in dir(kind)
        if not name.startswith("_") and not callable(getattr(kind, name)) and hasattr(getattr(kind, name), "__get__")
    )


HEP_NAMES = readable(Hep)
SIP_NAMES = readable(Sip)
SET = tuple(name for name in by_name if name != "payload")
VALUES: tuple[Any, ...] = (
    *(0, 1, 5, 10, 255, 256, 65535, 1 << 32, (1 << 64) - 1, 1 << 64, -1),
    *("10.1.2.3", "2001:db8::7", "SIP", "17", "0x1f", "", "x" * 50, b"", b"y" * 7, b"z" * 300, None),
)
NUMBERS = ("0x0c", "12", "Src_IP", 0x01, 0x03, 0x05, 0x09, 0x0B, 0x0F, 0x10, 0x11, 0x1F, 0x80, 0xFFFF)
TYPES = ("uint8", "uint16", "uint32", "uint64", "inet4-addr", "inet6-addr", "utf8-string", "octet-string")


def any_of(items: tuple[Any, ...], random: Random) -> Any:
    """One of the items; several times as fast as `random.choice`."""
    return items[int(random.random() * len(items))]


def edit(packet: Hep, random: Random) -> None:
    """Change one thing, or fail with ValueError or (a number where text belongs) TypeError."""
    kind = int(random.random() * 8)
    if kind < 3:
        setattr(packet, any_of(SET, random), any_of(VALUES, random))
    elif kind == 3:
        packet.payload = any_of((b"", b"INVITE sip:a@b SIP/2.0\r\n\r\n", b"p" * 500, b"\0\0", None), random)
    elif kind == 4:
        packet.set(
            any_of(NUMBERS, random), any_of(VALUES, random), any_of(TYPES, random), any_of((None, 0, 3, "3"), random)
        )
    elif kind == 5:
        packet.delete(any_of(NUMBERS, random), any_of((None, 0, 3, "3"), random))
    elif kind == 6:
        packet.version = any_of((1, 2, 3), random)
    else:
        packet.time = 1.7e9


def hep(data: bytes, random: Random) -> None:
    """Any bytes are a packet or WireError; whatever is read or changed (ValueError at worst), it stays HEP that says so."""
    try:
        packet = Hep(data, 1.5e9)
    except WireError:
        return
    if packet.version < 3 or (data[:1] != b"\x1f" and not packet.truncated):
        must(data.startswith(bytes(packet)), "an unchanged packet gives back its bytes")
    for name in HEP_NAMES:
        getattr(packet, name)
    for _ in range(2):
        with contextlib.suppress(ValueError, TypeError):
            edit(packet, random)
        must(bytes(Hep(bytes(packet))) == bytes(packet), "an edited packet is whole HEP")
    again = Hep(bytes(packet))
    must((again.payload or b"").rstrip(b"\0") == (packet.payload or b"").rstrip(b"\0"), "a payload stays what it is")
    if packet.version == 3:
        must(again.chunks() == packet.chunks(), "an edited packet decodes to its chunks")
    packet.payload, packet.call_identity, packet.sip  # noqa: B018
    version = any_of((1, 2, 3), random)
    try:
        packet.version = version
    except ValueError:
        return
    must(Hep(bytes(packet)).version == version, "a converted packet has the version asked for")


def stream(data: bytes, random: Random) -> None:
    """However a stream is cut into reads, its frames are the same, and WireError is all that ends it."""
    one_for_all_reads(data, random, FrameReader)


def plain_sip(data: bytes, random: Random) -> None:
    """The same for a stream of plain SIP; what its first message measures does not raise, and is all of its headers."""
    must(message_size(data) >= head_size(data), "the headers are part of the message")
    must(0 <= message_start(data) <= len(data), "a message starts in the data or nowhere")
    one_for_all_reads(
        data,
        random,
        lambda: SipReader(PlainSip(Listener("sip://fuzz"), stream=True), ("192.0.2.1", 1), ("2001:db8::1", 2)),
    )


def one_for_all_reads(data: bytes, random: Random, reader_of: Callable[[], FrameReader]) -> None:
    """Cut into reads at random or read at once: the stream holds the same."""
    whole = collect(reader_of(), data, [len(data)])
    if random.random() < 0.1:
        sizes = [1] * len(data)
    else:
        sizes = [random.randrange(1, 400) for _ in range(len(data) // 100 + 1)]
        sizes.append(max(0, len(data) - sum(sizes)))
    must(collect(reader_of(), data, sizes) == whole, "frames do not depend on the reads")


def collect(reader: FrameReader, data: bytes, sizes: list[int]) -> tuple[list[bytes], str]:
    """The frames of a stream that is read in pieces of `sizes`, and why it ended."""
    batch, found, at = Batch(None), [], 0
    for size in sizes:
        piece = data[at : at + min(size, 65536)]
        at += len(piece)
        with reader.get_buffer() as buffer:
            buffer[: len(piece)] = piece
        reader.fed(len(piece))
        try:
            while reader.fill(batch):
                found += [Hep(packet).payload for packet in batch] if isinstance(reader, SipReader) else batch
        except WireError as error:
            return found, error.reason
    return found, ""


def record(data: bytes, _: Random) -> None:
    """Any bytes are a record or WireError; a record that holds a packet can be written again and reads the same."""
    try:
        found = read(data)
        packet = Hep(found.hep, found.arrival_us / 1e6)
    except WireError:
        return
    except ValueError:
        return  # an arrival beyond all times
    if bytes(packet) == found.hep:
        frames = Frames()
        write(frames, packet, found.sender_ip, found.sender_port, found.meta)
        again = read(frames[0])
        must((again.hep, again.sender_ip) == (found.hep, found.sender_ip), "a record reads as written")


def message(data: bytes, random: Random) -> None:
    """A record is one packet of version 3 in a message, or damaged; a body is its whole frames and what is left, told."""
    batch = Batch(None)
    left = unpack(batch, data, 0)
    must(b"".join(batch) + data[len(data) - left :] == data, "a body is its frames and what is left")
    packer = Packer("0" * 32, 1 + int(random.random() * 5), 1 + int(random.random() * 2), 1 << 16)
    packer.add(0, memoryview(data), memoryview(struct.pack("=I", len(data))).cast("I"))
    made = packer.messages()
    must(len(made) + packer.damaged == 1, "one record is one packet or none")
    if made:
        must(unpack(batch, made[0].body, 0) == 0 and len(batch) == made[0].packets == 1, "a message is read as written")
        packet = Hep(batch[0])
        must((packet.version, bytes(packet)) == (3, batch[0]), "what is published is whole")


def sip(data: bytes, _: Random) -> None:
    """Of any bytes every attribute of Sip can be read, and nothing raises."""
    message = Sip(data)
    for name in SIP_NAMES:
        getattr(message, name)
    message.header("v"), message.headers("Via"), message.messages()


def sdp(data: bytes, _: Random) -> None:
    """Any bytes are a session description or None."""
    found = sdp_module.parse(data)
    if found is not None:
        found.media_addresses, found.rtcp_addresses  # noqa: B018


def pcap(data: bytes, random: Random) -> None:
    """Any bytes are a capture's frames, ending in WireError at worst, the same ones however the bytes are fed."""
    sizes = [random.randrange(1, 400) for _ in range(len(data) // 100 + 1)]
    must(frames_of(data, [*sizes, len(data)]) == frames_of(data, [len(data)]), "frames do not depend on the reads")


def frames_of(data: bytes, sizes: list[int]) -> tuple[list[CapturedFrame], str]:
    """The frames of a file that is fed in pieces of `sizes`, and what ended it."""
    reader, found, at = pcap_module.Reader(), [], 0
    for size in sizes:
        reader.feed(data[at : at + size])
        at += size
        try:
            found += reader.frames()
        except WireError as error:
            return found, error.reason
    return found, ""


def intake(data: bytes, random: Random) -> None:
    """Of any frames every message is a packet or is counted; the packets are HEP."""
    listener = Listener("pcap:fuzz")
    taking = Intake(Envelopes(listener), any_of(((), ((5060, 5061),)), random))
    for at in range(0, max(len(data), 1), 1 + random.randrange(len(data) + 1)):
        frame = data[at:]
        kind = any_of((1, 1, 101, 101, 113, 276, 0), random)
        taking.add(CapturedFrame(int(random.random() * 1e15), kind, frame, len(frame)))
    taking.finish()
    batch = taking.batch()
    for packet in batch:
        Hep(packet)
    must(listener.malformed == sum(listener.malformed_reasons.values()), "what is malformed has a reason")
    must(listener.packets == listener.malformed + sum(listener.refused.values()), "what is not a packet is counted")


@cache
def measured() -> tuple[Flow, Meter, Routed, list[BaseException]]:
    """A flow with a meter of little room, its books, and what went wrong in it."""
    routed, errors = Routed(), list[BaseException]()
    flow = Flow(
        Context({}, {}, None, routed), lambda _, error: errors.append(error), lambda packet: packet.drop("measured")
    )
    flow.meter = meter = Meter(3, 2, bytearray(room(64)))
    meter.name_targets({"fuzz": ["10.0.0.0/8", "2001:db8::/32"]})
    return flow, meter, routed, errors


def meter(data: bytes, random: Random) -> None:
    """Whatever a packet says, the meter counts it as one, raises nothing and keeps to its labels."""
    flow, meter, routed, errors = measured()
    flow(Batch.of([data], Listener("udp://fuzz"), ("192.0.2.1", int(random.random() * 9))))
    must(not errors, f"the meter raises nothing: {errors}")
    if random.random() < 0.01:
        meter.sweep()
        nodes = meter.snapshot()["nodes"]
        must(len(nodes) <= 3, "nodes are bounded")
        counted = sum(row["packets"] for kinds in nodes.values() for row in kinds.values())
        must(counted == routed.packets, "every packet counts")


TARGETS: dict[str, Callable[[bytes, Random], None]] = {
    target.__name__: target for target in (hep, stream, plain_sip, record, message, sip, sdp, pcap, intake, meter)
}
