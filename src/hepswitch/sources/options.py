"""Options of the sources that capture: words in a listener's URL. Each raises ValueError with what is wrong.

Not here: which source has which (`mirror`, `pcap`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl

_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


def told(query: str) -> dict[str, str]:
    """The options in what follows the question mark of a URL, each once."""
    pairs = parse_qsl(query, keep_blank_values=True)
    options = dict(pairs)
    if len(options) < len(pairs):
        twice = sorted(key for key in options if [name for name, _ in pairs].count(key) > 1)
        raise ValueError(f"says {', '.join(twice)} more than once: write it once, values separated by commas")
    return options


def check_known(options: dict[str, str], known: Iterable[str]) -> None:
    """No other option than these may be there."""
    if unknown := sorted(options.keys() - set(known)):
        raise ValueError(f"unknown options: {', '.join(unknown)}; known here: {', '.join(sorted(known))}")


def ports(text: str) -> tuple[tuple[int, int], ...]:
    """Ranges from "5060-5090,5160"."""
    ranges = []
    for word in text.split(","):
        match = _RANGE.fullmatch(word.strip())
        low = int(match[1]) if match else 0
        high = int(match[2] or match[1]) if match else 0
        if not 0 < low <= high < 65536:
            raise ValueError(f"{word!r} in ports is no port and no range: write for example ports=5060-5090,5160")
        ranges.append((low, high))
    return tuple(ranges)


def yes(options: dict[str, str], key: str) -> bool:
    """An option that is yes unless it says no."""
    return choice(options, key, ("yes", "no")) == "yes"


def choice(options: dict[str, str], key: str, among: tuple[str, ...]) -> str:
    """One of these words, the first when nothing is said."""
    value = options.get(key, among[0])
    if value not in among:
        raise ValueError(f"{key}={value}: write {' or '.join(among)}")
    return value


def number(options: dict[str, str], key: str, default: int, most: int) -> int:
    """A number up to `most`."""
    value = options.get(key, str(default))
    if not value.isascii() or not value.isdecimal() or int(value) > most:
        raise ValueError(f"{key}={value}: write a number 0..{most}")
    return int(value)
