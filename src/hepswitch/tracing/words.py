"""The words of a trace: its scope, types and flags, as OpenSIPS' trace() takes them and as a person writes them."""

from __future__ import annotations

from typing import Final, Literal

from hepswitch.wire.chunks import ProtoType

Scope = Literal["message", "transaction", "dialog", "b2b"]
Side = Literal["both", "caller", "callee"]

SCOPES: Final[tuple[Scope, ...]] = ("message", "transaction", "dialog", "b2b")
"""From the weakest to the strongest."""

SIP: Final = 1

Types = frozenset[int] | None
"""Protocol types (chunk 0x0b); None: all of them."""


def parse_scope(text: str) -> Scope:
    """A scope by its name or its letter, m, t, d or b, upper case or lower; of several letters the strongest counts.

    Raises ValueError for anything else.
    """
    word = text.strip().lower()
    if word in SCOPES:
        return word
    found = [scope for scope in SCOPES if scope[0] in word]
    if not found or not set(word) <= {*"mtdb "}:
        raise ValueError(f"{text!r} is no scope: write message, transaction, dialog or b2b, or m, t, d or b")
    return found[-1]


def parse_types(text: str) -> Types:
    """Protocol types by name or number, between `|` or commas: "sip|rtcp|log"; "all" for every one.

    OpenSIPS' xlog is a log, whichever of its two numbers a packet has. Raises ValueError for what is no type.
    """
    words = [word.strip().lower() for word in text.replace(",", "|").split("|") if word.strip()]
    if not words:
        raise ValueError("there are no types: write for example sip|rtcp|log, or all")
    return None if "all" in words else frozenset(number for word in words for number in _numbers(word))


def _numbers(word: str) -> tuple[int, ...]:
    if word in ("log", "xlog"):
        return ProtoType.all_named("log") + ProtoType.all_named("xlog")
    if not word.isascii() or not word.isdigit():
        return ProtoType.all_named(word)
    if len(word) > 3 or int(word) > 255:
        raise ValueError(f"{word} is no protocol type: they go from 0 to 255")
    return (int(word),)


def parse_flags(text: str) -> Side:
    """Which side of a call: "C" the caller's, "c" the callee's, neither or both letters: both. Raises ValueError."""
    letters = set(text.replace("|", "").replace(" ", ""))
    if not letters <= {"C", "c"}:
        raise ValueError(f"{text!r} are no flags: write C for the caller's side only, c for the callee's, or nothing")
    return "both" if len(letters) != 1 else "caller" if letters == {"C"} else "callee"
