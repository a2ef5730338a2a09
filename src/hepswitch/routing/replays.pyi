from collections.abc import Iterable
from mmap import mmap
from typing import Final

Run = tuple[int, int, int]
"""A queue's name, and the numbers of its first and last packet of some that follow each other."""

ROOM: Final[int]
"""Bytes of memory that all workers share."""

class Replays:
    """Knows packets of numbered destinations that were here before, in `memory` (ROOM bytes, zeroed at first) that worker
    processes share. `worker`: which of them this is. ValueError when the memory has another size or is not aligned to 8
    bytes."""

    def __init__(self, memory: bytearray | memoryview | mmap, worker: int = 0) -> None: ...
    def had(self, queue: int, number: int) -> bool | None:
        """Note packet `number` (1 to 2⁶³ - 1) of a queue. True when it was here before; None: another worker holds the
        queue, ask again later."""
    def answered(self) -> tuple[int, int] | None:
        """Queue and number of the last packet since this was asked that was judged, or refused by the gate; None: there was
        none."""
    def taken(self) -> list[Run]:
        """What was noted since the last time. All of it is for `safe` one day."""
    def safe(self, runs: Iterable[Run]) -> None:
        """These packets need not come again, whatever happens to this worker."""
    def renew(self) -> None:
        """This worker lives and holds its queues still: to be said every second while anything is not safe."""
    def begin(self) -> None:
        """Let go of what a worker of the same number held that died."""
