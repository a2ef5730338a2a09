"""The audit: who has changed the switch, or was not let; from where, what with which parameters, and what came of it.

Each is an event `audit` in the log and, with `[control] audit`, a JSON line in that file. What others say is bounded, has no
control characters (nobody writes lines of their own), and shows no secrets. Not here: who may (`control.access`).
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from msgspec import to_builtins
from msgspec.json import encode

from hepswitch.control.refusal import RefusedError
from hepswitch.control.visitor import VISITOR
from hepswitch.logs import Throttle, words

log = structlog.get_logger("hepswitch.audit")

LONGEST = 300
"""Characters of a text."""
MOST = 32
"""Items of a list or an object."""
DEEPEST = 4

DONE = "done"
LOG_IN = "log in"
"""The action of who is not let in."""

REFUSALS = 1.0
"""Seconds between two refusals that are told of one source: the next one says how many there were."""

_CREDENTIALS = re.compile(r"//[^/\s]*@")
_SECRETIVE = re.compile(r"(?i)token|passw|secret|auth|key")


class Audit:
    """Writes to the log, and to the file `path` if there is one. Raises OSError when that cannot be written."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._refusals = Throttle(REFUSALS)
        if path is not None:
            self._append(b"")

    @contextlib.contextmanager
    def change(self, action: str, parameters: Any) -> Iterator[None]:
        """A change that is made in the block by the visitor of this request."""
        visitor = VISITOR.get()
        outcome = "failed: see the log"
        try:
            yield
            outcome = DONE
        except RefusedError as error:
            outcome = f"refused: {error}"
            raise
        finally:
            self._write(visitor.who, visitor.source, action, parameters, outcome)

    def refused(self, who: str, source: str, action: str, why: str) -> None:
        """Somebody was not let in, or may not do that. Of many by one only the first is told at once."""
        # By who it is only where that is known: there is no end of names, and of paths.
        unsaid = self._refusals.due((source, None if action == LOG_IN else who))
        if unsaid is not None:
            self._write(who, source, action, {"before": unsaid} if unsaid else {}, f"refused: {why}")

    def _write(self, who: str, source: str, action: str, parameters: Any, outcome: str) -> None:
        row: dict[str, Any] = {
            "who": plain(who),
            "source": plain(source),
            "action": plain(action),
            "parameters": bounded(to_builtins(parameters)),
            "outcome": plain(outcome),
        }
        (log.info if outcome == DONE else log.warning)("audit", **row)
        if self._path is not None:
            at = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
            try:
                self._append(encode({"at": at, **row}) + b"\n")
            except OSError as error:
                log.error("audit not written", file=str(self._path), error=words(error))

    def _append(self, line: bytes) -> None:
        """Opened each time: who rotates the file by renaming it has to tell nobody."""
        assert self._path is not None
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self._path, flags, 0o600)
        try:
            os.write(fd, line)
        finally:
            os.close(fd)


def plain(text: str) -> str:
    """`text`, not too long, without a password in a URL, characters that cannot be seen as escapes."""
    shown = _CREDENTIALS.sub("//***@", text)
    cut = shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def bounded(value: Any, depth: int = 0) -> Any:
    """A value of JSON, as it may be written: texts plain, secrets as asterisks, no more than some items of each kind."""
    if isinstance(value, str):
        return plain(value)
    if depth > DEEPEST and isinstance(value, (list, tuple, Mapping)):
        return "…"
    if isinstance(value, Mapping):
        rows = list(value.items())[:MOST]
        return {
            plain(str(key)): "***" if _SECRETIVE.search(str(key)) else bounded(each, depth + 1) for key, each in rows
        }
    if isinstance(value, (list, tuple)):
        return [bounded(each, depth + 1) for each in value[:MOST]]
    return value
