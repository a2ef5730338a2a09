"""Journals read behind their writer: batches, restarts, damage, a full spool, and the books made of it."""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from far_ends import packet
from hepswitch import journal
from hepswitch.databases.backlog import Backlog, Batch
from hepswitch.databases.frames_reader import FramesReader, Run
from hepswitch.databases.gauge import Gauge
from hepswitch.destinations import position
from hepswitch.destinations.databases import SqliteStore
from hepswitch.destinations.loaded import spool_of
from hepswitch.journal import Journal
from hepswitch.wire.frames import Frames

MUCH = 1 << 30
NO_ROW = {"queued": 0, "discarded": {}, "refused": {}, "state": "active"}
"""The row of a store in the workers' books when nothing waits there."""


def frames(first: int, count: int, size: int = 10) -> Frames:
    made = Frames()
    for number in range(first, first + count):
        made.push(b"%d " % number + b"." * size)
    return made


def fill(log: Journal, *blocks: int, size: int = 10) -> None:
    for count in blocks:
        log.append(frames(log.next_frame, count, size))


def numbers(batch: Batch | None) -> list[int]:
    """The numbers of a batch's frames, as they say it themselves."""
    assert batch is not None
    found = []
    for run in batch.runs:
        start = 0
        for length in run.lengths:
            found.append(int(bytes(run.data[start : start + length]).split()[0]))
            start += length
    assert found[0] == batch.first
    return found


def finish(backlog: Backlog, batch: Batch | None, **discarded: int) -> None:
    assert batch is not None
    backlog.finish(batch, Counter(discarded))


def test_batches_by_rows_and_by_age(tmp_path: Path) -> None:
    with Journal(tmp_path / "w0") as log:
        backlog = Backlog(tmp_path / "w0", MUCH)
        assert backlog.take(10, 1e9) is None
        fill(log, 4, 4)
        assert backlog.take(10, 1e9) is None
        assert numbers(backlog.take(8, 1e9)) == list(range(8))
        fill(log, 4, 4, 4)
        assert numbers(backlog.take(6, 1e9)) == list(range(8, 14))
        assert numbers(backlog.take(6, 1e9)) == list(range(14, 20))
        fill(log, 1)
        assert backlog.take(6, 1e9) is None
        assert numbers(backlog.take(6, 1e9, all=True)) == [20]
        backlog.close()


def test_much_does_not_wait(tmp_path: Path) -> None:
    with Journal(tmp_path / "w0") as log:
        backlog = Backlog(tmp_path / "w0", MUCH)
        fill(log, *[100] * 15, size=10_000)
        batch = backlog.take(100_000, 1e9)
        assert batch is not None
        assert 800 <= batch.count <= 1000
        backlog.close()


def test_over_segments_that_are_closed_and_deleted(tmp_path: Path) -> None:
    with Journal(tmp_path / "w0", 4096) as log:
        backlog = Backlog(tmp_path / "w0", MUCH)
        seen: list[int] = []
        for _ in range(30):
            fill(log, 30)
            while batch := backlog.take(1, 0):
                seen += numbers(batch)
                finish(backlog, batch)
            backlog.tidy()
        assert seen == list(range(900))
        assert len(log.segments()) <= 2
        assert backlog.done == 900
        backlog.close()


def test_batches_that_were_begun_come_again_as_they_were(tmp_path: Path) -> None:
    with Journal(tmp_path / "w0", 2048) as log:
        fill(log, *[10] * 20)
        before = Backlog(tmp_path / "w0", MUCH)
        taken = [before.take(30, 0) for _ in range(4)]
        finish(before, taken[1])
        halves = taken[2].halves() if taken[2] else []
        assert taken[2] is not None
        before.split(taken[2], halves)
        finish(before, halves[0], rejected=2)
        assert before.done == 0
        before.close()
        after = Backlog(tmp_path / "w0", MUCH)
        assert after.journal == before.journal
        again = [after.take(30, 1e9) for _ in range(3)]
        expected = [taken[0], halves[1], taken[3]]
        assert [(each.first, each.last) for each in again if each] == [
            (each.first, each.last) for each in expected if each
        ]
        assert [numbers(each) for each in again] == [numbers(each) for each in expected]
        fresh = after.take(1000, 0)
        assert numbers(fresh) == list(range(120, 200))
        for batch in (*again, fresh):
            finish(after, batch)
        assert after.done == 200
        known = position.read(tmp_path / "w0")
        assert known is not None
        assert (known.done, known.begun, known.discarded) == (200, [], {"rejected": 2})
        after.close()


