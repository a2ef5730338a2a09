"""What loaders and keepers leave behind."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hepswitch.destinations import figures
from hepswitch.destinations.figures import BOUNDS, Durations, KeeperFigures, Ledger, LoaderFigures


def test_the_next_process_goes_on_counting(tmp_path: Path) -> None:
    first = Ledger(tmp_path, LoaderFigures)
    first.figures.rows += 10
    first.figures.batches.add(0.3)
    first.figures.troubles.note()
    first.save()
    second = Ledger(tmp_path, LoaderFigures)
    second.figures.rows += 5
    second.save()
    known = figures.read(tmp_path, LoaderFigures)
    assert (known.rows, sum(known.batches.counts), known.troubles.errors) == (15, 1, 1)
    assert known.troubles.last_error_at == pytest.approx(time.time(), abs=60)
    assert [path.name for path in tmp_path.iterdir()] == ["figures"]


@pytest.mark.parametrize("seconds", [0.0, *BOUNDS, 61.0])
def test_a_bucket_ends_with_its_bound(seconds: float) -> None:
    durations = Durations()
    durations.add(seconds)
    place = durations.counts.index(1)
    assert seconds <= (*BOUNDS, float("inf"))[place]
    assert place == 0 or seconds > BOUNDS[place - 1]
    assert durations.total == seconds


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"rows": "many"}', b'{"batches": {"counts": [1, 2], "total": 3}}']
)
def test_a_file_that_makes_no_sense_counts_from_the_start(tmp_path: Path, text: bytes) -> None:
    (tmp_path / figures.NAME).write_bytes(text)
    assert figures.read(tmp_path, LoaderFigures) == LoaderFigures()


def test_nothing_new_is_not_written_and_a_disk_that_refuses_is_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    ledger = Ledger(folder, KeeperFigures)
    ledger.save()  # there is no folder yet
    assert not folder.exists()
    folder.mkdir()
    ledger.save()
    (folder / figures.NAME).unlink()
    ledger.save()
    assert not (folder / figures.NAME).exists(), "it says the same as before"
    ledger.figures.rows = 1
    ledger.save()
    assert figures.read(folder, KeeperFigures).rows == 1
