"""tshark reads what `export` writes: the same messages, addresses, ports and times as in the recording."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from interop.tools import CALLS, dissected, hepswitch, need, recorded, run
from running import running_switch

LAKE = 'listen = ["udp://127.0.0.1:0"]\n[stores.lake]\nurl = "lake:./captures"\nflush = "10ms"\n'

FIELDS = (
    "sip.Call-ID",
    "sip.CSeq",
    "sip.Status-Code",
    "ip.src",
    "ip.dst",
    "ipv6.src",
    "ipv6.dst",
    "udp.srcport",
    "tcp.srcport",
)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with the recorded calls."""
    folder = tmp_path_factory.mktemp("lake")
    with running_switch(folder, LAKE) as switch:
        host, port = switch.address()
        hepswitch("replay", CALLS, "--to", f"udp://{host}:{port}", "--rate", "2000")
        switch.wait_stats(lambda book: book["stores"]["lake"]["delivered"] > 120 and book["balanced"], "calls stored")
    return folder / "captures"


@pytest.mark.parametrize("form", ["pcapng", "pcap"])
def test_every_call_reads_as_recorded(lake: Path, tmp_path: Path, form: str) -> None:
    calls = [json.loads(line) for line in hepswitch("search", "--json", "--lake", lake).splitlines()]
    path = tmp_path / f"calls.{form}"
    hepswitch("export", *(call["call_id"] for call in calls), "--lake", lake, "-o", path)
    assert _single(dissected(path, *FIELDS)) == _single(recorded(*FIELDS))


def _single(rows: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """One row a message: tshark joins the messages of a frame by commas."""
    found = []
    for row in rows:
        ids, numbers, statuses = (field.split(",") for field in row[:3])
        statuses += [""] * (len(ids) - len(statuses))
        found += [(*each, *row[3:]) for each in zip(ids, numbers, statuses, strict=False)]
    return sorted(found)


def test_times_are_kept(lake: Path, tmp_path: Path) -> None:
    path = tmp_path / "call.pcapng"
    hepswitch("export", "1-cancelled-udp6@pbx.example.net", "--lake", lake, "-o", path)
    times = [float(row[0]) for row in dissected(path, "frame.time_epoch")]
    expected = [
        float(time)
        for time, call in recorded("frame.time_epoch", "sip.Call-ID")
        if call == "1-cancelled-udp6@pbx.example.net"
    ]
    assert times == pytest.approx(expected, abs=1.1e-6)


def test_nothing_is_malformed_and_checksums_are_right(lake: Path, tmp_path: Path) -> None:
    path = tmp_path / "calls.pcapng"
    hepswitch("export", "--ip", "*", "--lake", lake, "-o", path)
    checks = [word for kind in ("ip", "udp", "tcp") for word in ("-o", f"{kind}.check_checksum:TRUE")]
    assert run(need("tshark"), "-r", path, *checks, "-Y", "_ws.malformed or _ws.expert.severity == error") == ""


def test_sngrep_reads_it(lake: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "call.pcap", tmp_path / "out.pcap"
    hepswitch("export", "1-completed-udp6@pbx.example.net", "--lake", lake, "-o", path)
    run(need("sngrep"), "-N", "-q", "-I", path, "-O", out)
    assert len(dissected(out, "sip.Call-ID")) == len(dissected(path, "sip.Call-ID")) == 13
