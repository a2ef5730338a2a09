# cython: language_level=3
"""Records into rows: what a journal holds of each packet becomes Arrow record batches of the one schema, `SCHEMA`.

Every store that keeps rows maps from this schema. `Records` collects records, sorts them by hour, call and time, and
builds the columns in that order, so that nothing has to be moved afterwards. Nothing of a packet is lost but its
authentication key: chunks without a column are kept as they were in `chunks`.

Not here: files (`lake.sealer`), the record's bytes (`wire.record`), HEP and SIP (`wire`).
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_Resize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, qsort, realloc
from libc.string cimport memcmp, memcpy, memset

cimport cython

import datetime
import re

import msgspec
import pyarrow as pa

from hepswitch.wire.hep cimport Hep
from hepswitch.wire.index cimport Chunk, number_at
from hepswitch.wire.ip_text cimport ROOM, address_text
from hepswitch.wire.record cimport Record, read_record
from hepswitch.wire.sip cimport Sip
from hepswitch.wire.sip_scan cimport SipFields, sip_call_id, sip_looks, sip_scan
from hepswitch.wire.sip_text cimport Span

cdef extern from "<string.h>" nogil:
    void* memmem(const void* haystack, size_t size, const void* needle, size_t needle_size)

TIME = pa.timestamp("us", "UTC")
MILLISECONDS = pa.timestamp("ms", "UTC")

COLUMNS = [
    ("ts", TIME, "when the packet was captured, by its own clock; when it arrived, if it carries no time"),
    ("call_id", pa.string(), "SIP Call-ID; null when the payload is not SIP"),
    ("correlation_id", pa.string(), "correlation id as sent (chunk 0x11), or as the route gave it; null when there is none"),
    ("proto_type", pa.uint8(), "what the payload is (chunk 0x0b): 1 SIP, 5 RTCP, 100 log …; 1 for all that was read as SIP"),
    ("src_ip", pa.string(), "captured source address"),
    ("src_port", pa.uint16(), "captured source port"),
    ("dst_ip", pa.string(), "captured destination address"),
    ("dst_port", pa.uint16(), "captured destination port"),
    ("proto_id", pa.uint8(), "IP protocol (chunk 0x02): 6 TCP, 17 UDP, 22 TLS …"),
    ("captagent_id", pa.uint32(), "capture agent's number (chunk 0x0c)"),
    ("node_name", pa.string(), "capture agent's name (chunk 0x13)"),
    ("method", pa.string(), "request's method; null for replies (see cseq_method)"),
    ("status", pa.uint16(), "reply's status code; null for requests"),
    ("reason", pa.string(), "reply's reason phrase"),
    ("cseq", pa.uint32(), "CSeq number"),
    ("cseq_method", pa.string(), "CSeq method"),
    ("ruri_user", pa.string(), "user of the request URI"),
    ("ruri_domain", pa.string(), "host of the request URI"),
    ("from_user", pa.string(), "user of From"),
    ("from_domain", pa.string(), "host of From"),
    ("from_tag", pa.string(), "tag of From"),
    ("to_user", pa.string(), "user of To"),
    ("to_domain", pa.string(), "host of To"),
    ("to_tag", pa.string(), "tag of To"),
    ("via_branch", pa.string(), "branch of the topmost Via"),
    ("contact_user", pa.string(), "user of the first Contact"),
    ("pid_user", pa.string(), "user of P-Asserted-Identity, else of P-Preferred-Identity"),
    ("auth_user", pa.string(), "username of Proxy-Authorization, else of Authorization"),
    ("user_agent", pa.string(), "User-Agent, else Server"),
    ("content_type", pa.string(), "Content-Type"),
    ("reason_header", pa.string(), "Reason header"),
    ("callid_aleg", pa.string(), "X-CID: the Call-ID of the other leg"),
    ("vlan_id", pa.uint16(), "VLAN (chunk 0x12)"),
    ("hep_version", pa.uint8(), "1, 2 or 3: as the route left the packet"),
    ("received_ts", MILLISECONDS, "when the packet arrived here, to the millisecond"),
    ("received_ip", pa.string(), "who sent it to us: address"),
    ("received_port", pa.uint16(), "who sent it to us: port"),
    ("store_table", pa.string(), "table= of store(), its strftime fields filled in from ts (UTC)"),
    ("custom_field1", pa.string(), "custom_field1= of store(); attrs= of trace()"),
    ("custom_field2", pa.string(), "custom_field2= of store()"),
    ("custom_field3", pa.string(), "custom_field3= of store()"),
    ("chunks", pa.binary(), "HEP chunks without a column, as they were, end to end; the authentication key is left out"),
    ("payload", pa.binary(), "the captured payload, inflated if it came compressed"),
]

SCHEMA = pa.schema([pa.field(name, kind, nullable=name not in ("ts", "received_ts")) for name, kind, _ in COLUMNS])

cdef enum:
    BATCH_BYTES = 64 << 20       # a batch ends when its text has grown to this: offsets of a column are 31 bits

cdef uint64_t HOUR = 3_600_000_000
cdef uint64_t LATEST = 253_402_300_799_999_999             # the end of the year 9999

NO_FIELD = re.compile(r"\0|%(?:[^A-Za-z%]|$)")           # strftime's flags and widths: %999999d would fill the memory

cdef enum:                       # generic chunks that have columns (or need none), by number
    PROTO_FAMILY = 0x01
    PROTO_ID = 0x02
    SRC_IP4 = 0x03
    DST_IP4 = 0x04
    SRC_IP6 = 0x05
    DST_IP6 = 0x06
    SRC_PORT = 0x07
    DST_PORT = 0x08
    PROTO_TYPE = 0x0b
    CAPTAGENT_ID = 0x0c
    AUTH_KEY = 0x0e
    PAYLOAD = 0x0f
    COMPRESSED_PAYLOAD = 0x10
    CORRELATION_ID = 0x11
    VLAN_ID = 0x12
    NODE_NAME = 0x13
    TIMESTAMP = 0x09
    SIP = 1                      # proto_type
    SIP_JSON = 50
    IPV4 = 2                     # proto_family
    COLUMN_CHUNKS = 0x14

# The size that each must have to fill its column: -1 any, -2 never (it goes to `chunks`).
cdef int* CHUNK_SIZE = [-2, 1, 1, 4, 4, 16, 16, 2, 2, 4, 4, 1, 4, -2, -2, -1, -1, -1, 2, -1]


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


cdef class Column:
    """A column that is being built."""

    cdef bytearray values, valid
    cdef unsigned char* at
    cdef Py_ssize_t rows, nulls

    @cython.final
    cdef inline void present(self) noexcept:
        PyByteArray_AS_STRING(self.valid)[self.rows >> 3] |= <char> (1 << (self.rows & 7))
        self.rows += 1

    cdef int cut(self, Py_ssize_t rows) except -1:
        """Take back what came behind the first `rows` values: one at most."""
        cdef char bit = <char> (1 << (rows & 7))
        if self.rows > rows:
            if PyByteArray_AS_STRING(self.valid)[rows >> 3] & bit:
                PyByteArray_AS_STRING(self.valid)[rows >> 3] &= ~bit
            else:
                self.nulls -= 1
            self.rows = rows
        return 0

    cdef object array(self, kind):
        raise NotImplementedError


@cython.final
cdef class Text(Column):
    """A string or binary column that is being built."""

    cdef bytearray offsets
    cdef int32_t* offset
    cdef Py_ssize_t used, room

    def __cinit__(self, Py_ssize_t rows):
        self.offsets = bytearray(4 * (rows + 1))
        self.offset = <int32_t*> PyByteArray_AS_STRING(self.offsets)
        self.valid = bytearray((rows + 7) // 8)
        self.room = 16 * rows + 64
        self.values = bytearray(self.room)
        self.at = <unsigned char*> PyByteArray_AS_STRING(self.values)

    cdef int grow(self, Py_ssize_t size) except -1:
        self.room = max(2 * self.room, self.used + size)
        PyByteArray_Resize(self.values, self.room)
        self.at = <unsigned char*> PyByteArray_AS_STRING(self.values)
        return 0

    cdef inline int raw(self, const unsigned char* p, Py_ssize_t size) except -1:
        """Append a value, whatever bytes it has."""
        if self.used + size > self.room:
            self.grow(size)
        memcpy(self.at + self.used, p, size)
        self.used += size
        self.present()
        self.offset[self.rows] = <int32_t> self.used
        return 0

    cdef inline int text(self, const unsigned char* p, Py_ssize_t size) except -1:
        """Append text as `presentable` gives it."""
        if is_ascii(p, size):
            return self.raw(p, size)
        clean = presentable(p, size)
        return self.raw(clean, len(clean))

    cdef inline int null(self) except -1:
        self.nulls += 1
        self.rows += 1
        self.offset[self.rows] = <int32_t> self.used
        return 0

    cdef inline int span(self, const unsigned char* base, Span span) except -1:
        """Append what a span of `base` says; null when it is empty."""
        return self.text(base + span.at, span.size) if span.size else self.null()

    cdef inline int value(self, object text) except -1:
        """Append a str, or null for None."""
        if text is None:
            return self.null()
        octets = (<str?> text).encode("utf-8", "replace")
        return self.raw(octets, len(octets))

    cdef int cut(self, Py_ssize_t rows) except -1:
        self.used = self.offset[rows]
        return Column.cut(self, rows)

    cdef object array(self, kind):
        PyByteArray_Resize(self.values, self.used)
        PyByteArray_Resize(self.offsets, 4 * (self.rows + 1))
        buffers = [pa.py_buffer(self.valid) if self.nulls else None, pa.py_buffer(self.offsets), pa.py_buffer(self.values)]
        return pa.Array.from_buffers(kind, self.rows, buffers, self.nulls)


@cython.final
cdef class Number(Column):
    """An unsigned or timestamp column that is being built."""

    cdef Py_ssize_t width

    def __cinit__(self, Py_ssize_t rows, Py_ssize_t width):
        self.width = width
        self.values = bytearray(rows * width)
        self.at = <unsigned char*> PyByteArray_AS_STRING(self.values)
        self.valid = bytearray((rows + 7) // 8)

    cdef inline int put(self, uint64_t value) except -1:
        memcpy(self.at + self.rows * self.width, &value, self.width)       # little-endian, as Arrow is
        self.present()
        return 0

    cdef inline int null(self) except -1:
        self.nulls += 1
        self.rows += 1
        return 0

    cdef object array(self, kind):
        PyByteArray_Resize(self.values, self.rows * self.width)
        buffers = [pa.py_buffer(self.valid) if self.nulls else None, pa.py_buffer(self.values)]
        return pa.Array.from_buffers(kind, self.rows, buffers, self.nulls)


cdef inline bint is_ascii(const unsigned char* p, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    cdef unsigned char high = 0
    for i in range(size):
        high |= p[i]
    return high < 0x80


cdef bytes presentable(const unsigned char* p, Py_ssize_t size):
    """Bytes as a text column has them. What is not UTF-8 in them becomes U+FFFD: the payload keeps the bytes."""
    return p[:size].decode("utf-8", "replace").encode()


cdef class Rows:
    """The columns of one batch. A field for each of `COLUMNS`, in words."""

    cdef Number ts, proto_type, src_port, dst_port, proto_id, captagent_id, status, cseq, vlan_id
    cdef Number hep_version, received_ts, received_port
    cdef Text call_id, correlation_id, src_ip, dst_ip, node_name, method, reason, cseq_method, ruri_user, ruri_domain
    cdef Text from_user, from_domain, from_tag, to_user, to_domain, to_tag, via_branch, contact_user, pid_user, auth_user
    cdef Text user_agent, content_type, reason_header, callid_aleg, received_ip, store_table
    cdef Text custom_field1, custom_field2, custom_field3, chunks, payload
    cdef list columns                       # all of them, in the order of SCHEMA …
    cdef list texts                         # … and those that hold text

    def __cinit__(self, Py_ssize_t rows):
        self.ts, self.received_ts = Number(rows, 8), Number(rows, 8)
        self.captagent_id, self.cseq = Number(rows, 4), Number(rows, 4)
        self.src_port, self.dst_port, self.received_port = Number(rows, 2), Number(rows, 2), Number(rows, 2)
        self.status, self.vlan_id = Number(rows, 2), Number(rows, 2)
        self.proto_type, self.proto_id, self.hep_version = Number(rows, 1), Number(rows, 1), Number(rows, 1)
        self.call_id, self.correlation_id, self.node_name = Text(rows), Text(rows), Text(rows)
        self.src_ip, self.dst_ip, self.received_ip = Text(rows), Text(rows), Text(rows)
        self.method, self.reason, self.cseq_method = Text(rows), Text(rows), Text(rows)
        self.ruri_user, self.ruri_domain = Text(rows), Text(rows)
        self.from_user, self.from_domain, self.from_tag = Text(rows), Text(rows), Text(rows)
        self.to_user, self.to_domain, self.to_tag = Text(rows), Text(rows), Text(rows)
        self.via_branch, self.contact_user = Text(rows), Text(rows)
        self.pid_user, self.auth_user, self.user_agent = Text(rows), Text(rows), Text(rows)
        self.content_type, self.reason_header, self.callid_aleg = Text(rows), Text(rows), Text(rows)
        self.store_table, self.custom_field1 = Text(rows), Text(rows)
        self.custom_field2, self.custom_field3 = Text(rows), Text(rows)
        self.chunks, self.payload = Text(rows), Text(rows)
        self.columns = [
            self.ts, self.call_id, self.correlation_id, self.proto_type, self.src_ip, self.src_port, self.dst_ip,
            self.dst_port, self.proto_id, self.captagent_id, self.node_name, self.method, self.status, self.reason,
            self.cseq, self.cseq_method, self.ruri_user, self.ruri_domain, self.from_user, self.from_domain, self.from_tag,
            self.to_user, self.to_domain, self.to_tag, self.via_branch, self.contact_user, self.pid_user, self.auth_user,
            self.user_agent, self.content_type, self.reason_header, self.callid_aleg, self.vlan_id, self.hep_version,
            self.received_ts, self.received_ip, self.received_port, self.store_table, self.custom_field1,
            self.custom_field2, self.custom_field3, self.chunks, self.payload,
        ]
        self.texts = [column for column in self.columns if isinstance(column, Text)]

    cdef int sip(self, const unsigned char* p, SipFields* f) except -1:
        """The columns that a SIP message fills."""
        self.call_id.span(p, f.call_id)
        if f.is_request:
            self.method.span(p, f.method)
        else:
            self.method.null()
        self.status.put(f.status) if 0 < f.status <= 0xFFFF else self.status.null()
        self.reason.span(p, f.reason_phrase)
        self.cseq.put(f.cseq_number) if f.cseq.size else self.cseq.null()
        self.cseq_method.span(p, f.cseq_method)
        self.ruri_user.span(p, f.ruri_user)
        self.ruri_domain.span(p, f.ruri_domain)
        self.from_user.span(p, f.from_user)
        self.from_domain.span(p, f.from_domain)
        self.from_tag.span(p, f.from_tag)
        self.to_user.span(p, f.to_user)
        self.to_domain.span(p, f.to_domain)
        self.to_tag.span(p, f.to_tag)
        self.via_branch.span(p, f.via_branch)
        self.contact_user.span(p, f.contact_user)
        self.pid_user.span(p, f.pid_user)
        self.auth_user.span(p, f.auth_user)
        self.user_agent.span(p, f.user_agent)
        self.content_type.span(p, f.content_type)
        self.reason_header.span(p, f.reason)
        self.callid_aleg.span(p, f.x_cid)
        return 0

    cdef Py_ssize_t size(self) except -1:
        """Bytes of text so far."""
        cdef Py_ssize_t total = 0
        for column in self.texts:
            total += (<Text> column).used
        return total

    cdef int cut(self, Py_ssize_t rows) except -1:
        """Take back what there is of a row behind the first `rows`."""
        for column in self.columns:
            (<Column> column).cut(rows)
        return 0

    cdef object batch(self):
        arrays = [(<Column> column).array(kind) for column, kind in zip(self.columns, SCHEMA.types)]
        return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


cdef class Records:
    """Records of journal blocks, and rows of them. Holds on to the blocks' memory."""

    cdef Hep packet
    cdef Row* rows
    cdef readonly Py_ssize_t count          # records taken
    cdef readonly Py_ssize_t damaged        # records of which no row could be made, left out
    cdef readonly str fault                 # what was wrong with the first of them
    cdef Py_ssize_t room
    cdef list kept

    def __cinit__(self):
        self.packet = Hep.__new__(Hep)
        self.kept = []

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
        cdef Rows rows = Rows.__new__(Rows, stop - start)
        while i < stop and octets < BATCH_BYTES:
            octets += self.rows[i].size
            i += 1
        rows.payload.grow(octets)
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
        cdef SipFields fields
        cdef const unsigned char* p = NULL
        cdef Py_ssize_t n = 0
        self.load(row, &record)
        rows.ts.put(row.ts)
        rows.received_ts.put(record.arrival_us // 1000)
        rows.hep_version.put(self.packet._version)
        address(rows.received_ip, record.family == 6, record.address, 16 if record.family == 6 else 4 if record.family else 0)
        rows.received_port.put(record.port) if record.family else rows.received_port.null()
        correlation_id = None
        if record.meta_size:
            meta = self.meta(&record)
            correlation_id = meta.get("correlation_id")
            rows.store_table.value(self.table(meta.get("table"), row.ts))
            rows.custom_field1.value(meta.get("custom_field1"))
            rows.custom_field2.value(meta.get("custom_field2"))
            rows.custom_field3.value(meta.get("custom_field3"))
        else:
            rows.store_table.null()
            rows.custom_field1.null()
            rows.custom_field2.null()
            rows.custom_field3.null()
        memset(&fields, 0, sizeof(fields))
        cdef bint is_sip = self.sip(&p, &n)
        if is_sip:
            sip_scan(p, n, &fields)
        rows.sip(p, &fields)
        self.chunks(rows, self.packet, correlation_id, is_sip)
        return 0

    cdef int chunks(self, Rows rows, Hep packet, correlation_id, bint is_sip) except -1:
        """The columns that HEP chunks fill, each by the first chunk of its kind and proper size; the rest is kept as is.

        Versions 1 and 2 have a field for each, of whatever size.
        """
        cdef Chunk* chunk
        cdef Chunk* found[COLUMN_CHUNKS]
        cdef const unsigned char* p = NULL
        cdef Py_ssize_t n = 0
        cdef int i
        cdef bint six
        memset(found, 0, sizeof(found))
        for i in range(packet.index.count):
            chunk = &packet.index.chunks[i]
            if chunk.vendor == 0 and chunk.id < COLUMN_CHUNKS and found[chunk.id] == NULL:
                if packet._version < 3 or CHUNK_SIZE[chunk.id] in (-1, <int> chunk.size):
                    found[chunk.id] = chunk
        unsigned_(rows.proto_id, packet, found[PROTO_ID])
        unsigned_(rows.src_port, packet, found[SRC_PORT])
        unsigned_(rows.dst_port, packet, found[DST_PORT])
        if is_sip or packet._version < 3:                 # versions 1 and 2 carry nothing else
            rows.proto_type.put(SIP)
        else:
            unsigned_(rows.proto_type, packet, found[PROTO_TYPE])
        unsigned_(rows.captagent_id, packet, found[CAPTAGENT_ID])
        unsigned_(rows.vlan_id, packet, found[VLAN_ID])
        text(rows.node_name, packet, found[NODE_NAME])
        if correlation_id is not None:
            rows.correlation_id.value(correlation_id)
        else:
            text(rows.correlation_id, packet, found[CORRELATION_ID])
        # Some agents send both families; the family chunk says which one holds.
        six = found[SRC_IP6] != NULL or found[DST_IP6] != NULL
        if six and (found[SRC_IP4] != NULL or found[DST_IP4] != NULL):
            six = found[PROTO_FAMILY] == NULL or packet.data[found[PROTO_FAMILY].at] != IPV4
        for i in range(SRC_IP4, DST_IP6 + 1):
            if (i in (SRC_IP6, DST_IP6)) != six:
                found[i] = NULL
        chunk = found[SRC_IP6 if six else SRC_IP4]
        address(rows.src_ip, six, packet.data + chunk.at if chunk else NULL, chunk.size if chunk else 0)
        chunk = found[DST_IP6 if six else DST_IP4]
        address(rows.dst_ip, six, packet.data + chunk.at if chunk else NULL, chunk.size if chunk else 0)

        packet.span(&p, &n)
        if found[PAYLOAD] != NULL or n:
            rows.payload.raw(p, n)
        else:
            rows.payload.null()
        if found[COMPRESSED_PAYLOAD] != NULL and not n:
            found[COMPRESSED_PAYLOAD] = NULL              # cannot be inflated: keep it as it is
        self.others(rows.chunks, packet, found)
        return 0

    cdef int others(self, Text column, Hep packet, Chunk** found) except -1:
        """Append the chunks that are in no column, as they were, as one value; null when there are none."""
        cdef Py_ssize_t before = column.used
        cdef unsigned char* out
        cdef Chunk* chunk
        cdef int i
        for i in range(packet.index.count):
            chunk = &packet.index.chunks[i]
            if chunk.vendor == 0 and (chunk.id == AUTH_KEY or (chunk.id < COLUMN_CHUNKS and found[chunk.id] == chunk)):
                continue
            if column.used + chunk.size + 6 > column.room:
                column.grow(chunk.size + 6)
            out = column.at + column.used
            out[0], out[1], out[2], out[3] = chunk.vendor >> 8, chunk.vendor & 255, chunk.id >> 8, chunk.id & 255
            out[4], out[5] = (chunk.size + 6) >> 8, (chunk.size + 6) & 255
            memcpy(out + 6, packet.data + chunk.at, chunk.size)
            column.used += chunk.size + 6
        if column.used == before:
            column.null()
        else:
            column.raw(NULL, 0)
        return 0

    cdef object table(self, template, uint64_t ts):
        """The table's name with its strftime fields filled in; as it is when something else in it looks like one."""
        if template is None or "%" not in template:
            return template
        if NO_FIELD.search(template):
            return template
        return datetime.datetime.fromtimestamp(ts // 1_000_000, datetime.UTC).strftime(template)


cdef bint occurs(const unsigned char* data, Py_ssize_t size, list needles) except -1:
    cdef bytes needle
    for needle in needles:
        if memmem(data, size, <const unsigned char*> needle, len(needle)) != NULL:
            return True
    return False


cdef int unsigned_(Number column, Hep packet, Chunk* chunk) except -1:
    if chunk == NULL:
        return column.null()
    return column.put(number_at(packet.data + chunk.at, chunk.size, packet.little_time and chunk.id >= TIMESTAMP))


cdef int text(Text column, Hep packet, Chunk* chunk) except -1:
    return column.null() if chunk == NULL else column.text(packet.data + chunk.at, chunk.size)


cdef int address(Text column, bint six, const unsigned char* p, Py_ssize_t size) except -1:
    """Append an address in its usual text form; null unless it has the proper size."""
    cdef char out[ROOM]
    if p == NULL or size != (16 if six else 4):
        return column.null()
    return column.raw(<unsigned char*> out, address_text(out, p, size))
