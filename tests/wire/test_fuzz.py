"""A bounded run of the fuzz targets; `make sanitize` runs them longer, over a core that is built to find overruns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "fuzz" / "run.py"


@pytest.mark.parametrize("target", ["hep", "stream", "plain_sip", "record", "message", "sip", "sdp", "pcap", "intake"])
def test_five_thousand_inputs_find_nothing(target: str) -> None:
    done = subprocess.run(
        [sys.executable, str(RUN), "--count", "5000", "--target", target], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{target}: 5,000 inputs" in done.stdout
