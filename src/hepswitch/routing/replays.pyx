# cython: language_level=3
"""Replays: which packets of numbered destinations (`chunks.NUMBER`) were here before, in memory that the workers share.

A sender numbers the packets of each of its queues from 1. After a break it sends again what may have been lost, on a
connection that any worker may get. Of each queue the runs of numbers are remembered that are safe: what is in none of them is
taken, so a gap, a number out of order or a forgotten run may let a packet in twice, and never keeps one out.

A packet is safe when it need not come again, whatever dies; `receipts` knows when. Until then only the worker that took it
knows of it, and holds the queue: others do not judge it, they wait. A holder that has not shown up for PATIENCE is passed over.

The memory is sets of queues, each under a lock of its own; of a full set the queue that was silent longest is forgotten, whose
packets may then come twice. Names of queues are drawn by chance (64 bits) and never shown. Not here: what is done with a
packet that was here before (`gate`), and when one is safe (`receipts`).
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memmove, memset

from hepswitch.spinlock cimport acquire, release
from hepswitch.wire.clock cimport wall_us

cdef enum:
    SETS = 512               # 4096 queues: a node has one for each worker of each sender

cdef uint64_t PATIENCE = 30000000            # µs: a worker that died is back much sooner
cdef uint64_t MOST = <uint64_t> 1 << 63      # no number is as large

ROOM = SETS * <Py_ssize_t> sizeof(Set)

Run = tuple[int, int, int]


cdef class Held:
    """A queue that this worker holds."""


cdef class Replays:
    """Knows packets of numbered destinations that were here before, in `memory` (ROOM bytes, zeroed at first) that worker
    processes share. `worker`: which of them this is. ValueError when the memory has another size or is not aligned to 8 bytes.
    """

    def __cinit__(self, memory, uint64_t worker=0):
        self.memory = memory
        if self.memory.shape[0] != ROOM or <uint64_t> &self.memory[0] % 8:
            raise ValueError(f"{len(memory)} bytes of memory cannot hold numbers: take {ROOM} bytes, aligned to 8")
        self.sets = <Set*> &self.memory[0]
        self.size = SETS
        self.worker = worker + 1
        self.held = {}
        self.news = []

    def had(self, uint64_t queue, uint64_t number):
        """Note packet `number` (1 to 2⁶³ - 1) of a queue. True when it was here before; None: another worker holds the
        queue, ask again later."""
        cdef int judgement = self.judge(queue, number)
        return None if judgement == ELSEWHERE else judgement == HAD

    cdef int judge(self, uint64_t queue, uint64_t number) except -1:
        cdef Held held = self.last
        cdef int judgement
        if queue == 0 or number == 0 or number >= MOST:
            return FRESH                                     # no number that we would give
        if held is None or held.queue != queue:
            held = self.held.get(queue)
            if held is None:
                held = Held.__new__(Held)
                held.queue = queue
                judgement = self.take_over(number, held)
                if judgement != FRESH:
                    return judgement
                self.held[queue] = held
            self.last = held
        if held.count and held.spans[held.count - 1].last + 1 == number:
            held.spans[held.count - 1].last = number
        elif holds(held.spans, held.count, number):
            return HAD
        else:
            held.count = add(held.spans, held.count, number, number)
        if held.run.first == 0:
            held.run.first = held.run.last = number
            held.runs = []
            self.news.append(held)
        elif held.run.last + 1 == number:
            held.run.last = number
        else:
            held.runs.append((queue, held.run.first, held.run.last))
            held.run.first = held.run.last = number
        return FRESH

    cdef int take_over(self, uint64_t number, Held held) noexcept nogil:
        """Hold the queue for a packet that is not safe, unless another worker does; with what is safe of it."""
        cdef Set* set = self.sets + held.queue % self.size
        cdef uint64_t now = wall_us()
        cdef Entry* entry
        cdef int judgement = FRESH
        acquire(&set.lock)
        entry = find(set, held.queue)
        if entry == NULL:
            entry = oldest(set)
            memset(entry, 0, sizeof(Entry))
            entry.queue = held.queue
        held.count = <int> min(entry.count, <uint64_t> SPANS)
        memcpy(held.spans, entry.spans, sizeof(entry.spans))
        if holds(held.spans, held.count, number):
            judgement = HAD
        elif entry.holder != 0 and entry.holder != self.worker and near(entry.seen, now):
            judgement = ELSEWHERE
        else:
            entry.holder, entry.seen = self.worker, now
        release(&set.lock)
        return judgement

    def answered(self):
        """(queue, number) of the last packet since this was asked that was judged or refused; None: there was none."""
        if self.queue == 0:
            return None
        found = self.queue, self.number
        self.queue = 0
        return found

    def taken(self):
        """What was noted since the last time. All of it is for `safe` one day."""
        cdef Held held
        cdef uint64_t first, last
        cdef list found = []
        for held in self.news:
            held.runs.append((held.queue, held.run.first, held.run.last))
            for _, first, last in held.runs:
                held.told += last - first + 1
            held.run.first = 0
            found += held.runs
        self.news = []
        return found

    def safe(self, runs):
        """These packets need not come again, whatever happens to this worker."""
        cdef uint64_t queue, first, last
        cdef Set* set
        cdef Entry* entry
        cdef Held held
        for queue, first, last in runs:
            set = self.sets + queue % self.size
            acquire(&set.lock)
            entry = find(set, queue)
            if entry != NULL:                                # else it was forgotten meanwhile
                entry.count = add(entry.spans, <int> min(entry.count, <uint64_t> SPANS), first, last)
                entry.seen = wall_us()
            release(&set.lock)
            held = self.held.get(queue)
            if held is not None:
                held.told -= last - first + 1
                if held.told == 0 and held.run.first == 0:
                    self.leave(held)

    cdef int leave(self, Held held) except -1:
        """All that was taken of a queue is safe: whoever gets the next packet of it may judge it."""
        cdef Set* set = self.sets + held.queue % self.size
        cdef Entry* entry
        acquire(&set.lock)
        entry = find(set, held.queue)
        if entry != NULL and entry.holder == self.worker:
            entry.holder = 0
        release(&set.lock)
        del self.held[held.queue]
        if self.last is held:
            self.last = None
        return 0

    def renew(self):
        """This worker lives and holds its queues still: to be said every second while anything is not safe."""
        cdef Set* set
        cdef Entry* entry
        cdef uint64_t queue
        for queue in self.held:
            set = self.sets + queue % self.size
            acquire(&set.lock)
            entry = find(set, queue)
            if entry != NULL and entry.holder == self.worker:
                entry.seen = wall_us()
            release(&set.lock)

    def begin(self):
        """Let go of what a worker of the same number held that died."""
        cdef uint64_t i
        cdef int way
        for i in range(self.size):
            acquire(&self.sets[i].lock)
            for way in range(WAYS):
                if self.sets[i].entries[way].holder == self.worker:
                    self.sets[i].entries[way].holder = 0
            release(&self.sets[i].lock)


cdef Entry* find(Set* set, uint64_t queue) noexcept nogil:
    cdef int way
    for way in range(WAYS):
        if set.entries[way].queue == queue:
            return &set.entries[way]
    return NULL


cdef Entry* oldest(Set* set) noexcept nogil:
    """A free entry, else the one that was silent longest."""
    cdef int way
    cdef Entry* found = &set.entries[0]
    for way in range(1, WAYS):
        if set.entries[way].seen < found.seen:
            found = &set.entries[way]
    return found


cdef bint near(uint64_t seen, uint64_t now) noexcept nogil:
    # A clock that was set back must not make a holder that is gone one for hours.
    return (now - seen if now > seen else seen - now) <= PATIENCE


cdef bint holds(const Span* spans, int count, uint64_t number) noexcept nogil:
    cdef int i
    for i in range(count):
        if spans[i].first <= number <= spans[i].last:
            return True
    return False


cdef int add(Span* spans, int count, uint64_t first, uint64_t last) noexcept nogil:
    """Numbers first to last as well; gives how many spans there are now. Of too many the lowest is forgotten."""
    cdef int at = 0, after
    while at < count and spans[at].last + 1 < first:
        at += 1
    after = at
    while after < count and spans[after].first <= last + 1:          # it overlaps or touches what is added
        first, last = min(first, spans[after].first), max(last, spans[after].last)
        after += 1
    if after > at:
        memmove(spans + at + 1, spans + after, (count - after) * sizeof(Span))
        count -= after - at - 1
    elif count < SPANS:
        memmove(spans + at + 1, spans + at, (count - at) * sizeof(Span))
        count += 1
    elif at == 0:
        return count                                                 # it would be the lowest
    else:
        at -= 1
        memmove(spans, spans + 1, at * sizeof(Span))
    spans[at].first, spans[at].last = first, last
    return count
