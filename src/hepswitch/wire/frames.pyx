# cython: language_level=3
"""Frames: many packets end to end in one growing buffer. What waits in a queue, and what one write sends.

First in, first out. Not here: what a frame means, and who bounds how much may wait.
"""

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove

cdef extern from "<endian.h>" nogil:
    uint32_t htole32(uint32_t)

cdef Py_ssize_t MOST = 16 << 20               # bytes of one frame
cdef Py_ssize_t LEAST_ROOM = 4096
cdef Py_ssize_t KEPT_ROOM = 1 << 20           # a buffer up to this size is kept when its frames are gone,
cdef Py_ssize_t KEPT_SLOTS = 1 << 14          # and an index of as many frames


cdef class Frames:
    """A queue of frames (bytes of any kind, at most 16 MiB each).

    The buffer protocol gives the live frames end to end, read-only; while such a view exists the frames can be popped,
    but a push that needs the buffer to move raises BufferError.
    """

    def __dealloc__(self):
        free(self.data)
        free(self.ends)

    cdef unsigned char* reserve(self, Py_ssize_t size) except NULL:
        if size < 0 or size > MOST:
            raise ValueError(f"a frame holds at most {MOST} bytes, not {size}")
        if self.data == NULL or size > self.capacity - self.tail:
            self.make_room(size)
        if self.last == self.slots:
            self.make_slot()
        return self.data + self.tail

    cdef int commit(self, Py_ssize_t size) except -1:
        self.tail += size
        self.ends[self.last] = self.tail
        self.last += 1
        return 0

    cdef int put(self, const unsigned char* p, Py_ssize_t size) except -1:
        cdef unsigned char* at = self.reserve(size)
        if size:
            memcpy(at, p, size)
        return self.commit(size)

    cdef int make_room(self, Py_ssize_t size) except -1:
        # Moving the live bytes costs their number, so it waits until at least as many are dead in front of them.
        cdef Py_ssize_t live = self.tail - self.head
        if self.exports:
            raise BufferError("the frames cannot grow while a memoryview of them exists: release it first")
        if self.head >= live and size <= self.capacity - live and self.data != NULL:
            self.to_front()
            return 0
        self.to_front()
        return self.resize(max(2 * self.capacity, live + size, LEAST_ROOM))

    cdef int make_slot(self) except -1:
        cdef Py_ssize_t live = self.last - self.first, slots
        if self.first > live:
            memmove(self.ends, self.ends + self.first, live * sizeof(Py_ssize_t))
            self.first, self.last = 0, live
            return 0
        slots = max(2 * self.slots, 64)
        grown = <Py_ssize_t*> realloc(self.ends, slots * sizeof(Py_ssize_t))
        if grown == NULL:
            raise MemoryError()
        self.ends, self.slots = grown, slots
        return 0

    cdef void to_front(self) noexcept:
        cdef Py_ssize_t i, live = self.tail - self.head
        if self.head == 0:
            return
        memmove(self.data, self.data + self.head, live)
        for i in range(self.first, self.last):
            self.ends[i] -= self.head
        self.head, self.tail = 0, live

    cdef int resize(self, Py_ssize_t capacity) except -1:
        moved = <unsigned char*> realloc(self.data, capacity)
        if moved == NULL:
            raise MemoryError()
        self.data, self.capacity = moved, capacity
        return 0

    cdef int settle(self) except -1:
        """Give memory back after a burst."""
        cdef Py_ssize_t live = self.tail - self.head
        if self.first == self.last:
            self.head = self.tail = self.first = self.last = 0
            if self.slots > KEPT_SLOTS:
                free(self.ends)
                self.ends = NULL
                self.slots = 0
        if self.capacity > KEPT_ROOM and live < self.capacity // 8:
            self.to_front()
            self.resize(max(4 * live, KEPT_ROOM))
        return 0

    def __len__(self):
        return self.last - self.first

    @property
    def nbytes(self) -> int:
        """Bytes of all frames."""
        return self.tail - self.head

    def __getitem__(self, Py_ssize_t i):
        cdef Py_ssize_t count = self.last - self.first
        if i < 0:
            i += count
        if not 0 <= i < count:
            raise IndexError(f"there are {count} frames")
        start = self.head if i == 0 else self.ends[self.first + i - 1]
        return self.data[start:self.ends[self.first + i]]

    def __iter__(self):
        cdef Py_ssize_t i
        for i in range(len(self)):
            yield self[i]

    def push(self, frame) -> None:
        """Add a frame (any bytes-like object) at the end. ValueError when it is above 16 MiB."""
        cdef const unsigned char[::1] view = frame
        self.put(&view[0] if view.shape[0] else NULL, view.shape[0])

    def pop(self, Py_ssize_t count) -> None:
        """Drop `count` frames from the front. ValueError when there are not as many."""
        if not 0 <= count <= self.last - self.first:
            raise ValueError(f"cannot pop {count} of {self.last - self.first} frames")
        if count:
            self.head = self.ends[self.first + count - 1]
            self.first += count
        if not self.exports:
            self.settle()

    def clear(self) -> None:
        """Drop all frames."""
        self.pop(self.last - self.first)

    def lengths(self) -> bytes:
        """The length of each frame, little-endian u32 each."""
        cdef Py_ssize_t i, before = self.head, count = self.last - self.first
        cdef bytes out = PyBytes_FromStringAndSize(NULL, 4 * count)
        cdef uint32_t* at = <uint32_t*> PyBytes_AS_STRING(out)
        for i in range(count):
            at[i] = htole32(<uint32_t> (self.ends[self.first + i] - before))
            before = self.ends[self.first + i]
        return out

    def __getbuffer__(self, Py_buffer* view, int flags):
        if self.data == NULL:
            self.make_room(1)                    # a view needs somewhere to point to
        PyBuffer_FillInfo(view, self, self.data + self.head, self.tail - self.head, True, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer* view):
        self.exports -= 1
