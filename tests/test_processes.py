"""Processes of the switch that do not behave: what the supervisor makes of them."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from pathlib import Path

import msgspec
import pytest
import uvloop
from msgspec import structs

from far_ends import until
from hepswitch import logs, processes
from hepswitch.config import Config
from hepswitch.destinations.lake import LakeStore


def _stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """Workers are started as this shell command."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{command}\n")
    program.chmod(0o755)
    monkeypatch.setattr(processes.sys, "executable", str(program))


def test_a_worker_that_never_listens_is_killed_and_the_step_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stand_in(tmp_path, monkeypatch, "exec sleep 1000")
    monkeypatch.setattr(processes, "START_TIMEOUT", 0.5)

    async def start() -> None:
        worker = processes.Worker(0, [])
        says = r"worker 0 did not start within 0\.5 s: .* waiting for it to listen"
        with pytest.raises(processes.WorkerError, match=says):
            await worker.start(Config())
        assert await worker.kill() == -signal.SIGKILL
        with pytest.raises(processes.WorkerError, match="worker 0 ended"):
            await worker.ask(do="stats")

    uvloop.run(start())


def test_a_worker_that_ends_at_once_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in(tmp_path, monkeypatch, "exit 3")

    async def start() -> None:
        worker = processes.Worker(0, [])
        with pytest.raises(processes.WorkerError, match="worker 0 "):
            await worker.start(Config())
        assert await worker.kill() in (3, -signal.SIGKILL), "its line may end before the process does"

    uvloop.run(start())


@pytest.mark.parametrize(
    "answer",
    ["b'no JSON\\n'", "b'\\xff\\xfe\\n'", "b'[1]\\n'", "b'x' * (17 << 20)", "b'{'"],
    ids=["no JSON", "no UTF-8", "a list", "too long", "cut"],
)
def test_an_answer_that_is_none_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    code = f"import socket, sys; socket.socket(fileno=int(sys.argv[3])).sendall({answer})"
    _stand_in(tmp_path, monkeypatch, f'exec {sys.executable} -c {shlex.quote(code)} "$@"')

    async def start() -> None:
        worker = processes.Worker(0, [])
        with pytest.raises(processes.WorkerError, match="worker 0 does not answer"):
            await worker.start(Config())
        assert await worker.kill() is not None

    uvloop.run(start())


def test_a_process_that_cannot_be_started_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes.sys, "executable", "/nowhere/python")

    async def start() -> None:
        with pytest.raises(processes.WorkerError, match=r"worker 0 cannot be started .*No such file"):
            await processes.Worker(0, []).start(Config())

    uvloop.run(start())


def test_a_keeper_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began = tmp_path / "pid"
    _stand_in(tmp_path, monkeypatch, f"read table; echo $$ > {began}.new; mv {began}.new {began}; exec sleep 1000")
    monkeypatch.setattr(processes, "PATIENCE", 0.2)

    async def keep() -> None:
        config = Config.model_validate({"drain": 0, "stores": {"lake": {}}})
        keeper = asyncio.create_task(processes.attendants("lake", LakeStore(), config)[0].run())
        await until(began.exists, "start of the keeper")
        keeper.cancel()
        with pytest.raises(asyncio.CancelledError):
            await keeper

    uvloop.run(keep())
    with pytest.raises(ProcessLookupError):
        os.kill(int(began.read_text()), 0)


def test_what_a_keeper_warns_of_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    event = logs.Event("2026-11-25T12:00:00.000000Z", "warning", "disk is full", {"path": "/x"})
    said = f"{msgspec.json.encode(event).decode()}\nan assertion of some library\n"
    _stand_in(tmp_path, monkeypatch, f"read table; printf %s {shlex.quote(said)}; cat > /dev/null")
    monkeypatch.setattr(processes, "recent", logs.Recent())

    async def keep() -> None:
        config = Config.model_validate({"drain": 0, "stores": {"lake": {}}})
        keeper = asyncio.create_task(processes.attendants("lake", LakeStore(), config)[0].run())
        await until(processes.recent.latest, "what it warns of")
        keeper.cancel()
        with pytest.raises(asyncio.CancelledError):
            await keeper

    uvloop.run(keep())
    assert processes.recent.latest() == [structs.replace(event, process="keeper of lake")]
