from libc.stdint cimport uint32_t, uint64_t

from hepswitch.metering.message cimport METHODS, RESPONSES

cdef enum:
    MOST_TARGETS = 255       # table.MOST_TARGETS and more
    PLACES = 511             # 0: unknown; of target n 2n-1: as source, 2n: as destination
    BUCKETS = 14
    OUTCOMES = 9             # checked against words.OUTCOMES when the module is loaded
    UNFINISHED = 8
    REGISTERED = 3           # the same for words.REGISTERED

cdef enum:                   # delays
    SETUP = 0                # session request delay, RFC 6076 section 4.3
    REGISTRATION = 1         # registration request delay, 4.1
    DURATION = 2             # session duration time, 4.5
    DELAYS = 3

cdef enum:
    MOST_SERIES = 30000      # kinds of messages, of all nodes and targets, that are counted apart


cdef struct Histogram:
    uint64_t counts[BUCKETS]             # by the first bound that is not below the value; the last: beyond all
    uint64_t total                       # µs


cdef struct Place:           # the calls of one target in one direction
    uint64_t attempts[2]                 # calls, registrations
    uint64_t outcomes[2][OUTCOMES]       # by words.OUTCOMES; of registrations by words.REGISTERED
    uint64_t retransmitted[2]            # requests, replies
    Histogram delays[DELAYS]


cdef struct Row:             # the messages of one place and node
    uint64_t counts[METHODS][RESPONSES]
    double weight[2]                     # of the delays SETUP and REGISTRATION lately, and their sum in µs: a mean
    double total[2]


cdef class Tally:
    cdef Place* places[PLACES]           # those of the targets there are, and 0
    cdef Row** rows                      # by node at place 0, then by place; NULL: nothing yet
    cdef Py_ssize_t nodes
    cdef int series          # how many counts of messages are not 0
    cdef uint32_t tags[MOST_TARGETS + 1] # of each target's name: what memory that processes share can hold
    cdef readonly list targets           # their names; number 0 is none
    cdef uint64_t seed

    cdef Row* row(self, int place, int node) except NULL
    cdef int count(self, int place, int node, int method, int response) except -1
    cdef int number_of(self, uint32_t tag) noexcept nogil
    cdef void attempt(self, int source, int target, bint registration) noexcept nogil
    cdef void outcome(self, int source, int target, bint registration, int what) noexcept nogil
    cdef void retransmission(self, int source, int target, bint reply) noexcept nogil
    cdef void delay(self, int source, int target, int what, uint64_t us) noexcept nogil
    cdef int fade(self, double share) except -1


cdef inline int first_place(int source, int target) noexcept nogil:
    """Where something between two targets (0: none) is counted …"""
    return 2 * source - 1 if source else 2 * target


cdef inline int second_place(int source, int target) noexcept nogil:
    """… and counted as well; 0: nowhere else."""
    return 2 * target if source else 0
