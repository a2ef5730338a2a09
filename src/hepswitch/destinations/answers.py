"""Answers: the receipts that the far end of a numbered node gives on a connection.

Not here: what a receipt is (`wire.receipt`), and what becomes of the packets that have one (`flight`).
"""

from __future__ import annotations

from hepswitch.wire import receipt
from hepswitch.wire.batch import Batch
from hepswitch.wire.errors import WireError
from hepswitch.wire.stream import FrameReader


class Answers:
    """Those of one connection. `latest`: the number of the last receipt, until somebody has heeded it; else empty."""

    def __init__(self) -> None:
        self.latest = b""
        self._reader = FrameReader()
        self._batch = Batch(None)

    def hear(self, said: bytes) -> None:
        """The far end said something. Raises OSError when it is no HEP."""
        while said:
            with self._reader.get_buffer() as buffer:
                taken = min(len(buffer), len(said))
                buffer[:taken] = said[:taken]
            self._reader.fed(taken)
            said = said[taken:]
            try:
                while self._reader.fill(self._batch):
                    for frame in self._batch:
                        self.latest = receipt.number_in(frame) or self.latest
            except WireError as error:
                raise OSError(f"what the far end says is no HEP: {error}") from error
