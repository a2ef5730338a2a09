"""Inputs to fuzz with: packets that real software sent, changed in the ways that break decoders.

Everything follows from the seed. Not here: what is done with an input (`targets`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from random import Random

from hepswitch.wire.frames import Frames
from hepswitch.wire.hep import Hep
from hepswitch.wire.ip import FrameBuilder
from hepswitch.wire.record import write

VECTORS = Path(__file__).resolve().parent.parent / "tests" / "vectors"
INTERESTING = (0, 1, 2, 5, 6, 7, 10, 0x0F, 0x10, 0x1F, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF)

PCAP = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
SDP = (
    b"v=0\r\no=a 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 0 8\r\na=rtcp:4001 IN IP4 192.0.2.2\r\nm=video 0 RTP/AVP 31\r\nc=IN IP6 2001:db8::1\r\n"
)


def packets() -> list[bytes]:
    """HEP packets of every version and of real senders."""
    return [path.read_bytes() for path in sorted(VECTORS.glob("*.hep"))]


def seeds(target: str) -> list[bytes]:
    """What the inputs of a target are made from."""
    found = packets()
    if target in ("sip", "sdp", "plain_sip"):
        payloads = [payload for packet in found if (payload := Hep(packet).payload)]
        bodies = [payload.partition(b"\r\n\r\n")[2] for payload in payloads if b"\nv=0" in payload]
        if target == "plain_sip":
            return [*payloads, *(b"\r\n\r\n".join(payloads[i : i + 3]) for i in range(0, len(payloads), 3))]
        return [*payloads, SDP] if target == "sip" else [SDP, *bodies]
    if target in ("record", "message"):
        frames = Frames()
        for i, packet in enumerate(found):
            sender = ("", "192.0.2.1", "2001:db8::1")[i % 3]
            write(
                frames, Hep(packet, 1.5e9), sender, 5060, {"table": "calls", "correlation_id": "c1"} if i % 2 else None
            )
        return [*frames, *(b"".join(found[i : i + 3]) for i in range(len(found)) if target == "message")]
    if target == "pcap":
        body = b"".join(struct.pack("<IIII", 1, 2, len(p), len(p)) + p for p in found[:3])
        return [PCAP + body, PCAP[:24]]
    if target == "intake":
        return captured()
    return found


def captured() -> list[bytes]:
    """Ethernet frames: SIP with SDP over UDP and TCP, RTCP, fragments, tunnels."""
    builder, message = (
        FrameBuilder(),
        b"INVITE sip:b@h SIP/2.0\r\nCall-ID: 1\r\nContent-Length: %d\r\n\r\n" % len(SDP) + SDP,
    )
    report = struct.pack("!BBHI", 0x80, 201, 1, 7)
    plain = [
        builder.frames(proto, src, 5060, dst, port, payload)[0]
        for proto, port, payload in ((17, 5060, message), (6, 5060, message), (17, 4001, report))
        for src, dst in (("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2"))
    ]
    inner = plain[0]
    part = inner[:20] + b"\x20\0" + inner[22:60]
    gre = inner[:23] + b"\x2f" + inner[24:34] + b"\x10\0\x88\xbe" + bytes(4) + b"\x10\x07" + bytes(6) + inner
    vxlan = builder.frames(17, "192.0.2.1", 4789, "192.0.2.2", 4789, b"\x08" + bytes(7) + inner)[0]
    tagged = inner[:12] + b"\x88\xa8\0\5\x81\0\0\7" + inner[12:]
    return [*plain, part, gre[:16] + (len(gre) - 14).to_bytes(2) + gre[18:], vxlan, tagged]


def chunk_edit(data: bytearray, random: Random) -> None:
    """Change one chunk of a HEPv3 packet, and keep the lengths right unless they are what is changed."""
    starts, at = [], 6
    while at + 6 <= len(data) and data[:4] == b"HEP3":
        starts.append(at)
        at += max(6, data[at + 4] << 8 | data[at + 5])
    if not starts:
        return
    at = random.choice(starts)
    size = data[at + 4] << 8 | data[at + 5]
    kind = random.randrange(5)
    if kind == 0:
        del data[at : at + size]
    elif kind == 1:
        data += data[at : at + size]
    elif kind == 2:
        data[at + 1] = random.choice((0, 0, 3))
        data[at + 3] = random.randrange(0x2C)
    elif kind == 3:
        value = random.randbytes(random.choice((0, 1, 2, 3, 4, 8, 9, 16, 40)))
        data[at : at + size] = data[at : at + 4] + (6 + len(value)).to_bytes(2) + value
    else:
        data[at + 4 : at + 6] = random.choice(INTERESTING).to_bytes(2)
    if len(data) <= 0xFFFF:
        data[4:6] = len(data).to_bytes(2)


def flip(data: bytearray, random: Random) -> None:
    """Flip bits."""
    for _ in range(random.randrange(1, 4)):
        data[int(random.random() * len(data))] ^= 1 << random.randrange(8)


def overwrite(data: bytearray, random: Random) -> None:
    """Put a number where a length may be."""
    at = int(random.random() * min(len(data), 160))
    data[at : at + 2] = random.choice(INTERESTING).to_bytes(2)


def length(data: bytearray, random: Random) -> None:
    """Contradict the packet's length."""
    data[4:6] = (len(data) + random.choice((-7, -6, -1, 1, 6, 1000)) & 0xFFFF).to_bytes(2)


def cut(data: bytearray, random: Random) -> None:
    """Cut the end off."""
    del data[int(random.random() * len(data)) :]


def splice(data: bytearray, random: Random) -> None:
    """Copy a piece to somewhere else."""
    start, at = int(random.random() * len(data)), int(random.random() * len(data))
    data[at:at] = data[start : start + random.randrange(1, 64)]


MUTATORS: tuple[Callable[[bytearray, Random], None], ...] = (
    flip,
    overwrite,
    length,
    cut,
    splice,
    chunk_edit,
    chunk_edit,
)


def make(found: list[bytes], random: Random) -> bytes:
    """One input: a seed with one to three changes, or (one of sixteen) noise behind a good beginning."""
    seed = found[int(random.random() * len(found))]
    roll = int(random.random() * 16)
    if roll == 0:
        return seed[: random.randrange(8)] + random.randbytes(random.randrange(120))
    data = bytearray(seed)
    for _ in range(1 + roll % 3):
        if len(data) > 8:
            MUTATORS[int(random.random() * len(MUTATORS))](data, random)
    return bytes(data)
