"""The reject file: packets with the reason, readable by its owner alone, and bounded."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path

import pytest

from far_ends import number, packet
from hepswitch.destinations.rejects import Rejects


def test_a_packet_is_kept_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    for i in range(3):
        assert Rejects(path).add(packet(i), f"t{i}", "cannot be written")
    assert Rejects(path).add(bytes(packet(3)), None, "\0\n")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(number(b64decode(row["packet"])), row["table"], row["error"]) for row in rows] == [
        *((i, f"t{i}", "cannot be written") for i in range(3)), (3, None, "\0\n"),
    ]  # fmt: skip
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_kept_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Rejects(tmp_path / "missing" / "r.jsonl").add(packet(1), None, "no")


def test_the_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hepswitch.destinations.rejects.MOST_BYTES", 2000)
    rejects = Rejects(tmp_path / "r.jsonl")
    kept = [rejects.add(packet(i), None, "no") for i in range(10)]
    assert kept == sorted(kept, reverse=True)
    assert 0 < sum(kept) == len((tmp_path / "r.jsonl").read_text().splitlines()) < 10
