"""Kamailio's siptrace sends us HEP v1, v2, v3; its sipcapture accepts what we relay."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from hepswitch.wire.hep import Hep
from interop.tools import free_udp_port, hepswitch, kamailio, udp_bound
from running import running_switch, wait_for

LAKE = 'listen = ["udp://127.0.0.1:0"]\n[stores.lake]\nurl = "lake:./captures"\nflush = "10ms"\n'

RELAY = """
listen = ["udp://127.0.0.1:0"]
[hep_route]
mode = "script"
script = "route.py"
[destinations.kamailio]
urls = ["udp://127.0.0.1:{port}"]
version = {version}
"""

ROUTE = """
from hepswitch import hep_route

@hep_route
def switch(hep):
    hep.captagent_id = 77
    hep.relay("kamailio")
"""

VECTORS = Path(__file__).parents[1] / "vectors"


def ask(port: int, call_id: str) -> tuple[bytes, bytes, int]:
    """One OPTIONS to Kamailio: request, reply, our port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.connect(("127.0.0.1", port))
        own = sock.getsockname()[1]
        request = (
            f"OPTIONS sip:kamailio@127.0.0.1:{port} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{own};branch=z9hG4bK-{own}\r\n"
            "From: <sip:tester@example.net>;tag=1\r\nTo: <sip:kamailio@example.net>\r\n"
            f"Call-ID: {call_id}\r\nCSeq: 7 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        ).encode()
        sock.send(request)
        return request, sock.recv(65_535), own


@pytest.mark.parametrize("version", [1, 2, 3])
def test_takes_what_siptrace_sends(tmp_path: Path, version: int) -> None:
    sip_port = free_udp_port()
    with (
        running_switch(tmp_path, LAKE) as switch,
        kamailio(
            tmp_path, "siptrace.cfg", SIP_PORT=sip_port, HEP_PORT=switch.address()[1], HEP_MODE=1, HEP_VERSION=version
        ),
    ):
        wait_for(lambda: udp_bound(sip_port), "Kamailio listening")
        request, reply, own = ask(sip_port, "traced@example.net")
        book = switch.wait_stats(lambda book: book["stores"]["lake"]["delivered"] >= 2, "request and reply stored")
        assert book["balanced"]
        found = hepswitch(
            "search", "--messages", "--json", "--call-id", "traced@example.net", "--lake", tmp_path / "captures"
        )
    rows = sorted(map(json.loads, found.splitlines()), key=lambda row: row["status"] or 0)
    assert [row["payload"].encode() for row in rows] == [request, reply]
    ends = [(row["src_ip"], row["src_port"], row["dst_ip"], row["dst_port"]) for row in rows]
    assert ends == [("127.0.0.1", own, "127.0.0.1", sip_port), ("127.0.0.1", sip_port, "127.0.0.1", own)]
    assert {row["hep_version"] for row in rows} == {version}
    if version > 1:
        assert {row["captagent_id"] for row in rows} == {2077}


@pytest.mark.parametrize("version", [1, 2, 3])
def test_sends_what_sipcapture_takes(tmp_path: Path, version: int) -> None:
    port = free_udp_port()
    (tmp_path / "route.py").write_text(ROUTE)
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "version").write_text("table_name(string) table_version(int)\nsip_capture:4\n")
    paths = sorted(VECTORS.glob("sngrep-v3-sipp4*.hep"))
    with (
        kamailio(tmp_path, "sipcapture.cfg", HEP_PORT=port, DB_FOLDER=tmp_path / "db") as capture,
        running_switch(tmp_path, RELAY.format(port=port, version=version)) as switch,
    ):
        wait_for(lambda: udp_bound(port) or capture.process.poll() is not None, "Kamailio listening")
        switch.send_udp(*(path.read_bytes() for path in paths))

        def understood() -> list[list[str]]:
            return [line.split("HEPOK ")[1].split() for line in capture.lines if "HEPOK " in line]

        wait_for(lambda: len(understood()) >= len(paths), "sipcapture taking every packet")
    sent = [Hep(path.read_bytes()) for path in paths]
    expected = [(hep.src_ip, str(hep.src_port), (hep.payload or b"").hex()) for hep in sent]
    assert [(line[2], line[3], line[4]) for line in understood()] == expected
