"""Where things stand in a TOML file: the line of every table, key and item of a list.

For a text that `tomllib` has accepted; it is read once more, by its tokens alone. Not here: values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

Location = tuple[str, ...]
"""("destinations", "homer", "urls", "1"): names of tables and keys, and numbers of items from 0."""

TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"""+|\'\'\'.*?\'\'\'+|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*|\n|[\[\]{},=]|[^\s\[\]{},="\'#]+',
    re.DOTALL,
)


class Places:
    """The lines of a TOML text, counted from 1."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Location, int] = {}
        self._tokens: list[tuple[str, int]] = []
        line, seen = 1, 0
        for match in TOKEN.finditer(text):
            line += text.count("\n", seen, match.start())
            seen = match.start()
            if not match[0].startswith("#"):
                self._tokens.append((match[0], line))
        self._at = 0
        self._read()

    def line(self, location: Sequence[str]) -> int | None:
        """The line of the innermost step of `location` that the text has; None when it has not even the first."""
        for end in range(len(location), 0, -1):
            if found := self._lines.get(tuple(location[:end])):
                return found
        return None

    def _peek(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    def _next(self) -> tuple[str, int]:
        self._at += 1
        return self._tokens[self._at - 1]

    def _read(self) -> None:
        table: Location = ()
        counts: dict[Location, int] = {}
        while self._peek():
            if self._peek() == "\n":
                self._next()
            elif self._peek() == "[":
                table = self._header(counts)
            else:
                self._assignment(table)

    def _header(self, counts: dict[Location, int]) -> Location:
        """`[table]` or `[[item of a list]]`; `counts`: the latest item of each list of tables."""
        _, line = self._next()
        is_item = self._peek() == "["
        if is_item:
            self._next()
        names = self._names("]")
        if is_item:
            self._next()
        table: Location = ()
        for number, name in enumerate(names, 1):
            table = (*table, name)
            self._lines.setdefault(table, line)
            if is_item and number == len(names):
                counts[table] = counts.get(table, -1) + 1
            if table in counts:
                table = (*table, str(counts[table]))
        self._lines.setdefault(table, line)
        return table

    def _names(self, end: str) -> Location:
        """The parts of a dotted key up to `end`, which is taken too."""
        names: list[str] = []
        while (token := self._next()[0]) != end:
            if token[0] in "\"'":
                names.append(json.loads(token) if token[0] == '"' and "\\" in token else token[1:-1])
            else:
                names += [name for name in token.split(".") if name]
        return tuple(names)

    def _assignment(self, table: Location) -> None:
        line = self._tokens[self._at][1]
        path = table
        for name in self._names("="):
            path = (*path, name)
            self._lines.setdefault(path, line)
        self._value(path)

    def _value(self, path: Location) -> None:
        begin, _ = self._next()
        if begin == "[":
            self._items(path)
        elif begin == "{":
            while self._skip(",\n") != "}":
                self._assignment(path)
            self._next()
        else:
            while self._peek() not in ("", "\n", ",", "]", "}"):  # a date and its time
                self._next()

    def _items(self, path: Location) -> None:
        number = 0
        while self._skip(",\n") != "]":
            item = (*path, str(number))
            self._lines[item] = self._tokens[self._at][1]
            self._value(item)
            number += 1
        self._next()

    def _skip(self, those: str) -> str:
        while self._peek() in tuple(those):
            self._next()
        return self._peek()
