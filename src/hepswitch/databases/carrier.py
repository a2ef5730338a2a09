"""What a lane asks of its way to the far end: a batch over there, whole, and once. Rows go to databases (`row_carrier`),
messages to streams (`stream_carrier`).

Not here: which batch comes when (`loader`), what becomes of one that fails (`lane`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from hepswitch.databases.backlog import Batch


class RejectedError(Exception):
    """The far end will never take some packets of a batch; says why. Nothing was stored that would come twice.

    `frames`: the numbers of their frames, where these are known, so that nobody has to find out which they are.
    """

    def __init__(self, text: str, frames: Iterable[int] = ()) -> None:
        super().__init__(text)
        self.frames = frozenset(frames)


class Carrier(Protocol):
    """One connection, made when it is needed. Methods are called one at a time."""

    async def carry(self, batch: Batch) -> Counter[str]:
        """Bring the batch over. When this returns the far end has all of it, but for what it gives: how many packets were
        left out, by reason.

        A batch that was given up half-way may be offered again, and its packets are stored once. OSError: the far end is
        away, busy, or lacks something; the batch is offered again later, after `close`. RejectedError: it is the packets.
        """

    async def maintain(self) -> None:
        """What is to be done at the far end from time to time, about once a minute on one carrier of a store. OSError as
        above."""

    async def close(self) -> None:
        """Let go of the connection, without waiting for a far end that does not answer."""
