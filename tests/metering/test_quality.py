"""Reports of quality become means under heplify-server's names, whatever is wrong with them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch import books
from hepswitch.metering import quality
from hepswitch.metering.means import Means, values
from hepswitch.metering.quality import Quality, mos
from metering.scene import UAC, Stage, rtcp

REPORT: dict[str, Any] = {
    "sender_information": {"packets": 10, "octets": 1600}, "ssrc": 1, "type": 200, "report_count": 1,
    "report_blocks": [{"source_ssrc": 2, "fraction_lost": 26, "packets_lost": 5, "ia_jitter": 80, "lsr": 1, "dlsr": 65536}],
    "report_blocks_xr": {"type": 7, "id": 1, "fraction_lost": 3, "round_trip_delay": 42, "gap_density": "7"},
}  # fmt: skip


def value(snapshot: dict[str, Any], name: str) -> dict[str, float]:
    return values(snapshot[name])


def test_rtcp_by_node_and_target() -> None:
    stage = Stage()
    stage.tell_apart(access=[UAC])
    stage.run(rtcp(json.dumps(REPORT).encode(), node_name="edge"))
    means = stage.meter.snapshot()["means"]
    whose = "target_name=access&direction=src&node_id=edge"
    assert value(means, "heplify_rtcp_fraction_lost") == {whose: 26}
    assert value(means, "heplify_rtcp_jitter") == {whose: 80}
    assert value(means, "heplify_rtcp_dlsr") == {whose: 65536}
    assert value(means, "heplify_rtcpxr_round_trip_delay") == {whose: 42}
    assert value(means, "heplify_rtcpxr_gap_density") == {whose: 7}
    row = stage.meter.snapshot()["quality"]
    assert row["reports"] == {"rtcp": 1}
    assert sum(row["mos"]["edge"]["counts"].values()) == 1
    assert row["mos"]["edge"]["sum"] == pytest.approx(mos(26 / 256, jitter_ms=10))


def test_the_other_reports() -> None:
    stage = Stage()
    stage.run(rtcp(b'{"DELTA": 2.5, "JITTER": "3", "MOS": 4.2, "PACKET_LOSS": 1}', proto_type=34))
    report = b"VQSessionReport: CallTerm\r\nLoss:NLR=5.0 JDR=2.0\r\nDelay:IAJ=7\r\nQuality:MOSLQ=4.1 MOSCQ=4.0\r\n"
    stage.run(rtcp(report, proto_type=35))
    stage.run(rtcp(b'{"NAME": "sbc", "INC_REALM": "in", "OUT_REALM": "out", "INC_MOS": 410, "OUT_RTCP_AVG_LAT": 9}',
                   proto_type=38))  # fmt: skip
    stage.say("BYE", 0, "2 BYE", to_tag="t", headers="X-RTP-Stat: CS=2500;PS=990;PR=99;PL=1,2;JI=8,9;DL=20,21,22\r\n")
    means = stage.meter.snapshot()["means"]
    assert value(means, "heplify_rtpagent_delta") == {"node_id=7": 2.5}
    assert value(means, "heplify_rtpagent_jitter") == {"node_id=7": 3}
    assert value(means, "heplify_vqrtcpxr_nlr") == {"node_id=7": 5}
    assert value(means, "heplify_vqrtcpxr_moscq") == {"node_id=7": 4}
    realms = "inc_realm=in&out_realm=out"
    assert value(means, "horaclifix_rtp_mos") == {f"sbc_name=sbc&direction=inc&{realms}": 410}
    assert value(means, "horaclifix_rtcp_avg_lat") == {f"sbc_name=sbc&direction=out&{realms}": 9}
    assert value(means, "heplify_xrtp_cs") == {"target_name=unknown": 2}
    assert value(means, "heplify_xrtp_pls") == {"target_name=unknown": 2}
    assert value(means, "heplify_xrtp_mos")["target_name=unknown"] == pytest.approx(mos(0.01, 20, 8))
    assert stage.meter.snapshot()["quality"]["reports"] == {"rtpagent": 1, "rtcpxr": 1, "horaclifix": 1, "xrtp": 1}


def test_the_e_model() -> None:
    assert mos(0) == pytest.approx(4.41, abs=0.01)
    assert mos(0.01) > mos(0.05) > mos(0.2) > 1.0
    assert mos(0, 400) < mos(0, 150) < mos(0)
    assert mos(1.0, 1e6, 1e6) == 1.0


def test_means_fade_and_end() -> None:
    means = Means()
    for number in (1.0, 3.0):
        means.note("x", number, a="1")
    assert values(means.snapshot()["x"]) == {"a=1": 2.0}
    means.fade(60)
    means.note("x", 10.0, a="1")
    assert 5 < values(means.snapshot()["x"])["a=1"] < 7, "what is new weighs more"
    both = books.add(means.snapshot(), means.snapshot())
    assert values(both["x"]) == values(means.snapshot()["x"]), "workers' means add up"
    means.fade(3600)
    assert means.snapshot() == {}


def test_a_flood_of_reports_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "A_SECOND", 3)
    reader = Quality(Means())
    for _ in range(5):
        reader.see(5, json.dumps(REPORT).encode(), "n")
    assert reader.snapshot()["reports"] == {"rtcp": 3, "skipped": 2}
    reader.allow(1.0)
    reader.see(5, b"x" * 20_000, "n")
    assert reader.snapshot()["reports"] == {"rtcp": 3, "skipped": 2, "unreadable": 1}


KEYS = st.sampled_from([*REPORT, "fraction_lost", "INC_MOS", "NAME", "MOS"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
)  # fmt: skip


@given(JSON, st.sampled_from([5, 34, 35, 38]))
def test_any_json_is_read_or_counted(report: Any, kind: int) -> None:
    means = Means()
    reader = Quality(means)
    reader.see(kind, json.dumps(report).encode(), "n")
    reader.see_rtp_stat(json.dumps(report).encode(), "unknown")
    assert sum(reader.snapshot()["reports"].values()) == 2
    for of in means.snapshot().values():
        assert all(abs(number) <= quality.ABSURD for number in values(of).values())
