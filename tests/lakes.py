"""Lakes for tests: packets into a journal, journals into Parquet."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hepswitch.destinations.figures import KeeperFigures
from hepswitch.journal import Journal
from hepswitch.lake import keeper
from hepswitch.wire import record
from hepswitch.wire.frames import Frames
from hepswitch.wire.hep import Hep

ARRIVAL = 1_795_000_100.5


def records(packets: Iterable[bytes], meta: dict[str, Any] | None = None, sender: str = "10.9.8.7") -> Frames:
    """Journal frames of HEP packets."""
    frames = Frames()
    for packet in packets:
        record.write(frames, Hep(packet, ARRIVAL), sender, 40000, meta)
    return frames


def journal_of(root: Path, worker: int = 0, segment_bytes: int = 1 << 20) -> Journal:
    """The journal of a lake's worker."""
    return Journal(root / "journal" / f"w{worker}", segment_bytes)


def store(
    root: Path, packets: Iterable[bytes], worker: int = 0, block: int = 200, meta: dict[str, Any] | None = None
) -> None:
    """Append packets to the journal in blocks, as a worker does, and close the segment."""
    with journal_of(root, worker) as log:
        waiting: list[bytes] = []
        for packet in packets:
            waiting.append(packet)
            if len(waiting) == block:
                log.append(records(waiting, meta))
                waiting = []
        log.append(records(waiting, meta))
        log.roll()


def sealed(root: Path) -> int:
    """Seal what is closed; how many segments."""
    return keeper.seal_closed(root, KeeperFigures())
