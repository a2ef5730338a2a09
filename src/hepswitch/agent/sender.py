"""HepSender: what a Python program sends, as HEP packets to one far end.

Not here: the queue and the thread (`courier`), sockets (`ways`), log records (`handler`).
"""

from __future__ import annotations

from time import time as now
from types import TracebackType
from typing import Any, Self

from hepswitch.agent.calls import current_call
from hepswitch.agent.courier import Courier
from hepswitch.agent.ways import DatagramWay, StreamWay, Way
from hepswitch.books import Snapshot
from hepswitch.net.tls import CLIENT_OPTIONS, client_context
from hepswitch.units import Endpoint, parse_duration, parse_endpoint, parse_size
from hepswitch.wire.hep import Hep
from hepswitch.wire.sip import Sip

MOST_PAYLOAD = 65_000
"""Bytes of a payload: a packet holds 65,535 with everything else in it, a datagram a little less."""

GOODBYE = 0.2
"""Seconds that the thread has to end after everything is delivered or the time for it is over."""

HERE = ("127.0.0.1", 0)
"""Source and target of a log line that was not given any: HEP cannot do without addresses."""

Address = tuple[str, int]
"""IP address and port."""


class HepSender:
    """Sends HEPv3 packets to `url`: udp://, tcp:// or tls://HOST[:PORT], the latter with ?ca=, verify=, cert= and key=.

    `captagent_id`, `node_name` and `auth_key` go into every packet. At most `queue` bytes wait, here and unacknowledged;
    what comes when it is full is refused: `send` gives False and `stats` counts it. At the interpreter's exit what is
    queued gets `drain` seconds. ValueError or OSError when something of this cannot be.

    Everything may be called from any thread, from a coroutine, and from a signal handler.
    """

    def __init__(
        self,
        url: str,
        *,
        captagent_id: int = 2001,
        node_name: str | None = None,
        auth_key: str | bytes | None = None,
        queue: int | str = "4MiB",
        drain: float | str = 2.0,
    ) -> None:
        endpoint = _endpoint(url)
        tls = client_context(endpoint) if endpoint.scheme == "tls" else None
        room = parse_size(queue)
        own = {"captagent_id": captagent_id, "node_name": node_name, "auth_key": _octets(auth_key)}
        self._chunks: dict[str, Any] = {name: value for name, value in own.items() if value is not None}
        Hep.new(b"", src_ip=HERE[0], **self._chunks)  # ValueError here, not with the first packet
        self._datagrams = endpoint.scheme == "udp"

        def way() -> Way:
            return DatagramWay(endpoint, captagent_id) if self._datagrams else StreamWay(endpoint, tls, replay=room)

        self._courier = Courier(str(endpoint), way, room, parse_duration(drain))

    def __repr__(self) -> str:
        return f"<HepSender {self.url} {self._courier.state}>"

    @property
    def url(self) -> str:
        """Where packets go, without options."""
        return self._courier.url

    # ── sending ────────────────────────────────────────────────────────────────────────────────────────────────────

    def send(
        self,
        payload: bytes | str,
        *,
        src: Address,
        dst: Address,
        protocol: int | str = "UDP",
        proto_type: int | str = "SIP",
        correlation_id: str | bytes | None = None,
        time: float | None = None,
        **chunks: Any,
    ) -> bool:
        """Queue one packet: `payload` as it went from `src` to `dst` (IP and port) at `time` (seconds since 1970, now).

        `protocol` is UDP, TCP, TLS, WS, SCTP or an IP protocol's number, `proto_type` SIP, RTCP, LOG … or its number,
        `correlation_id` usually the Call-ID; other `chunks` by name. True when it was accepted. Never waits; raises
        ValueError or TypeError for arguments that no packet can hold, and nothing because of the far end.
        """
        octets = payload.encode("utf-8", "replace") if isinstance(payload, str) else payload
        if len(octets) > MOST_PAYLOAD:
            return self._courier.refuse("too large")
        if correlation_id:
            chunks["correlation_id"] = _octets(correlation_id)
        packet = Hep.new(
            octets,
            src_ip=src[0],
            src_port=src[1],
            dst_ip=dst[0],
            dst_port=dst[1],
            proto_id=protocol,
            proto_type=proto_type,
            time=now() if time is None else time,
            **(self._chunks | chunks),
        )
        return self.send_packet(packet)

    def sip(
        self, raw: bytes | str, src: Address, dst: Address, *, protocol: int | str = "UDP", time: float | None = None
    ) -> bool:
        """Queue a SIP message as it was sent or received; its Call-ID is the correlation id. See `send`."""
        octets = raw.encode("utf-8", "surrogateescape") if isinstance(raw, str) else raw
        call_id = Sip(octets).call_id
        return self.send(octets, src=src, dst=dst, protocol=protocol, correlation_id=call_id, time=time)

    def log(
        self,
        text: str,
        *,
        correlation_id: str | bytes | None = None,
        src: Address = HERE,
        dst: Address = HERE,
        time: float | None = None,
    ) -> bool:
        """Queue a line of a log (type 100), of the call `correlation_id` or else the current one (see `call`).

        What is longer than a packet is cut. See `send`.
        """
        octets = text.encode("utf-8", "replace")[:MOST_PAYLOAD]
        call = current_call() if correlation_id is None else correlation_id
        return self.send(octets, src=src, dst=dst, proto_type="LOG", correlation_id=call, time=time)

    def send_packet(self, packet: Hep) -> bool:
        """Queue a packet as it is: nothing is added. Over TCP and TLS one of version 1 or 2 becomes version 3."""
        if packet.version != 3 and not self._datagrams:
            packet = packet.copy()
            packet.version = 3
        return self._courier.offer(bytes(packet))

    # ── life ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything accepted so far is delivered, or discarded and counted; False when that takes longer than
        `timeout` seconds (`drain` unless given).
        """
        return self._courier.flush(timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Take nothing more, deliver what is queued in `timeout` seconds (`drain` unless given), discard and count the rest.

        True when nothing had to be discarded. A second call changes nothing.
        """
        return self._courier.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def stats(self) -> Snapshot:
        """The books of this process: accepted = delivered + queued + spooled (always 0) + Σ discarded, at every moment.

        `refused`: by reason, what was never accepted; `state`: idle (nothing sent yet), probing, active, inactive, closed;
        `reconnects`; `replayed`: sent again although delivered, for the far end may not have read it.
        """
        return self._courier.stats()


def _endpoint(url: str) -> Endpoint:
    """ValueError when `url` is not where packets can be sent."""
    endpoint = parse_endpoint(url)
    known = CLIENT_OPTIONS if endpoint.scheme == "tls" else frozenset[str]()
    if unknown := sorted(endpoint.options.keys() - known):
        allowed = ", ".join(sorted(known)) or "none"
        raise ValueError(f"{endpoint} has unknown options: {', '.join(unknown)}; known here: {allowed}")
    if endpoint.is_service:
        raise ValueError(f"{endpoint} names a service (SRV), which only a switch looks up: name a host and its port")
    if not endpoint.port:
        raise ValueError(f"{endpoint} needs a port above 0")
    return endpoint


def _octets(text: str | bytes | None) -> bytes | None:
    """The bytes of a chunk; text that came from SIP may hold bytes that are no UTF-8."""
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
