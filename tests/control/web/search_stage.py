"""A switch with calls of the last hour, for tests of the page: `CALLS` made ones that were answered, and the recording of
`examples`, where calls fail, too."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import traffic
from running import RunningSwitch, running_switch

CALLS = 320
RECORDING = Path(__file__).parents[3] / "examples" / "calls.pcapng"
CONFIG = """
listen = ["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]
[stores.lake]
url = "lake:./captures"
[stores.second]
url = "lake:./second"
"""


@contextmanager
def switch_with_calls(folder: Path) -> Iterator[RunningSwitch]:
    """The made calls begin 3,300 s to 300 s ago, so that they are over; the recording begins now."""
    messages = list(traffic.calls(CALLS, per_second=CALLS / 3000, start=time.time() - 3300))
    with running_switch(folder, CONFIG) as switch:
        for begin in range(0, len(messages), 200):
            switch.send_udp(*map(traffic.hep, messages[begin : begin + 200]))
            arrived(switch, min(begin + 200, len(messages)))
        before = switch.stats()["routed"]["packets"]
        url = next(url for url in switch.urls if url.startswith("tcp"))
        command = [
            sys.executable,
            "-m",
            "hepswitch.cli",
            "replay",
            str(RECORDING),
            "--to",
            url,
            "--rate",
            "max",
            "--now",
        ]
        subprocess.run(command, check=True, capture_output=True)
        arrived(switch, before + 131)
        yield switch


def arrived(switch: RunningSwitch, packets: int) -> None:
    """Wait until the lake has that many packets."""
    switch.wait_stats(lambda book: book["stores"]["lake"]["delivered"] >= packets, f"{packets} packets in the lake")
