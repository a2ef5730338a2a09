"""The reject file: packets that a store will never take, each with the reason, so that they can be looked at and tried
again.

One JSON object a line: `time`, `error`, `table`, and `packet`, the HEP packet in base64. To send them once more:

    jq -r .packet FILE | base64 -d > again.hep && hepswitch replay again.hep --to udp://127.0.0.1:9060

The file is bounded. What does not fit any more is counted like the rest, but not kept.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from hepswitch.wire.hep import Hep

MOST_BYTES = 64 << 20


class Rejects:
    """The file at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, packet: Hep | bytes, table: str | None, error: str) -> bool:
        """Append a packet. False when it was not kept; OSError when it cannot be written. Blocks."""
        row = {"time": datetime.now(UTC), "error": error, "table": table, "packet": bytes(packet)}
        line = msgspec.json.encode(row) + b"\n"
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(fd).st_size + len(line) > MOST_BYTES:
                return False
            if os.write(fd, line) != len(line):  # the rest of the line is missing: begin the next attempt on a new one
                os.write(fd, b"\n")
                raise OSError(f"{self.path}: a rejected packet did not fit")
        finally:
            os.close(fd)
        return True
