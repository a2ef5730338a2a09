# cython: language_level=3
"""Columns into JSON: one object a row, straight from Arrow's buffers. No Python object is made for a cell.

Not here: which keys (`layouts`), how a server takes JSON (`copy`).
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_Resize
from libc.stdint cimport (
    INT32_MAX, int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
)
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

import json

import pyarrow as pa

cdef enum:
    LONGEST_NUMBER = 20                      # -9223372036854775808, 18446744073709551615
    WIDEST_ESCAPE = 6                        # \u001f

cdef dict WIDTHS = {                         # bytes of a value; negative: with a sign
    pa.uint8(): 1, pa.uint16(): 2, pa.uint32(): 4, pa.uint64(): 8,
    pa.int8(): -1, pa.int16(): -2, pa.int32(): -4, pa.int64(): -8,
}

cdef struct Member:
    const unsigned char* key                 # as it is written: `"key":`
    Py_ssize_t key_size
    const unsigned char* absent              # what stands for null; NULL: nothing, not even the key
    Py_ssize_t absent_size
    const unsigned char* valid               # Arrow's bits, NULL when no value is null …
    const unsigned char* values              # … its values …
    const int32_t* offsets                   # … and where each string begins; NULL for numbers
    Py_ssize_t first                         # the column's first row in them
    int width


cdef unsigned char PLAIN[256]                # 1: stands for itself in a JSON string
cdef unsigned char SHORT[256]                # what follows the backslash; 0: \u00XX
cdef const char* HEX = b"0123456789abcdef"

for _i in range(256):
    PLAIN[_i] = _i >= 0x20 and _i not in b'"\\'
    SHORT[_i] = 0
for _i, _letter in zip(b'"\\\b\f\n\r\t', b'"\\bfnrt'):
    SHORT[_i] = _letter


cdef class Objects:
    """The text of the objects, as it grows."""

    cdef bytearray text
    cdef unsigned char* at
    cdef Py_ssize_t used, room

    def __cinit__(self, Py_ssize_t room):
        self.text = bytearray(room)
        self.at = <unsigned char*> PyByteArray_AS_STRING(self.text)
        self.room = room

    cdef inline int need(self, Py_ssize_t size) except -1:
        if self.used + size > self.room:
            self.room = max(2 * self.room, self.used + size)
            PyByteArray_Resize(self.text, self.room)
            self.at = <unsigned char*> PyByteArray_AS_STRING(self.text)
        return 0

    cdef int row(self, Member* members, Py_ssize_t count, Py_ssize_t i) except -1:
        """Append the object of row `i`."""
        cdef Py_ssize_t k, at
        cdef bint filled = False, present
        cdef Member* m
        self.need(2)
        self.put(b"{")
        for k in range(count):
            m = members + k
            at = m.first + i
            present = m.valid == NULL or (m.valid[at >> 3] >> (at & 7)) & 1
            if not present and m.absent == NULL:
                continue
            self.need(m.key_size + m.absent_size + LONGEST_NUMBER + 4)
            if filled:
                self.put(b",")
            filled = True
            self.raw(m.key, m.key_size)
            if not present:
                self.raw(m.absent, m.absent_size)
            elif m.offsets == NULL:
                self.number(m, at)
            else:
                self.string(m.values + m.offsets[at], m.offsets[at + 1] - m.offsets[at])
        self.need(1)
        self.put(b"}")
        return 0

    cdef inline void put(self, unsigned char c) noexcept:
        self.at[self.used] = c
        self.used += 1

    cdef inline void raw(self, const unsigned char* p, Py_ssize_t size) noexcept:
        if size:                             # `p` may be NULL
            memcpy(self.at + self.used, p, size)
        self.used += size

    cdef int string(self, const unsigned char* p, Py_ssize_t size) except -1:
        cdef const unsigned char* end = p + size
        cdef const unsigned char* start = p
        self.need(WIDEST_ESCAPE * size + 4)
        self.put(b'"')
        while True:
            while p < end and PLAIN[p[0]]:
                p += 1
            self.raw(start, p - start)
            if p == end:
                break
            if p[0] != 0:
                self.escape(p[0])
            p += 1
            start = p
        self.put(b'"')
        return 0

    cdef inline void escape(self, unsigned char c) noexcept:
        self.put(b"\\")
        if SHORT[c]:
            self.put(SHORT[c])
        else:
            self.raw(<const unsigned char*> b"u00", 3)
            self.put(HEX[c >> 4])
            self.put(HEX[c & 15])

    cdef void number(self, Member* m, Py_ssize_t at) noexcept:
        cdef unsigned char digits[LONGEST_NUMBER]
        cdef int n = LONGEST_NUMBER
        cdef int64_t signed_value
        cdef uint64_t value
        if m.width < 0:
            signed_value = signed_at(m.values, m.width, at)
            value = <uint64_t> signed_value
            if signed_value < 0:
                value = 0 - value
                self.put(b"-")
        else:
            value = unsigned_at(m.values, m.width, at)
        while True:
            n -= 1
            digits[n] = 48 + <unsigned char> (value % 10)
            value //= 10
            if not value:
                break
        self.raw(digits + n, LONGEST_NUMBER - n)


cdef int64_t signed_at(const unsigned char* values, int width, Py_ssize_t at) noexcept nogil:
    if width == -1:
        return (<const int8_t*> values)[at]
    if width == -2:
        return (<const int16_t*> values)[at]
    if width == -4:
        return (<const int32_t*> values)[at]
    return (<const int64_t*> values)[at]


cdef uint64_t unsigned_at(const unsigned char* values, int width, Py_ssize_t at) noexcept nogil:
    if width == 1:
        return (<const uint8_t*> values)[at]
    if width == 2:
        return (<const uint16_t*> values)[at]
    if width == 4:
        return (<const uint32_t*> values)[at]
    return (<const uint64_t*> values)[at]


cdef const unsigned char* buffer_of(object buffer, Py_ssize_t size) except? NULL:
    """Where a buffer of at least `size` bytes lies. ValueError when it is smaller."""
    if buffer is None or buffer.size < size:
        raise ValueError(f"a column's buffer has {0 if buffer is None else buffer.size} bytes, not {size}")
    return <const unsigned char*> <uintptr_t> buffer.address


cdef int read(Member* m, str key, column, absent, Py_ssize_t rows, list kept) except -1:
    """Fill in where the member's values are; `kept` holds on to what it points to."""
    cdef Py_ssize_t i, end
    cdef bytes name = json.dumps(key).encode() + b":"
    cdef bytes null = absent.encode() if absent is not None else b""
    if len(column) < rows:
        raise ValueError(f"the column of {key!r} has {len(column)} rows, not {rows}")
    buffers = column.buffers()
    kept.append((name, null, buffers))
    m.key, m.key_size = name, len(name)
    m.absent, m.absent_size = NULL, 0
    if absent is not None:
        m.absent, m.absent_size = null, len(null)
    m.first = column.offset
    end = m.first + rows
    if column.null_count:
        m.valid = buffer_of(buffers[0], (end + 7) // 8)
    if not rows:
        return 0
    if column.type != pa.string():
        m.width = WIDTHS.get(column.type, 0)
        if not m.width:
            raise TypeError(f"the column of {key!r} is of {column.type}: strings and whole numbers have JSON here")
        m.values = buffer_of(buffers[1], end * abs(m.width))
        return 0
    m.offsets = <const int32_t*> buffer_of(buffers[1], 4 * (end + 1))
    for i in range(m.first, end):
        if m.offsets[i] < 0 or m.offsets[i] > m.offsets[i + 1]:
            raise ValueError(f"the column of {key!r} contradicts itself at row {i - m.first}")
    if m.offsets[end]:
        m.values = buffer_of(buffers[2], m.offsets[end])
    return 0


def json_objects(members, Py_ssize_t rows):
    """One JSON object a row (RFC 8259). `members`: (key, column of `rows` values, JSON text that stands for null).

    A column of strings gives JSON strings, one of whole numbers gives numbers. A member without a text for null is left
    out of the rows where it is null. Keys are in the order given; NUL is left out of strings, nothing else is.
    TypeError for columns of other types, ValueError for columns that are too short or contradict themselves, OverflowError
    when the objects together have more than 2³¹-1 bytes.
    """
    cdef Py_ssize_t i, count = len(members)
    cdef list kept = []
    cdef Objects objects
    cdef Member* found
    cdef bytearray offsets
    cdef int32_t* offset
    if rows < 0:
        raise ValueError(f"{rows} rows")
    offsets = bytearray(4 * (rows + 1))
    offset = <int32_t*> PyByteArray_AS_STRING(offsets)
    objects = Objects(rows * (16 + 32 * count) + 16)
    found = <Member*> calloc(count + 1, sizeof(Member))
    if found == NULL:
        raise MemoryError()
    try:
        for i in range(count):
            key, column, absent = members[i]
            read(found + i, key, column, absent, rows, kept)
        for i in range(rows):
            objects.row(found, count, i)
            if objects.used > INT32_MAX:
                raise OverflowError("the objects have more than 2 GiB together: fewer rows at a time")
            offset[i + 1] = <int32_t> objects.used
    finally:
        free(found)
    PyByteArray_Resize(objects.text, objects.used)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(objects.text)]
    return pa.Array.from_buffers(pa.string(), rows, buffers, 0)
