"""Names to addresses without keeping the event loop waiting, for as long as the DNS says.

- An address is its own answer, for ever.
- A name in /etc/hosts, or without a dot (localhost), is the system's: getaddrinfo in a thread, kept for a minute.
- Any other name is asked of the DNS: AAAA and A, kept for the TTL. When the DNS has no answer the system is asked, which
  may know more ways (mDNS, LDAP, search domains).
- A name that begins with an underscore (`_hep._tcp.example.net`) is a service: SRV records (RFC 2782) in order of
  priority, at random by weight among equals, each target with its own port.

Not here: which of several candidates is used, and connecting.
"""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.resolver
from dns.rdtypes.IN.SRV import SRV

SHORTEST, LONGEST = 1.0, 3600.0
"""Seconds: bounds of a TTL. 0 would ask for every use, and a week would outlive the operator's patience."""

SYSTEM_TTL = 60.0
"""Seconds for which the system's answer holds: getaddrinfo does not tell the TTL."""

RETRY = 5.0
"""Seconds for which the last good answer goes on when there is no new one."""

DNS_PORT = 53
TIMEOUT = 2.0
"""Seconds that one name server may take."""

HOSTS = Path("/etc/hosts")

Candidate = tuple[str, int]
"""Address and port."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Where a name leads: `candidates` in the order in which to try them, valid until `expires` (monotonic clock)."""

    candidates: tuple[Candidate, ...]
    expires: float = math.inf

    @property
    def seconds(self) -> float:
        """How long it holds from now on; infinite for an address."""
        return max(0.0, self.expires - time.monotonic())


class Resolver:
    """Looks up names, each at most once while its answer holds; one look-up serves everybody who waits for it.

    `servers`: addresses of name servers as `name_server` reads them; without any those of the system. `timeout`: seconds
    that one of them may take. When a look-up fails the last good answer goes on: a far end must not be lost because its
    name server is.
    """

    def __init__(self, servers: Sequence[str] = (), timeout: float = TIMEOUT) -> None:
        self._name_servers = [name_server(text) for text in servers]
        self._timeout = timeout
        self._answers: dict[str, Answer] = {}
        self._lookups: dict[str, asyncio.Task[Answer]] = {}

    async def resolve(self, host: str, port: int) -> Answer:
        """Where `host` is; `port` is that of the candidates unless an SRV record says another.

        Raises OSError that names the host when it never had an answer.
        """
        answer = await self._known(host)
        return replace(answer, candidates=tuple((address, own or port) for address, own in answer.candidates))

    async def _known(self, host: str) -> Answer:
        """The answer that holds, or a new one. A port of 0 in it means: as asked for."""
        if _is_address(host):
            return Answer(((host, 0),))
        known = self._answers.get(host)
        if known is not None and known.seconds:
            return known
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
            self._answers[host] = replace(known, expires=time.monotonic() + RETRY)
            return self._answers[host]

    def _looked_up(self, host: str, done: asyncio.Task[Answer]) -> None:
        del self._lookups[host]
        # Whoever asked may be gone: a failure that nobody waits for is no error of the loop's.
        if not done.cancelled() and done.exception() is None:
            self._answers[host] = done.result()

    async def _look_up(self, host: str) -> Answer:
        if host.startswith("_"):
            return await self._service(host)
        if "." not in host.rstrip(".") or await asyncio.to_thread(_in_hosts_file, host):
            return await _ask_system(host)
        try:
            return await self._ask_dns(host)
        except OSError as of_dns:
            try:
                return await _ask_system(host)
            except OSError:
                raise of_dns from None

    async def _ask_dns(self, host: str) -> Answer:
        """AAAA and A at once. Raises OSError when neither has an address."""
        answers = await asyncio.gather(self._query(host, "AAAA"), self._query(host, "A"), return_exceptions=True)
        found = [answer for answer in answers if not isinstance(answer, BaseException)]
        if not found:
            raise next(answer for answer in answers if isinstance(answer, BaseException))
        addresses = dict.fromkeys(record.address for answer in found for record in answer)
        ttl = min(answer.chaining_result.minimum_ttl for answer in found)
        return Answer(tuple((address, 0) for address in addresses), _expiry(ttl))

    async def _service(self, name: str) -> Answer:
        """Every target of an SRV name that has an address. Raises OSError when none has."""
        records = await self._query(name, "SRV")
        assert records.rrset is not None
        # A target must have addresses of its own (RFC 2782): one with an underscore could ask for itself for ever.
        # "." says that the service is decidedly not there.
        targets = [
            (record.target.to_text(omit_final_dot=True), record.port)
            for record in records.rrset.processing_order()
            if isinstance(record, SRV) and record.target.labels[0] and not record.target.labels[0].startswith(b"_")
        ]
        if not targets:
            raise OSError("its SRV records name no host")
        answers = await asyncio.gather(*(self._known(host) for host, _ in targets), return_exceptions=True)
        candidates = list[Candidate]()
        expires = _expiry(records.chaining_result.minimum_ttl)
        trouble: BaseException | None = None
        for (_, port), answer in zip(targets, answers, strict=True):
            if isinstance(answer, BaseException):
                trouble = answer
                expires = min(expires, time.monotonic() + RETRY)
            else:
                candidates += ((address, port) for address, _ in answer.candidates)
                expires = min(expires, answer.expires)
        if not candidates and trouble is not None:
            raise trouble
        return Answer(tuple(dict.fromkeys(candidates)), expires)

    async def _query(self, name: str, kind: str) -> dns.resolver.Answer:
        """One question to the DNS. Raises OSError with the reason for no answer."""
        try:
            return await self._dns().resolve(name, kind, search=False)
        except dns.exception.DNSException as error:
            raise OSError(str(error)) from error

    def _dns(self) -> dns.asyncresolver.Resolver:
        """The name servers as they are now: resolv.conf changes with the network."""
        resolver = dns.asyncresolver.Resolver(configure=not self._name_servers)
        if self._name_servers:
            resolver.nameservers = [dns.nameserver.Do53Nameserver(*server) for server in self._name_servers]
        resolver.timeout = self._timeout
        # Time for each server, and for one of them to be asked again: a datagram may get lost.
        resolver.lifetime = self._timeout * (len(resolver.nameservers) + 1)
        return resolver


def name_server(text: str) -> tuple[str, int]:
    """Address and port of "10.0.0.53", "10.0.0.53:5353", "2001:db8::53" or "[2001:db8::53]:5353".

    Raises ValueError with what is wrong: a name server has no name, for who would resolve it?
    """
    address, port = text, str(DNS_PORT)
    if not _is_address(text):
        address, _, port = text.rpartition(":")
        address = address.removeprefix("[").removesuffix("]")
    if not _is_address(address) or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is no address of a name server: write for example 10.0.0.53 or [2001:db8::53]:5353")
    return address, int(port)


async def _ask_system(host: str) -> Answer:
    """What getaddrinfo says, in its order of preference."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"no valid name: {error}") from error
    addresses = dict.fromkeys(str(address[0]) for _, _, _, _, address in found)
    return Answer(tuple((address, 0) for address in addresses), time.monotonic() + SYSTEM_TTL)


def _in_hosts_file(host: str) -> bool:
    """True when the administrator wrote the name into /etc/hosts: that comes before the DNS."""
    try:
        lines = HOSTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False  # there is none
    wanted = host.rstrip(".").lower()
    return any(wanted in line.partition("#")[0].lower().split()[1:] for line in lines)


def _expiry(ttl: float) -> float:
    return time.monotonic() + min(max(ttl, SHORTEST), LONGEST)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
