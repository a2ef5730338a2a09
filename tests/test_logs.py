"""Log lines: whole ones, whoever else writes to the same standard error."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest
import structlog

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


def _recent() -> logs.Recent:
    recent = logs.Recent()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            recent,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.ReturnLoggerFactory(),
    )
    return recent


@pytest.fixture
def recent() -> Iterator[logs.Recent]:
    yield _recent()
    structlog.reset_defaults()


def test_warnings_and_errors_are_kept(recent: logs.Recent) -> None:
    log = structlog.get_logger()
    log.info("listening")
    log.warning("spool of what is not configured", folder="/var/x", number=3)
    try:
        int("unlucky")
    except ValueError:
        log.exception("reload failed")
    newest, oldest = recent.latest()
    assert (oldest.level, oldest.event, oldest.process) == ("warning", "spool of what is not configured", "supervisor")
    assert oldest.details == {"folder": "/var/x", "number": "3"}
    assert (newest.level, newest.event, newest.details) == (
        "error",
        "reload failed",
        {"exception": "ValueError: invalid literal for int() with base 10: 'unlucky'"},
    )
    assert newest.at.endswith("Z")
    assert [event.event for event in recent.take()] == ["spool of what is not configured", "reload failed"]
    assert recent.take() == []


def test_what_is_kept_is_bounded(recent: logs.Recent) -> None:
    log = structlog.get_logger()
    for number in range(logs.MOST_EVENTS + 5):
        log.error(f"trouble {number}")
    assert [event.event for event in recent.latest()][:: logs.MOST_EVENTS - 1] == ["trouble 204", "trouble 5"]
    log.error("x" * 9999, text="\udcff" + "y" * 9999, **{f"key{number}": "" for number in range(99)})
    event = recent.latest()[0]
    assert len(event.event) == logs.MOST_TEXT
    assert len(event.details) == logs.MOST_DETAILS
    assert event.details["text"] == "?" + "y" * (logs.MOST_TEXT - 1)
    assert msgspec.json.decode(msgspec.json.encode(event), type=logs.Event) == event


HANDING_ON = """
import structlog, sys
from hepswitch import logs
logs.setup("info", "json")
logs.hand_on_to(sys.stdout.fileno())
structlog.get_logger().warning("disk is full", path="/x")
structlog.get_logger().info("all is well")
"""


def test_a_process_hands_on_what_it_warns_of() -> None:
    done = subprocess.run([sys.executable, "-c", HANDING_ON], capture_output=True, check=True, timeout=60)
    [line] = done.stdout.splitlines()
    event = msgspec.json.decode(line, type=logs.Event)
    assert (event.level, event.event, event.details) == ("warning", "disk is full", {"path": "/x"})
    assert len(done.stderr.splitlines()) == 2, "the log has it, too"


def test_nobody_listens() -> None:
    """The supervisor is gone: a process that ends says so all the same."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", HANDING_ON], stdout=write, stderr=subprocess.PIPE, timeout=60)
    os.close(write)
    assert (done.returncode, len(done.stderr.splitlines())) == (0, 2)
