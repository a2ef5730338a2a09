from collections import Counter
from collections.abc import Container

from hepswitch.wire.frames import Frames
from hepswitch.wire.hep import Hep

class RecordQueue:
    """Records that wait, up to `room` bytes of them, and the books of the store."""

    @property
    def pending(self) -> Frames:
        """What is not written yet."""
    @property
    def accepted(self) -> int:
        """Packets ever taken, those discarded later included."""
    delivered: int
    @property
    def discarded(self) -> Counter[str]:
        """Packets that were taken and lost all the same, by reason."""
    @property
    def refused(self) -> Counter[str]:
        """Packets that were never taken, by reason."""
    overflow: str
    """The reason for refusing when there is no room."""
    @property
    def waiting(self) -> dict[bytes, None]:
        """The marks of the messages that are in `pending`, as keys, in their order."""
    marks: Container[bytes]
    """The marks of the messages that are in the journal."""
    short: bool
    """There was no room for a message, since this was last set to False."""
    def __init__(self, room: int) -> None: ...
    def offer(
        self,
        packet: Hep,
        *,
        table: str | None = None,
        custom_field1: str | None = None,
        custom_field2: str | None = None,
        custom_field3: str | None = None,
        correlation_id: str | bytes | None = None,
        attrs: str | None = None,
        direction: str | None = None,
    ) -> bool:
        """Take the packet as it is now. False when there is no room for it. True, too, when its message came before and is
        refused: it is stored.

        Never blocks. `attrs` of a trace are its first custom field; `direction`, in or out, says that it was traced.
        """
