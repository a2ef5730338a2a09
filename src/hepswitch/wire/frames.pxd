from libc.stdint cimport uint32_t


cdef class Frames:
    # data[head:tail] holds the frames end to end; ends[first:last] holds, for each live frame, the absolute offset
    # in data where it ends. Dropping from the front moves head and first; the space is reclaimed when room is needed.
    cdef unsigned char* data
    cdef Py_ssize_t head, tail, capacity
    cdef Py_ssize_t* ends
    cdef Py_ssize_t first, last, slots
    cdef Py_ssize_t exports           # live memoryviews: while > 0 the buffer must not move

    cdef unsigned char* reserve(self, Py_ssize_t size) except NULL   # room for one frame of up to size bytes …
    cdef int commit(self, Py_ssize_t size) except -1                 # … of which size bytes are now written
    cdef int put(self, const unsigned char* p, Py_ssize_t size) except -1        # both, for bytes at p
    cdef int make_room(self, Py_ssize_t size) except -1
    cdef int make_slot(self) except -1
    cdef void to_front(self) noexcept
    cdef int resize(self, Py_ssize_t capacity) except -1
    cdef int settle(self) except -1
