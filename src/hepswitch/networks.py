"""Networks: a set of IPv4 and IPv6 networks, and whether an address is in one. For access lists, named lists, conditions.

Not here: names (`net.resolve`), and what follows from being in a network.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Final

MOST_ANSWERS: Final = 4096
"""Addresses whose answer is remembered: agents and proxies are few and are asked for again and again."""

_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")
_MAPPED_PREFIX: Final = b"\0" * 10 + b"\xff\xff"

_Table = list[tuple[int, dict[int, str]]]
"""(bits behind the prefix, {prefix: the network's text}), the longest prefixes first."""


class Networks:
    """The networks and addresses named by `items`: "10.0.0.0/8", "2001:db8::/32", "192.0.2.1". Cannot be changed.

    `"10.1.2.3" in networks` is False for whatever is no address. An IPv4 address in IPv6 form (::ffff:10.1.2.3) is the IPv4
    address. Raises ValueError that names the item which is no network.
    """

    __slots__ = ("_four", "_six", "_texts", "answers")

    answers: _Answers
    """By an address's text the most specific network it is in, or None: a dict that finds what it does not hold. For code
    that asks once a packet; it takes any hashable key."""

    def __init__(self, items: Iterable[str]) -> None:
        parsed = sorted(
            {network(item) for item in items}, key=lambda one: (one.version, one.network_address, one.prefixlen)
        )
        self._texts = tuple(str(one) if one.num_addresses > 1 else str(one.network_address) for one in parsed)
        self._four: _Table = []
        self._six: _Table = []
        by_bits: dict[tuple[int, int], dict[int, str]] = {}
        for one, text in zip(parsed, self._texts, strict=True):
            bits = one.max_prefixlen - one.prefixlen
            by_bits.setdefault((one.version, bits), {})[int(one.network_address) >> bits] = text
        for (version, bits), prefixes in sorted(by_bits.items()):
            (self._four if version == 4 else self._six).append((bits, prefixes))
        self.answers = _Answers(self._find)

    def __contains__(self, ip: object) -> bool:
        return isinstance(ip, str) and self.answers[ip] is not None

    def longest(self, ip: str) -> str | None:
        """The most specific network that holds `ip`, in its usual form; None when none does."""
        return self.answers[ip]

    def __len__(self) -> int:
        return len(self._texts)

    def __iter__(self) -> Iterator[str]:
        """The networks in their usual form, IPv4 first, in the order of their addresses; each once."""
        return iter(self._texts)

    def __eq__(self, other: object) -> bool:
        return self._texts == other._texts if isinstance(other, Networks) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._texts)

    def __repr__(self) -> str:
        return f"Networks({list(self._texts)!r})"

    def _find(self, ip: object) -> str | None:
        packed = pack(ip) if isinstance(ip, str) else None
        if packed is None:
            return None
        value = int.from_bytes(packed)
        for bits, prefixes in self._four if len(packed) == 4 else self._six:
            if (found := prefixes.get(value >> bits)) is not None:
                return found
        return None


class _Answers(dict[object, str | None]):
    """What was found for the addresses asked last. Starts anew when it is full: simpler than ageing, and as good here."""

    __slots__ = ("_find",)

    def __init__(self, find: Callable[[object], str | None]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, ip: object) -> str | None:
        if len(self) >= MOST_ANSWERS:
            self.clear()
        answer = self._find(ip)
        self[ip] = answer
        return answer


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """The network or single address that `text` names, an IPv4 one in IPv6 form as IPv4. ValueError says what is wrong."""
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is no address and no network: write for example 192.0.2.1 or 10.0.0.0/8") from None
    if ipaddress.ip_interface(text).ip != found.network_address:
        raise ValueError(f"{text!r} has bits set behind its prefix: write {found}, or the address alone")
    if isinstance(found, ipaddress.IPv6Network) and found.subnet_of(_MAPPED):
        return ipaddress.IPv4Network((found.network_address.packed[12:], found.prefixlen - 96))
    return found


def pack(ip: str) -> bytes | None:
    """The 4 or 16 bytes of an address, four of an IPv4 address in IPv6 form; None when `ip` is none. A zone is ignored."""
    try:
        return socket.inet_pton(socket.AF_INET, ip)
    except (OSError, ValueError):
        pass
    try:
        packed = socket.inet_pton(socket.AF_INET6, ip.partition("%")[0])
    except (OSError, ValueError):
        return None
    return packed[12:] if packed.startswith(_MAPPED_PREFIX) else packed


def spellings(ip: str) -> frozenset[str]:
    """The texts under which packets may carry the address `ip`: its usual form, and of IPv4 the one in IPv6 too.

    ValueError when `ip` is no address.
    """
    packed = pack(ip)
    if packed is None or "%" in ip:
        raise ValueError(f"{ip!r} is no address: write for example 192.0.2.1 or 2001:db8::1")
    if len(packed) == 16:
        return frozenset({socket.inet_ntop(socket.AF_INET6, packed)})
    text = socket.inet_ntop(socket.AF_INET, packed)
    return frozenset({text, f"::ffff:{text}"})
