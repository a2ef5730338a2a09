# cython: language_level=3
"""Flight: what a connection has sent, what the far end's TCP has acknowledged, and what has to go again after a break.

The frames lie in one queue, in order:

    | kept: acknowledged, might have to go again | sent | not sent yet |
                                       settled ──┘      └── sent

`kept` is what `replay` bytes belong to: less than a frame more. After an orderly end the next connection begins behind what was acknowledged. After
a reset it begins with what is kept: the far end's kernel had acknowledged it, its program may not have read it. Frames
that go again for this reason stay counted as delivered (`counted`), so the books never step back.

What is `numbered` is kept until the far end has given a receipt for it, whatever the end.

Not here: sockets, clocks, disks.
"""

from libc.string cimport memcmp

from hepswitch.wire.frames cimport Frames

from hepswitch.wire.chunks import NUMBER

cdef enum:
    HEAD = 6
    CHUNK = 22                                # bytes of a frame's number, at its end

cdef bytes CHUNK_HEAD = b"".join(each.to_bytes(2) for each in (*NUMBER, CHUNK))


cdef class Flight:
    """The queue of one stream node. `frames` is where packets are pushed; offsets are bytes from its front."""

    cdef readonly Frames frames
    cdef readonly Py_ssize_t sent             # bytes written to this connection
    cdef readonly Py_ssize_t settled          # bytes of the frames that are acknowledged as a whole
    cdef readonly Py_ssize_t settled_frames
    cdef readonly Py_ssize_t counted          # frames at the front that were reported as delivered
    cdef public Py_ssize_t replay             # bytes of acknowledged frames that are kept
    cdef public bint numbered                 # frames that bear a number are kept until `confirmed`

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
        cdef Py_ssize_t count = 0
        while count < self.settled_frames:
            if self.numbered:
                if self.number_at(count) != NULL:
                    break
            elif self.settled - (frames.ends[frames.first + count] - frames.head) < keep:
                break
            count += 1
        return self.drop(count)

    cdef int drop(self, Py_ssize_t count) except -1:
        cdef Frames frames = self.frames
        cdef Py_ssize_t size
        if count:
            size = frames.ends[frames.first + count - 1] - frames.head
            frames.pop(count)
            self.settled -= size
            self.sent -= size
            self.settled_frames -= count
            self.counted -= count
        return 0

    cdef const unsigned char* number_at(self, Py_ssize_t i) noexcept:
        """The 16 bytes of a frame's number (`chunks.NUMBER`); NULL when it has none."""
        cdef Frames frames = self.frames
        cdef Py_ssize_t begin = frames.head if i == 0 else frames.ends[frames.first + i - 1]
        cdef Py_ssize_t end = frames.ends[frames.first + i]
        if end - begin < HEAD + CHUNK or memcmp(frames.data + end - CHUNK, <const unsigned char*> CHUNK_HEAD, HEAD):
            return NULL
        return frames.data + end - CHUNK + HEAD

    def confirmed(self, bytes number not None):
        """The far end needs nothing up to the frame of this number (16 bytes) again. False: no acknowledged frame bears it."""
        cdef const unsigned char* found
        cdef Py_ssize_t i
        if len(number) != CHUNK - HEAD:
            raise ValueError(f"a number has 16 bytes, not {len(number)}")
        for i in range(self.settled_frames):
            found = self.number_at(i)
            if found != NULL and memcmp(found, <const unsigned char*> number, CHUNK - HEAD) == 0:
                self.drop(i + 1)
                return True
        return False

    def broken(self, bint clean):
        """The connection is gone. Gives how many frames go again although they were delivered (0 when `clean`)."""
        if clean:
            self.drop(self.settled_frames)
        self.sent = self.settled = self.settled_frames = 0
        return self.counted

    def recall(self):
        """Take back every delivered frame that is kept, in order, as Frames. Only while broken."""
        cdef Frames frames = self.frames, some = Frames()
        cdef Py_ssize_t i, start = frames.head
        if self.sent:
            raise ValueError("the connection is still there")
        for i in range(frames.first, frames.first + self.counted):
            some.put(frames.data + start, frames.ends[i] - start)
            start = frames.ends[i]
        frames.pop(self.counted)
        self.counted = 0
        return some

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
