"""Metrics of what reports say about media: RTCP, RTP agents, VQ-RTCPXR, horaclifix, X-RTP-Stat, under heplify-server's names.

heplify-server shows the last value that came; these are means of about the last minute, in the units of the reports. Not here:
how reports are read (`metering.quality`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import Metric

from hepswitch.control.metrics.families import Family, Group
from hepswitch.control.metrics.traffic import means
from hepswitch.metering.quality import MOS_BOUNDS

QUALITY = Group(
    "Quality of media",
    "Each is a mean of about the last minute of what reports say, and ends when none come. MOS of RTCP is computed by the "
    "E-model (ITU-T G.107) for G.711 from loss and jitter.",
)


def _gauges(prefix: str, labels: tuple[str, ...], texts: dict[str, str]) -> dict[str, Family]:
    return {f"{prefix}_{key}": QUALITY.gauge(f"{prefix}_{key}", text, *labels) for key, text in texts.items()}


_MEDIA = ("target_name", "direction", "node_id")
_REALMS = ("sbc_name", "direction", "inc_realm", "out_realm")
_STREAM = {
    "mos": "MOS.",
    "rval": "R factor.",
    "packets": "Packets.",
    "lost_packets": "Packets lost.",
    "avg_jitter": "Average jitter.",
    "max_jitter": "Largest jitter.",
}
_LATE = {"avg_lat": "Average latency.", "max_lat": "Largest latency."}

MEANS = {
    **_gauges("heplify_rtcp", _MEDIA, {
        "fraction_lost": "RTCP: share of packets lost, in 1/256.",
        "packets_lost": "RTCP: packets lost since the beginning.",
        "jitter": "RTCP: interarrival jitter, in units of the RTP clock.",
        "dlsr": "RTCP: delay since the last sender report, in 1/65536 s.",
    }),
    **_gauges("heplify_rtcpxr", _MEDIA, {
        "fraction_lost": "RTCP XR: share of packets lost, in 1/256.",
        "fraction_discard": "RTCP XR: share of packets discarded, in 1/256.",
        "burst_density": "RTCP XR: share of packets lost in bursts, in 1/256.",
        "burst_duration": "RTCP XR: mean duration of bursts, ms.",
        "gap_density": "RTCP XR: share of packets lost in gaps, in 1/256.",
        "gap_duration": "RTCP XR: mean duration of gaps, ms.",
        "round_trip_delay": "RTCP XR: round trip delay, ms.",
        "end_system_delay": "RTCP XR: delay of the end system, ms.",
    }),
    **_gauges("heplify_rtpagent", ("node_id",), {
        "delta": "RTP agent: delta.", "jitter": "RTP agent: jitter.", "mos": "RTP agent: MOS.",
        "packets_lost": "RTP agent: packets lost.",
    }),
    **_gauges("heplify_vqrtcpxr", ("node_id",), {
        "nlr": "VQ-RTCPXR: network packet loss rate.", "jdr": "VQ-RTCPXR: jitter buffer discard rate.",
        "iaj": "VQ-RTCPXR: interarrival jitter.", "moslq": "VQ-RTCPXR: listening quality, MOS.",
        "moscq": "VQ-RTCPXR: conversational quality, MOS.",
    }),
    **_gauges("heplify_xrtp", ("target_name",), {
        "cs": "X-RTP-Stat: call setup time, s.", "jir": "X-RTP-Stat: jitter received.", "jis": "X-RTP-Stat: jitter sent.",
        "plr": "X-RTP-Stat: packets lost, received.", "pls": "X-RTP-Stat: packets lost, sent.",
        "dle": "X-RTP-Stat: delay.", "mos": "X-RTP-Stat: MOS by the E-model.",
    }),
    **_gauges("horaclifix_rtp", _REALMS, {key: f"horaclifix, RTP: {text}" for key, text in _STREAM.items()}),
    **_gauges("horaclifix_rtcp", _REALMS, {
        key: f"horaclifix, RTCP: {text}"
        for key, text in (_STREAM | _LATE).items() if key not in {"mos", "rval"}
    }),
}  # fmt: skip
MOS = QUALITY.histogram("hepswitch_rtcp_mos", "MOS that the E-model gives the reports in RTCP.", "node_id")
REPORTS = QUALITY.counter(
    "hepswitch_quality_reports_total",
    "Reports that were read, by kind; unreadable ones; those skipped because too many came in a second.", "kind",
)  # fmt: skip


def collect(meter: dict[str, Any]) -> Iterator[Metric]:
    """All of them that there are values of, out of `meter` of the books."""
    if "quality" not in meter:
        return
    for name, family in MEANS.items():
        if name in meter["means"]:
            yield family.of(means(family, meter["means"][name]))
    rows = meter["quality"]["mos"].items()
    yield MOS.spread(((node,), MOS_BOUNDS, [*row["counts"].values()], row["sum"]) for node, row in rows)
    yield REPORTS.each(meter["quality"]["reports"])
