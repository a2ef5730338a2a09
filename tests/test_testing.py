"""The tools for testing routes: packets as agents send them, outcomes that say what happened. And the page about them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hepswitch.routing.script import ScriptError
from hepswitch.testing import Outcome, RouteTest, hep_packet, invite, rtcp, sip
from hepswitch.wire.errors import WireError
from hepswitch.wire.hep import Hep
from hepswitch.wire.rtcp import view

PAGE = Path(__file__).parents[1] / "docs" / "howto" / "test-a-route.md"


def _write(folder: Path, body: str) -> Path:
    path = folder / "route.py"
    path.write_text(f"from hepswitch import hep_route, sip_route, counter, table\n\n{body}\n")
    return path


def test_packets_are_what_they_say() -> None:
    message = invite(from_user="+4930", to_tag="b", body="v=0\r\n", headers={"X-Tenant": "ä"}, captagent_id=7).sip
    assert message is not None
    assert (message.method, message.call_id, message.from_user, message.to_user) == ("INVITE", "c1", "+4930", "bob")
    assert (message.ruri, message.cseq, message.cseq_method, message.to_tag) == (
        "sip:bob@example.com", 1, "INVITE", "b",
    )  # fmt: skip
    assert (message.header("X-Tenant"), message.body, message.content_length) == ("ä", b"v=0\r\n", 5)
    assert message.content_type == "application/sdp"
    reply = sip(486, cseq_method="MESSAGE", headers={"From": "<sip:x@y>;tag=9"})
    assert reply.sip is not None
    assert (reply.sip.status, reply.sip.reason, reply.sip.cseq_method) == (486, "Busy Here", "MESSAGE")
    assert (reply.sip.from_user, reply.src_port, reply.time) == ("x", 5060, 1_700_000_000.25)
    old = sip("BYE", version=2, src_ip="2001:db8::1", dst_ip="2001:db8::2")
    assert (old.version, old.src_ip) == (2, "2001:db8::1")


def test_quality_reports_are_what_they_say() -> None:
    hep = rtcp("c9", lost=3, jitter=40, node_name="n")
    assert (hep.proto_type, hep.correlation_id, hep.node_name) == ("RTCP", b"c9", "n")
    report = view(hep.payload or b"")
    assert report is not None
    assert [(block.packets_lost, block.jitter) for block in report.blocks] == [(3, 40)]


def test_an_outcome_tells_each_thing_in_its_order(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        """@hep_route
def route(hep):
    hep.relay("homer")
    hep.captagent_id = 9
    hep.relay("backup")
    hep.resume_sip()

@sip_route
def sip(msg):
    msg.store(table="calls", custom_field1=msg.received.src_ip)
    msg.hep.report("c1", store="second")
    msg.drop("enough")
