"""Targets: the destinations of traces. A store or a HEP destination of the switch, or one that belongs to traces alone.

Several traces share a target of one name. A target of its own is open while a trace needs it, and its row in the books stays
when it is closed. One whose options a reload changes is opened anew beside the old one, which delivers what it holds. Not
here: what it does with packets (`destinations`).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Protocol

import structlog
from pydantic import AfterValidator, ValidationInfo

from hepswitch import books
from hepswitch.books import Snapshot
from hepswitch.destinations.sip import SipOutlet
from hepswitch.logs import words
from hepswitch.net.resolve import Resolver
from hepswitch.references import check_name
from hepswitch.routing.packet import Packet
from hepswitch.tracing.marks import Mark
from hepswitch.tracing.own import OwnTarget, parse_own

log = structlog.get_logger("hepswitch.tracing")

MOST_PAST = 1000
"""Targets that are closed and whose figures are kept apart in the books; those of older ones are summed up."""

FAREWELL = 5.0
"""Seconds that a start waits for a target that is being closed. A worker that does not answer for long is replaced."""

OTHERS = "(earlier targets)"
"""The row of their sum: it cannot be the name of a target."""

STORE, DESTINATION = "store:", "destination:"


class Outlet(Protocol):
    """What every destination is to the one who offers packets."""

    name: str

    async def open(self) -> None: ...
    def offer(self, packet: Any, **said: Any) -> bool: ...
    def flush(self) -> None: ...
    async def close(self, drain: float) -> None: ...
    def account(self) -> Snapshot: ...


def check_target(text: str, info: ValidationInfo) -> str:
    """A target as `[traces.NAME] to` says it. ValueError for what is none, or names what is not configured."""
    if text.startswith(STORE):
        check_name("stores", text.removeprefix(STORE), info)
    elif text.startswith(DESTINATION):
        check_name("destinations", text.removeprefix(DESTINATION), info)
    else:
        parse_own(text)
    return text


TargetText = Annotated[str, AfterValidator(check_target)]


class Target:
    """One destination of a trace. `find` gives its outlet at this moment, None when it is not configured any more.

    `url`: its name with its options, if it belongs to traces alone.
    """

    __slots__ = ("_find", "_give", "name", "url")

    def __init__(
        self, name: str, find: Callable[[], Any], give: Callable[[Any, Packet, Mark], bool], url: str = ""
    ) -> None:
        self.name = name
        self.url = url
        self._find = find
        self._give = give

    def give(self, packet: Packet, mark: Mark) -> bool:
        """Offer the packet, unless the route has put it there already. False when it was refused."""
        outlet = self._find()
        if outlet is None:
            return False
        return packet.went_to(outlet) or self._give(outlet, packet, mark)


def _relay(outlet: Any, packet: Packet, mark: Mark) -> bool:
    """HEP and SIP know no attributes; a correlation id is a chunk."""
    identity = mark.order.correlation_id
    if identity is None or packet.correlation_id == identity:
        return bool(outlet.offer(packet))
    copy = packet.copy()
    try:
        if copy.version != 3:
            copy.version = 3
        copy.correlation_id = identity
    except ValueError:  # it would be too large: better without
        copy = packet.copy()
    return bool(outlet.offer(copy))


def _is_on_its_way(packet: Packet, outlets: Iterable[Outlet]) -> bool:
    """Whether the packet was sent to one of the `sip:` targets among `outlets`: by this switch, in all likelihood, whose
    mirror has captured it. It bears no trail, and would go in circles."""
    ends = packet.dst_ip, packet.dst_port
    return any(isinstance(outlet, SipOutlet) and outlet.leads_to(*ends) for outlet in outlets)


def _store(outlet: Any, packet: Packet, mark: Mark) -> bool:
    order = mark.order
    return bool(outlet.offer(packet, attrs=order.attrs, direction=mark.direction, correlation_id=order.correlation_id))


class Targets:
    """Finds and makes targets. `destinations` and `stores` are the switch's own; `resolver` finds the hosts of others,
    and `switch_id` marks what goes to them (`HepOutlet`).

    `on_change` is told when there are other outlets than before; `drain`: seconds in which one that nobody needs may
    deliver.
    """

    def __init__(
        self,
        destinations: Mapping[str, Any],
        stores: Mapping[str, Any],
        resolver: Resolver | None,
        switch_id: int,
        drain: float,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._destinations = destinations
        self._stores = stores
        self._resolver = resolver
        self._switch_id = switch_id
        self._drain = drain
        self._on_change = on_change
        self._own: dict[str, Outlet] = {}
        self._users: dict[str, int] = {}
        self._opening = asyncio.Lock()
        self._leaving: dict[str, tuple[Outlet, asyncio.Task[None]]] = {}
        self._past: dict[str, Snapshot] = {}

    @property
    def outlets(self) -> list[Outlet]:
        """Those that belong to traces alone, open."""
        return list(self._own.values())

    def check(self, texts: Iterable[str]) -> None:
        """ValueError when one of `texts` names a store or destination that there is not, or is no target at all."""
        for text in texts:
            for start, known in ((STORE, self._stores), (DESTINATION, self._destinations)):
                name = text.removeprefix(start)
                if text.startswith(start) and name not in known:
                    names = ", ".join(sorted(known)) or "none"
                    raise ValueError(f"no {start[:-1]} is named {name!r} (configured: {names})")
            if not text.startswith((STORE, DESTINATION)):
                parse_own(text)

    async def acquire(self, texts: Iterable[str]) -> list[Target]:
        """The targets that `texts` name, each once, for somebody who will `release` them. Raises OSError, ValueError."""
        found: dict[str, Target] = {}
        try:
            for text in texts:
                target = await self._target(text)
                if target.name in found:
                    self.release([target])
                found[target.name] = target
        except BaseException:
            self.release(found.values())
            raise
        return list(found.values())

    async def _target(self, text: str) -> Target:
        for start, known, give in ((STORE, self._stores, _store), (DESTINATION, self._destinations, _relay)):
            if text.startswith(start):
                find = functools.partial(known.get, text.removeprefix(start))
                return Target(text, find, give)
        wanted = parse_own(text)
        async with self._opening:
            outlet = self._own.get(wanted.url) or await self._open(wanted)
        self._users[wanted.url] += 1
        give = self._sip if isinstance(outlet, SipOutlet) else _relay if wanted.relays else _store
        return Target(wanted.name, lambda: outlet, give, wanted.url)

    def _sip(self, outlet: SipOutlet, packet: Packet, mark: Mark) -> bool:
        if _is_on_its_way(packet, self._own.values()):
            outlet.refused["loop"] += 1
            return False
        return _relay(outlet, packet, mark)

    async def _open(self, wanted: OwnTarget) -> Outlet:
        """Raises OSError that names the target."""
        if wanted.url in self._leaving:  # its connection or thread still has something to do
            await asyncio.wait({self._leaving[wanted.url][1]}, timeout=FAREWELL)
            if wanted.url in self._leaving:
                raise OSError(f"{wanted.name} is being closed, and does not take what waits for it: try again later")
        outlet: Outlet = wanted.build(self._resolver, self._switch_id)
        try:
            await outlet.open()
        except OSError as error:
            raise OSError(f"{wanted.name}: {words(error)}") from error
        self._own[wanted.url] = outlet
        self._users[wanted.url] = 0
        self._on_change()
        return outlet

    def release(self, targets: Iterable[Target]) -> None:
        """These are not needed any more."""
        for target in targets:
            if target.url not in self._users:
                continue
            self._users[target.url] -= 1
            if not self._users[target.url]:
                self._leave(target.url)
                self._on_change()

    def _leave(self, url: str) -> None:
        outlet = self._own.pop(url)
        del self._users[url]
        self._leaving[url] = outlet, asyncio.create_task(self._say_farewell(url, outlet))

    async def _say_farewell(self, url: str, outlet: Outlet) -> None:
        try:
            await outlet.close(self._drain)
        except OSError as error:
            log.error("target of a trace cannot be closed", target=outlet.name, error=str(error))
        finally:
            _add(self._past, outlet)
            del self._leaving[url]
            books.fold_oldest(self._past, MOST_PAST, OTHERS, _closed)

    async def close(self) -> None:
        """Close all, at the end."""
        for url in list(self._own):
            self._leave(url)
        await asyncio.gather(*(task for _, task in self._leaving.values()))

    def account(self) -> dict[str, Snapshot]:
        """The rows of those that belong, or belonged, to traces alone."""
        rows = dict(self._past)
        for outlet in (*(outlet for outlet, _ in self._leaving.values()), *self._own.values()):
            _add(rows, outlet)
        return rows


def _closed(before: Snapshot | None, row: Snapshot) -> Snapshot:
    """The sum of targets that are closed, without what told one from the other."""
    sums: Snapshot = books.add(before or {}, {key: value for key, value in row.items() if key != "nodes"})
    return sums | {"state": "closed"}


def _add(rows: dict[str, Snapshot], outlet: Outlet) -> None:
    row = outlet.account()
    rows[outlet.name] = books.add(rows[outlet.name], row) if outlet.name in rows else row
