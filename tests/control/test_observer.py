"""How the switch itself is: real processes, sockets and disks."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from far_ends import until
from hepswitch.config import Config
from hepswitch.control import observer
from hepswitch.control.observer import Observer
from hepswitch.control.protocol import ProcessInfo
from hepswitch.destinations.figures import UPLOADS, KeeperFigures, Ledger, LoaderFigures, UploaderFigures

BUSY = "n = 0\nwhile n < 10**7: n += 1\nprint('worked', flush=True)\nimport time\ntime.sleep(1000)"


def _worker() -> subprocess.Popen[bytes]:
    """A process that has used some CPU and sleeps now."""
    process = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"worked\n"
    return process


async def test_cpu_time_goes_on_over_a_restart_and_while_nothing_runs() -> None:
    running: list[ProcessInfo] = []
    watched = Observer(Config(), lambda: running, [])
    total = 0.0
    for restarts in range(2):
        with _worker() as process:
            running[:] = [ProcessInfo(process.pid, "worker 0", restarts)]
            vitals = await watched.vitals(capturing=True)
            assert vitals.cpu["worker 0"] > total + 0.05
            assert vitals.memory["worker 0"] > 1 << 20
            assert vitals.descriptors["worker 0"] >= 3
            assert vitals.restarts == {"worker 0": restarts}
            total = vitals.cpu["worker 0"]
            process.kill()
        vitals = await watched.vitals(capturing=True)  # it is named still, and gone
        assert (vitals.cpu["worker 0"], vitals.memory, vitals.descriptors) == (total, {}, {})


async def test_a_loop_that_is_late_shows_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer, "PERIOD", 0.01)
    looks: list[None] = []
    watched = Observer(Config(), lambda: [ProcessInfo(os.getpid(), "supervisor")], [lambda: looks.append(None)])
    watching = asyncio.create_task(watched.watch())
    await until(lambda: looks, "a look")
    end = asyncio.get_running_loop().time() + 0.3
    while asyncio.get_running_loop().time() < end:
        pass  # whoever has the loop keeps it
    seen = len(looks)
    await until(lambda: len(looks) > seen, "a look after that")
    watching.cancel()
    vitals = await watched.vitals(capturing=False)
    assert vitals.loop_lag > 0.2
    assert not vitals.capturing


async def test_what_cannot_be_looked_at_costs_a_look_and_not_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer, "PERIOD", 0.01)
    looks: list[None] = []
    processes = [ProcessInfo(os.getpid(), "supervisor")]

    def fail() -> None:
        looks.append(None)
        raise OSError(errno.EIO, "the disk fails")

    watched = Observer(Config(), lambda: processes, [fail])
    watching = asyncio.create_task(watched.watch())
    await until(lambda: looks, "a look")
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limit[1]))  # nothing can be opened any more
    try:
        seen = len(looks)
        await until(lambda: len(looks) > seen + 1, "a look without descriptors")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert not watching.done()
    watching.cancel()


async def test_buffers_are_those_of_udp_and_disks_those_of_folders_that_may_come(tmp_path: Path) -> None:
    config = Config.model_validate(
        {
            "spool_dir": str(tmp_path / "not" / "there"),
            "stores": {
                "lake": {"url": f"lake:{tmp_path}/lake", "remote": "s3://bucket"},
                "db": {"url": f"sqlite:{tmp_path}/db.sqlite"},
            },
        }
    )
    watched = Observer(config, list, [])
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as big,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as small,
    ):
        big.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 50_000)
        watched.bound("udp://a", [big, small])
        with socket.socket() as stream:
            watched.bound("tcp://a", [stream])
    lake = Ledger(tmp_path / "lake", KeeperFigures)
    (tmp_path / "lake").mkdir()
    lake.figures.rows = 7
    lake.save()
    uploads = Ledger(tmp_path / "lake", UploaderFigures, UPLOADS)
    uploads.figures.bytes = 9
    uploads.save()
    vitals = await watched.vitals(capturing=True)
    assert vitals.buffers == {"udp://a": 50_000}
    assert vitals.buffer_asked == 16 << 20
    assert set(vitals.disks) == {"spool", "store lake"}
    status = os.statvfs(tmp_path)
    assert all(disk.size == status.f_blocks * status.f_frsize > disk.free for disk in vitals.disks.values())
    assert vitals.keepers["lake"].rows == 7
    assert vitals.uploaders == {"lake": UploaderFigures(bytes=9)}
    assert vitals.loaders == {"db": LoaderFigures()}
