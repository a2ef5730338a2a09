"""What must hold for lakes on object storage: the check `uploads` of `mustshow`.

Two nodes store under load and upload to one bucket, delete here what is there, and merge; their uploaders are killed and the
storage fails meanwhile. In the end the storage has every packet of both once, and so has a node's folder together with
it. The storage is moto's server (tests/s3_server.py). Not here: what reading it costs.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
from harness import Figures, RunningSwitch, blast, must, settled, wait_for
from hepswitch.lake.lake import Lake
from hepswitch.lake.remote_part import RemotePart
from object_storage import Bucket, ObjectStorage

NODES = ("one", "two")

FAULTS = ("503", "503 PUT", "503 DELETE", "cut", "cut PUT", "cut GET")

NUMBERS = """
    SELECT regexp_extract(decode(payload), 'X-Node: ([a-z]+)', 1) AS node, count(*),
           count(DISTINCT regexp_extract(decode(payload), 'X-Number: ([0-9]+)', 1))
    FROM messages GROUP BY node ORDER BY node
"""


def uploads(count: int = 240_000, rate: int = 2_000, seed: int = 1) -> Figures:
    """`count` packets into each of two lakes that share a bucket, while the uploaders are killed and the storage fails."""
    dice = random.Random(seed)
    with harness.workplace() as folder, _storage() as storage, contextlib.ExitStack() as stack:
        bucket = storage.bucket()
        nodes = [stack.enter_context(_node(folder / name, name, bucket)) for name in NODES]
        senders = [
            stack.enter_context(
                blast(node.address(), harness.frames_file(folder / name, f"X-Node: {name}"), count, rate, count // 70)
            )
            for name, node in zip(NODES, nodes, strict=True)
        ]
        kills = faults = 0
        while any(sender.running for sender in senders):
            time.sleep(dice.uniform(2.0, 5.0))
            if dice.random() < 0.5:
                for pid in harness.processes(dice.choice(nodes))["uploader"]:
                    os.kill(pid, signal.SIGKILL)
                    kills += 1
            else:
                with storage.fault(dice.choice(FAULTS)):
                    time.sleep(dice.uniform(0.5, 3.0))
                    faults += 1
        for node in nodes:
            settled(node, count)
        for name in NODES:
            harness.sealed(folder / name / "captures")
        rows = [_uploaded(node) for node in nodes]
        peak = max(harness.usage(pid).peak for node in nodes for pid in harness.processes(node)["uploader"])
        root = folder / NODES[0] / "captures"
        alone, together = _numbers(bucket, None), _numbers(bucket, root)
        here = [sum(1 for _ in (folder / name / "captures").glob("date=*/hour=*/*.parquet")) for name in NODES]
        figures: Figures = {
            "sent": count * len(NODES), "kills": kills, "faults": faults, "uploaded": [row["files"] for row in rows],
            "bytes": [row["bytes"] for row in rows], "failures": [row["failures"] for row in rows],
            "there": len(bucket.remote().files()), "here": here, "alone": alone, "together": together,
            "lost": [row["lost_files"] for row in rows], "uploader_peak_mib": peak >> 20,
        }  # fmt: skip
    must(kills > 0 and faults > 0 and sum(figures["failures"]) > 0, "nothing went wrong: it shows nothing", figures)
    for found in (alone, together):
        must(found == [(name, count, count) for name in NODES], "packets are missing, or there twice", figures)
    must(sum(figures["lost"]) == 0, "files are said to be lost", figures)
    must(sum(here) < figures["there"], "nothing was deleted here", figures)
    return figures


@contextlib.contextmanager
def _storage() -> Iterator[ObjectStorage]:
    with tempfile.TemporaryDirectory() as folder:
        storage = ObjectStorage(Path(folder))
        try:
            yield storage
        finally:
            storage.stop()


@contextlib.contextmanager
def _node(folder: Path, name: str, bucket: Bucket) -> Iterator[RunningSwitch]:
    folder.mkdir()
    keys = "\n".join(f'{key} = "{value}"' for key, value in bucket.table.items())
    options = f'node = "{name}"\nseal_after = "2s"\nsegment = "4MiB"\nupload_after = "5s"\nkeep_local = "60s"\n{keys}'
    with harness.running_switch(folder, harness.store_config(folder, options=options)) as switch:
        yield switch


def _uploaded(node: RunningSwitch) -> dict[str, Any]:
    """What the books say of uploads once every file is there."""

    def look() -> dict[str, Any] | None:
        row: dict[str, Any] = node.stats()["stores"]["lake"]["uploads"]
        return row if row["state"] == "active" and not row["waiting_files"] else None

    time.sleep(6.0)  # `upload_after`: what was sealed last is due by then
    row: dict[str, Any] = wait_for(look, "the last uploads", 120.0)
    return row


def _numbers(bucket: Bucket, root: Path | None) -> list[tuple[str, int, int]]:
    """Of each node: how many packets are found, and how many different ones."""
    said: list[str] = []
    _, rows = Lake(root, said.append, RemotePart(bucket.remote(10.0), root, said.append)).sql(NUMBERS)
    assert not said, said
    return [(str(node), int(found), int(different)) for node, found, different in rows]
