"""What is asked of a running switch and not done: one exception, from the mistake to the person who made it."""

from __future__ import annotations


class RefusedError(Exception):
    """Why not, one line for each reason.

    `status` is HTTP's: 400 wrong words, 403 not from here, 404 no such set or node, 409 not as things are.
    """

    def __init__(self, words: str, status: int = 409) -> None:
        super().__init__(words)
        self.status = status
