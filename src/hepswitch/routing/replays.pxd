from libc.stdint cimport uint64_t

cdef enum:
    SPANS = 6                # runs of numbers remembered of one queue
    WAYS = 8                 # queues in one set

cdef enum Judgement:
    FRESH = 0                # never had, and noted as had from now on
    HAD = 1
    ELSEWHERE = 2            # another worker holds the queue: it alone knows


cdef struct Span:            # numbers first to last
    uint64_t first, last


cdef struct Entry:           # one queue of a sender: 128 bytes
    uint64_t queue           # its name; 0: free
    uint64_t holder          # 1 + the worker that has taken packets of it which are not safe yet; 0: none has
    uint64_t seen            # when its holder last said so, µs of the wall clock
    uint64_t count
    Span spans[SPANS]        # what is safe; ascending, with gaps between them


cdef struct Set:
    uint64_t lock
    uint64_t spare[15]
    Entry entries[WAYS]


cdef class Held:             # a queue that this worker holds
    cdef uint64_t queue
    cdef int count
    cdef Span spans[SPANS]   # what was safe when it was taken over, and all that came since
    cdef Span run            # the latest run of what `taken` has not told yet; first 0: there is none
    cdef list runs           # and those before it
    cdef uint64_t told       # packets that `taken` has told of and that are not safe yet


cdef class Replays:
    cdef unsigned char[::1] memory       # keeps alive what sets points to
    cdef Set* sets
    cdef uint64_t size       # sets
    cdef uint64_t worker     # 1 + its number
    cdef dict held           # Held by queue
    cdef Held last           # the one that was asked for last
    cdef list news           # Held that have something to tell
    cdef uint64_t queue, number          # what was asked for last and will be answered; queue 0: nothing

    cdef inline void answer(self, uint64_t queue, uint64_t number) noexcept nogil:
        self.queue, self.number = queue, number

    cdef int judge(self, uint64_t queue, uint64_t number) except -1          # a Judgement
    cdef int take_over(self, uint64_t number, Held held) noexcept nogil
    cdef int leave(self, Held held) except -1
