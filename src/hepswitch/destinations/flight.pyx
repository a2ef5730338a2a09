# cython: language_level=3
"""Flight: what a connection has sent, what the far end's TCP has acknowledged, and what has to go again after a break.

The frames lie in one queue, in order:

    | kept: acknowledged, might have to go again | sent | not sent yet |
                                       settled ──┘      └── sent

`kept` is what `replay` bytes belong to: less than a frame more. After an orderly end the next connection begins behind what was acknowledged. After
a reset it begins with what is kept: the far end's kernel had acknowledged it, its program may not have read it. Frames
that go again for this reason stay counted as delivered (`counted`), so the books never step back.

Not here: sockets, clocks, disks.
"""

from hepswitch.wire.frames cimport Frames


cdef class Flight:
    """The queue of one stream node. `frames` is where packets are pushed; offsets are bytes from its front."""

    cdef readonly Frames frames
    cdef readonly Py_ssize_t sent             # bytes written to this connection
    cdef readonly Py_ssize_t settled          # bytes of the frames that are acknowledged as a whole
    cdef readonly Py_ssize_t settled_frames
    cdef readonly Py_ssize_t counted          # frames at the front that were reported as delivered
    cdef public Py_ssize_t replay             # bytes of acknowledged frames that are kept

    def __init__(self, Py_ssize_t replay):
        self.frames = Frames()
        self.replay = replay

    @property
    def unsent(self):
        """Bytes that wait to be written."""
        return self.frames.tail - self.frames.head - self.sent

    @property
    def undelivered(self):
        """Frames not yet reported as delivered."""
        return self.frames.last - self.frames.first - self.counted

    def wrote(self, Py_ssize_t size):
        """`size` more bytes from the front of what was unsent have been written."""
        if size < 0 or size > self.unsent:
            raise ValueError(f"{size} bytes written of {self.unsent}")
        self.sent += size

    def acknowledged(self, Py_ssize_t outstanding):
        """All bytes written but the last `outstanding` are acknowledged. Gives how many frames that newly delivers."""
        cdef Frames frames = self.frames
        cdef Py_ssize_t limit = self.sent - outstanding, frame = self.settled_frames, end = self.settled
        cdef Py_ssize_t count = frames.last - frames.first
        while frame < count and frames.ends[frames.first + frame] - frames.head <= limit:
            end = frames.ends[frames.first + frame] - frames.head
            frame += 1
        self.settled_frames, self.settled = frame, end
        cdef Py_ssize_t delivered = frame - self.counted
        if delivered > 0:
            self.counted = frame
        self.forget(self.replay)
        return max(delivered, 0)

    cdef int forget(self, Py_ssize_t keep) except -1:
        # Let go of the oldest acknowledged frames. Those that the last `keep` acknowledged bytes belong to remain whole:
        # a program that missed part of a frame has missed the frame.
        cdef Frames frames = self.frames
        cdef Py_ssize_t count = 0, size = 0, end
        while count < self.settled_frames:
            end = frames.ends[frames.first + count] - frames.head
            if self.settled - end < keep:
                break
            size = end
            count += 1
        if count:
            frames.pop(count)
            self.settled -= size
            self.sent -= size
            self.settled_frames -= count
            self.counted -= count
        return 0

    def broken(self, bint clean):
        """The connection is gone. Gives how many frames go again although they were delivered (0 when `clean`)."""
        if clean:
            self.forget(0)
        self.sent = self.settled = self.settled_frames = 0
        return self.counted

    def withdraw(self, Py_ssize_t block):
        """Take back every undelivered frame, in order, as a list of Frames of about `block` bytes. Only while broken."""
        cdef Frames frames = self.frames, some = Frames()
        cdef Py_ssize_t i, start, begin = frames.head
        cdef list taken = []
        if self.sent:
            raise ValueError("the connection is still there")
        if self.counted:
            begin = frames.ends[frames.first + self.counted - 1]
        start = begin
        for i in range(frames.first + self.counted, frames.last):
            some.put(frames.data + start, frames.ends[i] - start)
            start = frames.ends[i]
            if some.tail - some.head >= block:
                taken.append(some)
                some = Frames()
        if some.last > some.first:
            taken.append(some)
        frames.last = frames.first + self.counted
        frames.tail = begin
        return taken
