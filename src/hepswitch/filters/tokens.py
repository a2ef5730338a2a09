"""The words of a condition: names, values, quoted text, operators, and where each stands."""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

from hepswitch.filters.errors import FilterError

LONGEST: Final = 8192
"""Characters that a condition may have."""

KEYWORDS: Final = frozenset({"and", "or", "not", "in", "contains"})

_WORD: Final = r"(?:(?!\.\.)[^\s()\[\],\"'=!<>~@])+"
_TOKEN: Final = re.compile(
    rf"""
    \s* (?: (?P<text>"(?:[^"\\]|\\.)*")
          | (?P<operator>==|!=|!~|<=|>=|\.\.|[=<>~()\[\],])
          | (?P<list>@[\w.-]+)
          | (?P<word>{_WORD}(?:@{_WORD})?)
          | (?P<end>\Z) )
    """,
    re.VERBOSE | re.DOTALL,
)
_HINTS: Final = {
    '"': 'this text has no end: a " is missing',
    "'": 'write text in double quotes: "…"',
    "@": "a list's name is missing behind @",
    "!": "write not, != or !~",
}


class Token(NamedTuple):
    """A piece of a condition. `text` is what it says: of quoted text without the quotes and escapes."""

    kind: Literal["text", "operator", "list", "word", "end"]
    text: str
    offset: int


def tokens(text: str) -> list[Token]:
    r"""The tokens of `text`, the last of kind "end". Raises FilterError.

    In quoted text \" and \\ stand for " and \; any other backslash stands for itself, as regular expressions need it.
    """
    if len(text) > LONGEST:
        raise FilterError(text, LONGEST, f"a condition has at most {LONGEST} characters, this one has {len(text)}")
    found: list[Token] = []
    at = 0
    while not found or found[-1].kind != "end":
        match = _TOKEN.match(text, at)
        if match is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            raise FilterError(text, at, _HINTS.get(text[at], f"{text[at]!r} does not belong here"))
        kind = match.lastgroup
        assert kind is not None
        said, offset = match[kind], match.start(kind)
        if (strange := re.search("[\ud800-\udfff]", said)) is not None:
            raise FilterError(text, offset + strange.start(), "this is not UTF-8")
        if kind == "text":
            said = re.sub(r'\\(["\\])', r"\1", said[1:-1])
        found.append(Token(kind, said, offset))  # type: ignore[arg-type]
        at = match.end()
    return found


def place(text: str, token: Token, index: int) -> int:
    """Where in `text` the character `index` of a token of kind "text" stands."""
    at = token.offset + 1
    for _ in range(index):
        at += 2 if text[at : at + 2] in ('\\"', "\\\\") else 1
    return at
