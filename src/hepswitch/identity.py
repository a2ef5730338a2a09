"""Who this switch is among others: the id in the trail of the packets that it relays, by which loops are recognised.

Drawn once by chance and kept in the spool's folder, so that two machines made from one image are not taken for one. Not
here: the trail (`wire.raw`), refusing loops (`routing.gate`).
"""

from __future__ import annotations

import secrets
from pathlib import Path

import structlog

from hepswitch import journal

log = structlog.get_logger("hepswitch.identity")

FILE = "switch-id"


def switch_id(folder: Path) -> int:
    """The id kept in `folder`, drawn if there is none. One that cannot be kept is good until the end: a warning says so."""
    path = folder / FILE
    try:
        known = int(path.read_text(encoding="ascii"))
        if 0 < known < 1 << 32:
            return known
    except (OSError, ValueError):
        pass  # none yet, or none that can be used
    drawn = secrets.randbelow((1 << 32) - 1) + 1
    try:
        journal.make_folder(folder)
        path.write_text(f"{drawn}\n", encoding="ascii")
    except OSError as error:
        log.warning("switch id cannot be kept; it changes with each start", file=str(path), reason=error.strerror)
    return drawn
