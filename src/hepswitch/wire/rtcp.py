"""RTCP: the JSON that agents put into HEP (type 5), the reports beside it (34, 35), and RTCP from the wire (RFC 3550).

`view` reads the JSON whatever is wrong with it, `encode` makes the same JSON from binary RTCP, `summary` says in one short
line what a quality payload reports, `quality` in three figures. Not here: RTP, or any judgement of the quality.
"""

from __future__ import annotations

import contextlib
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from hepswitch.wire.values import json_object

SENDER_REPORT, RECEIVER_REPORT, SOURCE_DESCRIPTION, EXTENDED_REPORT = 200, 201, 202, 207

_LONGEST = 60


@dataclass(slots=True)
class Block:
    """One report block. `fraction_lost` is in 1/256, `jitter` in timestamp units, `lsr` and `dlsr` in 1/65536 s."""

    source_ssrc: int | None = None
    fraction_lost: int | None = None
    packets_lost: int | None = None
    highest_seq_no: int | None = None
    jitter: int | None = None
    lsr: int | None = None
    dlsr: int | None = None


@dataclass(slots=True)
class Report:
    """A sender (200) or receiver (201) report; what the payload does not say, or says in another type, is None."""

    type: int | None = None
    ssrc: int | None = None
    packets: int | None = None
    octets: int | None = None
    rtp_timestamp: int | None = None
    ntp_sec: int | None = None
    ntp_usec: int | None = None
    blocks: list[Block] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Quality:
    """What a payload reports: `loss` in percent, `jitter` in milliseconds, `mos` 1 to 5; None where it does not say."""

    loss: float | None
    jitter: float | None
    mos: float | None


CLOCK = 8.0
"""RTP timestamp units in a millisecond: RTCP does not say, but nearly every codec of telephony has 8000 a second, and those
that have more (Opus, G.722 in wideband terms) are told apart by nothing that a report holds."""


def quality(payload: bytes) -> Quality | None:
    """The figures in an RTCP (5) or quality report (34, 35) payload; None when there is none. Raises nothing."""
    value = json_object(payload)
    report = view(payload)
    if value is None or report is None:
        return None
    if report.blocks:
        lost = [block.fraction_lost / 2.56 for block in report.blocks if block.fraction_lost is not None]
        jitter = [block.jitter / CLOCK for block in report.blocks if block.jitter is not None]
        found = Quality(max(lost, default=None), max(jitter, default=None), None)
    else:
        said = {name.upper(): item for name, item in value.items()}
        count, total = (_figure(said, *names) for names in (("PACKET_LOSS",), ("TOTAL_PK", "EXPECTED_PK")))
        loss = _figure(said, "NLR")
        if loss is None and count is not None and total:
            loss = 100 * count / (total + count)
        found = Quality(loss, _figure(said, "MEAN_JITTER", "JITTER"), _figure(said, "MEAN_MOS", "MOS", "MOSLQ"))
    return None if found == Quality(None, None, None) else found


def _figure(said: dict[str, Any], *names: str) -> float | None:
    """The first of these that is a number, or the text of one."""
    for name in names:
        item = said.get(name)
        if isinstance(item, (int, float, str)) and not isinstance(item, bool):
            with contextlib.suppress(ValueError, OverflowError):
                if math.isfinite(number := float(item)):
                    return number
    return None


def view(payload: bytes) -> Report | None:
    """The report in a type 5 payload, None when that is no JSON object. Raises nothing."""
    value = json_object(payload)
    if value is None:
        return None
    sender = value.get("sender_information")
    sender = sender if isinstance(sender, dict) else {}
    blocks = value.get("report_blocks")
    return Report(
        type=_number(value.get("type")),
        ssrc=_number(value.get("ssrc")),
        packets=_number(sender.get("packets")),
        octets=_number(sender.get("octets")),
        rtp_timestamp=_number(sender.get("rtp_timestamp")),
        ntp_sec=_number(sender.get("ntp_timestamp_sec")),
        ntp_usec=_number(sender.get("ntp_timestamp_usec")),
        blocks=[_block(item) for item in blocks if isinstance(item, dict)] if isinstance(blocks, list) else [],
    )


def summary(payload: bytes) -> str:
    """One line about an RTCP (5) or quality report (34, 35) payload, JSON or text. Raises nothing."""
    value = json_object(payload)
    if value is None:
        return _shorten(payload.decode("utf-8", "replace"))
    report = view(payload)
    if report is not None and ("report_blocks" in value or "sender_information" in value):
        return _rtcp_line(report)
    known = {name.lower(): item for name, item in value.items() if isinstance(item, (int, float, str))}
    words = [f"{name.lower()}={known[name.lower()]}" for name in _REPORTED if name.lower() in known]
    if words:
        return _shorten("report " + " ".join(words))
    return _shorten(" ".join(f"{name}={item}" for name, item in known.items()) or "empty report")


