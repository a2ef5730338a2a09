# cython: language_level=3
"""Rows that are being made: Arrow columns, filled a packet at a time. Nothing of a packet is lost but its authentication key:
chunks without a column are kept as they were in `chunks`.

Not here: which columns there are (`schema`), the records of a journal (`records`).
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_Resize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memcpy, memset

cimport cython

import datetime
import re

import pyarrow as pa

from hepswitch.wire.hep cimport Hep
from hepswitch.wire.index cimport Chunk, number_at
from hepswitch.wire.ip_text cimport ROOM, address_text
from hepswitch.wire.record cimport Record
from hepswitch.wire.sip_scan cimport SipFields, sip_scan
from hepswitch.wire.sip_text cimport Header, Span, next_header, put, same
from hepswitch.wire.sip_values cimport address as uri_in, decimal, uri_parts

from hepswitch.destinations.dated import FAR_US
from hepswitch.destinations.schema import HEADER, SCHEMA, extra_field

NO_FIELD = re.compile(r"\0|%(?:[^A-Za-z%]|$)")           # strftime's flags and widths: %999999d would fill the memory

cdef dict NOTHING = {}
cdef uint64_t FAR = FAR_US

# The size that each must have to fill its column: -1 any, -2 never (it goes to `chunks`).
cdef int* CHUNK_SIZE = [-2, 1, 1, 4, 4, 16, 16, 2, 2, 4, 4, 1, 4, -2, -2, -1, -1, -1, 2, -1]


cdef inline void present(Column column) noexcept:
    """The value at the end of the column is one."""
    PyByteArray_AS_STRING(column.valid)[column.rows >> 3] |= <char> (1 << (column.rows & 7))
    column.rows += 1


cdef class Column:
    """A column that is being built."""

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
        if size:                                          # `p` may be NULL
            memcpy(self.at + self.used, p, size)
        self.used += size
        present(self)
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

    def __cinit__(self, Py_ssize_t rows, Py_ssize_t width):
        self.width = width
        self.values = bytearray(rows * width)
        self.at = <unsigned char*> PyByteArray_AS_STRING(self.values)
        self.valid = bytearray((rows + 7) // 8)

    cdef inline int put(self, uint64_t value) except -1:
        memcpy(self.at + self.rows * self.width, &value, self.width)       # little-endian, as Arrow is
        present(self)
        return 0

    cdef inline int null(self) except -1:
        self.nulls += 1
        self.rows += 1
        return 0

    cdef object array(self, kind):
        PyByteArray_Resize(self.values, self.rows * self.width)
        buffers = [pa.py_buffer(self.valid) if self.nulls else None, pa.py_buffer(self.values)]
        return pa.Array.from_buffers(kind, self.rows, buffers, self.nulls)


cdef bint is_ascii(const unsigned char* p, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    cdef unsigned char high = 0
    for i in range(size):
        high |= p[i]
    return high < 0x80


cdef bytes presentable(const unsigned char* p, Py_ssize_t size):
    """Bytes as a text column has them. What is not UTF-8 in them becomes U+FFFD: the payload keeps the bytes."""
    return p[:size].decode("utf-8", "replace").encode()


cdef class Rows:
    """The columns of one batch of `rows` rows at most: those of the schema, and the `extras`."""

    def __cinit__(self, Py_ssize_t rows, extras=()):
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
        self.headers, self.header_values = [], []
        for name in extras:
            self.columns.append(self.extra(name, rows))
        self.schema = SCHEMA
        for name in extras:
            self.schema = self.schema.append(extra_field(name))
        self.texts = [column for column in self.columns if isinstance(column, Text)]

    cdef Column extra(self, str name, Py_ssize_t rows):
        """Make the column of this name, which is none of the schema's."""
        column = Number(rows, 2) if name == "contact_port" else Text(rows)
        if name == "direction":
            self.direction = column
        elif name == "ruri":
            self.ruri = column
        elif name == "via":
            self.via = column
        elif name == "cseq_value":
            self.cseq_value = column
        elif name == "contact_ip":
            self.contact_ip = column
        elif name == "contact_port":
            self.contact_port = column
        else:
            self.headers.append(name.removeprefix(HEADER).lower().encode())
            self.header_values.append(column)
            self.names[len(self.headers) - 1] = Name(<char*> <bytes> self.headers[-1], len(<bytes> self.headers[-1]))
        return column

    cdef int append(self, Hep packet, uint64_t ts, Record* record, meta, const unsigned char* p, Py_ssize_t n) except -1:
        cdef SipFields fields
        cdef dict said = meta or NOTHING
        cdef bint is_sip = n >= 0
        self.ts.put(ts)
        self.received_ts.put(record.arrival_us // 1000)
        self.hep_version.put(packet._version)
        address(self.received_ip, record.family == 6, record.address, 16 if record.family == 6 else 4 if record.family else 0)
        self.received_port.put(record.port) if record.family else self.received_port.null()
        if meta is None:
            self.store_table.null()
            self.custom_field1.null()
            self.custom_field2.null()
            self.custom_field3.null()
        else:
            self.store_table.value(table(said.get("table"), ts, record.arrival_us))
            self.custom_field1.value(said.get("custom_field1"))
            self.custom_field2.value(said.get("custom_field2"))
            self.custom_field3.value(said.get("custom_field3"))
        if self.direction is not None:
            self.direction.value(said.get("direction"))
        memset(&fields, 0, sizeof(fields))
        if is_sip:
            sip_scan(p, n, &fields)
        self.sip(p, &fields)
        self.more(p, n, &fields)
        return self.from_chunks(packet, said.get("correlation_id"), is_sip)

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

    cdef int more(self, const unsigned char* p, Py_ssize_t n, SipFields* f) except -1:
        """The extra columns that a SIP message fills."""
        cdef Span uri, user, host
        cdef Py_ssize_t end = 0
        cdef int64_t port = -1
        if self.ruri is not None:
            self.ruri.span(p, f.ruri)
        if self.via is not None:
            self.via.span(p, f.via)
        if self.cseq_value is not None:
            self.cseq_value.span(p, f.cseq)
        if self.contact_ip is not None or self.contact_port is not None:
            memset(&uri, 0, sizeof(Span))
            memset(&user, 0, sizeof(Span))
            memset(&host, 0, sizeof(Span))
            if f.contact.size:
                uri_in(p, f.contact.at, <Py_ssize_t> f.contact.at + f.contact.size, &uri, &end)
                uri_parts(p, uri, &user, &host)
            end = <Py_ssize_t> host.at + host.size
            if host.size and end < <Py_ssize_t> uri.at + uri.size and p[end] == 58:           # :
                port = decimal(p, end + 1, <Py_ssize_t> uri.at + uri.size)
            if host.size > 2 and p[host.at] == 91 and p[end - 1] == 93:                       # [ ]
                host.at += 1
                host.size -= 2
            if self.contact_ip is not None:
                self.contact_ip.span(p, host)
            if self.contact_port is not None:
                self.contact_port.put(port) if 0 <= port <= 0xFFFF else self.contact_port.null()
        return self.find_headers(p, n, f) if self.headers else 0

    cdef int find_headers(self, const unsigned char* p, Py_ssize_t n, SipFields* f) except -1:
        """The first header field of each name that is asked for."""
        cdef Header header
        cdef Span found[MOST_EXTRAS]
        cdef Py_ssize_t i, at = f.head, count = len(self.headers)
        memset(found, 0, count * sizeof(Span))
        while n >= 0 and next_header(p, n, &at, &header):
            for i in range(count):
                if found[i].size:
                    continue
                if same(p + header.name, header.name_end - header.name, self.names[i].text, self.names[i].size):
                    put(&found[i], p, header.value, header.value_end)
        for i in range(count):
            (<Text> self.header_values[i]).span(p, found[i])
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

    cdef int expect(self, Py_ssize_t octets) except -1:
        return self.payload.grow(octets)

    cdef object batch(self):
        arrays = [(<Column> column).array(kind) for column, kind in zip(self.columns, self.schema.types)]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    cdef int from_chunks(self, Hep packet, correlation_id, bint is_sip) except -1:
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
        unsigned_(self.proto_id, packet, found[PROTO_ID])
        unsigned_(self.src_port, packet, found[SRC_PORT])
        unsigned_(self.dst_port, packet, found[DST_PORT])
        if is_sip or packet._version < 3:                 # versions 1 and 2 carry nothing else
            self.proto_type.put(SIP)
        else:
            unsigned_(self.proto_type, packet, found[PROTO_TYPE])
        unsigned_(self.captagent_id, packet, found[CAPTAGENT_ID])
        unsigned_(self.vlan_id, packet, found[VLAN_ID])
        text(self.node_name, packet, found[NODE_NAME])
        if correlation_id is not None:
            self.correlation_id.value(correlation_id)
        else:
            text(self.correlation_id, packet, found[CORRELATION_ID])
        # Some agents send both families; the family chunk says which one holds.
        six = found[SRC_IP6] != NULL or found[DST_IP6] != NULL
        if six and (found[SRC_IP4] != NULL or found[DST_IP4] != NULL):
            six = found[PROTO_FAMILY] == NULL or packet.data[found[PROTO_FAMILY].at] != IPV4
        for i in range(SRC_IP4, DST_IP6 + 1):
            if (i in (SRC_IP6, DST_IP6)) != six:
                found[i] = NULL
        chunk = found[SRC_IP6 if six else SRC_IP4]
        address(self.src_ip, six, packet.data + chunk.at if chunk else NULL, chunk.size if chunk else 0)
        chunk = found[DST_IP6 if six else DST_IP4]
        address(self.dst_ip, six, packet.data + chunk.at if chunk else NULL, chunk.size if chunk else 0)

        packet.span(&p, &n)
        if found[PAYLOAD] != NULL or n:
            self.payload.raw(p, n)
        else:
            self.payload.null()
        if found[COMPRESSED_PAYLOAD] != NULL and not n:
            found[COMPRESSED_PAYLOAD] = NULL              # cannot be inflated: keep it as it is
        self.others(self.chunks, packet, found)
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


cdef object table(template, uint64_t ts, uint64_t arrival):
    """The table's name with its strftime fields filled in; as it is when something else in it looks like one."""
    if template is None or "%" not in template:
        return template
    if NO_FIELD.search(template):
        return template
    if arrival and (ts - arrival if ts > arrival else arrival - ts) > FAR:
        ts = arrival
    return datetime.datetime.fromtimestamp(ts // 1_000_000, datetime.UTC).strftime(template)


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
