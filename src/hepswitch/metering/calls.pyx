# cython: language_level=3, boundscheck=False, wraparound=False
"""SIP transactions and calls in memory that worker processes share: what counts once is counted once.

Datagrams of one call are spread over all workers, so whatever must be known about it is in shared memory, each set of
entries under a lock of its own; who makes a change counts it, hence the workers' counts add up. Messages may come in any
order: a reply whose request is still on its way waits in its transaction.

A **transaction** is a Call-ID, a CSeq and the sender's tag; ACK belongs to its INVITE. Its **legs** are the branches (RFC
3261 section 8.1.1.7) on which it was seen: hops and forks. A method or status counts when it comes for the first time. The
same from the same agent on the first leg again is a retransmission; from another agent or leg it is a copy. A final reply
holds when it is a success, or no leg waits for one any more; of several the first leg's.

A **call** (or registration) is a Call-ID. It is attempted by a request without To tag; a repetition before there was an outcome
is no new attempt, as after 401, 402 and 407 (challenges, RFC 6076 section 4). With targets all of this is for each pair
of them by itself, so each hop that they tell apart counts.

Whoever holds a lock for too long is taken for dead, and may write all the same when it was only stopped: so an entry may hold
anything, and nothing that is read from it is an index before it was bounded.

An entry has a time until which it is needed; when there is no room, the one that ends first gives way. Hashes stand for
texts. Not here: reading messages (`message`), counts (`tally`).
"""

import os

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from hepswitch.metering.digest cimport digest, fold
from hepswitch.metering.message cimport ACK, BYE, INVITE, REGISTER, Said
from hepswitch.metering.tally cimport DURATION, REGISTRATION, SETUP, UNFINISHED, Tally
from hepswitch.spinlock cimport acquire, release, word_read, word_swap
from hepswitch.wire.sip_text cimport Bytes, Span

from hepswitch.metering import words

cdef enum:
    REGISTER_FAILED = 1      # in words.REGISTERED
    REGISTER_UNFINISHED = 2
    SLICES = 8               # sweeps for one round through all sets

# How long an entry is needed, µs:
cdef uint64_t SHORT = 32_000_000         # RFC 3261: 64 × T1, after which a transaction is over …
cdef uint64_t LONG = 300_000_000         # … or an INVITE without final reply: timer C is more than three minutes
cdef uint64_t TALK = 14_400_000_000      # an answered call whose BYE nobody sees

cdef uint64_t DAY = 86_400_000_000       # µs

cdef uint8_t outcomes[700]

assert sizeof(Set) == 512
assert words.REGISTERED[REGISTER_FAILED:] == ("failed", "unfinished")
for status in range(200, 700):
    outcomes[<int> status] = words.outcome_of(status)


