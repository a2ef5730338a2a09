"""A SIP program that traces itself: it answers OPTIONS, and what it received, sent and logged is sent as HEP.

    python examples/agent.py udp://127.0.0.1:9060

Both ends are here so that it runs by itself: one pings, the other answers. Then `hepswitch ladder CALL-ID` shows the
messages and the log lines of that ping together.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import uuid
from typing import Any

from hepswitch.agent import HepLogHandler, HepSender, call
from hepswitch.wire.sip import Sip

log = logging.getLogger("answerer")

Address = tuple[str, int]

OPTIONS = """\
OPTIONS sip:{there[0]}:{there[1]} SIP/2.0\r
Via: SIP/2.0/UDP {here[0]}:{here[1]};branch=z9hG4bK{call_id}\r
Max-Forwards: 70\r
From: <sip:ping@example.com>;tag={call_id}\r
To: <sip:pong@example.com>\r
Call-ID: {call_id}\r
CSeq: 1 OPTIONS\r
Content-Length: 0\r
\r
"""


def answer(request: Sip) -> bytes:
    """200 OK (RFC 3261, section 8.2.6): the headers that a reply takes from its request."""
    lines = ["SIP/2.0 200 OK"]
    for name in ("Via", "From", "To", "Call-ID", "CSeq"):
        tag = f";tag={uuid.uuid4().hex}" if name == "To" else ""
        lines += [f"{name}: {value}{tag}" for value in request.headers(name)]
    return "\r\n".join([*lines, "Content-Length: 0", "", ""]).encode()


class Answerer(asyncio.DatagramProtocol):
    """Answers every OPTIONS. `sender` gets each message as it crosses the wire."""

    def __init__(self, sender: HepSender) -> None:
        self._sender = sender

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._here: Address = transport.get_extra_info("sockname")

    def datagram_received(self, data: bytes, peer: Address) -> None:
        self._sender.sip(data, src=peer, dst=self._here)
        request = Sip(data)
        with call(request.call_id):
            if request.method != "OPTIONS":
                log.warning("no answer to %s", request.method)
                return
            log.info("ping from %s:%d", *peer)
            reply = answer(request)
            self._transport.sendto(reply, peer)
            self._sender.sip(reply, src=self._here, dst=peer)


class Caller(asyncio.DatagramProtocol):
    """Keeps the first reply."""

    def __init__(self) -> None:
        self.reply: asyncio.Future[Sip] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, peer: Address) -> None:
        if not self.reply.done():
            self.reply.set_result(Sip(data))


async def ping(sender: HepSender) -> str:
    """One OPTIONS from one end to the other; its Call-ID."""
    loop = asyncio.get_running_loop()
    answerer, _ = await loop.create_datagram_endpoint(lambda: Answerer(sender), local_addr=("127.0.0.1", 0))
    there: Address = answerer.get_extra_info("sockname")
    transport, caller = await loop.create_datagram_endpoint(Caller, remote_addr=there)
    call_id = uuid.uuid4().hex
    request = OPTIONS.format(here=transport.get_extra_info("sockname"), there=there, call_id=call_id)
    transport.sendto(request.encode())
    reply = await asyncio.wait_for(caller.reply, 5)
    transport.close()
    answerer.close()
    assert reply.status == 200
    return call_id


def main() -> int:
    url = sys.argv[1] if len(sys.argv) > 1 else "udp://127.0.0.1:9060"
    with HepSender(url, captagent_id=2001, node_name="answerer") as sender:
        logging.basicConfig(level=logging.INFO, handlers=[logging.StreamHandler(), HepLogHandler(sender)])
        call_id = asyncio.run(ping(sender))
        sender.flush()
        print(f"sent {sender.stats['delivered']} packets to {url}: hepswitch ladder {call_id}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
