"""Patience: a function of somebody else's making is asked, and broken off when it takes too long.

By a signal, since that is what interrupts even a regular expression that backtracks for ever (`re` looks for signals every
few thousand steps). So: in the main thread alone, one at a time, and SIGVTALRM belongs to this module.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class OutOfPatienceError(Exception):
    """It took too long."""


class Patience:
    """`ask(function, argument)` within `seconds` of the process's own time: waiting for a core is not held against it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._asking = False

    def ask(self, function: Callable[[Any], T], argument: Any) -> T:
        """What `function` answers. Raises OutOfPatienceError, and whatever it raises."""
        if signal.getsignal(signal.SIGVTALRM) != self._out:
            signal.signal(signal.SIGVTALRM, self._out)
        try:
            self._asking = True
            signal.setitimer(signal.ITIMER_VIRTUAL, self._seconds)
            return function(argument)
        finally:
            self._asking = False  # first of all: a signal that comes now has nobody to interrupt
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    def _out(self, *_: object) -> None:
        if self._asking:
            raise OutOfPatienceError
