"""A real Prometheus watches a real switch in trouble: every alert is raised that can be, every query of the dashboard and
every recorded rule gives data.

Everything goes sixty times as fast: a minute of the rules is a second here.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from prometheus import (
    ALERTS,
    DASHBOARD,
    EXAMPLES,
    RECORDED,
    RULES,
    SAMPLES,
    Prometheus,
    panel_queries,
    prometheus,
    promtool,
)
from running import RunningSwitch, running_switch, wait_for
from traffic import Message, calls, hep

TOKEN = "a-token-for-tests"

NOT_MADE = {
    "HepswitchBooksUnbalanced": "would be a fault of ours",
    "HepswitchDescriptorsLow": "wants thousands of connections",
    "HepswitchDiskFilling": "wants a disk that is full",
    "HepswitchReceiveBufferSmall": "root gets whatever buffer it asks for",
    "HepswitchUploadsLate": "wants a storage that is away for an hour",
    "HepswitchUploadsLost": "wants retention to overtake such a storage",
}
"""Alerts that are not raised here, and why. What they ask for must give data all the same."""

ROUTE = """
from hepswitch import hep_route

@hep_route
def route(hep):
    match hep.captagent_id:
        case 7: raise ValueError("a mistake of the script")
        case 8: hep.drop("lab")
        case 9: return
        case 10: hep.store("db", table="no such; table")
        case _:
            for name in ("up", "away", "short", "invites"):
                hep.relay(name)
            for name in ("lake", "db", "gone"):
                hep.store(name)
