"""Receipts: what was taken is safe when it is written and nobody holds it in memory alone, whenever somebody is killed."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import cast

import pytest

from far_ends import numbered, packet, until
from hepswitch.books import Listener, Routed
from hepswitch.destinations.hep_node import HepNode
from hepswitch.destinations.journaled import JournaledOutlet
from hepswitch.journal import Journal
from hepswitch.routing import receipts
from hepswitch.routing.flow import Flow
from hepswitch.routing.gate import Gate
from hepswitch.routing.packet import Context
from hepswitch.routing.receipts import Receipts
from hepswitch.routing.replays import ROOM, Replays
from hepswitch.wire.batch import Batch

QUEUE = 0xABCDEF


class SlowNode:
    """A node that holds `queued` packets."""

    def __init__(self) -> None:
        self.queued = 0

    def kept(self, promise: int) -> bool:
        return not self.queued


class Worker:
    """What one worker has of it: two stores, a node, and the memory of all workers."""

    def __init__(self, folder: Path, memory: bytearray | None = None, number: int = 0) -> None:
        self.folder = folder
        self.memory = bytearray(ROOM) if memory is None else memory
        self.number = number
        self.stores = {
            name: JournaledOutlet(name, folder / name / f"w{number}", queue=1 << 20, segment=1 << 20)
            for name in ("lake", "calls")
        }
        self.node = SlowNode()
        self.replays = Replays(self.memory, number)
        self.receipts = Receipts(self.replays, folder, number, self.stores, self._promises)

    def _promises(self) -> list[tuple[HepNode, int]]:
        return [(cast(HepNode, self.node), 1)] if self.node.queued else []

    async def start(self) -> Worker:
        for store in self.stores.values():
            await store.open()
        self.receipts.open()
        return self

    def take(self, number: int, *stores: str) -> None:
        assert self.replays.had(QUEUE, number) is False
        for name in stores:
            assert self.stores[name].offer(packet(number))

    def flush(self, *stores: str) -> None:
        for name in stores or self.stores:
            self.stores[name].flush()
        self.receipts.note()

    def is_safe(self, number: int) -> bool:
        """Whether another worker would refuse it."""
        return Replays(self.memory, 99).had(QUEUE, number) is True

    def die(self) -> None:
        """As a kill -9 does: nothing is written any more, and all that it held is free."""
        for store in self.stores.values():
            for timer in (store._timer, store._roll_timer):
                if timer is not None:
                    timer.cancel()
            cast(Journal, store._journal).close()
        if self.receipts._timer is not None:
            self.receipts._timer.cancel()

    async def successor(self) -> Worker:
        return await Worker(self.folder, self.memory, self.number).start()


async def test_what_is_written_is_safe_and_the_notes_go(tmp_path: Path) -> None:
    worker = await Worker(tmp_path).start()
    worker.take(1, "lake", "calls")
    worker.take(2)
    assert not worker.is_safe(1)
    worker.flush()
    assert (tmp_path / "numbers.w0").stat().st_size > 0
    await until(lambda: worker.is_safe(1) and worker.is_safe(2), "both are safe")
    await until(lambda: (tmp_path / "numbers.w0").stat().st_size == 0, "nothing is noted any more")
    worker.die()


async def test_a_store_that_cannot_write_keeps_all_from_being_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await Worker(tmp_path).start()
    journal = cast(Journal, worker.stores["calls"]._journal)

    def refuse(frames: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal, "append", refuse)
    monkeypatch.setattr(receipts, "MOST_NOTES", 3)
    for number in range(1, 21):
        worker.take(number, "lake", "calls")
        worker.flush()
        await asyncio.sleep(0)
    assert len(worker.receipts._waiting) == 3
    await until(lambda: worker.stores["lake"].written_to == 20, "the lake has written")
    assert not any(worker.is_safe(number) for number in range(1, 21))
    monkeypatch.undo()
    await until(lambda: all(worker.is_safe(number) for number in range(1, 21)), "all are safe")
    assert worker.replays.had(QUEUE, 20) is True
    worker.die()


async def test_a_node_is_waited_for_and_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = await Worker(tmp_path).start()
    worker.node.queued = 1
    worker.take(1)
    worker.flush()
    worker.receipts._look()
    assert not worker.is_safe(1)
    worker.node.queued = 0
    await until(lambda: worker.is_safe(1), "the node has delivered")
    monkeypatch.setattr(receipts, "PATIENCE", 0.05)
    worker.node.queued = 1
    worker.take(2)
    worker.flush()
    await until(lambda: worker.is_safe(2), "waited long enough")
    worker.die()


async def test_killed_before_the_store_wrote_it_is_taken_again(tmp_path: Path) -> None:
    worker = await Worker(tmp_path).start()
    worker.take(1, "lake")
    worker.flush()
    worker.die()
    again = await worker.successor()
    assert again.replays.had(QUEUE, 1) is False
    again.die()


async def test_killed_between_writing_and_the_receipt_it_is_refused(tmp_path: Path) -> None:
    worker = await Worker(tmp_path).start()
    worker.take(1, "lake")
    worker.stores["lake"]._write()  # the note is made by this, before anything is written
    worker.take(2, "lake")
    assert not worker.is_safe(1)
    worker.die()
    again = await worker.successor()
    assert again.is_safe(1)
    assert again.replays.had(QUEUE, 2) is False
    again.die()


async def test_killed_when_one_of_two_stores_had_written_it_is_taken_again(tmp_path: Path) -> None:
    worker = await Worker(tmp_path).start()
    worker.take(1, "lake", "calls")
    worker.stores["lake"]._write()
    worker.die()
    again = await worker.successor()
    assert again.replays.had(QUEUE, 1) is False
    again.die()


async def test_killed_with_packets_for_a_node_in_memory_it_is_taken_again(tmp_path: Path) -> None:
    worker = await Worker(tmp_path).start()
    worker.node.queued = 1
    worker.take(1, "lake")
    worker.stores["lake"]._write()
    worker.die()
    again = await worker.successor()
    assert again.replays.had(QUEUE, 1) is False
    again.die()


async def test_a_torn_note_and_a_store_that_is_no_more(tmp_path: Path) -> None:
    worker = await Worker(tmp_path).start()
    worker.take(1, "lake")
    worker.stores["lake"]._write()
    worker.die()
    notes = tmp_path / "numbers.w0"
    whole = notes.read_bytes()
    notes.write_bytes(whole[:-3])
    again = await worker.successor()
    assert again.replays.had(QUEUE, 1) is False, "a note that was not finished was followed by no write"
    again.die()
    notes.write_bytes(whole.replace(b'"calls"', b'"former"'))
    again = await again.successor()
    assert again.replays.had(QUEUE, 1) is False
    again.die()


async def test_after_a_clean_stop_everything_is_safe(tmp_path: Path) -> None:
    worker = await Worker(tmp_path).start()
    worker.node.queued = 1
    worker.take(1, "lake")
    for store in worker.stores.values():
        await store.close(1.0)
    worker.receipts.close()
    assert worker.is_safe(1)
    assert (tmp_path / "numbers.w0").read_bytes() == b""


async def test_a_folder_that_takes_no_notes_costs_no_packets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    worker = Worker(folder)
    worker.receipts._path = folder / "missing" / "numbers.w0"
    await worker.start()
    worker.take(1, "lake")
    worker.flush()
    await until(lambda: worker.is_safe(1), "it is written all the same")
    assert "notes cannot be kept" in capsys.readouterr().out
    worker.die()


async def test_the_file_of_notes_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "LARGEST", 2000)
    monkeypatch.setattr(receipts, "MOST_NOTES", 2)
    worker = await Worker(tmp_path).start()
    worker.node.queued = 1
    for number in range(1, 200):
        worker.take(number)
        worker.flush()
    assert (tmp_path / "numbers.w0").stat().st_size < 2500
    worker.node.queued = 0
    await until(lambda: worker.is_safe(199), "all are safe")
    worker.die()


async def test_who_asks_is_told_when_what_came_is_safe(tmp_path: Path) -> None:
    worker = await Worker(tmp_path).start()
    told: list[tuple[int, int]] = []

    def tell(queue: int, number: int) -> None:
        told.append((queue, number))

    door = Gate(replays=worker.replays, numbered=["tls://a:1"])
    listener = Listener("tls://a:1")
    flow = Flow(Context({}, dict(worker.stores), worker.stores["lake"], Routed()), print, gate=door)

    def come(*numbers: int) -> None:
        flow(Batch.of([numbered(bytes(packet(each)), each, QUEUE) for each in numbers], listener, ("192.0.2.1", 1)))
        worker.receipts.ask(tell)
        worker.flush()

    come(1, 2, 3)
    assert told == []
    come(2, 3)
    assert (told, listener.refused) == ([], {"replayed": 2})
    await until(lambda: told == [(QUEUE, 3)], "told once, of the latest")
    come(1, 2)
    assert told == [(QUEUE, 3), (QUEUE, 2)], "nothing is waited for"
    flow(Batch.of([bytes(packet(9))], listener, ("192.0.2.1", 1)))
    worker.receipts.ask(tell)
    worker.flush()
    assert len(told) == 2, "it was not numbered"
    worker.die()
