"""A lake that is asked while it is written, sealed, merged, uploaded and deleted here: each packet once, all the time."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import object_storage
from hepswitch.destinations.figures import KeeperFigures
from hepswitch.lake import keeper, locks
from hepswitch.lake.lake import Lake
from hepswitch.lake.remote import Remote
from hepswitch.lake.remote_part import RemotePart
from hepswitch.lake.uploader import Charge, Uploader
from hepswitch.lake.warm import WarmLake
from lakes import journal_of, records
from traffic import calls, hep

s3, bucket = object_storage.s3, object_storage.bucket

MESSAGES = list(calls(60, per_second=2.0))
QUESTIONS = 6


@pytest.mark.parametrize("kind", ["s3", "file"])
def test_each_packet_once_while_the_lake_moves_to_the_storage(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "mount").mkdir()
    place = request.getfixturevalue("bucket").table if kind == "s3" else {"remote": f"file://{tmp_path}/mount"}
    root = tmp_path / "lake"
    (root / "journal").mkdir(parents=True)
    told = {"name": "lake", "path": str(root), "keep": None, "access_key": "", "secret_key": "", "node": "edge1"}
    charge = msgspec.convert(told | place | {"upload_after": 0.0, "keep_local": 0.001, "drain": 5.0}, Charge)
    uploader = Uploader(charge)
    stop = threading.Event()
    stored = 0
    failures: list[Exception] = []

    def write() -> None:
        nonlocal stored
        with journal_of(root, segment_bytes=20_000) as log:
            while not stop.is_set():
                packets = [hep(MESSAGES[(stored + i) % len(MESSAGES)], captagent_id=stored + i) for i in range(5)]
                log.append(records(packets))
                stored += len(packets)
                time.sleep(0.004)

    def tend() -> None:
        while not stop.is_set():
            keeper.seal_closed(root, KeeperFigures())
            with locks.pruning(root):
                keeper.tidy(root, time.time() + 86400.0)
            stop.wait(0.3)

    def upload() -> None:
        while not stop.is_set():
            uploader._next["tidy"] = 0.0
            uploader.once(stop)
            stop.wait(0.3)

    def noted(work: Callable[[], None]) -> Callable[[], None]:
        def done() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 (whatever it is, the test shows it)
                failures.append(error)

        return done

    def remote() -> RemotePart:
        return RemotePart(Remote.parse(charge.remote, charge.access_key, charge.secret_key), root, pytest.fail)

    threads = [threading.Thread(target=noted(work)) for work in (write, tend, upload)]
    for thread in threads:
        thread.start()
    warm = WarmLake(root, 256 << 20, pytest.fail, remote())
    try:
        questions = 0
        while not failures and not (questions >= QUESTIONS and uploader._figures.released_files >= 3):
            before = stored
            lake = warm if questions % 2 else Lake(root, pytest.fail, remote())
            warm.begin()
            found = Counter(number for (number,) in lake.sql("select captagent_id from messages")[1])
            assert set(found.values()) <= {1}
            assert set(range(before)) <= found.keys()
            questions += 1
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        warm.close()
    assert not failures