def test_a_full_spool_discards_the_oldest(tmp_path: Path) -> None:
    with Journal(tmp_path / "w0", 4096) as log:
        gauge = Gauge(tmp_path, 1 << 20)
        backlog = Backlog(tmp_path / "w0", 20_000)
        first = backlog.take(1, 0)
        assert first is None
        fill(log, *[30] * 10)
        first = backlog.take(1, 0)
        fill(log, *[30] * 90)
        backlog.tidy()
        rest = []
        while batch := backlog.take(100, 0):
            rest += numbers(batch)
            finish(backlog, batch)
        finish(backlog, first)
        assert rest[-1] == 2999
        assert rest == list(range(rest[0], 3000))
        row = gauge.complete({"queued": 7, "discarded": {}, "state": "active", "refused": {}})
        lost = 3000 - len(rest) - (first.count if first else 0)
        assert lost > 1000
        assert row["discarded"] == {"spool full": lost}
        assert (row["accepted"], row["delivered"], row["spooled"]) == (3007, 3000 - lost, 0)
        assert sum(segment.size for segment in log.segments()) < 30_000
        backlog.close()


def test_damage_is_passed_over_and_counted(tmp_path: Path) -> None:
    with Journal(tmp_path / "w0", 700) as log:
        gauge = Gauge(tmp_path, 1 << 20)
        fill(log, *[10] * 30)
        damaged = log.segments()[1]
        damaged.path.write_bytes(damaged.path.read_bytes()[:700])
        missing = log.segments()[4]
        missing.path.unlink()
        backlog = Backlog(tmp_path / "w0", MUCH)
        seen: list[int] = []
        while batch := backlog.take(1000, 0):
            assert batch.count == len(numbers(batch))
            seen += numbers(batch)
            finish(backlog, batch)
        assert seen == sorted(set(seen))
        assert 0 in seen
        assert 299 in seen
        assert 200 < len(seen) < 290
        row = gauge.complete({"queued": 0, "discarded": {}, "state": "", "refused": {}})
        assert row["discarded"] == {"lost on disk": 300 - len(seen)}
        assert (row["accepted"], row["delivered"], row["spooled"]) == (300, len(seen), 0)
        backlog.close()


def test_what_vanished_while_nobody_looked(tmp_path: Path) -> None:
    with Journal(tmp_path / "w0", 700) as log:
        fill(log, *[10] * 30)
        before = Backlog(tmp_path / "w0", MUCH)
        batch = before.take(10, 0)
        finish(before, batch)
        begun = before.take(10, 0)
        assert begun is not None
        before.close()
        for segment in log.segments()[:3]:
            segment.path.unlink()
        oldest = log.segments()[0].first
        after = Backlog(tmp_path / "w0", MUCH)
        assert after.done == oldest
        seen = numbers(after.take(1000, 0))
        assert seen == list(range(oldest, 300))
        known = position.read(tmp_path / "w0")
        assert known is not None
        assert known.discarded == {"lost on disk": oldest - 10}
        after.close()


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"done": "x"}', b"\xff"])
def test_an_unreadable_position_begins_at_the_oldest(tmp_path: Path, text: bytes) -> None:
    with Journal(tmp_path / "w0") as log:
        fill(log, 5)
        (tmp_path / "w0" / position.NAME).write_bytes(text)
        backlog = Backlog(tmp_path / "w0", MUCH)
        assert numbers(backlog.take(9, 0)) == [0, 1, 2, 3, 4]
        backlog.close()


def test_the_journal_of_a_worker_that_is_no_more(tmp_path: Path) -> None:
    with Journal(tmp_path / "w7") as log:
        fill(log, 5)
        backlog = Backlog(tmp_path / "w7", MUCH)
        backlog.recover()
        assert not log.segments()[0].closed  # somebody has it
    backlog.recover()
    finish(backlog, backlog.take(9, 0))
    backlog.tidy()
    assert [segment.first for segment in journal.segments(tmp_path / "w7")] == [5]
    backlog.close()


