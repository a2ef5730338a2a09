"""Names to addresses without keeping the event loop waiting: looked up in a thread, kept for a while.

Not here: which of several addresses is used, and connecting.
"""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass
from ipaddress import ip_address

REFRESH = 60.0
"""Seconds after which a name is looked up again: getaddrinfo does not tell the TTL."""


@dataclass(slots=True)
class _Answer:
    addresses: list[str]
    fresh_until: float


class Resolver:
    """Looks up names, each at most once per `refresh` seconds; one look-up serves everybody who waits for it.

    When a look-up fails the last good answer is used: a far end must not be lost because its name server is.
    """

    def __init__(self, refresh: float = REFRESH) -> None:
        self._refresh = refresh
        self._answers: dict[str, _Answer] = {}
        self._lookups: dict[str, asyncio.Task[list[str]]] = {}

    async def resolve(self, host: str) -> list[str]:
        """The addresses of `host` in the system's order of preference; at once when it is an address.

        Raises OSError that names the host when it never had an answer.
        """
        if _is_address(host):
            return [host]
        known = self._answers.get(host)
        if known is not None and time.monotonic() < known.fresh_until:
            return known.addresses
        lookup = self._lookups.get(host)
        if lookup is None:
            lookup = self._lookups[host] = asyncio.create_task(self._look_up(host))
            lookup.add_done_callback(lambda done: self._looked_up(host, done))
        try:
            return await asyncio.shield(lookup)
        except OSError as error:
            if known is None:
                reason = error.strerror or error
                raise OSError(f"{host!r} cannot be resolved: {reason}; check the name and the DNS") from error
            known.fresh_until = time.monotonic() + self._refresh
            return known.addresses

    async def _look_up(self, host: str) -> list[str]:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(address[0]) for _, _, _, _, address in found))
        self._answers[host] = _Answer(addresses, time.monotonic() + self._refresh)
        return addresses

    def _looked_up(self, host: str, done: asyncio.Task[list[str]]) -> None:
        del self._lookups[host]
        if not done.cancelled():
            done.exception()  # whoever asked may be gone; that is no error of the loop's


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
