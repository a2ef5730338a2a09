"""Questions to a lake with a remote part, answered by a reader process with its bounds."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import lakes
import object_storage
from cli import recorded
from far_ends import until
from hepswitch.destinations.lake import LakeStore
from hepswitch.lake import layout
from hepswitch.queries.library import Library
from hepswitch.queries.questions import Call, Calls, Question
from object_storage import Bucket

s3, bucket = object_storage.s3, object_storage.bucket

MEMORY = 128 << 20
SINCE = "2026-11-18T00:00:00Z"


def uploaded(folder: Path, bucket: Bucket) -> LakeStore:
    """A store whose packets are on the storage but for those of one call."""
    lakes.store(folder / "other", recorded.answered())
    lakes.sealed(folder / "other")
    remote = bucket.remote()
    for hour, path in layout.folders(folder / "other"):
        for file in layout.files(hour, path):
            with file.path.open("rb") as source:
                remote.put(source, file.path.stat().st_size, remote.path_of("edge2", file), "edge2")
    lakes.store(folder / "lake", recorded.refused())
    return LakeStore(url=f"lake:{folder / 'lake'}", **bucket.table)  # type: ignore[arg-type]


async def told(library: Library, question: Question) -> Any:
    async with library.ask(question) as answer:
        body = json.loads(b"".join([piece async for piece in answer.chunks()]))
        assert answer.status == 200, body
        return body


async def test_a_reader_process_reads_it_and_gives_up_waiting_for_it(tmp_path: Path, bucket: Bucket) -> None:
    store = uploaded(tmp_path, bucket)
    async with Library({"lake": store}, timeout=30.0, processes=1, memory=MEMORY) as library:
        found = await told(library, Calls(since=SINCE))
        assert [call["call_id"].partition("@")[0] for call in found["calls"]] == ["busy [x]*1", "call-b", "call-a"]
        assert found["warnings"] == []
        assert len((await told(library, Call(call_id="call-a@example.net")))["legs"]) == 2
        ((pid, _),) = library.processes()
        asked = len(bucket.storage.requests())
        # What was listed for other hours does not help.
        with bucket.storage.fault("hang GET"):
            waiting = asyncio.create_task(told(library, Calls(since="2026-11-18T11:00:00Z")))
            await until(lambda: len(bucket.storage.requests()) > asked, "the storage is asked")
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await until(lambda: not library._returning, "the process is free again")
        assert len((await told(library, Calls(since=SINCE)))["calls"]) == 3
        assert [each for each, _ in library.processes()] == [pid]  # it gave up by itself
        with bucket.storage.fault("503"):
            found = await told(library, Calls(since="2026-11-18T10:00:00Z"))
        assert [call["call_id"].partition("@")[0] for call in found["calls"]] == ["busy [x]*1"]
        assert [words.partition(": s3://")[0] for words in found["warnings"]] == [
            "what is remote is missing from this answer"
        ]
