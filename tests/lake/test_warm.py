"""A lake that is asked again and again: always what a new one answers."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import duckdb
import pytest

import lakes
from hepswitch.destinations.records import Records
from hepswitch.lake import parquet, warm
from hepswitch.lake.lake import Lake
from hepswitch.lake.query import Query
from hepswitch.lake.warm import WarmLake
from traffic import calls, hep

PACKETS = [hep(message) for message in calls(120)]
MEMORY = 256 << 20


def same(lake: WarmLake, root: Path, count: int) -> None:
    fresh = Lake(root)
    rows, expected = (sorted(each.search(Query()), key=repr) for each in (lake, fresh))  # at one moment in any order
    assert rows == expected
    assert len(rows) == count
    assert lake.calls(Query(limit=7)) == fresh.calls(Query(limit=7))


@pytest.mark.parametrize("memory", [MEMORY, 4 * 60_000], ids=["room", "hardly any room"])
def test_what_is_written_and_sealed_between_questions_is_seen_once(tmp_path: Path, memory: int) -> None:
    # DuckDB gets what it needs in either case: the room is that for rows of the journal.
    lake = WarmLake(tmp_path, MEMORY)
    lake._rows = warm.JournalRows(memory // 4)
    with lakes.journal_of(tmp_path) as log:
        for start in range(0, 240, 40):
            log.append(lakes.records(PACKETS[start : start + 40]))
            same(lake, tmp_path, start + 40)
            if start in (80, 160):
                log.roll()
                same(lake, tmp_path, start + 40)
                lakes.sealed(tmp_path)
                same(lake, tmp_path, start + 40)
    lake.close()


def test_rows_of_the_journal_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Counted(Records):
        def add(self, data: memoryview, lengths: memoryview, needles: list[bytes] | None = None) -> None:
            made.append(len(lengths))
            super().add(data, lengths, needles)

    monkeypatch.setattr(warm, "Records", Counted)
    lake = WarmLake(tmp_path, MEMORY)
    with lakes.journal_of(tmp_path) as log:
        for start in (0, 50, 100):
            log.append(lakes.records(PACKETS[start : start + 50]))
            assert len(lake.search(Query())) == start + 50
            assert lake.calls(Query())
    assert made == [50, 50, 50]
    lake.close()


def test_who_is_interrupted_while_the_journal_is_read_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = WarmLake(tmp_path, MEMORY)
    with lakes.journal_of(tmp_path) as log:
        for start in (0, 40):
            log.append(lakes.records(PACKETS[start : start + 40]))

            class Cancelled(Records):
                def batch(self, start: int, stop: int) -> NoReturn:
                    raise KeyboardInterrupt

            with monkeypatch.context() as patch:
                patch.setattr(warm, "Records", Cancelled)
                with pytest.raises(KeyboardInterrupt):
                    lake.search(Query())
            same(lake, tmp_path, start + 40)
    lake.close()


def test_every_question_is_told_of_a_damaged_file_until_it_is_whole_again(tmp_path: Path) -> None:
    lakes.store(tmp_path, PACKETS)
    lakes.sealed(tmp_path)
    (path, *_) = tmp_path.glob("date=*/*/*.parquet")
    whole = path.read_bytes()
    said: list[str] = []
    lake = WarmLake(tmp_path, MEMORY, said.append)
    path.write_bytes(whole[: len(whole) // 2])
    for _ in range(2):
        lake.begin()
        lake.search(Query())
        assert [words.removeprefix(f"{path}: ") for words in said] == ["cannot be read and is left out"]
        said.clear()
    path.write_bytes(whole)
    lake.begin()
    assert len(lake.search(Query())) == len(PACKETS)
    assert said == []
    lake.close()


def test_too_little_memory_is_no_reason_to_read_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lakes.store(tmp_path, [hep(message) for message in calls(3000)])
    lakes.sealed(tmp_path)
    monkeypatch.setattr(parquet, "is_readable", lambda _: pytest.fail("the lake is read to its end"))
    lake = WarmLake(tmp_path, 4 << 20)
    with pytest.raises(duckdb.OutOfMemoryException):
        lake.search(Query())
    lake.close()


def test_a_segment_with_the_inode_of_another_is_read(tmp_path: Path) -> None:
    rows = warm.JournalRows(1 << 20)
    counts = []
    for number in (1, 2):
        with lakes.journal_of(tmp_path / f"{number}") as log:
            log.append(lakes.records(PACKETS[: 10 * number]))
            path = tmp_path / f"{number}" / "journal" / "w0" / "000000000000.open"
            with path.open("rb") as stream:
                table, others = rows.of([stream])
                assert others == []
                counts.append(0 if table is None else table.num_rows)
        path.unlink()
    assert counts == [10, 20]
