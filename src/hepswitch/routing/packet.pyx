# cython: language_level=3
"""Packet and Message: a HEP packet, and the SIP in it, with the actions that a route may take on them.

Not here: the codecs (`wire.hep`, `wire.sip`) that both extend, the loop that calls the route (`routing.flow`), and what
outlets do with a packet (`destinations`).
"""

from libc.string cimport memcpy
from libc.stdint cimport uint8_t, uint16_t, uint64_t

from collections import Counter
import ipaddress
from typing import NamedTuple

from hepswitch.wire.hep cimport Hep
from hepswitch.wire.index cimport PROTO_TYPE, SIP
from hepswitch.wire.sip cimport Sip
from hepswitch.wire.sip_scan cimport sip_looks
from hepswitch.wire.sip_text cimport first_line
from hepswitch.books import MOST_LABEL, label
from hepswitch.units import local_address

cdef extern from "<sys/socket.h>" nogil:
    enum: AF_INET
    enum: AF_INET6

cdef int MOST_REASONS = 1000     # distinct drop reasons that are counted apart: a script may build them from packet data

cdef Py_ssize_t LONGEST_TAG = MOST_LABEL

cdef int MOST_SENDERS = 10_000   # senders remembered in words

NO_TAGS = frozenset()

WORDS = ((STORED, "stored"), (SENT, "relayed"), (TRACED, "traced"), (REFUSED, "refused"))

CAPTURE_OFF = "capture off"
"""The reason for dropping what only a store was to take, while capturing is off."""


class RouteError(LookupError):
    """A route named a destination, store or mask that the configuration does not have, or acted on a packet that is not
    in the flow."""


class Received(NamedTuple):
    """How a packet came in: the outer connection, not the captured one. `transport` is udp, tcp or tls; for what was
    captured here or comes out of a stream it is the scheme of the listener's URL (mirror, pcap, nats …), with no addresses."""

    transport: str
    src_ip: str
    src_port: int
    dst_ip: str
    dst_port: int


cdef class TracerBase:
    """The tracer as the flow knows it (`tracing.tracer`). `busy`: it wants to see packets before the route; `look_back`: it
    may ask for them later."""


cdef class MeterBase:
    """The meter as the flow knows it (`metering.meter`). `route_ns`: wall time spent in routes and in the actions that they
    call, estimated from a sample."""

    cdef int enter(self, Batch batch) except -1:
        return 0

    cdef int see(self, Packet packet, Item* item) except -1:
        return 0


cdef class Context:
    """The destinations, stores and masks that a route can name, the tracer, and the books that it is counted in."""

    def __cinit__(self, dict destinations, dict stores, default_store, routed, dict masks=None, TracerBase tracer=None):
        self.destinations = destinations
        self.stores = stores
        self.default_store = default_store
        self.routed = routed
        self.masks = {} if masks is None else masks
        self.tracer = tracer
        self.taps = None
        self.capturing = True
        self.held = Counter()
        self.senders = {}

    cdef object destination(self, name):
        outlet = self.destinations.get(name)
        if outlet is None:
            raise RouteError(_unknown("destination", name, self.destinations))
        return outlet

    cdef object store(self, name):
        if name is None:
            if self.default_store is None:
                raise RouteError("no store is configured: add a [stores.lake] table with url = \"lake:./captures\"")
            return self.default_store
        outlet = self.stores.get(name)
        if outlet is None:
            raise RouteError(_unknown("store", name, self.stores))
        return outlet

    cdef bint keeps(self, outlet) except -1:
        """Whether the store `outlet` may be asked to take a packet. While capturing is off none is: counted by its name."""
        if self.capturing:
            return True
        for name, store in self.stores.items():
            if store is outlet:
                self.held[name] += 1
        return False

    cdef object mask(self, name):
        mask = self.masks.get(name)
        if mask is None:
            raise RouteError(_unknown("mask", name, self.masks))
        return mask

    cdef object received(self, Batch batch, Item* item):
        """Who sent `item`: agents are few and send much, so each is spelled out once."""
        peer = batch.peer if batch.peer is not None else <bytes> item.sender[:item.sender_size]
        key = (batch.listener.url, peer)
        known = self.senders.get(key)
        if known is None:
            transport, host, at = local_address(batch.listener.url)
            ip, port = batch.peer if batch.peer is not None else _address(item)
            if len(self.senders) >= MOST_SENDERS:
                self.senders.clear()
            known = self.senders[key] = Received(transport, ip, port, host, at)
        return known

    cdef int count_drop(self, reason) except -1:
        dropped = self.routed.dropped
        if reason not in dropped:
            reason = label(reason)
            if reason not in dropped and len(dropped) >= MOST_REASONS:
                reason = "other"
        dropped[reason] += 1
        return 0


def _unknown(kind, name, known):
    names = ", ".join(sorted(known)) or "none"
    return f"no {kind} is named {name!r}; configured: {names}. Add [{kind}s.{name}] or mend the route"


