"""What reports say about the quality of media: RTCP as JSON (type 5), RTP agents (34), VQ-RTCPXR (35), horaclifix (38), and
the header X-RTP-Stat. Each gives values that become means under the names of heplify-server.

Reports are somebody's words: what is no number, or absurd, is not taken. They are rare beside SIP, so this is Python; how
many are read in a second is bounded, the rest is counted as skipped. Not here: where RTCP belongs to (`lake`), RTP.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hepswitch.books import label
from hepswitch.metering.means import Means
from hepswitch.wire import rtcp
from hepswitch.wire.values import json_object

LONGEST = 16_384
"""Bytes of a report; a longer one is not read."""

A_SECOND = 2000
"""Reports that are read in a second at most."""

ABSURD = 1e12

MOST_REALMS = 200
"""Pairs of realms (horaclifix) that have labels of their own; others are "other"."""

MOS_BOUNDS = (1.5, 2.0, 2.5, 3.0, 3.25, 3.5, 3.75, 4.0, 4.25)

_XR = (
    "fraction_lost", "fraction_discard", "burst_density", "burst_duration", "gap_density", "gap_duration",
    "round_trip_delay", "end_system_delay",
)  # fmt: skip
_RTP_AGENT = {"DELTA": "delta", "JITTER": "jitter", "MOS": "mos", "PACKET_LOSS": "packets_lost"}
_VQ = ("NLR", "JDR", "IAJ", "MOSLQ", "MOSCQ")
_RTP = {"MOS": "mos", "RVAL": "rval", "RTP_PK": "packets", "RTP_PK_LOSS": "lost_packets", "RTP_AVG_JITTER": "avg_jitter",
        "RTP_MAX_JITTER": "max_jitter"}  # fmt: skip
_RTCP = {"RTCP_PK": "packets", "RTCP_PK_LOSS": "lost_packets", "RTCP_AVG_JITTER": "avg_jitter",
         "RTCP_MAX_JITTER": "max_jitter", "RTCP_AVG_LAT": "avg_lat", "RTCP_MAX_LAT": "max_lat"}  # fmt: skip


def mos(loss: float, delay_ms: float = 0.0, jitter_ms: float = 0.0) -> float:
    """The mean opinion score (1..4.5) that the E-model (ITU-T G.107) gives a call: `loss` is a share (0..1) of packets.

    An estimate with the values of G.711 with concealment (Ie 0, Bpl 25.1, G.113 appendix I) and random loss; a jitter buffer
    of twice the jitter counts as delay. It says whether a path is good, not how this codec sounded.
    """
    delay = delay_ms + 2 * jitter_ms
    impairment = 0.024 * delay + (0.11 * (delay - 177.3) if delay > 177.3 else 0.0)
    percent = 100 * loss
    rating = max(0.0, min(93.2 - impairment - 95 * percent / (percent + 25.1), 100.0))
    return max(1.0, 1 + 0.035 * rating + rating * (rating - 60) * (100 - rating) * 7e-6)


class Quality:
    """Reads reports into `means`, and estimates into a histogram of MOS by node."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._reports = Counter[str]()
        self._left = float(A_SECOND)
        self._mos: dict[str, tuple[list[int], list[float]]] = {}
        self._realms: set[tuple[str, str, str]] = set()
        self._readers: dict[int, tuple[str, Callable[[bytes, dict[str, str]], bool]]] = {
            5: ("rtcp", self._rtcp),
            34: ("rtpagent", self._rtp_agent),
            35: ("rtcpxr", self._vq),
            38: ("horaclifix", self._horaclifix),
        }

    def see(self, kind: int, payload: bytes, node: str, target: str = "unknown", direction: str = "") -> None:
        """A report of protocol type `kind` from `node`, about media of `target`."""
        name, read = self._readers[kind]
        self._take(name, read, payload, {"target_name": target, "direction": direction, "node_id": node})

    def see_rtp_stat(self, value: bytes, target: str) -> None:
        """The header X-RTP-Stat of a message from `target`."""
        self._take("xrtp", self._rtp_stat, value, {"target_name": target})

    def allow(self, seconds: float) -> None:
        """So much time has passed: more may be read."""
        self._left = min(self._left + A_SECOND * seconds, float(A_SECOND))

    def snapshot(self) -> dict[str, Any]:
        """`reports` by kind, "unreadable" and "skipped" among them, and values for which there was no room ("unmeasured");
        `mos`: a histogram for each node."""
        return {
            "reports": dict(self._reports) | ({"unmeasured": self._means.missed} if self._means.missed else {}),
            "mos": {
                node: {"counts": {str(place): count for place, count in enumerate(counts)}, "sum": total[0]}
                for node, (counts, total) in self._mos.items()
            },
        }

    def _take(
        self, name: str, read: Callable[[bytes, dict[str, str]], bool], payload: bytes, whose: dict[str, str]
    ) -> None:
        if self._left < 1:
            self._reports["skipped"] += 1
            return
        self._left -= 1
        understood = len(payload) <= LONGEST and read(payload, whose)
        self._reports[name if understood else "unreadable"] += 1

    def _rtcp(self, payload: bytes, whose: dict[str, str]) -> bool:
        value = json_object(payload)
        report = rtcp.view(payload) if value is not None else None
        if value is None or report is None:
            return False
        block = report.blocks[0] if report.blocks else None
        if block is not None:
            measured = {
                "fraction_lost": block.fraction_lost,
                "packets_lost": block.packets_lost,
                "jitter": block.jitter,
                "dlsr": block.dlsr,
            }
            self._note("heplify_rtcp", {key: item for key, item in measured.items() if item is not None}, whose)
            if block.fraction_lost is not None and 0 <= block.fraction_lost <= 255:
                # Jitter is in units of the RTP clock: of speech nearly always 8 kHz.
                self._score(mos(block.fraction_lost / 256, jitter_ms=max(0, min(block.jitter or 0, 80_000)) / 8), whose)
        extended = value.get("report_blocks_xr")
        if isinstance(extended, dict):
            self._note("heplify_rtcpxr", _numbers(extended, {name: name for name in _XR}), whose)
        return block is not None or isinstance(extended, dict) or "sender_information" in value

    def _score(self, score: float, whose: dict[str, str]) -> None:
        counts, total = self._mos.setdefault(whose["node_id"], ([0] * (len(MOS_BOUNDS) + 1), [0.0]))
        counts[next((place for place, bound in enumerate(MOS_BOUNDS) if score <= bound), len(MOS_BOUNDS))] += 1
        total[0] += score

    def _rtp_agent(self, payload: bytes, whose: dict[str, str]) -> bool:
        found = _numbers(json_object(payload) or {}, _RTP_AGENT)
        self._note("heplify_rtpagent", found, {"node_id": whose["node_id"]})
        return bool(found)

    def _vq(self, payload: bytes, whose: dict[str, str]) -> bool:
        words = dict(_words(payload, b" \t\r\n;,:"))
        found = _numbers(words, {name: name.lower() for name in _VQ})
        self._note("heplify_vqrtcpxr", found, {"node_id": whose["node_id"]})
        return bool(found)

    def _horaclifix(self, payload: bytes, whose: dict[str, str]) -> bool:
        value = json_object(payload)
        if value is None:
            return False
        names = ("NAME", "INC_REALM", "OUT_REALM")
        sbc, inward, outward = (label(item) if isinstance(item := value.get(name), str) else "" for name in names)
        if (sbc, inward, outward) not in self._realms:
            if len(self._realms) >= MOST_REALMS:
                sbc = inward = outward = "other"
            self._realms.add((sbc, inward, outward))
        any_found = False
        for direction, prefix in (("inc", "INC_"), ("out", "OUT_")):
            labels = {"sbc_name": sbc, "direction": direction, "inc_realm": inward, "out_realm": outward}
            for group, keys in (("horaclifix_rtp", _RTP), ("horaclifix_rtcp", _RTCP)):
                found = _numbers(value, {prefix + key: name for key, name in keys.items()})
                any_found = any_found or bool(found)
                self._note(group, found, labels)
        return any_found

    def _rtp_stat(self, value: bytes, whose: dict[str, str]) -> bool:
        words = dict(_words(value, b";"))
        pairs = {"PL": ("plr", "pls"), "JI": ("jir", "jis")}
        found: dict[str, float] = {}
        for name, (received, sent) in pairs.items():
            first, comma, second = words.get(name, "").partition(",")
            if comma:
                found |= _numbers({received: first, sent: second}, {received: received, sent: sent})
        found |= _numbers(words, {"CS": "cs"})
        if "cs" in found:
            found["cs"] //= 1000  # a setup time in ms; heplify-server shows seconds
        delays = [each for text in words.get("DL", "").split(",") if (each := _number(text)) is not None]
        if delays:
            found["dle"] = delays[0]
        packets = _number(words.get("PR", ""))
        if packets and "plr" in found:
            loss = min(max(found["plr"], 0.0) / (packets + max(found["plr"], 0.0)), 1.0)
            found["mos"] = mos(loss, max(found.get("dle", 0.0), 0.0), max(found.get("jir", 0.0), 0.0))
        self._note("heplify_xrtp", found, whose)
        return bool(found)

    def _note(self, group: str, found: Mapping[str, float], labels: dict[str, str]) -> None:
        for name, value in found.items():
            self._means.note(f"{group}_{name}", value, **labels)


def _number(value: object) -> float | None:
    """A number, also one that is written as text; None for what is none, or absurd."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and abs(number) <= ABSURD else None


def _numbers(value: dict[str, Any], keys: dict[str, str]) -> dict[str, float]:
    """The numbers among `keys` of `value`, by the names that they get."""
    return {name: number for key, name in keys.items() if (number := _number(value.get(key))) is not None}


def _words(text: bytes, between: bytes) -> Iterator[tuple[str, str]]:
    """NAME=value pairs."""
    for byte in between[1:]:
        text = text.replace(bytes([byte]), between[:1])
    for word in text.decode("ascii", "replace").split(between[:1].decode()):
        name, equals, value = word.partition("=")
        if equals:
            yield name.strip().upper(), value.strip()
