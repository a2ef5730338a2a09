from collections.abc import Iterator

class Frames:
    """A queue of frames (bytes of any kind, at most 16 MiB each).

    The buffer protocol gives the live frames end to end, read-only; while such a view exists the frames can be popped,
    but a push that needs the buffer to move raises BufferError.
    """

    @property
    def nbytes(self) -> int:
        """Bytes of all frames."""
    def __len__(self) -> int: ...
    def __getitem__(self, i: int) -> bytes: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def push(self, frame: bytes | bytearray | memoryview) -> None:
        """Add a frame (any bytes-like object) at the end. ValueError when it is above 16 MiB."""
    def pop(self, count: int) -> None:
        """Drop `count` frames from the front. ValueError when there are not as many."""
    def clear(self) -> None:
        """Drop all frames."""
    def lengths(self) -> bytes:
        """The length of each frame, little-endian u32 each."""