cdef class Packet(Hep):
    """One HEP packet in the flow. What `@hep_route` functions get; see `wire.hep.Hep` for reading and editing it."""

    cdef int arrived(self, Context context, Batch batch, Item* item) except -1:
        """Enter the flow: the packet's bytes were loaded from `item` of `batch`."""
        self.context = context
        self.batch = batch
        self.item = item
        self.sender = self.tagset = self.marks = self.given = self.handed = self.original = None
        self.outcome = 0
        self.arrival_us = batch.arrival_us
        self.mark = batch.mark
        return 0

    cdef int keep(self) except -1:
        """Leave the batch: take along the bytes and who sent them. For packets that a script holds on to."""
        if self.batch is not None:
            self.received                              # noqa: B018 (read it while the batch still knows)
            self.detach()
            self.batch = self.mark = None
            self.item = NULL
        return 0

    cdef Context flow(self):
        """What the packet can be handed to. A script that builds one of its own (`Packet(data)`) has nothing."""
        if self.context is None:
            raise RouteError("this packet did not come in: only one that a route was given can be sent, stored or dropped")
        return self.context

    @property
    def received(self):
        """Who sent the packet to us, and where it arrived (`Received`); None for a packet that a script built."""
        if self.sender is None and self.batch is not None:
            self.sender = self.context.received(self.batch, self.item)
        return self.sender

    @property
    def relayed(self):
        """True once a destination accepted the packet."""
        return bool(self.outcome & SENT)

    @property
    def stored(self):
        """True once a store accepted the packet."""
        return bool(self.outcome & STORED)

    @property
    def became(self):
        """What has become of the packet so far, in words: "stored", "relayed, traced", "dropped: lab", "refused" (none of
        those who were asked took it), "unrouted"."""
        words = [word for bit, word in WORDS if self.outcome & bit]
        if self.outcome & DROPPED:
            words.append(f"dropped: {self.reason}")
        elif self.outcome & HELD and not self.outcome & TAKEN:
            words.append(f"dropped: {CAPTURE_OFF}")
        return ", ".join(words) or "unrouted"

    @property
    def tags(self):
        """The tags that the packet got on its way."""
        return NO_TAGS if self.tagset is None else self.tagset

    def tag(self, name):
        """Give the packet the tag `name`, a short word: what is longer than 100 characters is cut off."""
        cdef str text = name if type(name) is str else str(name)
        if self.tagset is None:
            self.tagset = set()
        self.tagset.add(text if len(text) <= LONGEST_TAG and text.isascii() else label(text))

    def relay(self, name):
        """Send the packet, as it is now, to the HEP destination `name`. Never blocks.

        True when at least one node of the destination accepted it (queued, sent or spooled). RouteError when the
        configuration has no such destination.
        """
        outlet = self.flow().destination(name)
        accepted = outlet.offer(self)
        self.outcome |= SENT if accepted else REFUSED
        if accepted:
            self.took(outlet)
        return accepted

    def store(self, name=None, *, table=None, custom_field1=None, custom_field2=None, custom_field3=None):
        """Put the packet, as it is now, into the store `name` (None: the default store). Never blocks.

        `table` may hold strftime fields (UTC, the packet's own time). True when the store accepted it; while capturing is
        switched off none does.
        """
        cdef Context context = self.flow()
        outlet = context.store(name)
        if not context.keeps(outlet):
            self.outcome |= HELD
            return False
        if table is None and custom_field1 is None and custom_field2 is None and custom_field3 is None:
            accepted = outlet.offer(self)
        else:
            accepted = outlet.offer(
                self,
                table=table,
                custom_field1=custom_field1,
                custom_field2=custom_field2,
                custom_field3=custom_field3,
            )
        self.outcome |= STORED | CAPTURED if accepted else REFUSED
        if accepted:
            self.took(outlet)
        return accepted

    def report(self, correlation_id, *, store=None, table=None):
        """Store a packet that is no SIP (RTCP, a log, a quality report) under `correlation_id` (str or bytes).

        True when the store accepted it. ValueError when the correlation id is empty.
        """
        if not correlation_id:
            raise ValueError("report() needs a correlation id: pass hep.correlation_id or the call's Call-ID")
        if isinstance(correlation_id, bytes):
            correlation_id = correlation_id.decode("utf-8", "surrogateescape")
        cdef Context context = self.flow()
        outlet = context.store(store)
        if not context.keeps(outlet):
            self.outcome |= HELD
            return False
        accepted = outlet.offer(self, table=table, correlation_id=correlation_id)
        self.outcome |= STORED if accepted else REFUSED
        if accepted:
            self.took(outlet)
        return accepted

    def trace(self, trace_id, scope=None, types=None, attrs=None, flags="", correlation_id=None):
        """Trace from this packet on under `trace_id`: to the destinations of `[traces.ID]`.

        `scope`: "message", "transaction", "dialog" or "b2b" (or m, t, d, b); unless given, a dialog for an INVITE, else a
        transaction. A dialog and a b2b session begin with an INVITE without To tag, else it is the transaction; that
        begins with a request, else it is this message. `types`: "sip|rtcp|log…" or "all"; SIP alone unless given.
        `attrs`: text for the stores. `flags`: "C" the caller's side only, "c" the callee's. `correlation_id` (str or bytes) replaces
        that of the packets.

        Each destination gets one copy of a packet, as the route leaves it, unless the route sends it there itself. False
        when the trace is switched off. RouteError when there is no such trace, ValueError for words that mean nothing.
        """
        cdef Context context = self.flow()
        if context.tracer is None:
            raise RouteError(f"no trace is named {trace_id!r}: nothing can be traced here")
        sip = self.original if self.original is not None else self.sip
        return context.tracer.trace(self, sip, trace_id, scope, types, attrs, flags, correlation_id)

    def went_to(self, outlet):
        """Whether this outlet has taken the packet (known while there is a tracer)."""
        return self.handed is not None and outlet in self.handed

    cdef int kind(self) except -1:
        """Request, reply or no SIP: by the beginning of the payload alone, for this is asked of every packet stored."""
        cdef const unsigned char* p = NULL
        cdef Py_ssize_t n = 0
        cdef uint64_t proto_type = SIP
        self.number(PROTO_TYPE, &proto_type)
        if proto_type != SIP:
            return OTHER
        self.span(&p, &n)
        if n and p[0] == c"{":                                  # wrapped in JSON, perhaps
            sip = self.sip
            return OTHER if sip is None else REQUEST if sip.is_request else REPLY
        if not sip_looks(p, n):
            return OTHER
        return REPLY if p[first_line(p, n) + 3] == c"/" else REQUEST    # SIP/2.0 200 …: no method has a slash

    cdef int took(self, outlet) except -1:
        if self.context.tracer is not None:
            if self.handed is None:
                self.handed = [outlet]
            else:
                self.handed.append(outlet)
        return 0

    def mask(self, name):
        """Mask the packet as `[masks.NAME]` says, for all that comes after. RouteError when there is no such mask.

        A payload that cannot be masked is overwritten, and counted as `overwritten`.
        """
        cdef Context context = self.flow()
        mask = context.mask(name)
        if context.tracer is not None and self.original is None:
            self.original = self.sip                   # calls are known by what came in
        if mask(self) is False:
            context.routed.overwritten += 1

    def drop(self, reason="dropped"):
        """Count the packet as dropped for `reason` (a phrase of up to 100 characters). What was relayed or stored before
        stays so."""
        if not self.outcome & DROPPED:
            self.reason = str(reason)
            self.flow().count_drop(self.reason)
        self.outcome |= DROPPED

    def resume_sip(self):
        """Go on in the SIP route when this route returns. A packet without SIP in it is dropped as "not SIP"."""
        self.outcome |= RESUME


