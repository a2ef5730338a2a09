"""Names with a date in them: strftime fields are filled with a packet's own time, in UTC. For files and tables.

Not here: what a name may hold besides (each destination says it), and local time.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

FIELDS = {"Y": r"\d{4}", "y": r"\d\d", "m": r"\d\d", "d": r"\d\d", "j": r"\d{3}"}
FIELDS |= {"H": r"\d\d", "M": r"\d\d", "S": r"\d\d", "%": "%"}
"""The fields that a name may have, and what they look like: digits only, so that a name can be recognised again."""

_SECONDS = {"S": 1, "M": 60, "H": 3600}
"""How long a name with such a field holds; all others hold for a day."""

FAR_US = 366 * 86_400_000_000
"""µs between a packet's own time and its arrival beyond which a table's name goes by its arrival: agents whose clocks say
anything must not make a table for every day there is."""

_FIELD = re.compile(r"%(.?)")


class Dated:
    """The template of a name. `at()` gives the name at a time, `pattern` matches every name that it can give.

    `is_constant`: it has no fields. `step_us`: between two multiples of so many µs since 1970 the name is the same.
    """

    def __init__(self, template: str) -> None:
        """ValueError for a field that names cannot have."""
        self.template = template
        for field in _FIELD.findall(template):
            if field not in FIELDS:
                known = " ".join(f"%{each}" for each in FIELDS)
                raise ValueError(f"{template!r} has the field %{field}; a name may have {known}")
        parts = _FIELD.split(template)  # text and fields in turn
        self.pattern = "".join(FIELDS[part] if i % 2 else re.escape(part) for i, part in enumerate(parts))
        self.is_constant = len(parts) == 1
        self.step_us = 1_000_000 * min((_SECONDS.get(field, 86_400) for field in parts[1::2]), default=86_400)
        self._second = -1
        self._name = template

    def at(self, time_us: int) -> str:
        """The name at `time_us` (µs since 1970)."""
        second = time_us // 1_000_000
        if second != self._second and not self.is_constant:
            moment = time.gmtime(second)
            self._name = _FIELD.sub(lambda field: time.strftime(field[0], moment), self.template)
            self._second = second
        return self._name

    def found(self, folder: Path) -> list[Path]:
        """The files in a folder that have such a name, in the order of their names; none when there is no folder."""
        if self.is_constant:
            path = folder / self.template
            return [path] if path.is_file() else []
        return sorted(path for path in folder.glob("*") if re.fullmatch(self.pattern, path.name) and path.is_file())
