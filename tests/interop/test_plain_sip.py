"""Kamailio duplicates plain SIP to us over UDP, sipp calls us over TCP: stored, and found by `search`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interop.test_kamailio import ask
from interop.tools import free_udp_port, hepswitch, kamailio, need, running, udp_bound
from running import RunningSwitch, running_switch, wait_for

LISTEN = """listen = ["sip://127.0.0.1:0", "sip://127.0.0.1:0?transport=tcp"]
workers = 2
[access]
auth_key = "HEP alone has these"
[stores.lake]
url = "lake:./captures"
flush = "10ms"
"""


def port_of(switch: RunningSwitch, *, stream: bool) -> int:
    (url,) = (url for url in switch.urls if url.endswith("?transport=tcp") == stream)
    return int(url.removesuffix("?transport=tcp").rpartition(":")[2])


def delivered(book: dict[str, Any]) -> int:
    count: int = book["stores"]["lake"]["delivered"]
    return count


def stored(folder: Path, *selection: str) -> list[dict[str, Any]]:
    found = hepswitch("search", "--messages", "--json", *selection, "--lake", folder / "captures")
    return [json.loads(line) for line in found.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("switch")


@pytest.fixture(scope="module")
def switch(folder: Path) -> Iterator[RunningSwitch]:
    with running_switch(folder, LISTEN) as switch:
        yield switch


def test_what_kamailio_duplicates_is_stored_as_it_was(switch: RunningSwitch, folder: Path, tmp_path: Path) -> None:
    sip_port, port, before = free_udp_port(), port_of(switch, stream=False), delivered(switch.stats())
    with kamailio(tmp_path, "siptrace.cfg", SIP_PORT=sip_port, HEP_PORT=port, HEP_MODE=0, HEP_VERSION=3):
        wait_for(lambda: udp_bound(sip_port), "Kamailio listening")
        request, reply, _ = ask(sip_port, "duplicated@example.net")
        book = switch.wait_stats(lambda book: delivered(book) >= before + 2, "request and reply stored")
    assert book["balanced"]
    rows = stored(folder, "--call-id", "duplicated@example.net")
    rows.sort(key=lambda row: row["status"] or 0)
    assert [row["payload"].encode() for row in rows] == [request, reply]
    assert {(row["src_ip"], row["src_port"]) for row in rows} == {("127.0.0.1", sip_port)}
    assert {(row["dst_ip"], row["dst_port"], row["proto_id"]) for row in rows} == {("127.0.0.1", port, 17)}


def test_what_sipp_says_over_tcp_is_stored(switch: RunningSwitch, folder: Path) -> None:
    port, before = port_of(switch, stream=True), delivered(switch.stats())
    call = ("-sn", "uac", "-t", "t1", "-m", "20", "-r", "100", "-nostdin", "-cid_str", "%u-sipp@example.net")
    with running(need("sipp"), *call, f"127.0.0.1:{port}"):
        book = switch.wait_stats(lambda book: delivered(book) >= before + 20, "twenty INVITEs stored")
    assert book["balanced"]
    rows = stored(folder, "--method", "INVITE")
    assert {row["call_id"] for row in rows} == {f"{number}-sipp@example.net" for number in range(1, 21)}
    assert {(row["dst_ip"], row["dst_port"], row["proto_id"]) for row in rows} == {("127.0.0.1", port, 6)}
    assert all("m=audio" in row["payload"] for row in rows)
