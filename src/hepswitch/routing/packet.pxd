from libc.stdint cimport uint64_t

from hepswitch.wire.batch cimport Batch, Item
from hepswitch.wire.hep cimport Hep
from hepswitch.wire.sip cimport Sip


cdef enum Outcome:           # what a route did with a packet: a set of bits
    SENT = 1                 # relayed: at least one node accepted it
    STORED = 2
    DROPPED = 4
    RESUME = 8               # go on in the SIP route
    REFUSED = 16             # somebody was asked to take it and did not
    HELD = 32                # a store would have been asked: capturing is off
    CAPTURED = 64            # stored by store(), not by report()
    TRACED = 128             # a target of a trace took a copy
    TAKEN = 1 | 2 | 4 | 128  # SENT, STORED, DROPPED or TRACED: else it is unrouted


cdef enum Kind:              # of SIP
    OTHER = 0
    REQUEST = 1
    REPLY = 2


cdef class TracerBase:
    # What the flow sees of the tracer: `enter(packet)` is called before the route while `busy`, `leave(packet)` behind it when
    # the packet bears marks. `trace` is for Packet.trace.
    cdef public bint busy
    cdef public object look_back         # LookBack: keeps what goes through; None: nobody will ask for it


cdef class Context:
    # What packets act on. One for each flow; the dictionaries belong to the switch.
    cdef readonly dict destinations
    cdef readonly dict stores
    cdef readonly object default_store
    cdef readonly object routed          # books.Routed
    cdef readonly dict masks             # functions that mask a packet in place
    cdef public TracerBase tracer        # None: nothing is traced here
    cdef public object taps              # `see(packet)` of it is told of each packet behind the route; None: nobody watches
    cdef public bint capturing           # False: stores are not asked
    cdef readonly object held            # Counter by store: packets that it was not asked to take

    cdef dict senders                    # Received by (listener, sender)

    cdef object received(self, Batch batch, Item* item)
    cdef object destination(self, name)
    cdef object store(self, name)
    cdef bint keeps(self, outlet) except -1
    cdef object mask(self, name)
    cdef int count_drop(self, reason) except -1


cdef class Packet(Hep):
    cdef Context context                 # None: not from the flow, a script built it
    cdef Batch batch                     # while the route runs; None for a packet that outlived it
    cdef Item* item
    cdef object sender                   # Received, once somebody asked
    cdef int outcome
    cdef str reason                      # why it was dropped, while `outcome` has DROPPED
    cdef object tagset                   # set of str, None until somebody tags the packet
    cdef public object marks             # list of what the tracer marked it with, or None
    cdef public object given             # what the tracer notes about whom it has given the packet to, or None
    cdef list handed                     # the outlets that took it, while there is a tracer; None: none yet
    cdef Sip original                    # the SIP in it as it came, once a mask has changed the packet

    cdef int arrived(self, Context context, Batch batch, Item* item) except -1
    cdef int keep(self) except -1
    cdef Context flow(self)
    cdef int took(self, outlet) except -1
    cdef int kind(self) except -1


cdef class MeterBase:
    # What the flow sees of the meter: `enter` for a batch, then `see` for each packet that gets to the route, before it does.
    cdef public uint64_t route_ns        # time in routes, from a sample
    cdef int wait                        # packets until the next one of the sample

    cdef int enter(self, Batch batch) except -1
    cdef int see(self, Packet packet, Item* item) except -1


cdef class Message(Sip):
    cdef readonly Packet hep
