"""Logs: structlog on standard error, for a person or as JSON lines; and errors in words.

The latest warnings and errors are kept, too (`recent`): a process hands its own to the supervisor, which has those of all.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable

import msgspec
import structlog
from msgspec import Struct, structs


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


MOST_EVENTS = 200
MOST_DETAILS = 16
MOST_TEXT = 500
"""Characters of an event's words, and of each of its details."""


class Event(Struct, frozen=True):
    """A warning or an error. `at` is ISO 8601 (UTC); `process` is set by the supervisor, which hears of it."""

    at: str
    level: str
    event: str
    details: dict[str, str]
    process: str = "supervisor"


class Recent:
    """The latest warnings and errors. `hand_on`: gets those of this process instead of their being kept."""

    def __init__(self) -> None:
        self.hand_on: Callable[[Event], None] = self._keep
        self._events: deque[Event] = deque(maxlen=MOST_EVENTS)

    def __call__(self, _: object, level: str, said: structlog.typing.EventDict) -> structlog.typing.EventDict:
        """As a processor of structlog, behind the one that says the time."""
        if level in ("warning", "error", "exception", "critical"):
            self.hand_on(_event(said))
        return said

    def _keep(self, event: Event) -> None:
        self._events.append(event)

    def heard(self, events: Iterable[Event], process: str) -> None:
        """Those of another process."""
        self._events.extend(structs.replace(event, process=process) for event in events)

    def take(self) -> list[Event]:
        """Those since this was asked last, the oldest first."""
        taken = list(self._events)
        self._events.clear()
        return taken

    def latest(self) -> list[Event]:
        """All that are kept, the newest first."""
        return sorted(self._events, key=lambda event: event.at, reverse=True)


recent = Recent()
"""Those of this process, as its log is one."""


def hand_on_to(descriptor: int) -> None:
    """Write every warning and error to a pipe, one JSON object a line, for the supervisor."""

    def write(event: Event) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more; standard error has it
            os.write(descriptor, msgspec.json.encode(event) + b"\n")

    recent.hand_on = write


def _event(said: structlog.typing.EventDict) -> Event:
    error = said.get("exc_info")
    error = sys.exc_info()[1] if error is True else error
    details = {key: value for key, value in said.items() if key not in ("timestamp", "level", "event", "exc_info")}
    if isinstance(error, BaseException):
        details["exception"] = f"{type(error).__name__}: {error}"
    return Event(
        said["timestamp"],
        said["level"],
        _bounded(said["event"]),
        {_bounded(key): _bounded(details[key]) for key in list(details)[:MOST_DETAILS]},
    )


def _bounded(value: object) -> str:
    return str(value)[:MOST_TEXT].encode("utf-8", "replace").decode()


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
            recent,
            errors,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        # A line and its end in one write: several processes share standard error, and lines must not run into each other.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
