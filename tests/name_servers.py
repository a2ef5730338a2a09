"""A real name server for tests: DNS over UDP on loopback, with the zone of the test's choice."""

from __future__ import annotations

import asyncio
from types import TracebackType

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class NameServer(asyncio.DatagramProtocol):
    """`async with NameServer() as server:` answers at `server.address` from `server.zone`.

    `zone[name, type]` = records in zone file words; a name without any is NXDOMAIN. `ttl` of all types but those in `ttls`.
    `rcode` other than NOERROR is the answer to everything; `silent`: none at all.
    """

    def __init__(self, ttl: int = 60) -> None:
        self.ttl = ttl
        self.ttls: dict[str, int] = {}
        self.zone: dict[tuple[str, str], list[str]] = {}
        self.rcode = dns.rcode.NOERROR
        self.silent = False
        self.asked: list[tuple[str, str]] = []
        self._transport: asyncio.DatagramTransport

    async def __aenter__(self) -> NameServer:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._transport.get_extra_info("sockname")[:2])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        if self.silent:
            return
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        answer.set_rcode(self.rcode)
        if self.rcode == dns.rcode.NOERROR:
            while alias := self.zone.get((name, "CNAME")):
                self._add(answer, name, "CNAME")
                name = alias[0].rstrip(".")
            self._add(answer, name, kind)
        self._transport.sendto(answer.to_wire(want_shuffle=False), addr)

    def _add(self, answer: dns.message.Message, name: str, kind: str) -> None:
        if records := self.zone.get((name, kind)):
            ttl = self.ttls.get(kind, self.ttl)
            answer.answer.append(dns.rrset.from_text(f"{name}.", ttl, "IN", kind, *records))
        elif not any(known == name for known, _ in self.zone):
            answer.set_rcode(dns.rcode.NXDOMAIN)
