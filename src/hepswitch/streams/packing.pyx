# cython: language_level=3
"""Bodies of messages: made of the records of a journal (`Packer`), and read back as packets (`unpack`).

One pass over the records of a batch: record → packet as version 3 with its time → call → what the call's partition has open.
Not here: what a message is (`message`), publishing.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

import msgspec
import xxhash

from hepswitch.wire.batch cimport Batch
from hepswitch.wire.frames cimport Frames
from hepswitch.wire.framing cimport whole_frame
from hepswitch.wire.hep cimport Hep
from hepswitch.wire.index cimport HEAD, MOST, TIMESTAMP
from hepswitch.wire.record cimport Record, read_record

from hepswitch.streams.message import MOST_PARTITIONS, Message
from hepswitch.wire.errors import WireError

cdef Py_ssize_t TIME = 2 * (HEAD + 4)     # bytes that a time takes in a packet


cdef class Packer:
    """Messages of one batch: the records of `journal` by partition, `packets` or `most` bytes in each at most."""

    cdef Hep packet
    cdef str journal
    cdef int partitions
    cdef Py_ssize_t packets, most
    cdef list open                        # by partition what its next message has so far: Frames, or None …
    cdef int64_t* first                   # … and the numbers of its first and last frame
    cdef int64_t* last
    cdef list made
    cdef readonly list too_large          # numbers of frames whose packet is larger than `most`, left out
    cdef readonly Py_ssize_t damaged      # records of which no packet could be made, left out
    cdef readonly str fault               # what was wrong with the first of them

    def __cinit__(self, str journal not None, int partitions, Py_ssize_t packets, Py_ssize_t most):
        if not (1 <= partitions <= MOST_PARTITIONS and packets >= 1 and most >= 1):
            raise ValueError(f"no messages of {packets} packets and {most} bytes in {partitions} partitions")
        self.packet = Hep.__new__(Hep)
        self.journal, self.partitions, self.packets, self.most = journal, partitions, packets, most
        self.open, self.made, self.too_large = [None] * partitions, [], []
        self.first = <int64_t*> calloc(partitions, sizeof(int64_t))
        self.last = <int64_t*> calloc(partitions, sizeof(int64_t))
        if self.first == NULL or self.last == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.first)
        free(self.last)

    def add(self, int64_t first, const unsigned char[::1] data not None, const uint32_t[::1] lengths not None,
            frozenset left_out=frozenset()):
        """Take the records that lie end to end in `data`; the first is frame number `first`. Numbers in `left_out` are not
        taken. A record that contradicts itself is counted in `damaged` and left out."""
        cdef Py_ssize_t i, at = 0, size = data.shape[0]
        cdef bint all_of_them = not left_out
        for i in range(lengths.shape[0]):
            if lengths[i] > size - at:
                self.damaged += lengths.shape[0] - i
                return
            if all_of_them or first + i not in left_out:
                self.take(first + i, &data[at] if lengths[i] else NULL, lengths[i])
            at += lengths[i]

    def messages(self) -> list:
        """The messages of all that was taken since the last time."""
        cdef int partition
        for partition in range(self.partitions):
            self.close(partition)
        made, self.made = self.made, []
        return made

    cdef int take(self, int64_t number, const unsigned char* data, Py_ssize_t size) except -1:
        cdef Frames frames
        cdef int partition
        try:
            self.load(data, size)
            partition = <int> (self.packet.call_key() % <uint64_t> self.partitions)
        except MemoryError:
            raise
        except Exception as error:
            self.damaged += 1
            if self.fault is None:
                self.fault = f"{type(error).__name__}: {error}"
            return 0
        if self.packet.size > self.most:
            self.too_large.append(number)
            return 0
        frames = self.open[partition]
        if frames is None:
            self.open[partition] = frames = Frames()
        elif frames.tail - frames.head + self.packet.size > self.most:
            self.close(partition)
        if frames.first == frames.last:
            self.first[partition] = number
        self.last[partition] = number
        frames.put(self.packet.data, self.packet.size)
        if frames.last - frames.first >= self.packets:
            self.close(partition)
        return 0

    cdef int load(self, const unsigned char* data, Py_ssize_t size) except -1:
        """Load the packet of a record as what it is for who has not the record: its time and its call are in it."""
        cdef Record record
        cdef uint64_t seconds = 0
        read_record(data, size, &record)
        self.packet.load(<unsigned char*> record.packet, record.packet_size, True)
        self.packet.arrival_us = record.arrival_us
        if self.packet._version != 3:
            self.packet.version = 3
        self.packet.number(TIMESTAMP, &seconds)
        if seconds == 0 and 0 < record.arrival_us < <uint64_t> 1000000 << 32 and self.packet.size <= MOST - TIME:
            self.packet.time_us = record.arrival_us
        if record.meta_size:
            said = msgspec.json.decode(<bytes> record.meta[:record.meta_size]).get("correlation_id")
            if said is not None:
                call = (<str?> said).encode("utf-8", "replace")
                if self.packet.size + HEAD + len(call) <= MOST:
                    self.packet.correlation_id = call
        return 0

    cdef int close(self, int partition) except -1:
        """Make a message of what is open for the partition."""
        cdef Frames frames = self.open[partition]
        if frames is None or frames.first == frames.last:
            return 0
        body = PyBytes_FromStringAndSize(<char*> frames.data + frames.head, frames.tail - frames.head)
        # Which call it is: the packet that was taken last is the only one.
        key = self.packet.call_identity if self.packets == 1 else b"%d" % partition
        name = f"{self.journal}-{self.first[partition]}-{self.last[partition] + 1}-{xxhash.xxh3_64_hexdigest(body)}"
        self.made.append(Message(partition, self.first[partition], name, key, body, frames.last - frames.first))
        frames.clear()
        return 0


def unpack(Batch batch not None, body not None, uint64_t arrival_us):
    """Put the packets of a message's body (bytes-like) into `batch`, emptied first; gives how many bytes behind them are no
    packets, 0 when all is well. `arrival_us`: the time of packets that carry none, µs since 1970.

    The batch keeps a copy of the body, because packets are edited in place.
    """
    cdef bytearray memory = bytearray(body)
    cdef unsigned char* at = memory
    cdef Py_ssize_t left = len(memory), size
    batch.count = 0
    batch.arrival_us = arrival_us
    batch.keeper = memory
    while left:
        try:
            size = whole_frame(at, left)
        except WireError:
            break
        if size == 0:
            break
        batch.put(at, size, NULL, 0)
        at += size
        left -= size
    return left
