"""The API keeps to its own description: schemathesis makes requests of the OpenAPI document, right and wrong ones, and looks
at every answer: no 5xx but those that are described, no undocumented status, media type or shape, no question taken that
should not be.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from running import running_switch
from traffic import calls, hep

CONFIG = """
listen = ["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]
[stores.lake]
url = "lake:captures"
[stores.sqlite]
url = "sqlite:calls.db"
[destinations.far]
urls = ["tcp://127.0.0.1:9"]
[traces.fraud]
to = ["store:lake"]
"""

CHECKS = ["--checks", "all"]
UNFIT = [
    # A condition, a moment, a trace's target and the like have a grammar that no JSON schema tells.
    "positive_data_acceptance",
    # There are no things with a life of their own behind these paths.
    "use_after_free", "ensure_resource_availability", "object_level_authorization",
]  # fmt: skip


def test_every_answer_is_as_described(tmp_path: Path) -> None:
    with running_switch(tmp_path, CONFIG) as switch:
        packets = [hep(message) for message in calls(20)]
        switch.send_udp(*packets)
        switch.wait_stats(lambda book: book["stores"]["lake"]["delivered"] >= len(packets), "stored calls")
        command = [
            sys.executable, "-m", "schemathesis.cli", "run", f"{switch.control}/api/v1/openapi.json",
            *CHECKS, "--exclude-checks", ",".join(UNFIT), "--exclude-path", "/api/v1/live",
            "--phases", "examples,coverage,fuzzing", "--max-examples", "15", "--seed", "1", "--no-shrink",
            "--suppress-health-check", "all", "--warnings", "off", "--max-failures", "20",
        ]  # fmt: skip
        said = subprocess.run(command, capture_output=True, text=True, timeout=110, cwd=tmp_path, check=False)
        assert said.returncode == 0, said.stdout[-20_000:] + said.stderr[-2000:]
        assert switch.stats()["balanced"]