cdef class Message(Sip):
    """The SIP message of a packet in the flow. What `@sip_route` functions get; `hep` is the packet around it."""

    def __init__(self, Packet hep not None, bytes raw not None):
        Sip.__init__(self, raw)
        self.hep = hep

    def relay(self, name):
        """`Packet.relay` of the packet around this message."""
        return self.hep.relay(name)

    def store(self, name=None, *, table=None, custom_field1=None, custom_field2=None, custom_field3=None):
        """`Packet.store` of the packet around this message."""
        return self.hep.store(
            name, table=table, custom_field1=custom_field1, custom_field2=custom_field2, custom_field3=custom_field3
        )

    def report(self, correlation_id, *, store=None, table=None):
        """`Packet.report` of the packet around this message."""
        return self.hep.report(correlation_id, store=store, table=table)

    def trace(self, trace_id, scope=None, types=None, attrs=None, flags="", correlation_id=None):
        """`Packet.trace` of the packet around this message."""
        return self.hep.trace(trace_id, scope, types, attrs, flags, correlation_id)

    def mask(self, name):
        """`Packet.mask` of the packet around this message, which itself stays as it was read."""
        self.hep.mask(name)

    def drop(self, reason="dropped"):
        """`Packet.drop` of the packet around this message."""
        self.hep.drop(reason)

    @property
    def received(self):
        """`Packet.received` of the packet around this message."""
        return self.hep.received


cdef object _address(Item* item):
    """("ip", port) of a struct sockaddr_in or sockaddr_in6; ("", 0) for anything else."""
    cdef uint16_t family = 0
    cdef const unsigned char* p = item.sender
    if p == NULL or item.sender_size < 16:
        return "", 0
    memcpy(&family, p, 2)
    port = p[2] << 8 | p[3]
    if family == AF_INET:
        return str(ipaddress.IPv4Address(<bytes>p[4:8])), port
    if family == AF_INET6 and item.sender_size >= 24:
        address = ipaddress.IPv6Address(<bytes>p[8:24])
        return str(address.ipv4_mapped or address), port
    return "", 0
