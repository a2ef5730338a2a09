from libc.stdint cimport uint32_t, uint64_t


cdef struct Item:
    unsigned char* data      # one datagram or frame; writable, alive until the batch is filled again
    uint32_t size
    uint32_t sender_size     # bytes of the sockaddr at sender, 0 when the batch has one peer for all
    unsigned char* sender    # struct sockaddr of who sent it, or NULL


cdef class Batch:
    # What a source hands to the flow: packets as they arrived, with who sent them. Reused, never kept.
    cdef Item* items
    cdef Py_ssize_t count, room
    cdef public uint64_t arrival_us   # wall clock at the read, µs since the epoch
    cdef readonly object listener     # books.Listener: where it was received, and its counters
    cdef readonly object peer         # ("ip", port) for a stream's batch, else None
    cdef public bytes mark            # of the message that the batch is: 16 bytes; None for what comes once only
    cdef public bint busy             # what comes next, behind count, is for later: another worker is at what came before
    cdef object keeper                # what owns the memory behind items

    cdef int put(self, unsigned char* data, Py_ssize_t size, unsigned char* sender, Py_ssize_t sender_size) except -1
