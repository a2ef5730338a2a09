"""Lists from files: numbers, prefixes, networks, words, one a line, read again when the file changes.

UTF-8, CRLF or LF; blank lines do not count, and `#` at the start of a line or after a blank begins a comment. Whoever
holds a list sees the new content at once: it is swapped in one step when it has been read whole. A file that is broken or
gone leaves the old content in place. Not here: when to look (`watch`), names of lists in the configuration (`configured`).
"""

from __future__ import annotations

import os
import re
import sys
from abc import ABC, abstractmethod
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from hepswitch.networks import Networks

Content = TypeVar("Content")

Line = tuple[int, str]
"""Its number in the file, from 1, and what it says."""

Pause = Callable[[], None]
"""Called while a list is read, every `LINES` lines: whoever reads beside an event loop lets go of the interpreter in it."""

LINES = 2000

MOST_DIGITS = 18
"""Digits of a number: they are kept as 64-bit integers. E.164 has 15."""

MOST_TEXT = 64
"""Characters of a text that may be a number with its separators."""

BUCKETS = 256
"""Parts of a list of numbers. Each is sorted alone, so that no sort holds the interpreter for long."""

_COMMENT = re.compile(r"(^|\s)#.*")
_SEPARATORS = str.maketrans("", "", " -.()")  # the visual separators of RFC 3966


class ListError(ValueError):
    """A list's file cannot be used; the message names the file, the line and what is wrong."""


def no_pause() -> None:
    """For who reads with nobody waiting."""


class FileList(ABC, Generic[Content]):
    """A list in a file. Read when made: ListError when it cannot be.

    `trouble` says why the file as it is now could not be read; None when what the list holds is what the file says.
    """

    kind: ClassVar[str]

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trouble: str | None = None
        self._stamp: tuple[int, int, int] | None = None
        self.read()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __contains__(self, item: object) -> bool: ...

    @abstractmethod
    def _parse(self, lines: Iterator[Line]) -> Content:
        """What `lines` say. ListError for one that cannot be understood."""

    def __repr__(self) -> str:
        return f"<{self.kind} of {self.path}: {len(self)}>"

    def changed(self) -> bool:
        """Whether the file is another one than was read: one stat()."""
        try:
            return _stamp(self.path.stat()) != self._stamp
        except OSError:
            return True

    def read(self, pause: Pause = no_pause) -> None:
        """Read the file. ListError leaves the old content in place."""
        try:
            with self.path.open("rb") as file:
                stamp = _stamp(os.fstat(file.fileno()))  # before the content: a change while reading is seen later
                content = self._parse(_lines(self.path, file, pause))
        except OSError as error:
            raise ListError(f"{self.path}: cannot be read: {error.strerror}") from error
        self._content, self._stamp = content, stamp

    def refresh(self, pause: Pause = no_pause) -> bool:
        """Read the file again if it changed. True when there is news: other content, or another `trouble`."""
        before = self.trouble
        if not self.changed():
            self.trouble = None  # it was gone, and is back as it was
            return before is not None
        try:
            self.read(pause)
        except ListError as error:
            self.trouble = str(error)
            return self.trouble != before
        self.trouble = None
        return True

    def _wrong(self, number: int, text: str, what: str) -> ListError:
        return ListError(f"{self.path}:{number}: {text[:MOST_TEXT]!r} {what}")


AnyList = FileList[Any]
"""A list of any kind."""


class Numbers(FileList["list[array[int]]"]):
    """Telephone numbers: `"+49 30 123" in numbers`. Eight bytes a number, however many there are.

    A leading `+` and the separators `-.() ` mean nothing, leading zeros do: +4930123 is 4930123, and not 004930123.
    """

    kind = "numbers"

    def __contains__(self, item: object) -> bool:
        digits = _digits(item)
        if digits is None or len(digits) > MOST_DIGITS:
            return False
        packed = _packed(digits)
        bucket = self._content[packed % BUCKETS]
        place = bisect_left(bucket, packed)
        return place < len(bucket) and bucket[place] == packed

    def __len__(self) -> int:
        return sum(map(len, self._content))

    def _parse(self, lines: Iterator[Line]) -> list[array[int]]:
        raw: list[array[int]] = [array("Q") for _ in range(BUCKETS)]
        for number, text in lines:
            digits = _digits(text)
            if digits is None:
                raise self._wrong(number, text, 'is no telephone number: a list of any text is kind "words"')
            if len(digits) > MOST_DIGITS:
                raise self._wrong(number, text, f"has more than {MOST_DIGITS} digits")
            packed = _packed(digits)
            raw[packed % BUCKETS].append(packed)
        return [array("Q", sorted(set(bucket))) for bucket in raw]


