"""Log lines: whole ones, whoever else writes to the same standard error."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

from hepswitch import logs

PROGRAM = """
import structlog
from hepswitch import logs
logs.setup("info", "json")
structlog.get_logger().info("first", text="x" * 2000)
structlog.get_logger().info("second")
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_line_is_written_at_once(unbuffered: str) -> None:
    """Each write is one packet of this socket: a line whose end came apart could have another process's line in it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
        subprocess.run([sys.executable, "-c", PROGRAM], stderr=theirs, env=env, check=True, timeout=60)
        writes = [ours.recv(65536) for _ in range(2)]
    assert all(write.endswith(b"\n") for write in writes)
    assert [json.loads(write)["event"] for write in writes] == ["first", "second"]


def test_a_throttle_says_what_it_kept_back() -> None:
    now = 0.0
    throttle = logs.Throttle(10, lambda: now)
    assert [throttle.due("a"), throttle.due("a"), throttle.due("b"), throttle.due("a")] == [0, None, 0, None]
    now = 10.0
    assert [throttle.due("a"), throttle.due("a")] == [2, None]
