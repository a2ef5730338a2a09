"""Pages: nothing twice, nothing left out, whatever is stored while they are read."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lakes
from batches import batch_of
from cli import recorded
from hepswitch.databases import kinds
from hepswitch.databases.server import Mark
from hepswitch.destinations.databases import DatabaseStore, SqliteStore
from hepswitch.destinations.lake import LakeStore
from hepswitch.queries.questions import Calls, Messages
from hepswitch.wire.hep import Hep
from queries import asked

SINCE = "2026-11-01T00:00"

Store = Callable[[list[bytes]], None]


class Grown:
    """A store of either kind into which packets come."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.folder = folder
        folder.mkdir()
        (folder / "lake").mkdir()
        self.sqlite = SqliteStore(url=f"sqlite:{folder}/one.db")
        self.marks = itertools.count()
        self.put([])
        store = LakeStore(url=f"lake:{folder}/lake") if kind == "lake" else self.sqlite
        self.stores = asked.Stores({"it": store})

    def put(self, packets: list[bytes], seal: bool = False) -> None:
        if self.kind == "lake":
            if packets:
                lakes.store(self.folder / "lake", packets)
            if seal:
                lakes.sealed(self.folder / "lake")
            return
        asyncio.run(self._load(self.sqlite, packets))

    async def _load(self, store: DatabaseStore, packets: list[bytes]) -> None:
        server: Any = kinds.server(store)
        await server.open()
        if packets:
            batch = batch_of([Hep(packet, lakes.ARRIVAL) for packet in packets], server.layout.extras)
            number = next(self.marks)
            await server.load(batch, Mark("0123456789abcdef" * 2, number * 100, number * 100 + 99, 0))
        await server.close()


def packet(call: int, at: int, first: str = "INVITE") -> bytes:
    """A message of a call, `at` half seconds after START."""
    line = f"{first} sip:bob@example.net SIP/2.0"
    payload = recorded.sip(line, f"call-{call}@example.net", f"1 {first}")
    return recorded.hep(at / 2, recorded.CALLER, recorded.PROXY, payload)


folders = itertools.count()

traffic = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), max_size=10)


@pytest.mark.parametrize("kind", ["lake", "sqlite"])
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(before=traffic, after=traffic, limit=st.integers(1, 4), seal=st.booleans())
def test_pages_of_calls_and_messages(
    kind: str, tmp_path: Path, before: list[tuple[int, int]], after: list[tuple[int, int]], limit: int, seal: bool
) -> None:
    store = Grown(kind, tmp_path / f"{next(folders)}")
    store.put([packet(call, at) for call, at in before])
    whole = {
        "calls": store.stores.told(Calls(since=SINCE, limit=1000))["calls"],
        "messages": store.stores.told(Messages(since=SINCE, limit=1000))["messages"],
    }
    assert [call["start"] for call in whole["calls"]] == sorted(
        (call["start"] for call in whole["calls"]), reverse=True
    )
    newer = [packet(100 + call, 10 + at) for call, at in after]
    cursors: dict[str, str | None] = {}
    pages: dict[str, list[dict[str, Any]]] = {"calls": [], "messages": []}
    for page in itertools.count():
        for name, kind_of in (("calls", Calls), ("messages", Messages)):
            if page and cursors[name] is None:
                continue
            found = store.stores.told(kind_of(since=SINCE, limit=limit, cursor=cursors.get(name)))
            assert len(found[name]) <= limit
            cursors[name] = found["next"]
            pages[name] += found[name]
        if not any(cursors.values()):
            break
        # What comes meanwhile is newer, and what is there may be sealed.
        store.put(newer[page : page + 1], seal)
    assert pages == whole
    assert Counter(message["id"] for message in pages["messages"]).total() == len(before)


def test_packets_that_are_the_same_in_all_come_as_often_as_they_are_there(tmp_path: Path) -> None:
    store = Grown("lake", tmp_path / "same")
    store.put([packet(1, 1)] * 7 + [packet(2, 1)] * 3)
    cursor, found = None, []
    for _ in range(4):
        page = store.stores.told(Messages(since=SINCE, limit=3, cursor=cursor))
        found += [message["call_id"] for message in page["messages"]]
        cursor = page["next"]
    assert cursor is None
    assert sorted(Counter(found).values()) == [3, 7]


def test_ids_are_the_same_after_sealing(tmp_path: Path) -> None:
    store = Grown("lake", tmp_path / "ids")
    store.put([packet(call, call) for call in range(5)])
    before = store.stores.told(Messages(since=SINCE))["messages"]
    store.put([], seal=True)
    assert list((tmp_path / "ids" / "lake").glob("date=*/*/*.parquet"))
    assert store.stores.told(Messages(since=SINCE))["messages"] == before