class Prefixes(FileList[tuple[dict[str, str], list[int]]]):
    """Prefixes of telephone numbers: `prefix[,value]` a line; `prefixes["+4930123"]` is the value of the longest that fits.

    A prefix without a value stands for itself, as digits. `+` and separators as in `Numbers`. Of a prefix that is there
    twice the last line counts.
    """

    kind = "prefixes"

    def __getitem__(self, number: str) -> str | None:
        """The value of the longest prefix of `number`, None when none fits."""
        found = self._match(number)
        return None if found is None else found[1]

    def __contains__(self, item: object) -> bool:
        return self._match(item) is not None

    def __len__(self) -> int:
        return len(self._content[0])

    def longest(self, number: str) -> str | None:
        """The longest prefix of `number` in the list, as digits, None when none fits."""
        found = self._match(number)
        return None if found is None else found[0]

    def _match(self, item: object) -> tuple[str, str] | None:
        digits = _digits(item)
        if digits is None:
            return None
        values, lengths = self._content
        for length in lengths:
            value = values.get(digits[:length])
            if value is not None:
                return digits[:length], value
        return None

    def _parse(self, lines: Iterator[Line]) -> tuple[dict[str, str], list[int]]:
        values: dict[str, str] = {}
        for number, text in lines:
            prefix, _, value = text.partition(",")
            digits = _digits(prefix)
            if digits is None:
                raise self._wrong(number, text, "does not begin with a prefix: write for example +4930,berlin")
            values[digits] = sys.intern(value.strip()) or digits
        return values, sorted({len(digits) for digits in values}, reverse=True)


class NetworkList(FileList[Networks]):
    """Networks and addresses, IPv4 and IPv6, in CIDR notation: `hep.src_ip in networks`."""

    kind = "networks"

    def __contains__(self, item: object) -> bool:
        return isinstance(item, str) and item in self._content

    def __len__(self) -> int:
        return len(self._content)

    def longest(self, ip: str) -> str | None:
        """The most specific network of the list that holds the address, None when none does."""
        return self._content.longest(ip)

    def _parse(self, lines: Iterator[Line]) -> Networks:
        rows = list(lines)
        try:
            return Networks(text for _, text in rows)
        except ValueError:
            raise self._bad_row(rows) from None

    def _bad_row(self, rows: Iterable[Line]) -> ListError:
        for number, text in rows:
            try:
                Networks([text])
            except ValueError as error:
                return ListError(f"{self.path}:{number}: {error}")
        raise AssertionError("networks that are fine one by one are fine together")


class Words(FileList[set[str]]):
    """Lines of any text, as they are but for blanks around them: `hep.node_name in words`."""

    kind = "words"

    def __contains__(self, item: object) -> bool:
        return item in self._content

    def __len__(self) -> int:
        return len(self._content)

    def _parse(self, lines: Iterator[Line]) -> set[str]:
        return {text for _, text in lines}


def _lines(path: Path, file: Iterable[bytes], pause: Pause) -> Iterator[Line]:
    """The lines that say something. ListError for one that is no UTF-8."""
    for number, raw in enumerate(file, 1):
        if number % LINES == 0:
            pause()
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise ListError(f"{path}:{number}: is not UTF-8: save the file in that encoding") from None
        if "#" in text:
            text = _COMMENT.sub("", text)
        text = text.strip()
        if text:
            yield number, text


def _digits(item: object) -> str | None:
    """The digits of a telephone number, None for anything else."""
    if not isinstance(item, str) or len(item) > MOST_TEXT:
        return None
    text = item[1:] if item[:1] == "+" else item
    if not text.isdecimal():
        text = text.translate(_SEPARATORS).removeprefix("+")
    return text if text.isdecimal() and text.isascii() else None


def _packed(digits: str) -> int:
    """At most 18 digits as one number; the 1 in front keeps leading zeros apart."""
    return int("1" + digits)


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mtime_ns, status.st_size, status.st_ino
