"""The switches of a fleet: processes that are killed and started again, and what remains to be told of them.

Each has its folder, with its configuration, its journals and its lake; environment variables say what differs from the
configuration that is shown (ports). What is asked about packets comes from its disk, which a kill does not take along.
Not here: brokers (`streams`), what it all comes to (`books`).
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

from harness import RunningSwitch, of_role
from hepswitch import journal
from hepswitch.destinations import position


class Node:
    """The node `name` below `home`, with a copy of `config` and these settings (HEPSWITCH_…) besides."""

    def __init__(self, home: Path, name: str, config: Path, settings: dict[str, str]) -> None:
        self.name = name
        self.folder = home / name
        self.folder.mkdir()
        self._config = Path(shutil.copyfile(config, self.folder / "hepswitch.toml"))
        self._settings = {"HEPSWITCH_CONTROL__LISTEN": "127.0.0.1:0"} | settings
        self._switch: RunningSwitch | None = None
        self._told: list[dict[str, Any]] = []
        self.kills = 0
        self.away = 0.0
        """Seconds from kills to the moment when it listened again."""
        self._killed_at = 0.0

    def start(self) -> None:
        """Start it, and wait until it listens. AssertionError with its log when it does not."""
        self._switch = RunningSwitch(self._config, self._settings)
        if self._killed_at:
            self.away += time.monotonic() - self._killed_at
            self._killed_at = 0.0

    def kill(self) -> str:
        """kill -9 of all its processes; says so."""
        switch = self._note()
        switch.kill()
        self._killed_at = time.monotonic()
        self.kills += 1
        return f"{self.name} killed"

    def stop(self) -> None:
        """End it in an orderly way."""
        switch = self._note()
        status = switch.stop()
        self._end()
        if status:
            raise AssertionError(f"{self.name} ended with {status}: {switch.log[-5:]}")

    def close(self) -> None:
        """Leave no process behind, whatever happened."""
        if self._switch is not None:
            self._end()

    def _end(self) -> None:
        assert self._switch is not None
        self._switch.kill()
        self._switch = None

    def _note(self) -> RunningSwitch:
        """Keep what it tells of itself, before it ends."""
        assert self._switch is not None, f"{self.name} does not run"
        self._told.append(self._switch.stats())
        return self._switch

    def cpu(self) -> dict[str, float]:
        """CPU seconds of the processes that run now, by their kind."""
        assert self._switch is not None, f"{self.name} does not run"
        return {role: usage.user + usage.sys for role, usage in of_role(self._switch).items() if usage.peak}

    def received(self, key: str = "packets") -> int:
        """The sum of a figure over its listeners and lives. What came after the last question before a kill is not in it."""
        return sum(row[key] for book in self._told for row in book["received"].values())

    def refused(self, store: str) -> Counter[str]:
        """What a store refused, by reason, over all lives."""
        return sum((Counter(book["stores"][store]["refused"]) for book in self._told), Counter[str]())

    def balanced(self) -> bool:
        """Whether its own books did in the end."""
        return bool(self._told[-1]["balanced"])

    @property
    def accepted(self) -> int:
        """Packets that were ever written into the journals of the stream's store."""
        return sum(map(written, self._journals()))

    @property
    def published(self) -> int:
        """Of these, those that the stream has acknowledged."""
        places = [place for path in self._journals() if (place := position.read(path)) is not None]
        return sum(place.done - sum(place.discarded.values()) for place in places)

    @property
    def publishes(self) -> bool:
        """Whether its loader has looked at the journals."""
        journals = self._journals()
        return bool(journals) and all(position.read(path) for path in journals)

    @property
    def stored(self) -> int:
        """Packets that were ever written into the journals of the lake."""
        return sum(map(written, self.lake.glob("journal/w*")))

    @property
    def lake(self) -> Path:
        """The folder of its lake."""
        return self.folder / "captures"

    @property
    def address(self) -> tuple[str, int]:
        """Where it takes HEP over UDP."""
        assert self._switch is not None, f"{self.name} does not run"
        return self._switch.address("udp")

    def _journals(self) -> list[Path]:
        return sorted(self.folder.glob("spool/store:*/w*"))


def written(folder: Path) -> int:
    """How many frames were ever written into the journal in `folder`: its numbers survive a kill, and its segments."""
    found = journal.segments(folder)
    try:
        return journal.last_frame(found[-1].path, 0)[0] if found else 0
    except FileNotFoundError:  # closed at this moment, and another one begun
        return written(folder)
