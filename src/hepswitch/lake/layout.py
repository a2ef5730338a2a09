"""Where things are in a lake: the names of folders and files, and which files count.

    captures/
      .lock                                     held by the keeper (`locks` has the others)
      journal/w0/000000000012.open              worker 0's journal
      date=2026-11-23/hour=07/w0-000000000007.parquet
      date=2026-11-23/hour=06/w0-000000000001-000000000006.parquet

A Parquet file holds the packets of one hour (their own time, UTC) of one segment of one worker's journal, or of an
interval of segments. A file covered by a wider interval is superseded and does not count. Not here: what is in a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeVar

TEMPORARY = ".tmp"
DAMAGED = ".damaged"
"""Suffix of a segment or Parquet file that could not be read, or not to its end; nothing but retention looks at it again."""
_NAME = re.compile(r"w(\d+)-(\d{12})(?:-(\d{12}))?\.parquet")
_WORKER = re.compile(r"w(\d+)")


@dataclass(frozen=True, slots=True)
class LakeFile:
    """One Parquet file: segments `first` to `last` of `worker`, `hour` in hours since the epoch (UTC)."""

    path: Path
    hour: int
    worker: int
    first: int
    last: int


class Interval(Protocol):
    """A file of some segments of a worker, wherever it is."""

    @property
    def worker(self) -> int: ...
    @property
    def first(self) -> int: ...
    @property
    def last(self) -> int: ...


F = TypeVar("F", bound=Interval)


def folder(root: Path, hour: int) -> Path:
    """Where the packets of `hour` (hours since the epoch) are."""
    when = datetime.fromtimestamp(hour * 3600, UTC)
    return root / f"date={when:%Y-%m-%d}" / f"hour={when:%H}"


def file_name(worker: int, first: int, last: int) -> str:
    """The name of the file of segments `first` to `last`."""
    return f"w{worker}-{first:012d}.parquet" if first == last else f"w{worker}-{first:012d}-{last:012d}.parquet"


def put_aside(path: Path) -> None:
    """Let a file that cannot be read be out of the way."""
    path.rename(path.with_suffix(DAMAGED))


def damaged(root: Path) -> list[Path]:
    """All that was put aside."""
    return [*root.glob(f"date=*/hour=*/*{DAMAGED}"), *root.glob(f"journal/w*/*{DAMAGED}")]


def aside(hour: int, path: Path) -> list[LakeFile]:
    """The Parquet files of one folder that were put aside, under the names that they had."""
    found = (_file(each.with_suffix(".parquet"), hour) for each in path.glob(f"*{DAMAGED}"))
    return [file for file in found if file is not None]


def folders(root: Path) -> list[tuple[int, Path]]:
    """Every (hour, folder) of the lake, oldest first."""
    named = ((hour_of(path.parent.name, path.name), path) for path in root.glob("date=*/hour=*"))
    return sorted((hour, path) for hour, path in named if hour is not None)


def hour_of(date: str, hour: str) -> int | None:
    """The hour (since the epoch) that the names of two folders say, `date=YYYY-MM-DD` and `hour=HH`; None for others."""
    try:
        when = datetime.strptime(date + hour, "date=%Y-%m-%dhour=%H").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(when.timestamp()) // 3600


def all_files(hour: int, path: Path) -> list[LakeFile]:
    """The Parquet files of one folder, superseded ones included, in the order of workers and segments."""
    found = [file for entry in path.iterdir() if (file := _file(entry, hour)) is not None]
    return sorted(found, key=lambda file: (file.worker, file.first, -file.last))


def file_of(path: Path) -> LakeFile | None:
    """The file that a path in a lake's folder names, whether it is there or not; None when it names none."""
    hour = hour_of(*path.parts[-3:-1])
    return None if hour is None else _file(path, hour)


def _file(path: Path, hour: int) -> LakeFile | None:
    match = _NAME.fullmatch(path.name)
    return match and LakeFile(path, hour, int(match[1]), int(match[2]), int(match[3] or match[2]))


def superseded(files: Iterable[F]) -> list[F]:
    """Those of one folder's files (as `all_files` orders them) that another one covers."""
    found, worker, reach = [], -1, -1
    for file in files:
        if file.worker != worker:
            worker, reach = file.worker, -1
        if file.last <= reach:
            found.append(file)
        reach = max(reach, file.last)
    return found


def files(hour: int, path: Path) -> list[LakeFile]:
    """The files of one folder that count; none when it was just removed."""
    try:
        found = all_files(hour, path)
    except FileNotFoundError:
        return []
    gone = set(superseded(found))
    return [file for file in found if file not in gone]


def journals(root: Path) -> list[tuple[int, Path]]:
    """Every (worker, folder) of the journals."""
    found = ((_WORKER.fullmatch(path.name), path) for path in (root / "journal").glob("w*"))
    return sorted((int(match[1]), path) for match, path in found if match and path.is_dir())
