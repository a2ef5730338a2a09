"""The promises of benchmarks/mustshow.py, small: kill -9 loses and doubles nothing, a far end may go away for a while.

What loads the machine is tested here, in one file: `make test` gives each of its workers whole files, so that no two such
tests run at once.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mustshow
import storeshow

ROOT = Path(__file__).resolve().parent.parent


def test_nothing_that_was_counted_as_stored_is_lost_or_doubled_by_kill_9() -> None:
    figures = mustshow.kill(count=30_000, rate=10_000, rounds=2)
    assert all(figures["counted"])


def test_a_tcp_destination_that_goes_away_gets_everything_in_order() -> None:
    figures = mustshow.pause(rate=2_000, away=2.0, before=1.0, after=1.0)
    assert figures["connections"] >= 2, "it was away"


def test_udp_through_a_script_loses_nothing_and_the_books_balance() -> None:
    figures = mustshow.relay(count=20_000, rate=10_000)
    assert all(figures["nodes"]), "both nodes get calls"


def test_calls_stay_on_their_node_and_only_those_of_a_lost_node_move() -> None:
    figures = mustshow.dispatcher(count=30_000, calls=2_000, rate=6_000)
    assert all(figures["calls"]), "every node has calls"


def test_sip_on_an_interface_is_stored_without_a_loss() -> None:
    figures = mustshow.mirror(count=20_000, rate=10_000)
    assert figures["kernel_drops"] == 0


def test_a_database_that_hangs_and_is_killed_gets_everything_once() -> None:
    figures = storeshow.outage(rate=1_000, hung=2.0, dead=2.0, before=2.0, after=1.0)
    assert figures["spooled"], "packets wait while it is away"


def test_the_benchmark_runs() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/run.py", "--quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| decode alone" in done.stdout
