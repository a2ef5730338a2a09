from collections.abc import Iterator, Sequence
from typing import Any

class Batch:
    """The packets of one read. `listener` is where they came in; `peer` ("ip", port) is who sent them all, or None."""

    arrival_us: int
    """Wall clock at the read, µs since the epoch."""
    mark: bytes | None
    """What stores know a message of a stream by that may come again: 16 bytes, of its id. The batch is all of the message,
    and the object is this delivery of it: an equal one that is another object is the message once more. None: what is in
    the batch comes once only."""
    busy: bool
    """The flow took as many packets as the batch has now, and left the rest: another worker is at what came before."""
    @property
    def listener(self) -> Any: ...
    @property
    def peer(self) -> tuple[str, int] | None: ...
    def __init__(self, listener: Any, peer: tuple[str, int] | None = None) -> None: ...
    @classmethod
    def of(cls, packets: Sequence[bytes], listener: Any, peer: tuple[str, int] | None = None) -> Batch:
        """A batch that owns copies of `packets`. For tests and tools."""
    def __len__(self) -> int: ...
    def __getitem__(self, i: int) -> bytes: ...
    def __iter__(self) -> Iterator[bytes]: ...
