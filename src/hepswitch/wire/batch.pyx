# cython: language_level=3
"""Batch: packets as one read of a source delivered them, with who sent them. Views on memory that the source reuses.

Never kept: what a batch points to is gone with the next read. Not here: queues (`frames`).
"""

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, realloc


cdef class Batch:
    """The packets of one read. `listener` is where they came in; `peer` ("ip", port) is who sent them all, or None."""

    def __cinit__(self, listener, peer=None):
        self.listener = listener
        self.peer = peer

    def __dealloc__(self):
        free(self.items)

    @classmethod
    def of(cls, packets, listener, peer=None):
        """A batch that owns copies of `packets` (a sequence of bytes). For tests and tools."""
        cdef Batch batch = cls(listener, peer)
        cdef bytearray memory
        cdef unsigned char* at
        batch.keeper = memory = bytearray(b"".join(packets))
        at = memory
        for packet in packets:
            batch.put(at, len(packet), NULL, 0)
            at += len(packet)
        return batch

    cdef int put(self, unsigned char* data, Py_ssize_t size, unsigned char* sender, Py_ssize_t sender_size) except -1:
        cdef Item* item
        cdef Py_ssize_t room
        if self.count == self.room:
            room = max(2 * self.room, 64)
            grown = <Item*> realloc(self.items, room * sizeof(Item))
            if grown == NULL:
                raise MemoryError()
            self.items, self.room = grown, room
        item = &self.items[self.count]
        item.data, item.size = data, <uint32_t> size
        item.sender, item.sender_size = sender, <uint32_t> sender_size
        self.count += 1
        return 0

    def __len__(self):
        return self.count

    def __getitem__(self, Py_ssize_t i):
        if i < 0:
            i += self.count
        if not 0 <= i < self.count:
            raise IndexError(f"there are {self.count} packets")
        return <bytes> self.items[i].data[:self.items[i].size]

    def __iter__(self):
        cdef Py_ssize_t i
        for i in range(len(self)):
            yield self[i]
