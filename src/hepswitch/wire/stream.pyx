# cython: language_level=3
"""HEP frames out of a TCP byte stream, whose framing is the length field of each HEPv3 packet.

Sans I/O: the owner reads into `get_buffer()`, says how much with `fed()`, and takes the frames with `fill()`. Nobody can
tell where the next frame begins after a broken one, so an error is the end: the owner closes the connection.
Not here: what is in a frame (`hep`).
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from libc.string cimport memmove

from hepswitch.wire.clock cimport wall_us
from hepswitch.wire.framing cimport whole_frame

from hepswitch.wire.errors import WireError

cdef enum:
    MOST_FRAME = 65535
    READ = 65536                   # a read may bring as much, whatever of a frame is waiting
    AT_ONCE = 256                  # frames in a batch, however small they are: a batch keeps the room that it had to have


cdef class FrameReader:
    """Collects what one connection sends. Holds at most one unfinished frame (65,535 bytes) and one read."""

    def __cinit__(self):
        # Not zeroed: pages that no read has touched cost nothing, and an idle agent touches few.
        self.memory = PyByteArray_FromStringAndSize(NULL, MOST_FRAME + READ)

    def get_buffer(self):
        """Where the next read goes (at least 64 KiB). Frames given out before are gone with this call."""
        cdef unsigned char* at = <unsigned char*> PyByteArray_AS_STRING(self.memory)
        cdef Py_ssize_t live = self.tail - self.head
        if self.head:
            memmove(at, at + self.head, live)
            self.head, self.tail = 0, live
        return memoryview(self.memory)[live:]

    def fed(self, Py_ssize_t size) -> None:
        """`size` bytes were read into the buffer, just now: the time is the arrival of the frames that they complete."""
        if not 0 <= size <= len(self.memory) - self.tail:
            raise ValueError(f"{size} bytes were not read into the buffer: it has room for {len(self.memory) - self.tail}")
        self.tail += size
        self.arrival_us = wall_us()

    def fill(self, Batch batch not None) -> bool:
        """Put the complete frames into `batch` (emptied first), 256 at most. False when there is none.

        The frames are views on the buffer: they live until the next `get_buffer()`. WireError when what comes next is no
        frame ("bad magic", "bad length"); frames before it are given out first, the error is raised by the call after.
        """
        cdef unsigned char* at = <unsigned char*> PyByteArray_AS_STRING(self.memory)
        cdef Py_ssize_t size
        batch.count = 0
        batch.arrival_us = self.arrival_us
        batch.keeper = self
        while batch.count < AT_ONCE:
            try:
                size = self.frame()
            except WireError:
                if batch.count:
                    return True
                raise
            if size == 0:
                return batch.count > 0
            batch.put(at + self.head, size, NULL, 0)
            self.head += size
        return True

    def unread(self, Batch batch not None) -> None:
        """Give out again what the flow left of the batch that was filled last (`Batch.busy`)."""
        cdef Py_ssize_t at = -1
        if batch.keeper is self and batch.count < batch.room:
            at = batch.items[batch.count].data - <unsigned char*> PyByteArray_AS_STRING(self.memory)
        if not 0 <= at <= self.head:
            raise ValueError("the batch was not filled here")
        self.head = at

    cdef Py_ssize_t frame(self) except -1:
        return whole_frame(<unsigned char*> PyByteArray_AS_STRING(self.memory) + self.head, self.tail - self.head)

    @property
    def pending(self) -> int:
        """Bytes read that no complete frame accounts for yet."""
        return self.tail - self.head
