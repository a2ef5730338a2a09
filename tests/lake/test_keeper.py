"""Sealing, merging and deleting: what is kept, where, and what a crash between any two steps leaves."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hepswitch import journal
from hepswitch.destinations import figures
from hepswitch.destinations.figures import KeeperFigures
from hepswitch.destinations.lake import LakeStore
from hepswitch.lake import compaction, keeper, layout, locks, parquet, retention
from hepswitch.lake.lake import Lake
from lakes import journal_of, records, sealed, store
from traffic import START, calls, hep


def numbered(count: int, begin: int = 0, when: float = START, step: float = 0.0) -> list[bytes]:
    """Packets with their number as capture agent id, of seven in a call."""
    messages = list(calls((count + 6) // 7, seed=begin))[:count]
    made = []
    for number, message in enumerate(messages):
        moved = type(message)(when + number * step, message.source, message.target, message.payload)
        made.append(hep(moved, captagent_id=begin + number))
    return made


def numbers(root: Path) -> Counter[int]:
    """How often each packet is found."""
    _, rows = Lake(root).sql("select captagent_id from messages")
    return Counter(number for (number,) in rows)


def _quiet() -> float:
    """A moment when nothing has been written for a while."""
    return time.time() + keeper.QUIET + 1.0


def parquet_files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.glob("date=*/hour=*/*"))


def test_sealed_by_the_hour_of_the_packets(tmp_path: Path) -> None:
    for when in (START, START + 3600, 0.0 + 1, 2_335_219_200.0):
        store(tmp_path, numbered(10, when=when))
    assert sealed(tmp_path) == 4
    when = datetime.fromtimestamp(START, UTC)
    assert parquet_files(tmp_path) == [
        "date=1970-01-01/hour=00/w0-000000000002.parquet",
        f"date={when:%Y-%m-%d}/hour={when.hour:02d}/w0-000000000000.parquet",
        f"date={when:%Y-%m-%d}/hour={when.hour + 1:02d}/w0-000000000001.parquet",
        "date=2044-01-01/hour=00/w0-000000000003.parquet",
    ]
    assert [segment.closed for segment in journal.segments(tmp_path / "journal" / "w0")] == [False]
    assert sum(numbers(tmp_path).values()) == 40


def test_sealed_rows_are_sorted_and_compressed(tmp_path: Path) -> None:
    with journal_of(tmp_path, segment_bytes=32 << 20) as log:
        log.append(records(hep(message) for message in calls(2000, per_second=50)))
        log.roll()
    sealed(tmp_path)
    total = rows = 0
    for path in tmp_path.glob("date=*/hour=*/*.parquet"):
        file = pq.ParquetFile(path)
        keys = [(row["call_id"], row["ts"]) for row in file.read(columns=["call_id", "ts"]).to_pylist()]
        assert keys == sorted(keys)
        group = file.metadata.row_group(0)
        assert group.num_rows <= parquet.ROW_GROUP
        assert group.column(1).statistics is not None
        total += path.stat().st_size
        rows += len(keys)
    assert rows == 14000
    assert total / rows <= 61


@pytest.mark.parametrize("step", ["replace", "unlink"])
def test_sealing_again_after_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    packets = numbered(30, step=600.0)
    store(tmp_path, packets)
    expected = Counter(range(30))
    for crash_at in range(12):
        done = _crash_after(monkeypatch, step, crash_at, lambda: sealed(tmp_path))
        assert numbers(tmp_path) == expected
        if done:
            break
    else:
        pytest.fail("sealing never came to its end")
    monkeypatch.undo()
    keeper.clean(tmp_path)
    assert numbers(tmp_path) == expected
    assert not list(tmp_path.glob("**/*.tmp"))
    assert not list(tmp_path.glob("journal/w0/*.seg"))


class CrashError(BaseException):
    """The process dies here."""


def _crash_after(monkeypatch: pytest.MonkeyPatch, step: str, count: int, action: Any) -> bool:
    """Run `action` and die before its `count`th call of Path.`step`; True when it came to its end."""
    real, calls_made = getattr(Path, step), 0

    def counted(self: Path, *args: Any, **more: Any) -> Any:
        nonlocal calls_made
        if calls_made == count:
            raise CrashError
        calls_made += 1
        return real(self, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, step, counted)
        try:
            action()
        except CrashError:
            return False
    return True


def test_small_files_are_merged_when_the_hour_is_over(tmp_path: Path) -> None:
    for begin in range(0, 100, 20):
        store(tmp_path, numbered(20, begin))
        store(tmp_path, numbered(20, begin + 1000), worker=1)
    sealed(tmp_path)
    expected = numbers(tmp_path)
    keeper.tidy(tmp_path, time.time())
    assert len(parquet_files(tmp_path)) == 10
    keeper.tidy(tmp_path, _quiet())
    assert [Path(name).name for name in parquet_files(tmp_path)] == [
        "w0-000000000000-000000000004.parquet",
        "w1-000000000000-000000000004.parquet",
    ]
    assert numbers(tmp_path) == expected == Counter([*range(100), *range(1000, 1100)])
    for path in tmp_path.glob("date=*/hour=*/*.parquet"):
        keys = [(row["call_id"], row["ts"]) for row in pq.read_table(path, columns=["call_id", "ts"]).to_pylist()]
        assert keys == sorted(keys)
    store(tmp_path, numbered(20, 500))
    sealed(tmp_path)
    keeper.tidy(tmp_path, _quiet())
    assert "w0-000000000000-000000000005.parquet" in {Path(name).name for name in parquet_files(tmp_path)}
    assert numbers(tmp_path) == expected + Counter(range(500, 520))


def test_merging_many_row_groups_keeps_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP", 16)
    monkeypatch.setattr(parquet, "PORTION", 16)
    for begin in range(0, 900, 300):
        store(tmp_path, numbered(300, begin, step=0.001))
    # The same calls again in another segment, and packets that belong to no call.
    store(tmp_path, numbered(300, 0, step=0.001))
    store(tmp_path, [hep(message, captagent_id=7, proto_type=100) for message in _logs(40)])
    sealed(tmp_path)
    expected = numbers(tmp_path)
    keeper.tidy(tmp_path, _quiet())
    (path,) = tmp_path.glob("date=*/hour=*/*.parquet")
    rows = pq.read_table(path, columns=["call_id", "correlation_id", "ts"]).to_pylist()
    keys = [(row["call_id"] or row["correlation_id"] or "", row["ts"]) for row in rows]
    assert keys == sorted(keys)
    assert numbers(tmp_path) == expected
    assert pq.ParquetFile(path).metadata.num_rows == 1240


def _logs(count: int) -> list[Any]:
    message = next(calls(1))
    return [type(message)(START + number, message.source, message.target, b"a log line") for number in range(count)]


@pytest.mark.parametrize("step", ["replace", "unlink"])
def test_merging_again_after_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    for begin in range(0, 100, 20):
        store(tmp_path, numbered(20, begin))
    sealed(tmp_path)
    late = _quiet()
    for crash_at in range(8):
        done = _crash_after(monkeypatch, step, crash_at, lambda: keeper.tidy(tmp_path, late))
        assert numbers(tmp_path) == Counter(range(100))
        if done:
            break
    keeper.tidy(tmp_path, late)
    assert len(parquet_files(tmp_path)) == 1
    assert numbers(tmp_path) == Counter(range(100))


def test_nothing_is_merged_past_an_unsealed_segment(tmp_path: Path) -> None:
    for begin in range(0, 100, 20):
        store(tmp_path, numbered(20, begin))
    folder = tmp_path / "journal" / "w0"
    hidden = folder / "000000000002.seg"
    hidden.rename(tmp_path / "aside")
    sealed(tmp_path)
    (tmp_path / "aside").rename(hidden)
    keeper.tidy(tmp_path, _quiet())
    assert numbers(tmp_path) == Counter(range(100))
    sealed(tmp_path)
    keeper.tidy(tmp_path, _quiet())
    assert numbers(tmp_path) == Counter(range(100))
    assert len(parquet_files(tmp_path)) == 1


def test_a_filling_hour_is_merged_when_there_are_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "FAN_IN", 4)
    for begin in range(0, 90, 10):
        store(tmp_path, numbered(10, begin))
    sealed(tmp_path)
    keeper.tidy(tmp_path, time.time())
    assert [Path(name).name for name in parquet_files(tmp_path)] == [
        "w0-000000000000-000000000003.parquet", "w0-000000000004-000000000007.parquet", "w0-000000000008.parquet"
    ]  # fmt: skip
    assert numbers(tmp_path) == Counter(range(90))


def test_superseded_files_are_passed_over_and_deleted(tmp_path: Path) -> None:
    store(tmp_path, numbered(10))
    sealed(tmp_path)
    (path,) = tmp_path.glob("date=*/hour=*/*.parquet")
    path.with_name(layout.file_name(0, 0, 3)).write_bytes(path.read_bytes())
    assert numbers(tmp_path) == Counter(range(10))
    keeper.tidy(tmp_path, time.time())
    assert not path.exists()


def test_retention_by_age_of_writing(tmp_path: Path) -> None:
    now = time.time()
    store(tmp_path, numbered(10, when=1.0))
    store(tmp_path, numbered(10, 100, when=now))
    sealed(tmp_path)
    assert retention.retain(tmp_path, 3600.0, None, now).files == 0
    (old,) = tmp_path.glob("date=1970-01-01/hour=00/*.parquet")
    os.utime(old, (now - 7200, now - 7200))
    assert retention.retain(tmp_path, 3600.0, None, now).files == 1
    assert not (tmp_path / "date=1970-01-01").exists()
    assert numbers(tmp_path) == Counter(range(100, 110))


def test_retention_by_size_takes_the_oldest(tmp_path: Path) -> None:
    for begin in range(0, 50, 10):
        store(tmp_path, numbered(10, begin, when=START + begin * 360))
        sealed(tmp_path)
    paths = sorted(tmp_path.glob("date=*/hour=*/*.parquet"))
    for place, path in enumerate(paths):
        os.utime(path, (START + place, START + place))
    size = sum(path.stat().st_size for path in paths[2:]) + 1000
    removed = retention.retain(tmp_path, None, size, START)
    assert removed.files == 2
    assert (removed.files_left, removed.oldest, removed.newest) == (3, START + 2, START + 4)
    assert removed.bytes_left <= size
    assert numbers(tmp_path) == Counter(range(20, 50))


def test_a_damaged_segment_is_sealed_as_far_as_it_goes_and_put_aside(tmp_path: Path) -> None:
    store(tmp_path, numbered(40), block=10)
    (path,) = tmp_path.glob("journal/w0/*.seg")
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    sealed(tmp_path)
    assert numbers(tmp_path) == Counter(range(30))
    assert path.with_suffix(layout.DAMAGED).exists()


def test_journals_of_workers_that_are_gone_are_adopted(tmp_path: Path) -> None:
    with journal_of(tmp_path, worker=5) as log:
        log.append(records(numbered(10)))
    with journal_of(tmp_path, worker=0) as log:
        log.append(records(numbered(10, 100)))
        keeper.adopt(tmp_path)
        assert sealed(tmp_path) == 1
        assert numbers(tmp_path) == Counter([*range(10), *range(100, 110)])


def test_one_keeper_at_a_time(tmp_path: Path) -> None:
    with locks.holding(tmp_path, locks.KEEPER) as first, locks.holding(tmp_path, locks.KEEPER) as second:
        assert (first, second) == (True, False)
    with locks.holding(tmp_path, locks.KEEPER) as third:
        assert third


def test_the_keeper_process(tmp_path: Path) -> None:
    table = LakeStore(url=f"lake:{tmp_path}").model_dump_json().encode()
    process = subprocess.Popen([sys.executable, "-m", "hepswitch.lake.keeper"], stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(table + b"\n")
    process.stdin.flush()
    store(tmp_path, numbered(10))
    _wait_for(lambda: bool(parquet_files(tmp_path)) and not list(tmp_path.glob("journal/w0/*.seg")))
    store(tmp_path, numbered(10, 100))
    process.stdin.close()
    assert process.wait(20) == 0
    assert not list(tmp_path.glob("journal/w0/*.seg"))
    assert numbers(tmp_path) == Counter([*range(10), *range(100, 110)])
    assert json.loads(table)["url"].endswith(str(tmp_path))
    left = figures.read(tmp_path, KeeperFigures)
    assert (left.rows, sum(left.segments.counts), left.files) == (20, 2, len(parquet_files(tmp_path)))
    assert left.oldest is not None
    assert left.newest is not None
    assert left.oldest <= left.newest <= time.time()
    assert left.troubles.errors == 0


def _wait_for(condition: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
