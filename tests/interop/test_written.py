"""Real programs read what the destinations write: tshark the rotated captures, rsyslogd the messages by all three ways."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from hepswitch.destinations.pcap import PcapTarget, PcapWriter
from hepswitch.destinations.syslog import SyslogTarget, SyslogWriter
from hepswitch.destinations.writer import Writer, Written
from hepswitch.wire.hep import Hep
from interop.tools import DEADLINE, dissected, free_udp_port, need, run, running
from traffic import calls, hep

FIELDS = ("sip.Call-ID", "sip.CSeq", "ip.src", "udp.srcport", "tcp.srcport", "frame.time_epoch")


def write(writer: Writer, *packets: Hep, attrs: str | None = None) -> None:
    rest = [Written(each, 0, attrs) for each in packets]
    while rest:
        rest = rest[writer.write(rest) :]


def test_tshark_reads_every_rotated_file(tmp_path: Path) -> None:
    where = PcapTarget.parse(f"pcap:{tmp_path / 'x.pcapng'}?rotate_size=1MiB&keep=all")
    writers = PcapWriter(where), PcapWriter(where)  # as two workers have
    traffic = list(calls(200, per_second=50))
    for number in range(14):
        packets = [Hep(hep(message)) for message in traffic[number * 100 :][:100]]
        for packet in packets[::2]:
            packet.proto_id = 6
        write(writers[number % 2], *packets)
    files = sorted(tmp_path.iterdir())
    assert len(files) > 1
    found = [row for path in files for row in dissected(path, *FIELDS)]
    assert len(found) == len(traffic) == 1400
    assert {(row[0], row[1].split(" ")[1]) for row in found} == {
        (_header(message.payload, "Call-ID"), _header(message.payload, "CSeq").split(" ")[1]) for message in traffic
    }
    assert sum(bool(row[4]) for row in found) == 700
    times = sorted(float(row[5]) for row in found)
    assert max(abs(a - b.time) for a, b in zip(times, traffic, strict=True)) < 2e-6
    checks = [word for kind in ("ip", "udp", "tcp") for word in ("-o", f"{kind}.check_checksum:TRUE")]
    assert run(need("tshark"), "-r", files[0], *checks, "-Y", "_ws.malformed or _ws.expert.severity == error") == ""


def _header(message: bytes, name: str) -> str:
    return next(line.split(": ", 1)[1] for line in message.decode().split("\r\n") if line.startswith(f"{name}:"))


CONFIG = """
global(workDirectory="{0}" maxMessageSize="64k" parser.escapeControlCharactersOnReceive="off")
module(load="imuxsock" SysSock.Use="off")
module(load="imudp")
module(load="imptcp")
input(type="imuxsock" Socket="{0}/log" CreatePath="on")
input(type="imudp" address="127.0.0.1" port="{1}")
input(type="imptcp" address="127.0.0.1" port="{2}")
template(name="all" type="list") {{ property(name="jsonmesg") constant(value="\\n") }}
action(type="omfile" file="{0}/out" template="all")
"""


def test_rsyslogd_understands_all_three_ways(tmp_path: Path) -> None:
    udp, tcp = free_udp_port(), free_udp_port()
    config, out = tmp_path / "rsyslog.conf", tmp_path / "out"
    config.write_text(CONFIG.format(tmp_path, udp, tcp))
    message = next(calls(1))
    text = message.payload.decode()
    with running(need("rsyslogd"), "-n", "-f", config, "-i", tmp_path / "pid") as daemon:
        for where in (f"unix:{tmp_path}/log", f"udp://127.0.0.1:{udp}", f"tcp://127.0.0.1:{tcp}"):
            writer = SyslogWriter(SyslogTarget.parse(f"syslog:local3:warning@{where}"))
            _until(lambda writer=writer: _opens(writer), f"{where} is open: {daemon.lines}")  # type: ignore[misc]
            write(writer, Hep(hep(message)), attrs="fraud")
            writer.close()
        _until(lambda: out.exists() and out.read_text().count("\n") >= 3, "three messages")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    first = f"in udp {message.source[0]}:5060 -> {message.target[0]}:5060\n"
    for row in rows:  # rsyslogd leaves the space before the text and takes the last line end away
        assert row["msg"].lstrip(" ") == (first + text).removesuffix("\n")
        assert (row["pri"], row["programname"]) == (str(19 * 8 + 4), "hepswitch")  # local3, warning
    call_id = _header(message.payload, "Call-ID")
    network = [row for row in rows if row["structured-data"] != "-"]  # in whatever order they were written
    assert len(network) == 2
    for row in network:
        size = len((first + text).encode())
        assert row["structured-data"] == f'[hepswitch@32473 callid="{call_id}" attrs="fraud" size="{size}"]'
        assert row["msgid"] == "SIP"


def _opens(writer: SyslogWriter) -> bool:
    try:
        writer.open()
    except OSError:
        return False
    return True


def _until(condition: Any, what: str) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"{what}: did not happen within {DEADLINE} s"
        time.sleep(0.01)
