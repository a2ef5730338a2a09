"""Scripted SIP before the meter: a flow that has one, and calls as agents capture them."""

from __future__ import annotations

import time
from typing import Any

from hepswitch import books
from hepswitch.metering.calls import room
from hepswitch.metering.meter import Meter
from hepswitch.routing.flow import Flow
from hepswitch.routing.packet import Context
from hepswitch.wire.batch import Batch
from hepswitch.wire.hep import Hep

START = 1_795_000_000.0
UAC, PROXY, UAS, OTHER = "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"
LISTENER = "udp://127.0.0.1:9060"


class Stage:
    """A flow with a meter. `say` sends one message through it; times are seconds after START."""

    def __init__(
        self,
        *,
        agents: int = 1000,
        nodes: int = 10,
        memory: bytearray | None = None,
        sip: bool = True,
        transactions: int = 4096,
    ) -> None:
        self.memory = bytearray(room(transactions)) if memory is None else memory
        self.meter = Meter(agents, nodes, self.memory if sip else None)
        self.listener = books.Listener(LISTENER)
        self.errors: list[BaseException] = []
        self.routed = books.Routed()
        context = Context({}, {}, None, self.routed)
        self.flow = Flow(context, lambda _, error: self.errors.append(error), lambda packet: packet.drop("seen"))
        self.flow.meter = self.meter

    def run(self, *packets: bytes, peer: str = "192.0.2.9") -> None:
        batch = Batch.of(list(packets), self.listener, (peer, 4000))
        batch.arrival_us = round(time.time() * 1e6)
        self.flow(batch)
        assert not self.errors, self.errors

    def say(
        self,
        start: str | int,
        at: float,
        cseq: str = "1 INVITE",
        *,
        branch: str = "b1",
        source: str = UAC,
        target: str = PROXY,
        call_id: str = "call-1",
        from_tag: str = "caller",
        to_tag: str = "",
        headers: str = "",
        agent: int = 7,
        times: int = 1,
    ) -> None:
        line = f"SIP/2.0 {start} Whatever" if isinstance(start, int) else f"{start} sip:bob@example.net SIP/2.0"
        to = f";tag={to_tag}" if to_tag else ""
        via = f"Via: SIP/2.0/UDP 10.9.9.9;branch=z9hG4bK{branch}\r\n" if branch else ""
        payload = (
            f"{line}\r\n{via}From: <sip:alice@a>;tag={from_tag}\r\n"
            f"To: <sip:bob@b>{to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\n{headers}Content-Length: 0\r\n\r\n"
        )
        packet = bytes(
            Hep.new(
                payload, src_ip=source, dst_ip=target, src_port=5060, dst_port=5060, time=START + at, captagent_id=agent
            )
        )
        for _ in range(times):
            self.run(packet)

    def reply(self, status: int, at: float, cseq: str = "1 INVITE", **said: Any) -> None:
        """A reply on the hop from UAC to PROXY unless it says another."""
        self.say(status, at, cseq, **{"source": PROXY, "target": UAC, "to_tag": "callee", **said})

    def tell_apart(self, **targets: list[str]) -> None:
        """From now on these networks have names."""
        self.meter.tell_apart(self.meter.prepare(targets))

    # ── what was counted ───────────────────────────────────────────────────────────────────────────────────────────

    @property
    def sip(self) -> dict[str, Any]:
        found: dict[str, Any] = self.meter.snapshot()["sip"]
        return found

    def calls(self, target: str = "unknown", direction: str = "") -> dict[str, Any]:
        row: dict[str, Any] = self.sip["calls"][target][direction]
        return row

    def outcomes(self, target: str = "unknown", direction: str = "") -> dict[str, int]:
        """The outcomes of calls that there were."""
        return {word: count for word, count in self.calls(target, direction)["outcomes"].items() if count}

    def messages(self, target: str = "unknown", direction: str = "") -> dict[str, int]:
        """Messages of all nodes as `INVITE/200`: the method of CSeq and the response."""
        found: dict[str, int] = {}
        for methods in self.sip["messages"].get(target, {}).get(direction, {}).values():
            for method, responses in methods.items():
                for response, count in responses.items():
                    found[f"{method}/{response}"] = found.get(f"{method}/{response}", 0) + count
        return found


def rtcp(report: bytes, **chunks: Any) -> bytes:
    """A packet of type 5."""
    said = {"proto_type": 5, "captagent_id": 7, "src_ip": UAC, "dst_ip": UAS, "time": START, **chunks}
    return bytes(Hep.new(report, **said))
