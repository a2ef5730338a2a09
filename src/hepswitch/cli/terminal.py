"""What may go to a terminal: captured text is written by strangers, and a terminal obeys control characters.

Files and pipes get everything as it is; JSON escapes control characters in any case. Not here: tables and ladders.
"""

from __future__ import annotations

import re
from typing import Any

_CONTROLS = re.compile(rb"\x7f|\xc2[\x80-\x9f]")
"""DEL and C1 in UTF-8: what JSON lets through as it is. In UTF-8 no other character has these bytes side by side."""


def safe(text: str, instead: str = "?") -> str:
    """`text` with `instead` for each character that controls a terminal or cannot be seen; tabs stay."""
    return "".join(c if c.isprintable() or c == "\t" else instead for c in text)


def json_line(value: Any) -> bytes:
    """`value` as JSON in UTF-8, every control character escaped."""
    import msgspec

    return _CONTROLS.sub(lambda found: b"\\u00%02x" % found[0][-1], msgspec.json.encode(value, enc_hook=str))
