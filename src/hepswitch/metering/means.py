"""Means of the last minute or so, under bounded labels.

A mean is a weight and a weighted total, and both fade at the same pace: so the means of several workers are added up like
everything else in the books, and the value is total / weight. heplify-server shows the last value that came instead.
"""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import urlencode

FADING = 60.0
"""Seconds after which a value weighs 1/e of what it did."""

LEAST = 0.01
"""Weight below which a mean is over: nothing has come for some minutes."""

MOST = 5000
"""Means that are kept; what comes when there are so many is not measured, and counted."""


class Means:
    """Means by name and labels. `missed` counts values for which there was no room."""

    def __init__(self) -> None:
        self.missed = 0
        self._means: dict[tuple[str, tuple[tuple[str, str], ...]], list[float]] = {}

    def note(self, name: str, value: float, **labels: str) -> None:
        """Take a value into the mean `name` of these labels."""
        key = (name, tuple(labels.items()))
        mean = self._means.get(key)
        if mean is None:
            if len(self._means) >= MOST:
                self.missed += 1
                return
            mean = self._means[key] = [0.0, 0.0]
        mean[0] += 1.0
        mean[1] += value

    def fade(self, seconds: float) -> None:
        """So much time has passed."""
        share = math.exp(-seconds / FADING)
        for key, mean in list(self._means.items()):
            mean[0] *= share
            mean[1] *= share
            if mean[0] < LEAST:
                del self._means[key]

    def snapshot(self) -> dict[str, dict[str, dict[str, float]]]:
        """{name: {labels as `a=1&b=2`: {"weight", "total"}}}."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for (name, labels), (weight, total) in self._means.items():
            found.setdefault(name, {})[urlencode(labels)] = {"weight": weight, "total": total}
        return found


def values(snapshot: dict[str, Any]) -> dict[str, float]:
    """The means of one name, by their labels."""
    return {labels: mean["total"] / mean["weight"] for labels, mean in snapshot.items() if mean["weight"] >= LEAST}