"""

CONFIG = """
listen = ["udp://127.0.0.1:0", "udp://127.0.0.1:0?deny=127.0.0.0/8", "tcp://127.0.0.1:0?deny=127.0.0.0/8"]
receive_buffer = "256KiB"
spool_dir = "{folder}/spool"
drain = "100ms"
hep_route = {{mode = "script", script = "{folder}/route.py"}}
[destinations]
up = {{urls = ["udp://127.0.0.1:{sink}"]}}
away = {{urls = ["tcp://127.0.0.1:1"], spool = "16MiB"}}
short = {{urls = ["tcp://127.0.0.1:1"], spool = "64KiB"}}
invites = {{urls = ["udp://127.0.0.1:{sink}"], filter = "sip.method = INVITE"}}
[stores]
lake = {{url = "lake:{folder}/lake", seal_after = "1s", remote = "file://{folder}"}}
db = {{url = "sqlite:{folder}/db.sqlite", flush = "200ms"}}
gone = {{url = "postgresql://hep@127.0.0.1:1/hep", spool = "16MiB"}}
"""


BAD_LINE = json.dumps(
    {
        "sender_information": {"packets": 100, "octets": 16000}, "ssrc": 1, "type": 200, "report_count": 1,
        "report_blocks": [{"source_ssrc": 2, "fraction_lost": 60, "packets_lost": 25, "ia_jitter": 900, "dlsr": 1}],
    }
).encode()  # fmt: skip


def _refused(invite: Message) -> list[Message]:
    """A call that the network does not carry."""
    head = invite.payload.partition(b"\r\n")[2]
    return [invite, replace(invite, source=invite.target, target=invite.source, payload=b"SIP/2.0 503 Away\r\n" + head)]


def _registration(message: Message) -> list[bytes]:
    """A registration that succeeds."""
    head = message.payload.partition(b"\r\n\r\n")[0].partition(b"\r\n")[2].replace(b"1 INVITE", b"1 REGISTER")
    head = re.sub(rb"(?m)^(Call-ID: )", rb"\1r", re.sub(rb"Content-[^\r]*\r\n", b"", head)) + b"\r\n\r\n"
    request = replace(message, payload=b"REGISTER sip:voice.example.net SIP/2.0\r\n" + head)
    reply = replace(request, source=message.target, target=message.source, payload=b"SIP/2.0 200 OK\r\n" + head)
    reply = replace(reply, time=message.time + 0.05)
    return [hep(request), hep(reply)]


class Traffic(threading.Thread):
    """Sends until `quiet` is set: calls, and what is wrong with the world. From `failing` on no call gets through."""

    def __init__(self, switch: RunningSwitch) -> None:
        super().__init__(daemon=True)
        self.quiet, self.failing = threading.Event(), threading.Event()
        self._good, self._denied, _ = (("127.0.0.1", int(url.split("?")[0].rpartition(":")[2])) for url in switch.urls)
        self._tcp = switch.address("tcp")

    def run(self) -> None:
        one = next(calls(1))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            farewells = 100  # of an agent whose clock is late: longer than a worker takes to start; then silence
            for seed in itertools.count():
                if self.quiet.wait(0.1):
                    return
                messages = list(calls(14, seed=seed))
                if self.failing.is_set():
                    if farewells:
                        farewells -= 1
                        self._send(
                            sock, [hep(replace(one, time=time.time() - 30), captagent_id=77), *_registration(one)]
                        )
                    messages = [
                        each for message in messages if message.payload[:6] == b"INVITE" for each in _refused(message)
                    ]
                self._send(sock, [hep(message) for message in messages])
                self._send(sock, [hep(replace(one, payload=BAD_LINE), proto_type=5, correlation_id=b"call")])
                self._send(sock, [b"no HEP at all"] * 5)
                self._send(sock, [hep(one, captagent_id=agent) for agent in (7, 8, 9, 10)])
                sock.sendto(hep(one), self._denied)
                with socket.create_connection(self._tcp, 5):
                    pass

    def _send(self, sock: socket.socket, packets: Iterable[bytes]) -> None:
        for packet in packets:
            sock.sendto(packet, self._good)


def _fast(text: str) -> str:
    """Rules whose minutes are seconds, or a few where something is looked for that happens once."""
    text = text.replace("[1m]", "[5s]").replace("[$__rate_interval]", "[20s]")
    text = text.replace("[5m]", "[20s]").replace("[10m]", "[40s]").replace("[15m]", "[15s]").replace("[1h]", "[60s]")
    text = re.sub(r"for: \d+m", "for: 0s", text).replace("offset 1h", "offset 6s")
    return text.replace("timestamp_seconds > 600", "timestamp_seconds > 6").replace(
        "lag_seconds > 60", "lag_seconds > 1"
    )


def _asked(expression: str) -> str:
    """A query of the dashboard as Grafana asks it."""
    return _fast(expression.replace("$job", ".*").replace("$instance", ".*"))


@pytest.fixture(scope="module")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSwitch]:
    folder = tmp_path_factory.mktemp("switch")
    (folder / "route.py").write_text(ROUTE)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        text = CONFIG.format(folder=folder, sink=sink.getsockname()[1])
        with running_switch(folder, text, {"HEPSWITCH_CONTROL__TOKEN": TOKEN}) as switch:
            yield switch


@pytest.fixture(scope="module")
def server(switch: RunningSwitch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "token").write_text(f"{TOKEN}\n")
    (folder / RULES.name).write_text(_fast(RULES.read_text()))
    config = (EXAMPLES / "prometheus" / "prometheus.yml").read_text()
    address = switch.control.removeprefix("http://")
    config = config.replace('"127.0.0.1:9080"', f'"{address}", "127.0.0.1:1"').replace("15s", "1s")
    (folder / "prometheus.yml").write_text(config)
    with prometheus(folder / "prometheus.yml") as server:
        wait_for(lambda: len(server.query("hepswitch_uptime_seconds offset 1s")) == 1, "the first scrapes")
        yield server


@pytest.fixture(scope="module")
def traffic(switch: RunningSwitch, server: Prometheus) -> Iterator[Traffic]:
    traffic = Traffic(switch)
    traffic.start()
    yield traffic
    traffic.quiet.set()
    traffic.join(30)


def _tell(switch: RunningSwitch, path: str, body: Any) -> None:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(f"{switch.control}{path}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 200


HEPLIFY = (
    "sum(rate(heplify_packets_total[5m])) by (type)",
    'sum by (node_id) (increase(heplify_packets_total{type="sip"}[1h]))',
    "avg(heplify_packets_size) by (type, node_id)",
    'sum(rate(heplify_method_response{response="INVITE", method="INVITE"}[5m])) by (target_name)',
    'sum(increase(heplify_method_response{response="200", method="INVITE"}[5m])) / '
    'sum(increase(heplify_method_response{response="INVITE", method="INVITE"}[5m])) * 100',
    'topk(10, sum by (response) (heplify_method_response{response=~"4..|5..|6.."}))',
    'sum(heplify_method_response{target_name=~".*", direction=~".*", node_id=~".*"}) by (method)',
    "avg(heplify_kpi_srd) by (target_name) / 1000000",
    "avg(heplify_kpi_rrd) by (target_name) / 1000000",
    "avg(heplify_rtcp_jitter) by (node_id)",
    "avg(heplify_rtcp_fraction_lost) by (direction)",
    "max(heplify_rtcp_packets_lost) by (target_name)",
    "avg(heplify_rtcp_dlsr)",
)
"""What dashboards that people made for heplify-server ask."""


def _all_give_data(server: Prometheus, wanted: Iterable[str]) -> None:
    missing = list(wanted)

    def done() -> bool:
        missing[:] = [expression for expression in missing if not server.query(expression)]
        return not missing

    try:
        wait_for(done, "data")
    except AssertionError:
        raise AssertionError("these give no data:\n" + "\n".join(missing)) from None


def _raised(server: Prometheus, names: set[str]) -> dict[str, dict[str, Any]]:
    """These alerts, once they all have been raised at some time."""
    seen: dict[str, dict[str, Any]] = {}

    def done() -> bool:
        seen.update({alert["labels"]["alertname"]: alert for alert in server.ask("alerts")["alerts"]})
        return names <= seen.keys()

    try:
        wait_for(done, "alerts")
    except AssertionError:
        raise AssertionError(f"never raised: {sorted(names - seen.keys())}") from None
    return seen


def test_trouble_raises_alerts_and_every_query_gives_data(
    switch: RunningSwitch, server: Prometheus, traffic: Traffic
) -> None:
    _all_give_data(server, ["sum(hepswitch_destination_delivered_total) > 0"])
    [worker] = switch.workers()
    os.kill(worker, signal.SIGSTOP)  # the kernel's buffer overflows
    time.sleep(1.0)
    os.kill(worker, signal.SIGCONT)
    os.kill(switch.process.pid, signal.SIGSTOP)  # nobody comes to its work
    time.sleep(2.5)  # once a second it looks how late it is
    os.kill(switch.process.pid, signal.SIGCONT)
    alerts = _raised(server, {"HepswitchKernelDrops", "HepswitchSupervisorSlow"})
    os.kill(worker, signal.SIGKILL)
    alerts |= _raised(server, {"HepswitchProcessRestarted"})
    _all_give_data(server, [_asked(each["expr"]) for each in DASHBOARD["annotations"]["list"]])
    _all_give_data(server, ["hepswitch:asr:ratio15m > 0.3 and hepswitch:asr:ratio15m offset 6s > 0.3"])
    traffic.failing.set()

    last = {"HepswitchCaptureOff", "HepswitchNothingReceived"}
    alerts |= _raised(server, set(ALERTS) - set(NOT_MADE) - set(alerts) - last)
    _all_give_data(server, [*map(_asked, [*panel_queries(), *HEPLIFY]), *RECORDED])
    _all_give_data(server, {name for alert in NOT_MADE for name in re.findall(r"hepswitch_\w+", ALERTS[alert]["expr"])})

    _tell(switch, "/api/v1/capture", {"on": False})
    traffic.quiet.set()
    alerts |= _raised(server, last)
    for name, alert in alerts.items():
        for words in alert["annotations"].values():
            assert not re.search(r"<error|<no value>|{{", words), (name, words)


def test_prometheus_and_promtool_like_what_they_read(
    switch: RunningSwitch, server: Prometheus, traffic: Traffic
) -> None:
    request = urllib.request.Request(f"{switch.control}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        text = answer.read()
    assert promtool("check", "metrics", text=text) == ""
    exposed = {line.partition("{")[0].partition(" ")[0] for line in text.decode().splitlines() if line[0] != "#"}
    assert exposed <= SAMPLES
