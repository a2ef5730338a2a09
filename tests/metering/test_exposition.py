"""What is measured as Prometheus text: promtool has nothing to say against it, and the numbers are there."""

from __future__ import annotations

import json
import subprocess

from prometheus_client.parser import text_string_to_metric_families

from hepswitch import books
from hepswitch.control import metrics
from hepswitch.control.agents import AgentList
from hepswitch.control.vitals import Vitals
from metering.scene import PROXY, UAC, Stage, rtcp
from metering.test_calls import answered
from metering.test_quality import REPORT


def test_promtool_finds_nothing() -> None:
    stage = Stage()
    answered(stage)
    stage.tell_apart(access=[UAC])
    answered(stage, call_id="second")
    stage.say("BYE", 5, "9 BYE", to_tag="t", headers="Reason: Q.850;cause=16\r\nX-RTP-Stat: CS=1000;PL=1,2\r\n")
    for kind, report in (
        (5, json.dumps(REPORT)), (34, '{"MOS": 4}'), (35, "NLR=1 JDR=2 IAJ=3 MOSLQ=4 MOSCQ=4"),
        (38, json.dumps({f"{way}_{key}": 1 for way in ("INC", "OUT") for key in ("MOS", "RTP_PK", "RTCP_MAX_LAT")})),
    ):  # fmt: skip
        stage.run(rtcp(report.encode(), proto_type=kind))
    book = books.close(books.empty() | {"meter": stage.meter.snapshot()}, 1.0)
    text = metrics.exposition(book, Vitals(), AgentList([], 0))
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }
    unknown = (("direction", ""), ("target_name", "unknown"))
    access = (("direction", "src"), ("target_name", "access"))
    assert samples["hepswitch_sip_attempts_total", *unknown] == 1
    assert samples["hepswitch_sip_outcomes_total", *sorted([*access, ("outcome", "answered")])] == 1
    assert samples["hepswitch_sip_setup_seconds_bucket", *sorted([*access, ("le", "0.5")])] == 1
    assert samples["hepswitch_sip_setup_seconds_bucket", *sorted([*access, ("le", "0.25")])] == 0
    assert samples["heplify_packets_total", ("node_id", "7"), ("type", "sip")] == 15
    assert samples["heplify_packets_size", ("node_id", "7"), ("type", "rtpagent")] == 10
    said = [*unknown, ("method", "INVITE"), ("node_id", "7"), ("response", "180")]
    assert samples["heplify_method_response", *sorted(said)] == 1
    assert (
        samples[
            "heplify_method_response", *sorted([*access, ("method", "INVITE"), ("node_id", ""), ("response", "INVITE")])
        ]
        == 1
    )
    assert samples["heplify_reason_isup_total", ("cause", "16"), ("method", "BYE"), ("target_name", "access")] == 1
    assert PROXY


def test_every_family_of_quality_is_declared() -> None:
    stage = Stage()
    stage.run(rtcp(json.dumps(REPORT).encode()))
    assert stage.meter.snapshot()["means"].keys() <= metrics.quality.MEANS.keys()
    empty = metrics.exposition(books.close(books.empty(), 0.0), Vitals(), AgentList([], 0))
    assert b"heplify" not in empty
