"""The call that a thread or task is working for, so that what it logs finds the call.

    with call(invite.call_id):
        log.info("routing to %s", gateway)      # sent with the call's correlation id

A task begun inside belongs to the call too; a thread does not unless it runs in a copy of the context
(`asyncio.to_thread` does). Not here: what is done with it (`sender`, `handler`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_current: ContextVar[str | None] = ContextVar("hepswitch.agent.call", default=None)


@contextmanager
def call(call_id: str | None) -> Iterator[None]:
    """Everything inside, in this thread or task, is done for the call `call_id` (its Call-ID); None: for none.

    Calls may be nested.
    """
    token = _current.set(call_id or None)
    try:
        yield
    finally:
        _current.reset(token)


def current_call() -> str | None:
    """The Call-ID of the innermost `call`, or None."""
    return _current.get()
