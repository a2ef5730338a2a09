from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping, Set
from typing import Any, Final, NamedTuple, Protocol

from hepswitch.books import Routed
from hepswitch.routing.look_back import LookBack
from hepswitch.wire.hep import Hep
from hepswitch.wire.sip import Sip

CAPTURE_OFF: Final[str]
"""The reason for dropping what only a store was to take, while capturing is off."""

class RouteError(LookupError):
    """A route named a destination, store or mask that the configuration does not have, or acted on a packet that is not
    in the flow."""

class Received(NamedTuple):
    """How a packet came in: the outer connection, not the captured one. `transport` is udp, tcp or tls."""

    transport: str
    src_ip: str
    src_port: int
    dst_ip: str
    dst_port: int

class TracerBase:
    """The tracer as the flow knows it (`tracing.tracer`). `busy`: it wants to see packets before the route; `look_back`: it
    may ask for them later."""

    busy: bool
    look_back: LookBack | None

class MeterBase:
    """The meter as the flow knows it (`metering.meter`)."""

    route_ns: int
    """Wall time spent in routes and in the actions that they call, estimated from a sample."""

class Taps(Protocol):
    """Who watches packets go by (`tracing.taps`)."""

    def see(self, packet: Packet) -> None:
        """The packet as the route left it. Never raises."""

class Context:
    """The destinations, stores and masks that a route can name, the tracer, and the books that it is counted in."""

    destinations: Mapping[str, Any]
    stores: Mapping[str, Any]
    default_store: Any
    routed: Routed
    masks: MutableMapping[str, Callable[[Hep], object]]
    tracer: TracerBase | None
    taps: Taps | None
    capturing: bool
    """False: stores are not asked."""
    held: Counter[str]
    """Packets that a store was not asked to take, by its name."""
    def __init__(
        self,
        destinations: Mapping[str, Any],
        stores: Mapping[str, Any],
        default_store: Any,
        routed: Routed,
        masks: MutableMapping[str, Callable[[Hep], object]] | None = None,
        tracer: TracerBase | None = None,
    ) -> None: ...

class Packet(Hep):
    """One HEP packet in the flow. What `@hep_route` functions get; see `wire.hep.Hep` for reading and editing it."""

    marks: list[Any] | None
    """What the tracer marked the packet with."""
    given: Any
    """What the tracer notes about whom it has given the packet to; None: to nobody."""

    @property
    def received(self) -> Received:
        """Who sent the packet to us, and where it arrived."""
    @property
    def relayed(self) -> bool:
        """True once a destination accepted the packet."""
    @property
    def stored(self) -> bool:
        """True once a store accepted the packet."""
    @property
    def became(self) -> str:
        """What has become of the packet so far, in words: "stored", "relayed, traced", "dropped: lab", "refused" (none of
        those who were asked took it), "unrouted"."""
    @property
    def tags(self) -> Set[str]:
        """The tags that the packet got on its way."""
    def tag(self, name: str) -> None:
        """Give the packet the tag `name`, a short word: what is longer than 100 characters is cut off."""
    def relay(self, name: str) -> bool:
        """Send the packet, as it is now, to the HEP destination `name`. Never blocks.

        True when at least one node of the destination accepted it (queued, sent or spooled). RouteError when the
        configuration has no such destination.
        """
    def store(
        self,
        name: str | None = None,
        *,
        table: str | None = None,
        custom_field1: str | None = None,
        custom_field2: str | None = None,
        custom_field3: str | None = None,
    ) -> bool:
        """Put the packet, as it is now, into the store `name` (None: the default store). Never blocks.

        `table` may hold strftime fields (UTC, the packet's own time). True when the store accepted it; while capturing is
        switched off none does.
        """
    def report(self, correlation_id: str | bytes, *, store: str | None = None, table: str | None = None) -> bool:
        """Store a packet that is no SIP (RTCP, a log, a quality report) under `correlation_id`.

        True when the store accepted it. ValueError when the correlation id is empty.
        """
    def trace(
        self,
        trace_id: str,
        scope: str | None = None,
        types: str | None = None,
        attrs: str | None = None,
        flags: str = "",
        correlation_id: str | bytes | None = None,
    ) -> bool:
        """Trace from this packet on under `trace_id`: to the destinations of `[traces.ID]`.

        `scope`: "message", "transaction", "dialog" or "b2b" (or m, t, d, b); unless given, a dialog for an INVITE, else a
        transaction. A dialog and a b2b session begin with an INVITE without To tag, else it is the transaction; that
        begins with a request, else it is this message. `types`: "sip|rtcp|log…" or "all"; SIP alone unless given.
        `attrs`: text for the stores. `flags`: "C" the caller's side only, "c" the callee's. `correlation_id` replaces that
        of the packets.

        Each destination gets one copy of a packet, as the route leaves it, unless the route sends it there itself. False
        when the trace is switched off. RouteError when there is no such trace, ValueError for words that mean nothing.
        """
    def went_to(self, outlet: object) -> bool:
        """Whether this outlet has taken the packet (known while there is a tracer)."""
    def mask(self, name: str) -> None:
        """Mask the packet as `[masks.NAME]` says, for all that comes after. RouteError when there is no such mask.

        A payload that cannot be masked is overwritten, and counted as `overwritten`.
        """
    def drop(self, reason: str = "dropped") -> None:
        """Count the packet as dropped for `reason` (a phrase of up to 100 characters). What was relayed or stored before
        stays so."""
    def resume_sip(self) -> None:
        """Go on in the SIP route when this route returns. A packet without SIP in it is dropped as "not SIP"."""

class Message(Sip):
    """The SIP message of a packet in the flow. What `@sip_route` functions get; `hep` is the packet around it."""

    hep: Packet
    def __init__(self, hep: Packet, raw: bytes) -> None: ...
    @property
    def received(self) -> Received:
        """`Packet.received` of the packet around this message."""
    def relay(self, name: str) -> bool:
        """`Packet.relay` of the packet around this message."""
    def store(
        self,
        name: str | None = None,
        *,
        table: str | None = None,
        custom_field1: str | None = None,
        custom_field2: str | None = None,
        custom_field3: str | None = None,
    ) -> bool:
        """`Packet.store` of the packet around this message."""
    def report(self, correlation_id: str | bytes, *, store: str | None = None, table: str | None = None) -> bool:
        """`Packet.report` of the packet around this message."""
    def trace(
        self,
        trace_id: str,
        scope: str | None = None,
        types: str | None = None,
        attrs: str | None = None,
        flags: str = "",
        correlation_id: str | bytes | None = None,
    ) -> bool:
        """`Packet.trace` of the packet around this message."""
    def mask(self, name: str) -> None:
        """`Packet.mask` of the packet around this message, which itself stays as it was read."""
    def drop(self, reason: str = "dropped") -> None:
        """`Packet.drop` of the packet around this message."""
