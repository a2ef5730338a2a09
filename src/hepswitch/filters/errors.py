"""The one error of conditions: what is wrong, and where in the text."""

from __future__ import annotations

from typing import Final

_ROOM: Final = 60
"""Characters of a long line that are shown on either side of the place."""


class FilterError(ValueError):
    """`text` is no condition: `message` says why, `offset` counts the characters before the place.

    As text: the message, the line of the text, and a caret under the place.
    """

    def __init__(self, text: str, offset: int, message: str) -> None:
        super().__init__(text, offset, message)
        self.text = text
        self.offset = offset
        self.message = message

    def __str__(self) -> str:
        begin = self.text.rfind("\n", 0, self.offset) + 1
        line, _, _ = self.text[begin:].partition("\n")
        at = min(self.offset - begin, len(line))
        if len(line) > 2 * _ROOM:
            first = max(0, at - _ROOM)
            cut = line[first : at + _ROOM]
            line = ("… " if first else "") + cut + (" …" if first + len(cut) < len(line) else "")
            at = at - first + (2 if first else 0)
        shown = "".join(letter if letter.isprintable() else " " for letter in line)
        return f"{self.message}\n  {shown}\n  {' ' * at}^"
