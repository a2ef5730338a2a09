"""A switch with two workers: calls are counted once, agents are one list, targets are reloaded, a worker's death costs nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

import traffic
from running import RunningSwitch, running_switch, wait_for

CONFIG = 'listen = ["udp://127.0.0.1:0"]\nworkers = 2\n'
CALLS = 60


def sip(switch: RunningSwitch) -> dict[str, Any]:
    found: dict[str, Any] = switch.stats()["meter"]["sip"]
    return found


def test_two_workers_count_calls_once(tmp_path: Path) -> None:
    messages = list(traffic.calls(CALLS))
    with running_switch(tmp_path, CONFIG) as switch:
        for agent in (2001, 2002):
            switch.send_udp(*(traffic.hep(message, agent) for message in messages))
        sent = 2 * len(messages)
        switch.wait_stats(lambda book: book["routed"]["packets"] == sent, "all packets")
        row = sip(switch)
        calls = row["calls"]["unknown"][""]
        assert calls["attempts"] == CALLS
        assert calls["outcomes"]["answered"] == CALLS
        assert calls["retransmissions"] == {"requests": 0, "replies": 0}
        assert sum(calls["setup"]["counts"].values()) == CALLS
        counted = {
            sample.labels["method"]: sample.value
            for family in text_string_to_metric_families(switch.get("/metrics"))
            for sample in family.samples
            if sample.name == "heplify_method_response" and sample.labels["response"] == "BYE"
        }
        assert counted == {"BYE": CALLS}
        (victim, _) = switch.workers()
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: victim not in switch.workers() and len(switch.workers()) == 2, "another worker")
        switch.send_udp(*(traffic.hep(message) for message in messages))
        switch.wait_stats(lambda book: book["routed"]["packets"] == sent + len(messages), "the packets sent again")
        assert sip(switch)["calls"]["unknown"][""]["attempts"] == CALLS, "what the dead worker knew is not lost"


def test_targets_are_reloaded(tmp_path: Path) -> None:
    with running_switch(tmp_path, CONFIG) as switch:
        config = tmp_path / "hepswitch.toml"
        config.write_text(config.read_text() + '[metrics.targets]\ncarrier = ["192.0.2.0/24"]\n')
        assert switch.post("/api/v1/reload", {})["changed"] == ["metrics"]
        messages = list(traffic.calls(5))
        switch.send_udp(*(traffic.hep(message) for message in messages))
        switch.wait_stats(lambda book: book["routed"]["packets"] == len(messages), "all packets")
        assert sip(switch)["calls"]["carrier"]["dst"]["attempts"] == 5
        assert sip(switch)["calls"]["unknown"][""]["attempts"] == 0
