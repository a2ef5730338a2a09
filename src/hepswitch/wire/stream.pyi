from hepswitch.wire.batch import Batch

class FrameReader:
    """Collects what one connection sends. Holds at most one unfinished frame (65,535 bytes) and one read."""

    def get_buffer(self) -> memoryview:
        """Where the next read goes (at least 64 KiB). Frames given out before are gone with this call."""
    def fed(self, size: int) -> None:
        """`size` bytes were read into the buffer, just now: the time is the arrival of the frames that they complete."""
    def fill(self, batch: Batch) -> bool:
        """Put the complete frames into `batch` (emptied first), 256 at most. False when there is none.

        The frames are views on the buffer: they live until the next `get_buffer()`. WireError when what comes next is no
        frame ("bad magic", "bad length"); frames before it are given out first, the error is raised by the call after.
        """
    def unread(self, batch: Batch) -> None:
        """Give out again what the flow left of the batch that was filled last (`Batch.busy`), before the next
        `get_buffer()`. ValueError for another's batch."""
    @property
    def pending(self) -> int:
        """Bytes read that no complete frame accounts for yet."""
