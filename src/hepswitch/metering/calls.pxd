from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from hepswitch.metering.message cimport Said
from hepswitch.metering.tally cimport Tally
from hepswitch.wire.sip_text cimport Bytes

cdef enum:
    WAYS = 7                 # entries of a set
    LEGS = 3                 # branches of a transaction that are told apart

cdef enum:                   # flags of a transaction
    ASKED = 1                # the request came on the first leg
    REPLIED = 2              # a reply that ends the delay came on the first leg
    TIMED = 4                # the delay is counted
    INITIAL = 8              # the request came, without To tag: it may begin a call or a registration
    SETTLED = 16             # the final reply is told to the call
    HEARD = 32               # the request came on the first leg by the agent that captured it

cdef enum:                   # states of a call
    PENDING = 0
    ANSWERED = 1
    OVER = 2


cdef struct Transaction:
    uint64_t until           # µs of the monotonic clock; past: the place is free
    uint64_t asked, replied  # times of capture, µs: the request, the first reply that ends the delay
    uint64_t seen[2]         # a bit for each response: counted already
    uint32_t branches[LEGS]  # hashes; the first leg is the one that was seen first
    uint16_t agent           # hash of who captured the first leg
    uint16_t status          # final; 0: none yet
    uint16_t heard           # final one on the first leg by that agent
    uint8_t flags
    uint8_t legs             # how many branches
    uint8_t open             # bits of legs that have a request and no final reply …
    uint8_t final            # … and of legs that have one


cdef struct Call:            # a call or a registration
    uint64_t until
    uint64_t answered        # time of capture, µs
    uint32_t source, target  # tags of targets: the caller's side, the callee's
    uint32_t cseq            # of the latest attempt or its repetition with credentials
    uint8_t state
    uint8_t registration


cdef union Entry:            # 64 bytes; which one it is, the lowest bit of its key says: 1: Call
    uint64_t until
    Transaction transaction
    Call call
    unsigned char room[64]


cdef struct Set:             # 512 bytes; what most look-ups read is in the first cache line
    uint64_t lock
    uint64_t keys[WAYS]
    Entry entries[WAYS]


cdef struct Capture:         # how a message was captured
    uint64_t time            # µs
    uint64_t agent           # hash
    int source, target       # numbers of the targets that it went from and to


cdef struct Event:           # what a message meant for its transaction
    bint first               # it counts
    bint again               # a retransmission
    bint begins              # a request that may begin a call
    bint delayed
    uint64_t delay           # µs, when delayed
    int status               # the final one, when it is known now; else 0


cdef class Calls:
    cdef unsigned char[::1] memory       # keeps alive what sets points to
    cdef Set* sets
    cdef uint64_t size       # sets
    cdef readonly uint64_t seed
    cdef readonly Tally tally            # what was counted
    cdef readonly uint64_t evicted
    cdef uint64_t swept      # the next set to be looked at
    cdef uint64_t answered   # calls, found so far in this round
    cdef readonly uint64_t active

    cdef bint see(self, Bytes p, Said* said, const Capture* capture, uint64_t now, Event* event) noexcept nogil
    cdef void transact(
        self, uint64_t key, Bytes p, Said* said, const Capture* capture, uint64_t now, Event* event
    ) noexcept nogil
    cdef void call(self, uint64_t key, Said* said, const Capture* capture, uint64_t now, Event* event) noexcept nogil
    cdef void hang_up(self, uint64_t key, const Capture* capture, uint64_t now) noexcept nogil
    cdef Set* set_of(self, uint64_t key) noexcept nogil
    cdef Entry* find(self, Set* set, uint64_t key, uint64_t now, bint make) noexcept nogil
    cdef void displace(self, uint64_t key, Entry* entry, uint64_t now) noexcept nogil
    cdef void end(self, Set* set, int i, uint64_t now) noexcept nogil
