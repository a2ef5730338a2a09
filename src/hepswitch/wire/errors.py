"""The one error of decoding."""


class WireError(ValueError):
    """Bytes that are not what they should be: `reason` at `offset`.

    `offset` counts bytes from the start of the packet, record or stream buffer. `reason` is a short stable phrase: it
    serves as a counter's label.
    """

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(offset, reason)
        self.offset = offset
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.reason} (at byte {self.offset})"
