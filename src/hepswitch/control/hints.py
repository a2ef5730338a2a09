"""What a person should look at, by the books: in words, with what to do.

Not here: alerts (examples/prometheus), metrics (`control.metrics`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hepswitch.books import Snapshot
from hepswitch.config import Config
from hepswitch.destinations.figures import ACTIVE


def hints(book: Snapshot, config: Config) -> Iterator[str]:
    """A line for each thing that costs packets or may soon."""
    for listener, row in book["received"].items():
        if row["kernel_drops"]:
            yield _dropped(listener, row, config)
    for kind in ("destinations", "stores"):
        for name, row in book[kind].items():
            if lost := sum(row["discarded"].values()):
                reasons = ", ".join(f"{count:,} {reason}" for reason, count in row["discarded"].items())
                yield f"{kind[:-1]} {name} lost {lost:,} packets: {reasons}"
    for name, row in book["stores"].items():
        uploads = row.get("uploads", {})
        if (state := uploads.get("state", ACTIVE)) != ACTIVE:
            yield f"store {name} cannot upload: {state}"
        if lost := uploads.get("lost_files"):
            yield f"store {name}: {lost:,} files were deleted before they were uploaded: raise keep, or max_size"
    if book["routed"]["errors"]:
        yield f"the route raised {book['routed']['errors']:,} times: the log has the lines of the script"
    if not book["balanced"]:
        yield "the books do not balance: packets are unaccounted for, which is a fault of hepswitch: please report it"


def _dropped(listener: str, row: dict[str, Any], config: Config) -> str:
    dropped = (
        f"{listener}: the kernel dropped {row['kernel_drops']:,} packets because they came faster than they were read"
    )
    if not listener.startswith("udp:"):
        return f"{dropped}. More workers read faster: workers = {config.workers + 1}"
    size = config.receive_buffer
    return (
        f"{dropped}. Let it keep more: sysctl -w net.core.rmem_max={2 * size}, receive_buffer = {2 * size}, restart; or "
        f"read faster: workers = {config.workers + 1} (docs/howto/kernel-buffers.md)"
    )