def room(Py_ssize_t entries):
    """Bytes of memory in which that many transactions and calls fit."""
    return (1 + (entries + WAYS - 1) // WAYS) * <Py_ssize_t> sizeof(Set)


cdef inline bint challenge(int status) noexcept nogil:
    return status == 401 or status == 402 or status == 407


cdef inline uint64_t elapsed(uint64_t start, uint64_t end) noexcept nogil:
    """µs. Times are what agents say: whatever that is, nothing ends before it began, and no sum of it overflows."""
    return min(end - start, DAY) if end > start else 0


cdef inline uint64_t hashed(Bytes p, Span span, uint64_t seed) noexcept nogil:
    return digest(p + span.at, span.size, seed)


cdef class Calls:
    """`memory` (zeroed at first, `room(n)` bytes) is what all workers share; `nodes`: how many the counts in `tally` tell apart.
    ValueError when the memory is too small or not aligned to 8 bytes."""

    def __cinit__(self, memory, Py_ssize_t nodes):
        self.memory = memory
        if self.memory.shape[0] < <Py_ssize_t> (2 * sizeof(Set)) or <uint64_t> &self.memory[0] % 8:
            raise ValueError(f"{len(memory)} bytes of memory cannot hold calls: take room(n) bytes, aligned to 8")
        self.sets = <Set*> &self.memory[0]
        self.size = self.memory.shape[0] // sizeof(Set) - 1
        # The first set is the head: its lock is the seed, which whoever came first has drawn.
        word_swap(&self.sets.lock, 0, int.from_bytes(os.urandom(8)) | 1)
        self.seed = word_read(&self.sets.lock)
        self.tally = Tally(nodes, self.seed)

    cdef bint see(self, Bytes p, Said* said, const Capture* capture, uint64_t now, Event* event) noexcept nogil:
        """Take note of a message. True when it counts as one of its transaction; `event` says what it meant."""
        cdef uint64_t pair = fold(
            self.seed ^ (<uint64_t> self.tally.tags[capture.source] + self.tally.tags[capture.target]), 0x9E3779B97F4A7C15u
        )
        cdef uint64_t key = hashed(p, said.call_id, self.seed ^ pair)
        cdef int method = INVITE if said.method == ACK else said.method
        cdef bint reply = said.status != 0
        memset(event, 0, sizeof(Event))
        self.transact(
            fold(key ^ (<uint64_t> method << 32 | said.cseq), hashed(p, said.from_tag, self.seed) | 1) & ~<uint64_t> 1,
            p, said, capture, now, event,
        )
        if event.again:
            self.tally.retransmission(capture.source, capture.target, reply)
        if said.method == INVITE or said.method == REGISTER:
            if event.delayed:
                self.tally.delay(
                    capture.target if reply else capture.source, capture.source if reply else capture.target,
                    SETUP if said.method == INVITE else REGISTRATION, event.delay,
                )
            if event.begins or event.status:
                self.call(key ^ <uint64_t> said.method << 8 | 1, said, capture, now, event)
        elif said.method == BYE and event.first and not reply:
            self.hang_up(key ^ <uint64_t> INVITE << 8 | 1, capture, now)
        return event.first

    cdef void transact(
        self, uint64_t key, Bytes p, Said* said, const Capture* capture, uint64_t now, Event* event
    ) noexcept nogil:
        cdef Set* set = self.set_of(key)
        cdef Transaction* this
        cdef uint32_t branch = <uint32_t> hashed(p, said.branch, self.seed)
        cdef uint16_t agent = <uint16_t> capture.agent
        cdef uint64_t bit = <uint64_t> 1 << (said.response & 63)
        cdef uint64_t* seen
        cdef int leg = 0
        cdef bint known, own
        acquire(&set.lock)
        this = &self.find(set, key, now, True).transaction
        if this.until == 0:
            this.agent = agent
        seen = &this.seen[said.response >> 6]
        known = seen[0] & bit
        event.first = not known
        seen[0] |= bit
        if said.method != ACK:
            # Servers trace replies as they hand them on, some without their own Via, and then without any: that is the
            # caller's leg.
            if not (said.status and said.branch.size == 0):
                while leg < LEGS and leg < this.legs and this.branches[leg] != branch:
                    leg += 1
            if leg == this.legs and leg < LEGS:
                this.branches[leg] = branch
                this.legs += 1
            own = leg == 0 and agent == this.agent
            if said.status == 0:
                if own:
                    event.again = this.flags & HEARD
                    this.flags |= HEARD
                if leg == 0 and not this.flags & ASKED:
                    this.asked = capture.time
                    this.flags |= ASKED
                if leg < LEGS and not this.final >> leg & 1:
                    this.open |= 1 << leg
                if not said.to_tag and not this.flags & INITIAL:
                    this.flags |= INITIAL
                    event.begins = True
            else:
                if leg == 0 and not this.flags & REPLIED and 100 < said.status < 300 and (
                    said.method == INVITE or said.status >= 200
                ):
                    this.replied = capture.time
                    this.flags |= REPLIED
                if said.status >= 200:
                    if own:
                        event.again = this.heard == said.status
                        this.heard = said.status
                    if this.status >= 300 and said.status < 300 or leg == 0 and this.status >= 300 or this.status == 0:
                        this.status = said.status
                    if leg < LEGS:
                        this.open &= ~(1 << leg)
                        this.final |= 1 << leg
            if this.flags & (ASKED | REPLIED | TIMED | INITIAL) == ASKED | REPLIED | INITIAL:
                this.flags |= TIMED
                event.delayed = True
                event.delay = elapsed(this.asked, this.replied)
            if this.flags & (INITIAL | SETTLED) == INITIAL and this.status and (this.status < 300 or not this.open):
                this.flags |= SETTLED
                event.status = this.status
        this.until = now + (SHORT if this.status or said.method != INVITE else LONG)
        release(&set.lock)

    cdef void call(self, uint64_t key, Said* said, const Capture* capture, uint64_t now, Event* event) noexcept nogil:
        """An INVITE or a REGISTER that may be an attempt has come, or its final reply, or both."""
        cdef Set* set = self.set_of(key)
        cdef Call* this
        cdef bint registration = said.method == REGISTER, fresh
        cdef int source, target
        acquire(&set.lock)
        this = &self.find(set, key, now, event.begins).call
        if this == NULL:                         # it had to give way
            release(&set.lock)
            return
        if event.begins:
            fresh = this.until == 0
            if fresh or (this.state != PENDING and said.cseq > this.cseq):
                this.state, this.registration, this.cseq = PENDING, registration, said.cseq
                this.source, this.target = self.tally.tags[capture.source], self.tally.tags[capture.target]
                self.tally.attempt(capture.source, capture.target, registration)
            this.cseq = max(this.cseq, said.cseq)
            this.until = now + (SHORT if registration else LONG)
        if event.status and this.state == PENDING and said.cseq == this.cseq:
            source, target = self.tally.number_of(this.source), self.tally.number_of(this.target)
            this.until = now + SHORT
            if challenge(event.status):
                pass                             # it goes on, or is unfinished
            elif registration:
                this.state = OVER
                self.tally.outcome(source, target, True, 0 if event.status < 300 else REGISTER_FAILED)
            else:
                this.state = OVER
                self.tally.outcome(source, target, False, outcomes[min(event.status, 699)])
                if event.status < 300:
                    this.state, this.answered, this.until = ANSWERED, capture.time, now + TALK
        release(&set.lock)

    cdef void hang_up(self, uint64_t key, const Capture* capture, uint64_t now) noexcept nogil:
        cdef Set* set = self.set_of(key)
        cdef Call* this
        acquire(&set.lock)
        this = &self.find(set, key, now, False).call
        if this != NULL and this.state == ANSWERED:
            this.state, this.until = OVER, now + SHORT
            self.tally.delay(
                self.tally.number_of(this.source), self.tally.number_of(this.target), DURATION,
                elapsed(this.answered, capture.time),
            )
        release(&set.lock)

    # ── the table ──────────────────────────────────────────────────────────────────────────────────────────────────────

    cdef Set* set_of(self, uint64_t key) noexcept nogil:
        return self.sets + 1 + (key >> 32) * self.size // 0x100000000u

    cdef Entry* find(self, Set* set, uint64_t key, uint64_t now, bint make) noexcept nogil:
        """The entry of `key`; without one NULL, or a new one (all zero). The set is locked."""
        cdef int i, oldest = -1
        for i in range(WAYS):
            if set.keys[i] == key:
                if set.entries[i].until > now:
                    return &set.entries[i]
                oldest = i                       # over: the same again is something new
                break
        if not make:
            return NULL
        if oldest < 0:                           # only now: each entry is a cache line of its own
            oldest = 0
            for i in range(WAYS):
                if set.keys[i] == 0:
                    oldest = i
                    break
                if set.entries[i].until < set.entries[oldest].until:
                    oldest = i
        if set.keys[oldest]:
            self.displace(set.keys[oldest], &set.entries[oldest], now)
        set.keys[oldest] = key
        memset(&set.entries[oldest], 0, sizeof(Entry))
        return &set.entries[oldest]

    cdef void displace(self, uint64_t key, Entry* entry, uint64_t now) noexcept nogil:
        """The entry is over, or must give way. A call without outcome is unfinished when its time is over."""
        if entry.until > now:
            self.evicted += 1
        elif key & 1 and entry.call.state == PENDING:
            self.tally.outcome(
                self.tally.number_of(entry.call.source), self.tally.number_of(entry.call.target),
                entry.call.registration != 0, REGISTER_UNFINISHED if entry.call.registration else UNFINISHED,
            )

    def sweep(self, uint64_t now, Py_ssize_t worker=0, Py_ssize_t workers=1) -> None:
        """Look at an eighth of the entries that are this worker's to look at: end what is over, and count answered calls in
        `active` once a round is complete. `now`: µs of the monotonic clock."""
        cdef uint64_t at = self.swept, end = min(at + self.size // SLICES + 1, self.size)
        cdef Set* set
        cdef int i
        while at < end:
            set = self.sets + 1 + at
            if at % <uint64_t> workers == <uint64_t> worker:
                for i in range(WAYS):
                    if set.keys[i] == 0:
                        continue
                    if set.entries[i].until <= now:
                        self.end(set, i, now)
                    elif set.keys[i] & 1 and set.entries[i].call.state == ANSWERED:
                        self.answered += 1
            at += 1
        self.swept = at
        if at >= self.size:
            self.active, self.answered, self.swept = self.answered, 0, 0

    cdef void end(self, Set* set, int i, uint64_t now) noexcept nogil:
        acquire(&set.lock)
        if set.keys[i] and set.entries[i].until <= now:          # nobody was faster
            self.displace(set.keys[i], &set.entries[i], now)
            set.keys[i] = 0
            set.entries[i].until = 0
        release(&set.lock)
