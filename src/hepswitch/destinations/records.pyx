# cython: language_level=3
"""Records into rows: what a journal holds of each packet becomes Arrow record batches of the one schema (`schema`).

Every store that keeps rows maps from it. `Records` collects records, sorts them by hour, call and time, and builds the
columns in that order, so that nothing has to be moved afterwards.

Not here: columns (`rows`), files (`lake.sealer`), the record's bytes (`wire.record`), HEP and SIP (`wire`).
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, qsort, realloc
from libc.string cimport memcmp, memcpy, memset

import msgspec

from hepswitch.destinations.rows cimport (
    CORRELATION_ID, MOST_EXTRAS, PROTO_TYPE, SIP, SIP_JSON, Rows, is_ascii, presentable,
)
from hepswitch.wire.hep cimport Hep
from hepswitch.wire.index cimport Chunk, number_at
from hepswitch.wire.record cimport Record, read_record
from hepswitch.wire.sip cimport Sip
from hepswitch.wire.sip_scan cimport sip_call_id, sip_looks
from hepswitch.wire.sip_text cimport Span

cdef extern from "<string.h>" nogil:
    void* memmem(const void* haystack, size_t size, const void* needle, size_t needle_size)

cdef enum:
    BATCH_BYTES = 64 << 20       # a batch ends when its text has grown to this: offsets of a column are 31 bits

cdef uint64_t HOUR = 3_600_000_000
cdef uint64_t LATEST = 253_402_300_799_999_999             # the end of the year 9999


cdef struct Row:
    const unsigned char* data    # the record
    uint32_t size
    uint32_t key_size
    const unsigned char* key     # what the columns will say of its call: call_id, else correlation_id
    uint64_t prefix              # its first eight bytes, so that most comparisons need no more
    uint64_t ts
    uint64_t order


cdef int by_hour_call_time(const void* left, const void* right) noexcept nogil:
    cdef const Row* a = <const Row*> left
    cdef const Row* b = <const Row*> right
    cdef uint64_t hour_a = a.ts // HOUR, hour_b = b.ts // HOUR
    cdef int order
    if hour_a != hour_b:
        return -1 if hour_a < hour_b else 1
    if a.prefix != b.prefix:
        return -1 if a.prefix < b.prefix else 1
    order = memcmp(a.key, b.key, min(a.key_size, b.key_size))
    if order == 0:
        if a.key_size != b.key_size:
            return -1 if a.key_size < b.key_size else 1
        if a.ts != b.ts:
            return -1 if a.ts < b.ts else 1
        return -1 if a.order < b.order else 1
    return order


cdef class Records:
    """Records of journal blocks, and rows of them. Holds on to the blocks' memory."""

    cdef Hep packet
    cdef Row* rows
    cdef readonly Py_ssize_t count          # records taken
    cdef readonly Py_ssize_t damaged        # records of which no row could be made, left out
    cdef readonly str fault                 # what was wrong with the first of them
    cdef Py_ssize_t room
    cdef list kept
    cdef tuple extras

    def __cinit__(self, extras=()):
        self.packet = Hep.__new__(Hep)
        self.kept = []
        self.extras = tuple(extras)
        if len(self.extras) > MOST_EXTRAS:
            raise ValueError(f"{len(self.extras)} columns beside those of the schema: at most {MOST_EXTRAS}")

    def __dealloc__(self):
        free(self.rows)

    def __len__(self):
        return self.count

    def add(self, const unsigned char[::1] data not None, const uint32_t[::1] lengths not None, list needles=None):
        """Take the records of one block; of all of them only those in which one of `needles` (bytes) occurs, if given.

        A record that contradicts itself is counted in `damaged` and left out.
        """
        cdef Py_ssize_t i, at = 0, size = data.shape[0]
        cdef const unsigned char* start
        if size == 0:
            return
        if needles is not None and not occurs(&data[0], size, needles):
            return
        self.kept.append(data)
        for i in range(lengths.shape[0]):
            if lengths[i] > size - at:
                self.damaged += lengths.shape[0] - i
                return
            start = &data[at]
            at += lengths[i]
            if needles is None or occurs(start, lengths[i], needles):
                self.take(start, lengths[i])

    cdef int take(self, const unsigned char* data, uint32_t size) except -1:
        cdef Row* row
        if self.count == self.room:
            self.room = max(4096, 2 * self.room)
            grown = <Row*> realloc(self.rows, self.room * sizeof(Row))
            if grown == NULL:
                raise MemoryError
            self.rows = grown
        row = &self.rows[self.count]
        row.data, row.size, row.order = data, size, self.count
        try:
            self.identify(row)
        except MemoryError:
            raise
        except Exception as error:
            return self.leave_out(error)
        self.count += 1
        return 0

    cdef int leave_out(self, error) except -1:
        self.damaged += 1
        if self.fault is None:
            self.fault = f"{type(error).__name__}: {error}"
        return 0

    cdef int load(self, Row* row, Record* record) except -1:
        """Read the row's record and load its packet."""
        read_record(row.data, row.size, record)
        self.packet.load(<unsigned char*> record.packet, record.packet_size, True)
        self.packet.arrival_us = record.arrival_us
        return 0

    cdef bint sip(self, const unsigned char** p, Py_ssize_t* n) except -1:
        """Whether the packet's payload is SIP, for the columns and for the order; its text."""
        cdef uint64_t kind = 0
        self.packet.number(PROTO_TYPE, &kind)
        if kind > SIP and kind != SIP_JSON:
            return False
        self.packet.span(p, n)
        if n[0] and p[0][0] == b"{" and self.packet.sip is not None:
            p[0], n[0] = (<Sip> self.packet.sip).raw, len((<Sip> self.packet.sip).raw)
        return sip_looks(p[0], n[0])

    cdef int identify(self, Row* row) except -1:
        """Fill in what the row is sorted by: what its columns will say, or merging would not find its place again."""
        cdef Record record
        cdef Span call_id
        cdef Chunk* chunk
        cdef const unsigned char* p = NULL
        cdef Py_ssize_t n = 0
        cdef unsigned char head[8]
        self.load(row, &record)
        row.ts = self.packet.captured_us()
        if row.ts > LATEST:
            raise ValueError(f"{row.ts} µs is no time")
        correlation_id = self.meta(&record).get("correlation_id") if record.meta_size else None
        row.key, row.key_size = NULL, 0
        if self.sip(&p, &n) and sip_call_id(p, n, &call_id):
            self.key(row, p + call_id.at, call_id.size)
        elif correlation_id is not None:
            identity = (<str?> correlation_id).encode("utf-8", "replace")
            self.key(row, identity, len(identity))
        else:
            chunk = self.packet.find(0, CORRELATION_ID)
            if chunk != NULL:
                self.key(row, self.packet.data + chunk.at, chunk.size)
        memset(head, 0, 8)
        if row.key_size:
            memcpy(head, row.key, min(8, row.key_size))
        row.prefix = number_at(head, 8, False)
        return 0

    cdef int key(self, Row* row, const unsigned char* p, Py_ssize_t size) except -1:
        """Remember the row's identity: in place when it lies in the record as it will be written, else a copy of it."""
        clean = None
        if not is_ascii(p, size):
            clean = presentable(p, size)
        elif not (row.data <= p and p + size <= row.data + row.size):
            clean = <bytes> p[:size]
        if clean is not None:
            self.kept.append(clean)
            p, size = clean, len(clean)
        row.key, row.key_size = p, <uint32_t> size
        return 0

    cdef dict meta(self, Record* record):
        """What the route said when it stored the packet."""
        return msgspec.json.decode(<bytes> record.meta[:record.meta_size])

    # ── rows ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def sort(self):
        """Put the records in the order of the lake: by hour, call identity, time. `batch` follows it."""
        if self.count:
            qsort(self.rows, self.count, sizeof(Row), &by_hour_call_time)

    def hours(self):
        """[(hour, start, stop), …] of the sorted records: hours since the epoch (UTC) by the packets' own time."""
        cdef Py_ssize_t i, start = 0
        cdef list found = []
        for i in range(1, self.count + 1):
            if i == self.count or self.rows[i].ts // HOUR != self.rows[start].ts // HOUR:
                found.append((self.rows[start].ts // HOUR, start, i))
                start = i
        return found

    def batch(self, Py_ssize_t start, Py_ssize_t stop):
        """(RecordBatch of SCHEMA, next): rows `start` up to `stop`, or fewer where the batch would become too big.

        A record of which no row can be made is counted in `damaged` and left out.
        """
        cdef Py_ssize_t i = start, octets = 0, made = 0
        if not 0 <= start <= stop <= self.count:
            raise IndexError(f"rows {start}..{stop} of {self.count}")
        cdef Rows rows = Rows.__new__(Rows, stop - start, self.extras)
        while i < stop and octets < BATCH_BYTES:
            octets += self.rows[i].size
            i += 1
        rows.expect(octets)
        i = start
        while i < stop and rows.size() < BATCH_BYTES:
            try:
                self.fill(rows, &self.rows[i])
                made += 1
            except MemoryError:
                raise
            except Exception as error:
                self.leave_out(error)
                rows.cut(made)
            i += 1
        return rows.batch(), i

    cdef int fill(self, Rows rows, Row* row) except -1:
        """Append one row."""
        cdef Record record
        cdef const unsigned char* p = NULL
        cdef Py_ssize_t n = 0
        self.load(row, &record)
        meta = self.meta(&record) if record.meta_size else None
        if not self.sip(&p, &n):
            n = -1
        return rows.append(self.packet, row.ts, &record, meta, p, n)


cdef bint occurs(const unsigned char* data, Py_ssize_t size, list needles) except -1:
    cdef bytes needle
    for needle in needles:
        if memmem(data, size, <const unsigned char*> needle, len(needle)) != NULL:
            return True
    return False
