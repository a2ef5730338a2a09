"""A thread for blocking calls, one at a time: what a hung disk holds up is this thread and nothing else.

Not `loop.run_in_executor`: the interpreter waits for an executor's threads before it ends, and a write to a dead mount
never ends. This thread is a daemon, so the process may go without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Hand:
    """The thread. It starts with the first call and ends with `let_go`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def do(self, function: Callable[..., T], *arguments: Any) -> T:
        """What `function(*arguments)` gives or raises. Who gives up waiting does not stop the call."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls.put((result, functools.partial(function, *arguments)))
        return await result

    def let_go(self) -> None:
        """End the thread once it has done what it was asked to. Does not wait."""
        self._calls.put(None)

    def _work(self) -> None:
        while (job := self._calls.get()) is not None:
            result, call = job
            value, error = None, None
            try:
                value = call()
            except Exception as raised:  # noqa: BLE001 (it is raised where the call is awaited)
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any longer
                result.get_loop().call_soon_threadsafe(_settle, result, value, error)


def _settle(result: asyncio.Future[Any], value: Any, error: Exception | None) -> None:
    if result.done():  # given up
        return
    if error is not None:
        result.set_exception(error)
    else:
        result.set_result(value)
