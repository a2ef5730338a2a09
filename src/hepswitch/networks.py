"""Sets of IP networks and addresses: is an address in one of them?

IPv4-mapped IPv6 addresses count as IPv4. Not here: who asks (access lists, lists, filters).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable


class Networks:
    """IPv4 and IPv6 networks and addresses from text such as "10.0.0.0/8", "2001:db8::/32", "192.0.2.1".

    `"10.1.2.3" in networks`; what is no address is in none. ValueError names an item that is no network.
    """

    def __init__(self, items: Iterable[str]) -> None:
        self._networks = [_network(item) for item in items]

    def __contains__(self, address: object) -> bool:
        try:
            ip = ipaddress.ip_address(str(address))
        except ValueError:
            return False
        if isinstance(ip, ipaddress.IPv6Address):
            ip = ip.ipv4_mapped or ip
        return any(ip in network for network in self._networks)

    def __len__(self) -> int:
        return len(self._networks)


def _network(item: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(item)
    except ValueError as error:
        raise ValueError(f"{item!r} is no network: {error}") from None
