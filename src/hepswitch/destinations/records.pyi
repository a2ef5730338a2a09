from collections.abc import Iterable

import pyarrow as pa

class Records:
    """Records of journal blocks, and rows of them. Holds on to the blocks' memory."""

    def __init__(self, extras: Iterable[str] = ()) -> None:
        """`extras`: columns of the batches beside those of the schema (`schema.EXTRAS`). ValueError when one is none."""
    @property
    def count(self) -> int:
        """Records taken."""
    @property
    def damaged(self) -> int:
        """Records of which no row could be made, left out."""
    @property
    def fault(self) -> str | None:
        """What was wrong with the first of them."""
    def __len__(self) -> int: ...
    def add(self, data: memoryview, lengths: memoryview, needles: list[bytes] | None = None) -> None:
        """Take the records of one block; of all of them only those in which one of `needles` occurs, if given.

        A record that contradicts itself is counted in `damaged` and left out.
        """
    def sort(self) -> None:
        """Put the records in the order of the lake: by hour, call identity, time. `batch` follows it."""
    def hours(self) -> list[tuple[int, int, int]]:
        """[(hour, start, stop), …] of the sorted records: hours since the epoch (UTC) by the packets' own time."""
    def batch(self, start: int, stop: int) -> tuple[pa.RecordBatch, int]:
        """(RecordBatch of the schema and the extras, next): rows `start` up to `stop`, or fewer where it grew too big.

        A record of which no row can be made is counted in `damaged` and left out.
        """