""",
    )
    route = RouteTest(path, destinations=["homer", "backup"], stores=["lake", "second"])
    outcome = route.run(invite(captagent_id=1), received=("198.51.100.1", 5), listener="tcp://0.0.0.0:9060")
    assert [(name, hep.captagent_id) for name, hep in outcome.relayed] == [("homer", 1), ("backup", 9)]
    assert [(name, options) for name, _, options in outcome.stored] == [
        ("lake", {"table": "calls", "custom_field1": "198.51.100.1"}),
        ("second", {"correlation_id": "c1"}),
    ]
    assert (outcome.dropped, outcome.resumed, outcome.unrouted, outcome.error) == ("enough", True, False, None)
    assert repr(outcome) == (
        "<Outcome: relayed to homer; relayed to backup; stored in lake {'table': 'calls', 'custom_field1': "
        "'198.51.100.1'}; stored in second {'correlation_id': 'c1'}; dropped: enough>"
    )


def test_who_refuses_is_told(tmp_path: Path) -> None:
    path = _write(tmp_path, '@hep_route\ndef route(hep):\n    hep.relay("homer") or hep.relay("backup")\n')
    route = RouteTest(path, ["homer", "backup"], refusing=["homer"])
    assert (route.run(invite()).relayed_to, route.run(invite()).refused) == (["backup"], ["homer"])
    route.refusing.add("backup")
    outcome = route.run(invite())
    assert (outcome.relayed, outcome.refused, outcome.unrouted) == ([], ["homer", "backup"], True)
    with pytest.raises(ValueError, match="refusing names hommer"):
        RouteTest(path, ["homer", "backup"], refusing=["hommer"])


def test_what_a_route_raises_is_in_the_outcome(tmp_path: Path) -> None:
    route = RouteTest(_write(tmp_path, "@hep_route\ndef route(hep):\n    return 1 / hep.vlan_id\n"))
    outcome = route.run(hep_packet(vlan_id=0))
    assert isinstance(outcome.error, ZeroDivisionError)
    assert (outcome.unrouted, "raised ZeroDivisionError" in repr(outcome)) == (False, True)
    assert route.run(hep_packet(vlan_id=1)).error is None


def test_state_stays_over_a_reload_and_apart_from_other_tests(tmp_path: Path) -> None:
    body = '@hep_route\ndef route(hep):\n    counter("n").inc()\n    hep.drop(str(table("t").incr(hep.src_ip)))\n'
    path = _write(tmp_path, body)
    route, other = RouteTest(path), RouteTest(path)
    assert [route.run(invite()).dropped for _ in range(2)] == ["1", "2"]
    path.write_text(path.read_text().replace("inc()", "inc(10)"))
    route.reload()
    assert (route.run(invite()).dropped, route.value("n")) == ("3", 12)
    assert other.run(invite()).dropped == "1"
    path.write_text("def broken(:")
    with pytest.raises(ScriptError):
        route.reload()
    assert route.run(invite()).dropped == "4"


def test_a_reload_reads_changed_lists_again(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("lab\n")
    body = 'from hepswitch import word_list\nwords = word_list("words.txt")\n\n@hep_route\ndef route(hep):\n'
    route = RouteTest(_write(tmp_path, body + "    hep.drop(str(hep.node_name in words))\n"))
    assert route.run(hep_packet(node_name="berlin")).dropped == "False"
    words.write_text("lab\nberlin\n")
    route.reload()
    assert route.run(hep_packet(node_name="berlin")).dropped == "True"


def test_modes(tmp_path: Path) -> None:
    body = '@hep_route\ndef a(hep):\n    hep.drop("hep")\n\n@sip_route\ndef b(msg):\n    msg.drop("sip")\n'
    path = _write(tmp_path, body)
    assert RouteTest(path).run(invite()).dropped == "hep"
    assert RouteTest(path, mode="sip").run(invite()).dropped == "sip"
    config = tmp_path / "hepswitch.toml"
    config.write_text(
        '[hep_route]\nmode = "sip"\nscript = "route.py"\n[destinations.homer]\nurls = ["udp://192.0.2.7:9060"]\n'
    )
    assert RouteTest.from_config(config).run(rtcp()).dropped == "not SIP"
    config.write_text("workers = 2\n")
    assert RouteTest.from_config(config).run(rtcp()).stored_in == ["lake"]


def test_bytes_are_packets_too(tmp_path: Path) -> None:
    route = RouteTest(_write(tmp_path, "@hep_route\ndef route(hep):\n    hep.store()\n"), stores=["lake"])
    assert route.run(bytes(invite(version=1))).stored[0].hep.version == 1
    with pytest.raises(WireError):
        route.run(b"no HEP at all")


def test_a_kept_outcome_keeps_its_packets(tmp_path: Path) -> None:
    route = RouteTest(_write(tmp_path, '@hep_route\ndef route(hep):\n    hep.relay("homer")\n'), ["homer"])
    outcomes = [route.run(hep_packet(captagent_id=number)) for number in range(3)]
    assert [outcome.relayed[0].hep.captagent_id for outcome in outcomes] == [0, 1, 2]
    assert all(isinstance(outcome.relayed[0].hep, Hep) for outcome in outcomes)
    assert repr(Outcome(unrouted=True, tags={"lab"})) == "<Outcome: unrouted; tagged lab>"


def test_the_page_about_it_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert [language for language, _ in blocks] == ["python", "text", "python"]
    for name, (_, text) in zip(("route.py", "fraud.txt", "test_route.py"), blocks, strict=True):
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_route.py"],
        cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout
