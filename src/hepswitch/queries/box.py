"""The one box: what somebody typed or pasted → what to look for.

    a84b4c76e66710@pc33.example.com   Call-ID (also one without @, when it is long enough to be one)
    +49 30 1234, 030/1234             number: whatever ends with it, without the zeros or the + in front: *301234
    5c38d50d3b945e57                  a word with digits that may be a Call-ID or a user: both
    alice                             user of From, To, request URI or P-Asserted-Identity; `*` and `?` make patterns
    sip:alice@example.com             that user of that domain
    alice@example.com                 the same, or a Call-ID that looks like it
    10.0.0.1, 10.0.0.1:5060           source or destination; with its port
    10.0.0.0/8                        source or destination in that network
    486, 4xx                          status of a reply
    INVITE                            method of a request
    src_ip = 10.0.0.1 and …           a condition (docs/reference/filters.md)

What could be several things is the likeliest, and the answer says how it was read. Not here: looking for it (`selection`).
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from hepswitch.filters.errors import FilterError
from hepswitch.filters.fields import FIELDS, FUNCTIONS
from hepswitch.filters.language import parse
from hepswitch.lake.conditions import is_pattern

METHODS = frozenset({
    "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "PRACK", "SUBSCRIBE", "NOTIFY", "PUBLISH", "INFO", "REFER",
    "MESSAGE", "UPDATE",
})  # fmt: skip
"""RFC 3261, 3262, 6665, 3903, 6086, 3515, 3428, 3311."""

_STATUS = re.compile(r"[1-6](?:\d\d|xx)", re.IGNORECASE)
_NUMBER = re.compile(r"[+(]*\d[\d\s().\-/]*")
_LEAST_DIGITS, _MOST_DIGITS = 3, 18
"""Digits of a number: E.164 has 15 at most, and somebody may have dialled 00 or an exchange's prefix before them."""

_URI = re.compile(r"<?(?:sips?|tel):([^>;?\s]+)[^>\s]*>?", re.IGNORECASE)
_PORT = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})")
_PORT_BEHIND = re.compile(r":\d+\Z")
_OPERATOR = re.compile(r"[=<>~]|\b(?:in|contains|and|or|not)\b|^\w+\(")
_FIRST_WORD = re.compile(r"[\s(]*(?:not\b[\s(]*)*([\w.]+)")

_LONG_ID = 20
"""Characters of a Call-ID without @, at least, and with a digit among them: users' names are shorter, or have none."""

_SHORT_ID = 8
"""Characters before the @ of a Call-ID, at least, with letters and three digits among them; or more than a number has."""


def read(text: str) -> dict[str, Any]:
    """Fields of `lake.query.Query` for what is meant; none for no text. ValueError (a FilterError) for a wrong condition."""
    text = text.strip()
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} is not UTF-8 text") from None
    if not text:
        return {}
    if (uri := _URI.fullmatch(text)) is not None:
        user, at, domain = uri[1].rpartition("@")
        return _user(f"{user}@{_PORT_BEHIND.sub('', domain)}" if at else domain)
    return _address(text) or _word(text) or _condition(text) or _name(text)


def _address(text: str) -> dict[str, Any]:
    bare = text.removeprefix("[").removesuffix("]")
    try:
        return {"ip": str(ipaddress.ip_address(bare))}
    except ValueError:
        pass
    if (match := _PORT.fullmatch(text)) is not None:
        try:
            address, port = ipaddress.ip_address(match[1] or match[2]), int(match[3])
        except ValueError:
            return {}
        if port < 65536:
            ends = (f"({side}_ip = {address} and {side}_port = {port})" for side in ("src", "dst"))
            return {"filter": " or ".join(ends)}
    if "/" in text:
        try:
            return {"filter": f"ip in {ipaddress.ip_network(text, strict=False)}"}
        except ValueError:
            pass
    return {}


def _word(text: str) -> dict[str, Any]:
    if _STATUS.fullmatch(text):
        return {"status": text.lower()}
    return {"method": text.upper()} if text.upper() in METHODS else {}


def _condition(text: str) -> dict[str, Any]:
    """The condition that the text is; nothing when it is none. FilterError when it begins like one."""
    if _OPERATOR.search(text) is None:
        return {}
    try:
        parse(text, ())
    except FilterError:
        first = _FIRST_WORD.match(text)
        if first is not None and (first[1] in FIELDS or first[1] in FUNCTIONS):
            raise
        return {}
    return {"filter": text}


def _name(text: str) -> dict[str, Any]:
    """The Call-ID or the user that the text is."""
    user, at, _ = text.rpartition("@")
    if _is_call_id(user) if at else _is_lone_id(text):
        return {"call_id": text}
    said = _user(text)
    if at and "filter" in said:  # a Call-ID may look like that, too
        return {"filter": f"sip.call_id = {_quoted(text)} or {said['filter']}"}
    if _may_be_either(text):
        users = " or ".join(f"sip.{side}_user = {_quoted(text)}" for side in ("from", "to", "ruri"))
        return {"filter": f"sip.call_id = {_quoted(text)} or {users}"}
    return said


def _user(text: str) -> dict[str, Any]:
    """The user, number, or user of a domain that the text is."""
    user, at, domain = text.rpartition("@")
    if not at or not user or not domain or is_pattern(text):
        return {"user": _number(text) or text}
    if (number := _number(user)) is not None:
        return {"user": number}
    ends = (
        f"(sip.{side}_user = {_quoted(user)} and sip.{side}_domain = {_quoted(domain)})"
        for side in ("from", "to", "ruri")
    )
    return {"filter": " or ".join(ends)}


def _number(text: str) -> str | None:
    """The pattern of what ends with a number: how it begins (+49, 0049, 0) differs from hop to hop."""
    digits = "".join(filter(str.isdigit, text))
    if not text.isascii() or _NUMBER.fullmatch(text) is None or not _LEAST_DIGITS <= len(digits) <= _MOST_DIGITS:
        return None
    return f"*{digits.lstrip('0') or digits}"


def _is_call_id(user: str) -> bool:
    """Whether this, in front of an @, is rather that of a Call-ID than somebody's name."""
    if len(user) < _SHORT_ID or _number(user) is not None or any(map(str.isspace, user)):
        return False
    return len(user) > _MOST_DIGITS or (sum(map(str.isdigit, user)) >= 3 and any(map(str.isalpha, user)))


def _may_be_either(text: str) -> bool:
    """Whether this word is as well a Call-ID without an @ as a user."""
    return not is_pattern(text) and _is_call_id(text)


def _is_lone_id(text: str) -> bool:
    """Whether this is a Call-ID without an @."""
    return (
        len(text) >= _LONG_ID
        and any(map(str.isdigit, text))
        and _number(text) is None
        and not any(map(str.isspace, text))
    )


def _quoted(text: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
