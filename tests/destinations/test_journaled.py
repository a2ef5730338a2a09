"""Messages of a stream in a store: each is written once and whole, and who waits for it hears when it is."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.far_ends import packet

from hepswitch import books, journal
from hepswitch.destinations.journaled import JournaledOutlet
from hepswitch.journal import read_blocks, segments
from hepswitch.routing.flow import Flow
from hepswitch.routing.packet import Context, Packet
from hepswitch.wire import record
from hepswitch.wire.batch import Batch


class Node:
    """A flow with one store."""

    def __init__(self, folder: Path, worker: int = 0, route: object = None, queue: int = 1 << 20) -> None:
        self.folder = folder / f"w{worker}"
        self.store = JournaledOutlet("lake", self.folder, queue=queue, segment=64 << 10)
        self.routed = books.Routed()
        self.listener = books.Listener("nats://127.0.0.1:4222/HEP")
        self.errors: list[BaseException] = []
        context = Context({}, {"lake": self.store}, self.store, self.routed)
        self.flow = Flow(context, lambda _, error: self.errors.append(error), route)

    def take(self, number: int, packets: int = 3) -> None:
        """A message comes: as bytes of its own, whatever came before."""
        batch = Batch.of([bytes(packet(number * 1000 + place)) for place in range(packets)], self.listener)
        batch.mark = bytes(bytearray(number.to_bytes(16, "big")))
        self.flow(batch)

    async def written(self) -> bool:
        waits = self.store.written()
        self.store.flush()
        return True if waits is None else await waits

    def stored(self) -> list[bytes]:
        """What is in the journal, in order."""
        return [
            record.read(frame).hep
            for part in segments(self.folder)
            for block in read_blocks(part.path)
            for frame in block
        ]


def refuse(fd: int, parts: list[bytes], at: int) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_message_that_comes_again_is_not_stored_again(tmp_path: Path) -> None:
    node = Node(tmp_path)
    await node.store.open()
    node.take(1)
    node.take(1)  # while the first copy waits for the disk
    assert await node.written()
    node.take(1)
    node.take(2)
    assert await node.written()
    assert node.store.refused == {"stored before": 6}
    assert not node.routed.unrouted, "to the route it is stored"
    assert len(node.stored()) == node.store.delivered == node.store.accepted == 6
    await node.store.close(1.0)


@pytest.mark.parametrize("is_closed", [True, False])
async def test_it_is_known_after_a_restart_also_when_nobody_closed_the_journal(tmp_path: Path, is_closed: bool) -> None:
    node = Node(tmp_path)
    await node.store.open()
    node.take(1)
    assert await node.written()
    if is_closed:
        await node.store.close(1.0)
    else:  # what a killed process leaves: an open segment, and a lock that the kernel took back
        assert node.store._journal is not None
        node.store._journal.close()
    again = Node(tmp_path)
    await again.store.open()
    again.take(1)
    again.take(2)
    assert await again.written()
    assert again.store.refused == {"stored before": 3}
    assert len(again.stored()) == 6
    await again.store.close(1.0)


async def test_it_is_known_to_another_worker_after_a_restart(tmp_path: Path) -> None:
    for worker, refused in ((0, 0), (1, 3)):
        node = Node(tmp_path, worker)
        await node.store.open()
        node.take(1)
        assert await node.written()
        await node.store.close(1.0)
        assert node.store.refused["stored before"] == refused


async def test_marks_live_longer_than_the_segments(tmp_path: Path) -> None:
    node = Node(tmp_path)
    await node.store.open()
    for number in range(200):
        node.take(number, 5)
        assert await node.written()
    closed = [segment for segment in segments(node.folder) if segment.closed]
    assert len(closed) > 2, "no segment was closed: this test shows nothing"
    for segment in closed:
        segment.path.unlink()
    await node.store.close(1.0)
    again = Node(tmp_path)
    await again.store.open()
    for number in range(200):
        again.take(number, 5)
    assert again.store.refused == {"stored before": 1000}
    await again.store.close(1.0)


async def test_a_message_is_taken_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(tmp_path, queue=1 << 20)
    await node.store.open()
    with monkeypatch.context() as patch:
        patch.setattr(journal.os, "pwritev", refuse)
        waits = []
        for number in range(12):
            node.take(number, 400)
            waits.append(asyncio.ensure_future(node.written()))
            await asyncio.sleep(0)
        refused = node.store.refused
        assert node.store.accepted % 400 == 0
        assert 2 * 400 < node.store.accepted < 12 * 400
        assert sum(refused.values()) == 12 * 400 - node.store.accepted
    taken = [await each for each in waits]
    assert [True] * (node.store.accepted // 400) == [each for each in taken if each]
    for number, was_taken in enumerate(taken):
        if not was_taken:
            node.take(number, 400)
            assert await node.written()
    assert sorted(node.stored()) == sorted(bytes(packet(n * 1000 + p)) for n in range(12) for p in range(400))
    await node.store.close(1.0)


async def test_what_is_discarded_at_the_end_was_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(tmp_path)
    await node.store.open()
    with monkeypatch.context() as patch:
        patch.setattr(journal.os, "pwritev", refuse)
        node.take(1)
        waits = asyncio.ensure_future(node.written())
        await asyncio.sleep(0)
        await node.store.close(0.0)
    assert await waits is False
    assert sum(node.store.discarded.values()) == 3
    again = Node(tmp_path)
    await again.store.open()
    again.take(1)
    assert await again.written()
    assert len(again.stored()) == 3
    await again.store.close(1.0)


async def test_a_message_is_one_block_of_the_journal_however_big(tmp_path: Path) -> None:
    node = Node(tmp_path)
    await node.store.open()
    node.take(1, 2000)
    node.store.flush()
    assert [block.count for part in segments(node.folder) for block in read_blocks(part.path)] == [2000]
    await node.store.close(1.0)


async def test_the_first_packet_that_is_stored_bears_the_mark(tmp_path: Path) -> None:
    seen = []

    def route(hep: Packet) -> None:
        seen.append(hep.payload)
        if len(seen) % 3 == 1:
            hep.drop("first")
        elif len(seen) % 3 == 2:
            hep.store(custom_field1="x" * 70_000)  # more than a record can say: raises
        else:
            hep.store(custom_field1="y")

    node = Node(tmp_path, route=route)
    await node.store.open()
    node.take(1)
    assert await node.written()
    assert (len(node.stored()), [str(error)[:11] for error in node.errors]) == (1, ["what a rout"])
    node.take(1)
    assert (node.store.accepted, node.store.refused) == (1, {"stored before": 2})
    await node.store.close(1.0)


async def test_what_a_script_keeps_for_later_belongs_to_no_message(tmp_path: Path) -> None:
    kept: list[Packet] = []

    def route(hep: Packet) -> None:
        hep.store()
        kept.append(hep)

    node = Node(tmp_path, route=route)
    await node.store.open()
    node.take(1)
    assert await node.written()
    assert kept[0].store(), "it was taken for a packet that came again"
    await node.store.close(1.0)


async def test_packets_without_a_mark_are_stored_as_often_as_they_come(tmp_path: Path) -> None:
    node = Node(tmp_path)
    await node.store.open()
    for _ in range(2):
        node.flow(Batch.of([bytes(packet(1))], node.listener))
    await node.store.close(1.0)
    assert len(node.stored()) == 2
    assert not (node.folder / "marks").exists()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(0, 5)),
        st.tuples(st.sampled_from(["write", "refuse", "roll", "seal", "stop", "kill"]), st.just(0)),
    ),
    max_size=40,
)


@example([("take", 0), ("write", 0), ("roll", 0), ("seal", 0), ("kill", 0), ("take", 0)])
@given(STEPS)
@settings(max_examples=60)
def test_whatever_happens_a_message_is_stored_once_and_said_to_be_written_only_then(
    steps: list[tuple[str, int]],
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        asyncio.run(_lived(Path(folder), steps, patch))


async def _lived(folder: Path, steps: list[tuple[str, int]], patch: pytest.MonkeyPatch) -> None:
    """A node takes messages, in any order and again, while its disk refuses at times, and dies at times."""
    works = os.pwritev
    sealed: list[bytes] = []
    promised: set[int] = set()
    node = Node(folder)
    await node.store.open()
    waits: list[tuple[int, asyncio.Future[bool] | None]] = []

    def settle() -> None:
        promised.update(number for number, wait in waits if wait is None or (wait.done() and wait.result()))
        waits[:] = [each for each in waits if each[1] is not None and not each[1].done()]

    for step, number in steps:
        match step:
            case "take":
                node.take(number, 2)
                waits.append((number, node.store.written()))
            case "write":
                patch.setattr(journal.os, "pwritev", works)
                node.store._write()
            case "refuse":
                patch.setattr(journal.os, "pwritev", refuse)
                node.store._write()
            case "roll":
                assert node.store._journal is not None
                node.store._journal.roll()
            case "seal":  # as a keeper or loader does
                for segment in segments(node.folder):
                    if segment.closed:
                        sealed += [record.read(frame).hep for block in read_blocks(segment.path) for frame in block]
                        segment.path.unlink()
            case "stop" | "kill":
                if step == "stop":
                    await node.store.close(0.0)
                else:
                    assert node.store._journal is not None
                    node.store._journal.close()
                settle()
                waits.clear()
                node = Node(folder)
                await node.store.open()
        settle()
    patch.setattr(journal.os, "pwritev", works)
    await node.store.close(1.0)
    settle()
    found = Counter(sealed + node.stored())
    assert set(found.values()) <= {1}
    assert all(bytes(packet(number * 1000 + place)) in found for number in promised for place in range(2))
    assert len(found) % 2 == 0
