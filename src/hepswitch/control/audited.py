"""The switch as the control listener has it: what is changed, by HTTP or by MI, is in the audit.

Not here: what an entry is (`control.audit`), changes by signals (the log has these).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

from hepswitch.control.audit import Audit
from hepswitch.control.protocol import Reloaded, Switch
from hepswitch.destinations.sets import NodeChange
from hepswitch.tracing.dynamic import TraceStart


def audited(switch: Switch, audit: Audit) -> Switch:
    """`switch`, with every change written to `audit`."""
    return cast("Switch", _Audited(switch, audit))


class _Audited:
    """The changes of `protocol.Switch`; what only tells goes straight to the switch."""

    def __init__(self, switch: Switch, audit: Audit) -> None:
        self._switch = switch
        self._audit = audit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._switch, name)

    async def set_node(self, change: NodeChange) -> None:
        with self._audit.change("set node", change):
            await self._switch.set_node(change)

    async def set_capture(self, on: bool) -> None:
        with self._audit.change("set capture", {"on": on}):
            await self._switch.set_capture(on)

    async def reload(self, only: Collection[str] | None = None) -> Reloaded:
        with self._audit.change("reload", {} if only is None else {"only": sorted(only)}):
            return await (self._switch.reload() if only is None else self._switch.reload(only))

    async def start_trace(self, start: TraceStart) -> None:
        with self._audit.change("start trace", start):
            await self._switch.start_trace(start)

    async def stop_trace(self, id: str) -> None:
        with self._audit.change("stop trace", {"id": id}):
            await self._switch.stop_trace(id)

    async def set_tracing(self, on: bool, id: str | None = None) -> None:
        with self._audit.change("set tracing", {"on": on, "id": id}):
            await self._switch.set_tracing(on, id)
