"""Logs: structlog on standard error, for a person or as JSON lines; and errors in words."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Hashable

import structlog


def words(error: BaseException) -> str:
    """What an error says to a person: an OSError without its number, with its file in front."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


MOST_KEYS = 1000


class Throttle:
    """Lets the same thing be said once in `seconds`, however often it happens. `clock` gives monotonic seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._said: dict[Hashable, tuple[float, int]] = {}

    def due(self, key: Hashable) -> int | None:
        """None: not now. Else how often `key` was not said since the last time."""
        now = self._clock()
        last, unsaid = self._said.get(key, (-self._seconds, 0))
        if now - last < self._seconds:
            self._said[key] = last, unsaid + 1
            return None
        if len(self._said) >= MOST_KEYS:
            self._said.clear()
        self._said[key] = now, 0
        return unsaid


def setup(level: str = "info", style: str = "console") -> None:
    """Write events of `level` and above; `style` is "console" or "json".

    Tracebacks come without local variables: these hold packets and secrets.
    """
    renderer: structlog.typing.Processor
    if style == "json":
        renderer = structlog.processors.JSONRenderer()
        errors: structlog.typing.Processor = structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        )
    else:
        renderer = structlog.dev.ConsoleRenderer(
            # Plain: a traceback with local variables would put packets and secrets into the log.
            colors=sys.stderr.isatty(),
            exception_formatter=structlog.dev.plain_traceback,
        )
        errors = structlog.processors.StackInfoRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            errors,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        # A line and its end in one write: several processes share standard error, and lines must not run into each other.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
