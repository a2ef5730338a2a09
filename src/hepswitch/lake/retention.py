"""Retention: what is older than `keep`, or beyond `max_size`, goes; the oldest first.

Age counts from the time of writing, not from what an agent's clock said, so a packet "of 1970" is kept as long as any
other. Not here: when to do it (`keeper`).
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from hepswitch.lake import layout


@dataclass(frozen=True, slots=True)
class Retained:
    """What retention took away (`files`, `bytes`), and what it left: files, bytes with the journals, and when (Unix time)
    the oldest and the newest file were written."""

    files: int
    bytes: int
    files_left: int
    bytes_left: int
    oldest: float | None
    newest: float | None


def retain(root: Path, keep: float | None, max_size: int | None, now: float) -> Retained:
    """Delete files written more than `keep` seconds before `now` (Unix time), then the oldest until the lake, journals
    included, is no bigger than `max_size` bytes. None: no limit. What was put aside as damaged goes by the same rules, and
    empty folders go too. Raises OSError.
    """
    found: list[tuple[float, int, Path]] = []
    files_there = [file.path for hour, folder in layout.folders(root) for file in layout.all_files(hour, folder)]
    for path in [*files_there, *layout.damaged(root)]:
        status = path.stat()
        found.append((status.st_mtime, status.st_size, path))
    found.sort()
    total = sum(size for _, size, _ in found) + _journals(root)
    files = removed = 0
    for written, size, path in found:
        too_old = keep is not None and written + keep < now
        too_much = max_size is not None and total - removed > max_size
        if not too_old and not too_much:
            break
        path.unlink()
        files, removed = files + 1, removed + size
    for _, folder in layout.folders(root):
        for empty in (folder, folder.parent):
            # Not empty is the usual case, and the answer.
            with contextlib.suppress(OSError):
                empty.rmdir()
    left = [written for written, _, _ in found[files:]]
    return Retained(files, removed, len(left), total - removed, left[0] if left else None, left[-1] if left else None)


def _journals(root: Path) -> int:
    total = 0
    for _, folder in layout.journals(root):
        for entry in os.scandir(folder):
            if not entry.name.endswith(layout.DAMAGED):
                with contextlib.suppress(FileNotFoundError):
                    total += entry.stat().st_size
    return total
