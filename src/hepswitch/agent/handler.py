"""HepLogHandler: a `logging.Handler` that sends what is logged as HEP packets of type 100, each with its call.

Not here: the queue, the thread and the socket (`sender`), and which call it is unless the record says so (`calls`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from hepswitch.agent.calls import current_call
from hepswitch.agent.courier import THREAD
from hepswitch.agent.sender import HERE, HepSender


class HepLogHandler(logging.Handler):
    """Sends each record, formatted, by `sender`: a HepSender, or a URL and the `options` of one of its own.

    The call is the record's attribute `correlation_id` (its name: `log.info("…", extra={"call_id": …})`), else that of
    `call`. `only_calls`: records of no call are left out. `src` and `dst` (IP and port) are the packet's addresses.
    Emitting never waits: what finds the queue full is counted in `handler.sender.stats`.
    """

    def __init__(
        self,
        sender: HepSender | str,
        *,
        correlation_id: str = "call_id",
        src: Sequence[Any] = HERE,
        dst: Sequence[Any] = HERE,
        only_calls: bool = False,
        level: int | str = logging.NOTSET,
        **options: Any,
    ) -> None:
        super().__init__(level)
        if options and isinstance(sender, HepSender):
            raise TypeError(f"{', '.join(options)}: options of a sender go with a URL; this one is made already")
        self._own = isinstance(sender, str)
        self.sender = HepSender(sender, **options) if isinstance(sender, str) else sender
        self._attribute = correlation_id
        self._src, self._dst = _address("src", src), _address("dst", dst)
        self._only_calls = only_calls
        # A filter, for that is asked without the handler's lock: `close` may hold it while it waits for that thread.
        self.addFilter(_is_not_about_sending)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record."""
        call_id = getattr(record, self._attribute, None) or current_call()
        if call_id is None and self._only_calls:
            return
        try:
            call = None if call_id is None else str(call_id)
            self.sender.log(self.format(record), correlation_id=call, src=self._src, dst=self._dst, time=record.created)
        except RecursionError:
            raise  # as logging's own handlers do: telling of it would recurse further
        except Exception:  # noqa: BLE001 (logging's own contract: an error in a handler must not reach who logs)
            self.handleError(record)

    def flush(self) -> None:
        """Wait until what was logged is delivered, for the sender's `drain` at most."""
        self.sender.flush()

    def close(self) -> None:
        """Close the sender, if it is the handler's own."""
        if self._own:
            self.sender.close()
        super().close()


def _is_not_about_sending(record: logging.LogRecord) -> bool:
    """What a sender's own thread logs would cause more of the same."""
    return record.threadName != THREAD


def _address(name: str, given: Sequence[Any]) -> tuple[str, int]:
    """A configuration file has lists. ValueError naming what is wrong."""
    if isinstance(given, str) or len(given) != 2 or not isinstance(given[0], str) or not isinstance(given[1], int):
        raise ValueError(f"{name} is an IP address and a port, such as ('10.0.0.1', 5060), not {given!r}")
    return given[0], given[1]
