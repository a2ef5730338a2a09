"""A running switch: what its script counts is a metric, outlives a worker, and its lists follow their files."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from hepswitch.wire.hep import Hep
from running import running_switch, wait_for

CONFIG = """
listen = ["udp://127.0.0.1:0"]
[hep_route]
mode = "script"
script = "route.py"
"""

ROUTE = """
from hepswitch import counter, gauge, hep_route, table, word_list

names = word_list("names.txt")
packets = counter("packets", "Packets, by node.", labels=["known"])
last = gauge("last_agent", "Number of the agent that sent last.")
seen = table("agents")

@hep_route
def route(hep):
    seen.incr(hep.captagent_id)
    last.set(hep.captagent_id)
    packets.inc(known=hep.node_name in names)
    hep.drop("counted")
"""


def packet(node: str) -> bytes:
    return bytes(Hep.new(b"x", src_ip="192.0.2.1", dst_ip="192.0.2.2", proto_type=100, captagent_id=7, node_name=node))


def test_state_of_a_running_switch(tmp_path: Path) -> None:
    (tmp_path / "route.py").write_text(ROUTE)
    names = tmp_path / "names.txt"
    names.write_text("berlin\n")
    with running_switch(tmp_path, CONFIG) as switch:

        def send(*nodes: str) -> None:
            before = switch.stats()["routed"]["packets"]
            switch.send_udp(*map(packet, nodes))
            switch.wait_stats(lambda book: book["routed"]["packets"] == before + len(nodes), "packets")

        send("berlin", "paris", "berlin")
        names.write_text("berlin\nparis\n")
        os.kill(switch.process.pid, signal.SIGHUP)
        wait_for(lambda: switch.event("list read again"), "the list")
        send("paris")
        script = switch.stats()["script"]
        assert script["counters"]["packets"]["values"] == {"known=True": 3, "known=False": 1}
        assert script["gauges"]["last_agent"]["values"] == {"": 7}
        assert script["tables"]["agents"] == {"entries": 1, "hits": 3, "misses": 1, "expired": 0, "evicted": 0}

        victim = wait_for(switch.workers, "a worker")[0]
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: len(switch.workers()) == 1 and victim not in switch.workers(), "a new worker")
        switch.wait_stats(
            lambda book: (
                book["script"]["gauges"]
                == {"last_agent": {"help": "Number of the agent that sent last.", "values": {"": 0}}}
                and book["script"]["tables"]["agents"]["entries"] == 0
            ),
            "the state of the new worker",
        )
        send("paris")
        script = switch.stats()["script"]
        assert script["counters"]["packets"] == {
            "help": "Packets, by node.",
            "values": {"known=True": 4, "known=False": 1},
        }
        assert script["gauges"]["last_agent"]["values"] == {"": 7}
        assert script["tables"]["agents"] == {"entries": 1, "hits": 3, "misses": 2, "expired": 0, "evicted": 0}
        assert 'hepswitch_script_packets_total{known="True"} 4.0' in switch.get("/metrics")
        assert switch.stats()["balanced"]
