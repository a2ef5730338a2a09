# Columns and rows that are being made. Not here: which columns there are (`schema`).

from libc.stdint cimport int32_t, uint8_t, uint64_t

cimport cython

from hepswitch.wire.hep cimport Hep
from hepswitch.wire.index cimport Chunk
from hepswitch.wire.record cimport Record
from hepswitch.wire.sip_scan cimport SipFields
from hepswitch.wire.sip_text cimport Span

cdef enum:
    MOST_EXTRAS = 64                     # columns beside those of the schema

cdef enum:                               # generic chunks that have columns (or need none), by number
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
    SIP = 1                              # proto_type
    SIP_JSON = 50
    IPV4 = 2                             # proto_family
    COLUMN_CHUNKS = 0x14


cdef class Column:                       # a column that is being built
    cdef bytearray values, valid
    cdef unsigned char* at
    cdef Py_ssize_t rows, nulls
    cdef int cut(self, Py_ssize_t rows) except -1
    cdef object array(self, kind)


@cython.final
cdef class Text(Column):                 # … of text or bytes
    cdef bytearray offsets
    cdef int32_t* offset
    cdef Py_ssize_t used, room
    cdef int grow(self, Py_ssize_t size) except -1
    cdef int raw(self, const unsigned char* p, Py_ssize_t size) except -1
    cdef int text(self, const unsigned char* p, Py_ssize_t size) except -1
    cdef int null(self) except -1
    cdef int span(self, const unsigned char* base, Span span) except -1
    cdef int value(self, object text) except -1


@cython.final
cdef class Number(Column):               # … of unsigned numbers or times
    cdef Py_ssize_t width
    cdef int put(self, uint64_t value) except -1
    cdef int null(self) except -1


cdef struct Name:
    const char* text
    Py_ssize_t size


cdef class Rows:
    cdef readonly object schema
    cdef Number ts, proto_type, src_port, dst_port, proto_id, captagent_id, status, cseq, vlan_id
    cdef Number hep_version, received_ts, received_port
    cdef Text call_id, correlation_id, src_ip, dst_ip, node_name, method, reason, cseq_method, ruri_user, ruri_domain
    cdef Text from_user, from_domain, from_tag, to_user, to_domain, to_tag, via_branch, contact_user, pid_user, auth_user
    cdef Text user_agent, content_type, reason_header, callid_aleg, received_ip, store_table
    cdef Text custom_field1, custom_field2, custom_field3, chunks, payload
    cdef Text direction, ruri, via, cseq_value, contact_ip      # extras: None unless asked for
    cdef Number contact_port
    cdef list headers                    # extras: the names of header fields, in lower case, …
    cdef Name names[MOST_EXTRAS]         # … the same, where their bytes are, …
    cdef list header_values              # … and their columns
    cdef list columns                    # all of them, in the order of the schema …
    cdef list texts                      # … and those that hold text

    # Append the row of a packet: when it was captured, its record, what the route said (a dict, or None), its SIP (n is -1
    # when it is none). Raises what cannot be put into a row; `cut` takes back what there is of it.
    cdef int append(self, Hep packet, uint64_t ts, Record* record, meta, const unsigned char* p, Py_ssize_t n) except -1
    cdef int cut(self, Py_ssize_t rows) except -1                      # take back what is behind the first `rows`
    cdef Py_ssize_t size(self) except -1                               # bytes of text so far
    cdef int expect(self, Py_ssize_t octets) except -1                 # room for payloads
    cdef object batch(self)                                            # a RecordBatch of all rows

    cdef int sip(self, const unsigned char* p, SipFields* f) except -1
    cdef Column extra(self, str name, Py_ssize_t rows)
    cdef int find_headers(self, const unsigned char* p, Py_ssize_t n, SipFields* f) except -1
    cdef int more(self, const unsigned char* p, Py_ssize_t n, SipFields* f) except -1
    cdef int from_chunks(self, Hep packet, correlation_id, bint is_sip) except -1
    cdef int others(self, Text column, Hep packet, Chunk** found) except -1


cdef bint is_ascii(const unsigned char* p, Py_ssize_t size) noexcept nogil
cdef bytes presentable(const unsigned char* p, Py_ssize_t size)        # bytes as a text column has them
