from hepswitch.wire.frames import Frames

class Flight:
    """The queue of one stream node: what is sent, acknowledged, kept, and what goes again after a break."""

    frames: Frames
    sent: int
    settled: int
    settled_frames: int
    counted: int
    replay: int
    numbered: bool
    def __init__(self, replay: int) -> None: ...
    @property
    def unsent(self) -> int:
        """Bytes that wait to be written."""

    @property
    def undelivered(self) -> int:
        """Frames not yet reported as delivered."""

    def wrote(self, size: int) -> None:
        """`size` more bytes have been written. ValueError when there were not so many."""

    def acknowledged(self, outstanding: int) -> int:
        """All bytes written but the last `outstanding` are acknowledged. Gives how many frames that newly delivers."""

    def confirmed(self, number: bytes) -> bool:
        """The far end needs nothing up to the frame of this number (16 bytes of `chunks.NUMBER`) again. False: no
        acknowledged frame bears it."""

    def broken(self, clean: bool) -> int:
        """The connection is gone. Gives how many frames go again although they were delivered."""

    def recall(self) -> Frames:
        """Take back every delivered frame that is kept. ValueError while connected."""

    def withdraw(self, block: int) -> list[Frames]:
        """Take back every undelivered frame, as Frames of about `block` bytes. ValueError while connected."""
