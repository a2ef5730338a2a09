# A lock of one word in memory that processes share, held for some fifty instructions. For C; see `routing.duplicates`.

from libc.stdint cimport uint64_t

from hepswitch.buckets cimport monotonic

cdef extern from "<sched.h>" nogil:
    int sched_yield()

cdef extern from *:
    """
    #ifndef HEPSWITCH_SPINLOCK
    #define HEPSWITCH_SPINLOCK
    static inline int word_swap(uint64_t *word, uint64_t old, uint64_t value) {
        return __atomic_compare_exchange_n(word, &old, value, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
    }
    static inline uint64_t word_read(uint64_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
    static inline void word_write(uint64_t *word, uint64_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }
    #endif
    """
    bint word_swap(uint64_t* word, uint64_t old, uint64_t value) noexcept nogil
    uint64_t word_read(uint64_t* word) noexcept nogil
    void word_write(uint64_t* word, uint64_t value) noexcept nogil

cdef enum:
    SPINS = 200              # looks at a lock whose holder may have to wait for a processor …
    PATIENCE = 100000000     # … ns until it is taken for dead


cdef inline void acquire(uint64_t* lock) noexcept nogil:
    """Take the lock; after PATIENCE without its holder's leave. Were that alive, both might overlook one change, no more."""
    cdef uint64_t end = 0
    cdef int looks = 0
    while not word_swap(lock, 0, 1):
        looks += 1
        if looks > SPINS:
            sched_yield()
            if end == 0:
                end = monotonic() + PATIENCE
            elif monotonic() > end:
                return


cdef inline void release(uint64_t* lock) noexcept nogil:
    word_write(lock, 0)
