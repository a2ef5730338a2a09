"""Words that stand for others of the same length: keyed pseudonyms, truncation.

A word is a user part, a number, a word of a display name. Both ways keep what parsers and dial plans look at: the length,
a leading + (or %2B), digits as digits with the visual separators of RFC 3966 between them, the first of them a 0 only where
one was; anything else becomes lower-case letters and digits, the first a letter. So a pseudonym is as long as what it stands
for, and short words have few: below six digits or four letters different words often share one. Not here: where words are in
a message (`masking`).
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import itertools
import re
from collections.abc import Callable
from typing import Final

Word = Callable[[bytes], bytes]
"""A word of the same length for a word."""

LONGEST_KEPT: Final = 64
MOST_KEPT: Final = 1 << 14
"""Pseudonyms of words up to so many bytes, and so many of them, are remembered: a switch meets the same numbers again."""

_NUMBER: Final = re.compile(rb"(\+|%2[Bb])?(\(?[0-9][0-9().-]*+)")
_DIGITS: Final = bytes(48 + i % 10 for i in range(256))
_DIGITS_BUT_0: Final = bytes(49 + i % 9 for i in range(256))
_LETTERS: Final = bytes(97 + i % 26 for i in range(256))
_LETTERS_AND_DIGITS: Final = (b"abcdefghijklmnopqrstuvwxyz0123456789" * 8)[:256]
_SEPARATORS: Final = b"().-"


class Pseudonyms:
    """Pseudonyms by HMAC-SHA-256 under `key`: the same word has the same one everywhere, none without the key leads back.

    Numbers that differ only in the + or in visual separators share theirs. No word stands for itself.
    """

    def __init__(self, key: bytes) -> None:
        self._keyed = hmac.new(key, digestmod="sha256")
        self._kept = functools.lru_cache(MOST_KEPT)(self._made)

    def word(self, text: bytes) -> bytes:
        """What stands for a user, a number or a word of a name."""
        if len(text) > LONGEST_KEPT:
            return self._made(text)
        return self._kept(text)

    def call_id(self, text: bytes) -> bytes:
        """What stands for a Call-ID or correlation id."""
        return self._stream(b"call", text, _LETTERS, _LETTERS_AND_DIGITS)

    def _made(self, text: bytes) -> bytes:
        return _digits_replaced(text, self._number) or self._stream(b"word", text, _LETTERS, _LETTERS_AND_DIGITS)

    def _number(self, digits: bytes) -> bytes:
        return self._stream(b"number", digits, _DIGITS if digits.startswith(b"0") else _DIGITS_BUT_0, _DIGITS)

    def _stream(self, kind: bytes, text: bytes, first: bytes, others: bytes) -> bytes:
        """As many bytes as `text` has; SHAKE-256 stretches the HMAC, so that a long word costs no more than its length."""
        keyed = self._keyed.copy()
        keyed.update(kind + b"\0" + text)
        seed = keyed.digest()
        for attempt in itertools.count():
            drawn = hashlib.shake_256(seed + attempt.to_bytes(4)).digest(len(text))
            made = drawn[:1].translate(first) + drawn[1:].translate(others)
            if made != text or not text:
                break
        return made


def truncation(keep: int) -> Word:
    """Words whose first `keep` characters stay, but never more than half of them: the rest is 0 in numbers, else x."""

    def number(digits: bytes) -> bytes:
        kept = min(keep, len(digits) // 2)
        return digits[:kept] + b"0" * (len(digits) - kept)

    def word(text: bytes) -> bytes:
        kept = min(keep, len(text) // 2)
        while kept and text[kept] & 0xC0 == 0x80:  # not within a character of UTF-8
            kept -= 1
        return _digits_replaced(text, number) or text[:kept] + b"x" * (len(text) - kept)

    return word


def _digits_replaced(text: bytes, number: Word) -> bytes | None:
    """`text` with other digits where it is a number, else None."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    digits = match[2].translate(None, _SEPARATORS)
    made = number(digits)
    if len(digits) != len(match[2]):
        fresh = iter(made)
        made = bytes(old if old in _SEPARATORS else next(fresh) for old in match[2])
    return (match[1] or b"") + made