def encode(datagram: bytes) -> bytes | None:
    """The JSON of a binary RTCP compound packet (RFC 3550 section 6), as agents send it; None when it is no RTCP.

    Keys as in captagent, heplify and Homer; like theirs, the two halves of the NTP time are as on the wire.
    The first sender or receiver report counts, as collectors read one.
    """
    report: dict[str, Any] | None = None
    sdes: int | None = None
    for kind, count, body in _packets(datagram):
        if kind in (SENDER_REPORT, RECEIVER_REPORT) and report is None:
            report = _report(kind, count, body)
        elif kind == SOURCE_DESCRIPTION and count and len(body) >= 4:
            sdes = int.from_bytes(body[:4], "big")
    if report is None:
        return None
    if sdes is not None:
        report["sdes_ssrc"] = sdes
    return msgspec.json.encode(report)


_REPORTED = (
    "MOS", "RFACTOR", "R_FACTOR", "JITTER", "DELTA", "PACKET_LOSS", "MEAN_MOS", "MEAN_RFACTOR", "MEAN_JITTER",
    "TOTAL_PK", "NLR", "JDR", "IAJ", "MOSLQ", "MOSCQ", "CODEC_NAME",
)  # fmt: skip


def _number(value: object) -> int | None:
    """Some agents write numbers as text, some as floats."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, str)):
        text = str(value) if isinstance(value, str) or abs(value) < 1 << 64 else ""
        return int(text) if text.isascii() and text.removeprefix("-").isdigit() and len(text) <= 20 else None
    return int(value) if isinstance(value, float) and abs(value) < 1e18 else None


def _block(item: dict[str, Any]) -> Block:
    names = ("source_ssrc", "fraction_lost", "packets_lost", "highest_seq_no", "ia_jitter", "lsr", "dlsr")
    return Block(*(_number(item.get(name)) for name in names))


def _rtcp_line(report: Report) -> str:
    name = {SENDER_REPORT: "SR", RECEIVER_REPORT: "RR", EXTENDED_REPORT: "XR"}.get(report.type or 0, "report")
    words = [f"RTCP {name}"]
    if report.ssrc is not None:
        words.append(f"ssrc={report.ssrc:#x}")
    if report.packets is not None:
        words.append(f"packets={report.packets}")
    for block in report.blocks[:1]:
        if block.packets_lost is not None:
            words.append(f"lost={block.packets_lost}")
        if block.fraction_lost:
            words.append(f"({block.fraction_lost / 2.56:.1f}%)")
        if block.jitter is not None:
            words.append(f"jitter={block.jitter}")
    return " ".join(words)


def _shorten(text: str) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * _LONGEST]).split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _packets(datagram: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, count, what follows the header) of each packet of a compound; stops where it is no RTCP any more."""
    at = 0
    while at + 4 <= len(datagram):
        first, kind, words = struct.unpack_from("!BBH", datagram, at)
        end = at + 4 + 4 * words
        if first >> 6 != 2 or not 192 <= kind <= 223 or end > len(datagram):
            return
        yield kind, first & 31, datagram[at + 4 : end]
        at = end


def _report(kind: int, count: int, body: bytes) -> dict[str, Any] | None:
    at = 24 if kind == SENDER_REPORT else 4
    if len(body) < at:
        return None
    report: dict[str, Any] = {"ssrc": int.from_bytes(body[:4], "big"), "type": kind, "report_count": count}
    if kind == SENDER_REPORT:
        seconds, fraction, rtp, packets, octets = struct.unpack_from("!5I", body, 4)
        report["sender_information"] = {
            "ntp_timestamp_sec": seconds,
            "ntp_timestamp_usec": fraction,
            "rtp_timestamp": rtp,
            "packets": packets,
            "octets": octets,
        }
    blocks = []
    for start in range(at, min(at + 24 * count, len(body) - 23), 24):
        source, lost, highest, jitter, lsr, dlsr = struct.unpack_from("!6I", body, start)
        total = lost & 0xFFFFFF
        blocks.append(
            {
                "source_ssrc": source,
                "fraction_lost": lost >> 24,
                "packets_lost": total - (1 << 24) if total & 0x800000 else total,
                "highest_seq_no": highest,
                "ia_jitter": jitter,
                "lsr": lsr,
                "dlsr": dlsr,
            }
        )
    report["report_blocks"] = blocks
    return report
