from libc.stdint cimport uint64_t

from hepswitch.metering.agents cimport Agent, Agents, Marks
from hepswitch.metering.calls cimport Calls
from hepswitch.metering.message cimport Said
from hepswitch.routing.packet cimport MeterBase, Packet
from hepswitch.routing.sender cimport Sender
from hepswitch.wire.sip_text cimport Bytes

cdef enum:
    REMEMBERED = 4096        # addresses whose target is remembered


cdef struct Known:
    Sender address
    int target
    bint known


cdef class Meter(MeterBase):
    cdef readonly Agents agents
    cdef readonly Calls calls            # None: SIP is not read
    cdef readonly object quality, means
    cdef object networks                 # Networks of all targets; None: there are none
    cdef dict target_numbers             # by network
    cdef Known* known
    cdef dict reasons                    # (target, cause, response) → how many
    cdef uint64_t unreadable, swept

    cdef str listener                    # of the batch at hand
    cdef uint64_t listener_key, arrived, now
    cdef Sender sender

    cdef int sip(self, Packet packet, const Marks* marks, Agent* agent) except -1
    cdef int count(self, Bytes p, Said* said, Packet packet, uint64_t captured, Agent* agent) except -1
    cdef int report(self, Packet packet, int kind, str node) except -1
    cdef int target_of(self, Packet packet, int four, int six) except -1
    cdef int rare(self, Bytes p, Said* said, int source) except -1
