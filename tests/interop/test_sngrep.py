"""sngrep sends us HEP from a capture, and receives ours."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from interop.tools import CALLS, dissected, free_udp_port, hepswitch, need, recorded, run, running, udp_bound
from running import running_switch, wait_for

LAKE = 'listen = ["udp://127.0.0.1:0"]\n[stores.lake]\nurl = "lake:./captures"\nflush = "10ms"\n'

RELAY = """
listen = ["udp://127.0.0.1:0"]
[hep_route]
mode = "script"
script = "route.py"
[destinations.sngrep]
urls = ["udp://127.0.0.1:{port}"]
"""

ROUTE = """
from hepswitch import hep_route

@hep_route
def switch(hep):
    hep.captagent_id = 77
    hep.relay("sngrep")
"""


def test_takes_what_sngrep_sends(tmp_path: Path) -> None:
    sngrep = need("sngrep")
    with running_switch(tmp_path, LAKE) as switch:
        host, port = switch.address()
        run(sngrep, "-N", "-q", "-I", CALLS, "-H", f"udp:{host}:{port}")
        expected = sngrep_sees(tmp_path)
        switch.wait_stats(lambda book: book["stores"]["lake"]["delivered"] >= expected, "sngrep's packets stored")
        book = switch.stats()
        assert book["balanced"]
        assert book["received"][switch.urls[0]]["malformed"] == 0
        rows = [
            json.loads(line)
            for line in hepswitch(
                "search", "--messages", "--limit", "1000", "--json", "--lake", tmp_path / "captures"
            ).splitlines()
        ]
    assert len(rows) == expected
    captured = {
        (call_id, source, int(port))
        for call_id, source, port in recorded("sip.Call-ID", "ip.src", "udp.srcport")
        if source and port
    }
    stored = {
        (row["call_id"], row["src_ip"], row["src_port"])
        for row in rows
        if row["proto_id"] == 17 and ":" not in row["src_ip"]
    }
    assert stored == captured
    assert {row["hep_version"] for row in rows} == {3}


def sngrep_sees(folder: Path) -> int:
    """How many messages sngrep finds in the recording by itself."""
    path = folder / "seen.pcap"
    run(need("sngrep"), "-N", "-q", "-I", CALLS, "-O", path)
    return len(run(need("tshark"), "-r", path).splitlines())


def test_sends_what_sngrep_takes(tmp_path: Path) -> None:
    port = free_udp_port()
    out = tmp_path / "out.pcap"
    (tmp_path / "route.py").write_text(ROUTE)
    with running(need("sngrep"), "-N", "-q", "-L", f"udp:127.0.0.1:{port}", "-O", out) as sngrep:
        wait_for(lambda: udp_bound(port) or sngrep.process.poll() is not None, "sngrep listening")
        with running_switch(tmp_path, RELAY.format(port=port)) as switch:
            host, own = switch.address()
            hepswitch("replay", CALLS, "--to", f"udp://{host}:{own}", "--rate", "400")
            book = switch.wait_stats(
                lambda book: book["routed"]["packets"] > 100 and book["balanced"], "packets relayed"
            )
            assert book["destinations"]["sngrep"]["delivered"] == book["routed"]["packets"]
        messages = sorted(recorded("sip.Call-ID", "sip.CSeq.method"))
        count = sum(len(call_ids.split(",")) for call_ids, _ in messages)
        wait_for(lambda: out.exists() and out.stat().st_size > count * 300, "sngrep writing")
        sngrep.end(signal.SIGTERM)
    received = dissected(out, "sip.Call-ID", "ip.src", "frame.time_epoch")
    assert len(received) == count
    assert {line[0] for line in received} == {name for line in messages for name in line[0].split(",")}
    # sngrep writes no IPv6 addresses into a capture made of HEP: 0.0.0.0 stands for them.
    assert {line[1] for line in received} == {"0.0.0.0", *(f"192.0.2.{host}" for host in (1, 10, 20, 30, 40))}
    times = {time for (time,) in recorded("frame.time_epoch")}
    assert {_microseconds(line[2]) for line in received} == set(map(_microseconds, times))


def _microseconds(time: str) -> int:
    """tshark's seconds, which have nine places, as HEP can say them."""
    return int(time.replace(".", "")) // 1000


@pytest.mark.parametrize("version", [2, 3])
def test_sngrep_takes_both_versions(tmp_path: Path, version: int) -> None:
    """The version of a destination is what sngrep gets, whatever came in."""
    port = free_udp_port()
    out = tmp_path / "out.pcap"
    (tmp_path / "route.py").write_text(ROUTE)
    settings = tmp_path / "sngreprc"
    settings.write_text(f"set eep.listen.version {version}\n")
    listen = "-L", f"udp:127.0.0.1:{port}"
    with running(need("sngrep"), "-f", settings, "-N", "-q", *listen, "-O", out) as sngrep:
        wait_for(lambda: udp_bound(port) or sngrep.process.poll() is not None, "sngrep listening")
        with running_switch(tmp_path, RELAY.format(port=port) + f"version = {version}\n") as switch:
            vectors = sorted((Path(__file__).parents[1] / "vectors").glob("kamailio-v3-udp*.hep"))[:4]
            switch.send_udp(*(path.read_bytes() for path in vectors))
            switch.wait_stats(
                lambda book: book["destinations"]["sngrep"]["delivered"] == len(vectors), "packets relayed"
            )
        wait_for(lambda: out.exists() and out.stat().st_size > 600, "sngrep writing")
        sngrep.end(signal.SIGTERM)
    assert dissected(out, "sip.Call-ID")
