from libc.stdint cimport uint32_t, uint64_t

from hepswitch.routing.duplicates cimport Duplicates
from hepswitch.routing.packet cimport Packet
from hepswitch.routing.replays cimport Replays
from hepswitch.routing.sender cimport Sender
from hepswitch.wire.batch cimport Batch, Item
from hepswitch.wire.raw cimport Raw

cdef enum:
    REMEMBERED = 1024        # senders of a listener


cdef struct Known:
    Sender sender
    int verdict              # 0: nobody is remembered here


cdef class Access:
    cdef readonly object allow, deny, keyless
    cdef Known known[REMEMBERED]

    cdef int verdict(self, const Sender* sender) except -1


cdef class Gate:
    cdef readonly dict access            # Access by listener URL
    cdef readonly tuple limits
    cdef readonly Duplicates duplicates
    cdef readonly Replays replays
    cdef object numbered                 # frozenset of the URLs of listeners whose senders may number their packets
    cdef tuple auth_keys
    cdef uint32_t switch_id
    cdef bint forward_keys               # a key that was checked stays in the packet

    cdef Batch batch                     # at hand
    cdef object listener                 # of the batch
    cdef str url
    cdef Access door                     # its access list, or None
    cdef uint64_t now                    # when the batch came in, ns of the monotonic clock
    cdef Sender from_                    # who sent the packet at hand
    cdef int verdict                     # the door's about them

    cdef int enter(self, Batch batch) except -1
    cdef bint sender(self, Item* item) except -1       # may who sent it send? Asked before the packet is decoded
    cdef bint packet(self, Packet packet) except -1    # and may the packet pass? batch.busy: nobody knows yet
    cdef bint refuse(self, str reason) except -1
    cdef str key_fault(self, Raw packet)
    cdef str trail_fault(self, Raw packet)
    cdef str replay_fault(self, Raw packet, str fault)