def test_a_worker_that_starts_again_goes_on_counting(tmp_path: Path) -> None:
    with Journal(tmp_path / "w0") as log:
        fill(log, 5)
    gauge = Gauge(tmp_path, 1 << 20)  # 5 packets waited when the switch started
    backlog = Backlog(tmp_path / "w0", MUCH)
    with Journal(tmp_path / "w0") as log:
        fill(log, 5)
    finish(backlog, backlog.take(1000, 0), rejected=1)
    with Journal(tmp_path / "w0") as log:
        fill(log, 5)
    row = gauge.complete({"queued": 2, "discarded": {"disk full": 3}, "state": "active", "refused": {}})
    assert row["accepted"] == 15 + 2 + 3
    assert row["delivered"] == 10 - 1
    assert row["spooled"] == 5
    assert row["discarded"] == {"disk full": 3, "rejected": 1}
    backlog.state = "cannot connect"
    assert gauge.complete({"queued": 0, "discarded": {}, "state": "active", "refused": {}})["state"] == "cannot connect"
    backlog.close()


@given(
    blocks=st.lists(st.integers(1, 7), min_size=1, max_size=12),
    segment=st.sampled_from([200, 400, 1 << 20]),
    first=st.integers(0, 90),
    low=st.integers(0, 90),
    span=st.integers(0, 90),
)
def test_any_frame_can_be_gone_to(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[int], segment: int, first: int, low: int, span: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    with Journal(folder, segment) as log:
        fill(log, *blocks)
        total = log.next_frame
        reader = FramesReader(folder, min(first, total))
        runs: list[Run] = []
        while run := reader.read():
            runs.append(run)
        reader.close()
        assert reader.lost == 0
        assert all(left.last == right.first for left, right in pairwise(runs))
        assert sum(run.frames for run in runs) == total - min(first, total)
        for run in runs:
            part = run.between(low, low + span)
            assert part.frames == max(0, min(run.last, low + span) - max(run.first, low))
            assert part.data.nbytes == sum(part.lengths)


def test_a_position_that_does_not_fit_the_disk_leaves_the_old_one(tmp_path: Path) -> None:
    old = position.Position(done=5, taken=5)
    position.write(tmp_path, old)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))  # as on a full disk: some of it is written
    try:
        with pytest.raises(OSError, match="No space"):
            position.write(tmp_path, position.Position(done=9, taken=9))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert position.read(tmp_path) == old
    assert [path.name for path in tmp_path.iterdir()] == ["position"]


def test_a_position_that_cannot_be_read_is_not_replaced(tmp_path: Path) -> None:
    with Journal(tmp_path / "w0") as log:
        fill(log, 10)
        (tmp_path / "w0" / "position").mkdir()
        with pytest.raises(OSError, match="directory"):
            Backlog(tmp_path / "w0", MUCH)
        assert (tmp_path / "w0" / "position").is_dir()
        assert Gauge(tmp_path, 1 << 20).complete(NO_ROW)["accepted"] == 10


def test_a_begun_batch_that_cannot_be_read_now_is_read_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(tmp_path / "w0") as log:
        fill(log, 10)
        first = Backlog(tmp_path / "w0", MUCH)
        assert numbers(first.take(10, 0.0)) == list(range(10))
        first.close()
        again = Backlog(tmp_path / "w0", MUCH)
        with monkeypatch.context() as patch:
            patch.setattr(FramesReader, "read", lambda _: (tmp_path / "nothing").stat())
            with pytest.raises(OSError, match="nothing"):
                again.take(10, 0.0)
        batch = again.take(10, 0.0)
        assert numbers(batch) == list(range(10))
        finish(again, batch)
        assert again.done == 10
        again.close()


def test_a_journal_that_lost_its_segments_goes_on_behind_its_position(tmp_path: Path) -> None:
    """After a loss of power, or an operator's rm, numbers must not come twice: they would count as loaded."""
    table = SqliteStore.model_validate({"url": "sqlite:x.db"})
    folder = spool_of(tmp_path, "db") / "w0"

    async def put(*packets: int) -> None:
        outlet = table.build("db", 0, tmp_path)
        await outlet.open()
        for number in packets:
            assert outlet.offer(packet(number))
        await outlet.close(1.0)

    asyncio.run(put(1, 2, 3, 4, 5))
    backlog = Backlog(folder, MUCH)
    finish(backlog, backlog.take(10, 0.0))
    backlog.close()
    for segment in journal.segments(folder):
        segment.path.unlink()
    asyncio.run(put(6, 7))
    backlog = Backlog(folder, MUCH)
    batch = backlog.take(10, 0.0)
    assert batch is not None
    assert (batch.first, batch.count) == (5, 2)
    backlog.close()
