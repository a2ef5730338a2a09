"""Stand-in until the one of the filters is merged: a set of networks and addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator


class Networks:
    """`"10.1.2.3" in networks`."""

    def __init__(self, items: Iterable[str]) -> None:
        self._networks = []
        for item in items:
            try:
                self._networks.append(ipaddress.ip_network(item, strict=False))
            except ValueError as error:
                raise ValueError(f"{item!r} is no network: {error}") from None

    def __contains__(self, ip: object) -> bool:
        return isinstance(ip, str) and self.longest(ip) is not None

    def __len__(self) -> int:
        return len(self._networks)

    def __iter__(self) -> Iterator[str]:
        return iter(map(str, self._networks))

    def longest(self, ip: str) -> str | None:
        """The most specific network."""
        try:
            address = ipaddress.ip_address(ip)
        except ValueError:
            return None
        fits = [network for network in self._networks if address in network]
        return str(max(fits, key=lambda network: network.prefixlen)) if fits else None
