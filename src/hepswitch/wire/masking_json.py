"""Masking of JSON: strings as text, numbers where the key says whose they are. Its grammar stays, and so do counters.

Not here: which payloads are JSON (`masking`), what is in a string (`masking_sip`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Final

from hepswitch.wire.pseudonyms import Word

_TOKEN: Final = re.compile(
    rb'(?P<string>"(?:[^"\\]|\\.)*+")(?P<colon>\s*+:)?+|(?P<number>-?[0-9][0-9.eE+-]*+)', re.DOTALL
)
_PERSONAL: Final = re.compile(
    rb"caller|callee|called|calling|user|number|msisdn|imsi|phone|subscriber|dest"
    rb"|(?<![a-z])(?:from|to|ani|dnis|did|cli|src_?num|dst_?num)(?![a-z])"
)
_COUNTER: Final = re.compile(rb"packet|seq|frame|port|count|time|total|bytes|octets|agent|ssrc|line")
_NUMBER: Final = re.compile(rb"\+?[0-9(][0-9().-]*+")
_LONG: Final = re.compile(rb"[0-9]{7,17}")
_TELLING: Final = re.compile(rb"[@:=]|[0-9]{7}|[0-9][().-][0-9]|basic|bearer", re.IGNORECASE)


def masked_json(raw: bytes, text: Callable[[bytes], bytes], word: Word, take: Callable[[int], None]) -> bytes:
    """The JSON with each string masked by `text`, numbers of people by `word`. `take` is told what each costs.

    A number or a string of nothing but a number is somebody's when its key says so ("caller", "to_user", "msisdn", not
    "packet_number"). Strings with escapes are written again, and may become longer. ValueError if `raw` is no JSON.
    """
    personal = False

    def masked(match: re.Match[bytes]) -> bytes:
        nonlocal personal
        number = match["number"]
        if number is not None:
            if not personal or not _LONG.fullmatch(number):
                return number
            take(1)
            made = word(number)
            return b"1" + made[1:] if made[:1] == b"0" else made  # JSON has no numbers that begin with 0
        quoted = match["string"]
        if match["colon"] is not None:
            key = quoted.lower()
            personal = _PERSONAL.search(key) is not None and _COUNTER.search(key) is None
        return _string(quoted, text, word if personal and match["colon"] is None else None, take) + (
            match["colon"] or b""
        )

    take(raw.count(b'"') // 16)
    return _TOKEN.sub(masked, raw)


def _string(quoted: bytes, text: Callable[[bytes], bytes], word: Word | None, take: Callable[[int], None]) -> bytes:
    escaped = b"\\" in quoted
    if not escaped:
        if word is not None and _NUMBER.fullmatch(quoted, 1, len(quoted) - 1):
            take(1)
            return b'"' + word(quoted[1:-1]) + b'"'
        if not _TELLING.search(quoted):
            return quoted
        take(1)
        return b'"' + text(quoted[1:-1]) + b'"'
    take(4)
    told = json.loads(quoted.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogatepass")
    made = word(told) if word is not None and _NUMBER.fullmatch(told) else text(told)
    return json.dumps(made.decode("utf-8", "surrogatepass")).encode()


def is_json(raw: bytes) -> bool:
    """Whether it is an object or a list of JSON."""
    if raw.lstrip()[:1] not in (b"{", b"["):
        return False
    try:
        json.loads(raw.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return False
    return True
