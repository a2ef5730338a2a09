# cython: language_level=3
"""The flow: the loop that takes a batch from a source through the route, and keeps the books of it.

Everything that a person may want to change is Python and is called from here; nothing here decides.
"""

from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t

from hepswitch.buckets cimport monotonic
from hepswitch.routing.gate cimport Gate
from hepswitch.routing.look_back cimport LookBack
from hepswitch.routing.packet cimport (
    CAPTURED, HELD, REPLY, REQUEST, RESUME, TAKEN, TRACED, Context, Message, MeterBase, Packet, TracerBase,
)
from hepswitch.wire.batch cimport Batch, Item
from hepswitch.wire.sip cimport Sip

from hepswitch.routing.packet import CAPTURE_OFF
from hepswitch.wire.errors import WireError

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject*)

cdef int MOST_REASONS = 200

cdef int SAMPLE = 61             # one of so many packets is timed in the route: a prime, so that no pattern is always met


cdef class Flow:
    """Calls the routes for each packet of a batch. `flow(batch)` never raises.

    `hep_route` (Packet → ignored) may be None: then `sip_route` (Message → ignored) alone runs, and without either every
    packet goes to the default store. `on_error(packet, error)` is told of a route that raised, whatever it raised, and acts
    on the packet. What `gate` refuses never gets to a route; None lets everything in. `meter` sees what does.
    What the gate cannot judge yet is left in the batch, with all that follows (`Batch.busy`).
    """

    cdef Context context
    cdef Packet packet
    cdef public object hep_route
    cdef public object sip_route
    cdef public Gate gate
    cdef public MeterBase meter
    cdef object on_error

    def __cinit__(self, Context context, on_error, hep_route=None, sip_route=None, Gate gate=None):
        self.context = context
        self.on_error = on_error
        self.hep_route = hep_route
        self.sip_route = sip_route
        self.gate = gate
        self.packet = Packet.__new__(Packet)

    def __call__(self, Batch batch):
        cdef Py_ssize_t i, octets = 0, routed = 0, unrouted = 0, requests = 0, replies = 0
        cdef int kind
        cdef Packet packet = self.packet
        cdef Gate gate = self.gate
        cdef TracerBase tracer = self.context.tracer
        cdef MeterBase meter = self.meter
        cdef LookBack look_back = None
        taps = self.context.taps
        cdef Item* item
        if gate is not None:
            gate.enter(batch)
        if meter is not None:
            meter.enter(batch)
        for i in range(batch.count):
            item = &batch.items[i]
            octets += item.size
            if gate is not None and not gate.sender(item):
                continue
            try:
                packet.load(item.data, item.size, False)
            except WireError as error:
                _malformed(batch.listener, error)
                continue
            packet.arrived(self.context, batch, item)
            if gate is not None and not gate.packet(packet):
                if batch.busy:
                    batch.count = i
                    octets -= item.size
                    break
                continue
            routed += 1
            try:
                if meter is not None:
                    meter.wait -= meter.wait > 0
                    meter.see(packet, item)
                if tracer is not None:
                    look_back = tracer.look_back
                    if look_back is not None:
                        look_back.enter(packet)
                    if tracer.busy:
                        tracer.enter(packet)
                if meter is None or meter.wait:
                    self.run(packet)
                else:
                    self.timed(meter, packet)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                # sys.exit() too: a route does not decide whether the switch runs.
                try:
                    self.on_error(packet, error)
                except Exception:
                    # A log that cannot be written, say: it must not cost the rest of the batch.
                    self.context.routed.errors += 1
            if packet.marks is not None:
                self.traced(tracer, packet)
            if packet.outcome & CAPTURED:
                kind = packet.kind()
                requests += kind == REQUEST
                replies += kind == REPLY
            if not packet.outcome & TAKEN:
                if packet.outcome & HELD:
                    self.context.count_drop(CAPTURE_OFF)
                else:
                    unrouted += 1
            if look_back is not None:
                self.keep(look_back, packet)
            if taps is not None:
                taps.see(packet)
            packet.sip_view = None
            # Two references are ours (self.packet and packet). A third is a script's, which kept the packet.
            if Py_REFCNT(<PyObject*> packet) > 2:
                packet.keep()
                packet = self.packet = Packet.__new__(Packet)
        listener = batch.listener
        listener.packets += batch.count
        listener.bytes += octets
        self.context.routed.packets += routed
        self.context.routed.unrouted += unrouted
        self.context.routed.captured_requests += requests
        self.context.routed.captured_replies += replies

    cdef int traced(self, TracerBase tracer, Packet packet) except -1:
        try:
            if tracer.leave(packet):
                packet.outcome |= TRACED
        except Exception as error:
            self.on_error(packet, error)
        return 0

    cdef int keep(self, LookBack look_back, Packet packet) except -1:
        try:
            look_back.leave(packet, not packet.outcome & (TAKEN | HELD))
        except Exception as error:
            self.on_error(packet, error)
        return 0

    cdef int timed(self, MeterBase meter, Packet packet) except -1:
        """Run, and take the time for as many packets as there are to one of the sample."""
        cdef uint64_t start = monotonic()
        meter.wait = SAMPLE
        try:
            return self.run(packet)
        finally:
            meter.route_ns += (monotonic() - start) * SAMPLE

    cdef int run(self, Packet packet) except -1:
        if self.hep_route is not None:
            self.hep_route(packet)
            if not packet.outcome & RESUME:
                return 0
        elif self.sip_route is None:
            packet.store()
            return 0
        cdef Sip sip = packet.sip
        if sip is not None and self.sip_route is not None:
            self.sip_route(Message(packet, sip.raw))
        elif not packet.outcome & TAKEN:
            packet.drop("not SIP" if sip is None else "no SIP route")
        return 0


cdef int _malformed(listener, error) except -1:
    listener.malformed += 1
    reasons = listener.malformed_reasons
    reason = error.reason
    if reason not in reasons and len(reasons) >= MOST_REASONS:
        reason = "other"
    reasons[reason] += 1
    return 0
