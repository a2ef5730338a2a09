# A seeded 64-bit hash of some bytes, inline: for keys of tables that live as long as their seed. Not for what is stored.

from libc.stdint cimport uint64_t

cdef extern from *:
    """
    #ifndef HEPSWITCH_DIGEST
    #define HEPSWITCH_DIGEST
    #include <string.h>
    static inline uint64_t fold(uint64_t a, uint64_t b) {
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    static inline uint64_t digest(const unsigned char *p, size_t n, uint64_t seed) {
        uint64_t word, key = fold(seed ^ n, 0x9E3779B97F4A7C15u);
        for (; n >= 8; p += 8, n -= 8) {
            memcpy(&word, p, 8);
            key = fold(key ^ word, 0xD6E8FEB86659FD93u);
        }
        if (n) {
            word = 0;
            memcpy(&word, p, n);
            key = fold(key ^ word, 0xD6E8FEB86659FD93u);
        }
        return fold(key ^ seed, 0xA0761D6478BD642Fu);
    }
    #endif
    """
    uint64_t fold(uint64_t a, uint64_t b) noexcept nogil                               # one number of two
    uint64_t digest(const unsigned char* p, size_t n, uint64_t seed) noexcept nogil
