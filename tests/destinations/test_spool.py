"""The spool against a model: order, restarts, crashes, bounds, damage."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepswitch.destinations.spool import Spool
from hepswitch.wire.frames import Frames


def frames(first: int, count: int) -> Frames:
    some = Frames()
    for number in range(first, first + count):
        some.push(f"{number}".encode().ljust(100, b"."))
    return some


def numbers(queue: Frames) -> list[int]:
    return [int(frame.rstrip(b".")) for frame in queue]


Opened = Callable[..., Spool]


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    def make(*names: str, limit: int = 1 << 20) -> Spool:
        spool = Spool([tmp_path / name for name in names or ("w0",)], limit)
        spool.open()
        return spool

    return make


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 60)),
        st.tuples(st.just("read"), st.integers(1, 5000)),
        st.tuples(st.just("deliver"), st.integers(1, 80)),
        st.tuples(st.sampled_from(["save", "break", "restart", "crash"]), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(steps)
def test_everything_is_delivered_in_order_and_twice_only_after_a_crash(actions: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "0"
        spool = Spool([path], 1 << 20)
        assert spool.open() == 0
        queue, appended, delivered, crashed = Frames(), 0, list[int](), False
        for action, amount in [*actions, ("read", 10**9), ("deliver", 10**9)]:
            if action == "append":
                assert spool.append(frames(appended, amount)) == 0
                appended += amount
            elif action == "read":
                assert spool.read(queue, len(queue), amount) == 0
            elif action == "deliver":
                count = min(amount, len(queue))
                delivered += numbers(queue)[:count]
                queue.pop(count)
                spool.delivered(count)
            elif action == "save":
                spool.save()
            elif action == "break":
                assert spool.take_back(list(queue)) == []
                queue.clear()
            else:
                queue.clear()
                if action == "crash":
                    crashed = True
                    copy = path.with_name(str(int(path.name) + 1))
                    shutil.copytree(path, copy)
                    spool.close()
                    path = copy
                else:
                    spool.close()
                spool = Spool([path], 1 << 20)
                assert spool.open() >= appended - len(set(delivered))
            assert spool.pending + len(queue) >= appended - len(set(delivered))
        spool.close()
        assert sorted(set(delivered)) == list(range(appended))
        if not crashed:
            assert delivered == list(range(appended))
        assert all(later <= sooner + 1 for sooner, later in itertools.pairwise(delivered)), "a gap"


def test_what_was_not_from_here_is_given_back(opened: Opened) -> None:
    spool, queue = opened(), frames(1000, 3)
    spool.append(frames(0, 5))
    spool.read(queue, 3, 10**6)
    queue.push(b"2000")
    assert not spool.idle
    queue.pop(1)
    spool.delivered(1)
    foreign = spool.take_back(list(queue))
    assert [int(frame.rstrip(b".")) for frame in foreign] == [1001, 1002, 2000]
    assert spool.pending == 5
    spool.close()


def test_the_oldest_segments_fall_off_at_the_limit(opened: Opened, tmp_path: Path) -> None:
    spool, lost = opened(limit=64 << 10), 0
    for first in range(0, 2000, 10):
        lost += spool.append(frames(first, 10))
        assert sum(file.stat().st_size for file in (tmp_path / "w0").iterdir()) <= (64 << 10) + 20
    assert lost == 2000 - spool.pending > 0
    queue = Frames()
    assert spool.read(queue, 0, 10**6) == 0
    assert numbers(queue) == list(range(lost, 2000))
    spool.close()


def test_falling_off_while_being_read(opened: Opened) -> None:
    spool, queue = opened(limit=64 << 10), Frames()
    for first in range(0, 300, 10):
        spool.append(frames(first, 10))
    spool.read(queue, 0, 1500)
    read = len(queue)
    lost = sum(spool.append(frames(first, 10)) for first in range(300, 2000, 10))
    assert read + lost + spool.pending == 2000
    spool.delivered(read)
    rest = Frames()
    spool.read(rest, 0, 10**6)
    assert numbers(rest) == list(range(read + lost, 2000))
    spool.close()


def test_delivered_segments_leave_the_disk(opened: Opened, tmp_path: Path) -> None:
    spool, queue = opened(limit=64 << 10), Frames()
    for first in range(0, 400, 10):
        spool.append(frames(first, 10))
    assert len(list((tmp_path / "w0").glob("*.seg"))) > 3
    spool.read(queue, 0, 10**6)
    spool.delivered(len(queue))
    spool.save()
    assert list((tmp_path / "w0").glob("*.seg")) == []
    assert spool.idle
    spool.close()


def test_damage_is_counted_and_skipped(opened: Opened, tmp_path: Path) -> None:
    spool = opened(limit=64 << 10)
    for first in range(0, 400, 10):
        spool.append(frames(first, 10))
    spool.close()
    second = sorted((tmp_path / "w0").glob("*.seg"))[1]
    data = bytearray(second.read_bytes())
    data[len(data) // 2] ^= 1
    second.write_bytes(data)
    spool, queue = opened(limit=64 << 10), Frames()
    lost = spool.read(queue, 0, 10**6)
    assert 0 < lost < 100
    assert len(queue) + lost == 400
    assert numbers(queue)[-1] == 399
    assert spool.pending == 0
    spool.close()


def test_left_directories_are_read_first_and_removed(opened: Opened, tmp_path: Path) -> None:
    left = opened("w1")
    left.append(frames(0, 5))
    left.close()
    spool, queue = opened("w0", "w1", "w2"), Frames()
    spool.append(frames(5, 5))
    spool.read(queue, 0, 10**6)
    assert numbers(queue) == list(range(10))
    spool.delivered(4)
    spool.save()
    assert (tmp_path / "w1").exists()
    spool.delivered(6)
    spool.save()
    assert not (tmp_path / "w1").exists()
    assert not (tmp_path / "w2").exists()
    spool.close()


def test_a_directory_in_use_is_refused_if_ours_and_left_alone_if_not(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hepswitch.journal.LOCK_PATIENCE", 0.0)
    holder = opened("w1")
    holder.append(frames(0, 5))
    spool = opened("w0", "w1")
    assert spool.pending == 0
    with pytest.raises(OSError, match="another process"):
        opened("w1")
    spool.close()
    holder.close()


def test_what_was_read_is_lent_until_it_is_delivered(opened: Opened) -> None:
    spool = opened()
    spool.append(frames(0, 10))
    queue = Frames()
    assert (spool.lent, spool.read(queue, 0, 1 << 20), spool.lent) == (0, 0, 10)
    spool.append(frames(10, 1))
    assert spool.lent == 10, "what was not read is not lent"
    spool.delivered(4)
    assert spool.lent == 6
    assert spool.read(queue, 8, 1 << 20) == 0
    assert spool.lent == 7, "the two in between never were on disk"
    spool.delivered(9)
    assert spool.lent == 0
    spool.close()
