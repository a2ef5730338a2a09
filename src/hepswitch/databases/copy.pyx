# cython: language_level=3
"""Rows as PostgreSQL's COPY takes them in binary form, straight from Arrow's buffers: no Python object per cell.

What a text column of PostgreSQL cannot hold is replaced, and nothing else: NUL is left out, bytes that are not UTF-8
become U+FFFD. A text longer than its column is cut. `bytea` takes every byte as it is.

Not here: which columns a table has (`databases.postgres`), which rows (`databases.layouts`).
Source: PostgreSQL, "COPY", Binary Format; "Frontend/Backend Protocol" for the values.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize, PyByteArray_Resize
from libc.stdint cimport INT64_MAX, INT64_MIN, int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

import pyarrow as pa

cdef extern from *:
    uint64_t bswap64 "__builtin_bswap64"(uint64_t value) nogil

cdef enum:
    WHOLE                        # integers, big-endian
    MOMENT                       # timestamps: µs since 2000
    TEXT
    JSONB                        # a text behind the number of its version
    OCTETS

cdef enum:
    SLACK = 8
    MOST_COLUMNS = 1600          # of a table of PostgreSQL

cdef int64_t YEAR_2000 = 946_684_800_000_000               # µs since 1970
cdef int64_t EARLIEST = -211_813_488_000_000_000           # 4714 BC, µs since 2000: PostgreSQL's first moment …
cdef int64_t LATEST = 9_223_371_331_200_000_000            # … and the first one that it does not have, in 294277

FORMS = {
    "int2": (WHOLE, 2), "int4": (WHOLE, 4), "int8": (WHOLE, 8),
    "timestamp": (MOMENT, 8), "timestamptz": (MOMENT, 8),
    "text": (TEXT, 0), "varchar": (TEXT, 0), "bpchar": (TEXT, 0), "json": (TEXT, 0), "jsonb": (JSONB, 0),
    "bytea": (OCTETS, 0),
}

UNITS = {"s": 1_000_000, "ms": 1000, "us": 1}

cdef bytes HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)                  # signature, flags, no extension


cdef struct Cells:               # one column, as Arrow has it
    int form
    int size                     # bytes of a number, as PostgreSQL has it
    int width                    # bytes of a number, as Arrow has it
    bint is_signed
    int64_t unit                 # µs
    Py_ssize_t most              # characters; 0: no limit
    Py_ssize_t offset            # of the first row
    const uint8_t* valid         # a bit a row, or NULL: all are
    const int32_t* ends          # of texts and octets
    const uint8_t* data
    Py_ssize_t data_size


cdef class Stream:
    """Bytes that are being written."""

    cdef bytearray octets
    cdef uint8_t* at
    cdef Py_ssize_t used, room

    def __cinit__(self, Py_ssize_t room):
        self.octets = PyByteArray_FromStringAndSize(NULL, room)
        self.at = <uint8_t*> PyByteArray_AS_STRING(self.octets)
        self.room = room

    cdef inline uint8_t* need(self, Py_ssize_t size) except NULL:
        """Where the next `size` bytes are to be written. Behind them there is room for `SLACK` more."""
        if size > self.room - self.used - SLACK:
            self.room = max(self.room + self.room // 2, self.used + size + SLACK)
            PyByteArray_Resize(self.octets, self.room)
            self.at = <uint8_t*> PyByteArray_AS_STRING(self.octets)
        self.used += size
        return self.at + self.used - size

    cdef inline int number(self, uint64_t value, int size) except -1:
        """Append the last `size` bytes of a number, big-endian."""
        cdef uint64_t turned = bswap64(value << (64 - 8 * size))
        memcpy(self.need(size), &turned, sizeof(turned))   # into the slack, too: what follows is written over it
        return 0

    cdef inline int raw(self, const uint8_t* p, Py_ssize_t size) except -1:
        if size:
            memcpy(self.need(size), p, size)
        return 0

    cdef bytearray done(self):
        PyByteArray_Resize(self.octets, self.used)
        return self.octets


def copy_rows(batch, columns):
    """The rows of a batch as the data of `COPY … FROM STDIN (FORMAT binary)`.

    `columns`: for each column of the batch the type that it has in the table, as `pg_type.typname` says it, and how
    many characters it holds (0: no limit). TypeError: a column cannot be written as that type. OverflowError: a number
    or a time is beyond it. Both name the column.
    """
    cdef Py_ssize_t count = len(columns), rows = batch.num_rows, room, i, row
    cdef Cells* cells
    cdef Stream stream
    if count != batch.num_columns or count > MOST_COLUMNS:
        raise ValueError(f"{count} types for {batch.num_columns} columns")
    cells = <Cells*> calloc(max(count, 1), sizeof(Cells))
    if cells == NULL:
        raise MemoryError
    try:
        names = batch.schema.names
        arrays = [batch.column(i) for i in range(count)]   # they hold on to their buffers
        room = len(HEADER) + 2 + SLACK + rows * (2 + 13 * count)
        for i in range(count):
            describe(&cells[i], arrays[i], names[i], columns[i][0], columns[i][1])
            if cells[i].ends != NULL and rows:
                room += cells[i].ends[cells[i].offset + rows] - cells[i].ends[cells[i].offset]
        stream = Stream.__new__(Stream, room)
        stream.raw(HEADER, len(HEADER))
        for row in range(rows):
            stream.number(count, 2)
            for i in range(count):
                if not write(stream, &cells[i], cells[i].offset + row):
                    value = arrays[i][row].value if cells[i].form == MOMENT else arrays[i][row]
                    raise OverflowError(f"column {names[i]}: {value} is too much for {columns[i][0]}")
        stream.number(0xffff, 2)
        return stream.done()
    finally:
        free(cells)


cdef int describe(Cells* cells, array, str name, str form, Py_ssize_t most) except -1:
    """Where the cells of a column are, after checking that all of them are within their buffers."""
    kind = array.type
    cdef Py_ssize_t rows = len(array), i
    if form not in FORMS:
        raise TypeError(f"column {name} is of type {form}, which cannot be written: make it one of {', '.join(FORMS)}")
    cells.form, cells.size = FORMS[form]
    cells.most = most
    cells.offset = array.offset
    buffers = array.buffers()
    if pa.types.is_integer(kind) and cells.form == WHOLE:
        cells.is_signed = pa.types.is_signed_integer(kind)
    elif pa.types.is_timestamp(kind) and cells.form == MOMENT and kind.unit in UNITS:
        cells.unit = UNITS[kind.unit]
        cells.is_signed = True
    elif (pa.types.is_string(kind) or pa.types.is_binary(kind)) and cells.form in (TEXT, JSONB, OCTETS):
        check(buffers[1], 4 * (cells.offset + rows + 1 if rows else 0), name)
        cells.ends = <const int32_t*> address(buffers[1])
        cells.data = <const uint8_t*> address(buffers[2])
        cells.data_size = buffers[2].size if buffers[2] is not None else 0
        for i in range(rows):                              # all ends ascend, and the last is within the data
            if not 0 <= cells.ends[cells.offset + i] <= cells.ends[cells.offset + i + 1] <= cells.data_size:
                raise ValueError(f"column {name}: row {i} lies outside its buffer")
    else:
        raise TypeError(f"column {name} is of type {form}, which does not take {kind}")
    if cells.ends == NULL:
        cells.width = kind.bit_width // 8
        check(buffers[1], (cells.offset + rows) * cells.width if rows else 0, name)
        cells.data = <const uint8_t*> address(buffers[1])
    if buffers[0] is not None:
        check(buffers[0], (cells.offset + rows + 7) // 8, name)
        cells.valid = <const uint8_t*> address(buffers[0])
    return 0


cdef uintptr_t address(buffer) except? 0:
    return 0 if buffer is None else <uintptr_t> buffer.address


cdef int check(buffer, Py_ssize_t size, str name) except -1:
    if (0 if buffer is None else buffer.size) < size:
        raise ValueError(f"column {name}: its buffer is shorter than its rows")
    return 0


cdef inline bint write(Stream stream, const Cells* cells, Py_ssize_t i) except? False:
    """Append one cell: its size and its value. False when its value is beyond the type."""
    cdef int64_t value
    if cells.valid != NULL and not cells.valid[i >> 3] >> (i & 7) & 1:
        stream.number(0xffffffff, 4)
        return True
    if cells.form == WHOLE:
        value = number(cells, i)
        if cells.width == 8 and not cells.is_signed and value < 0:
            return False
        if cells.size < 8 and not -(<int64_t> 1 << (8 * cells.size - 1)) <= value < <int64_t> 1 << (8 * cells.size - 1):
            return False
    elif cells.form == MOMENT:
        value = number(cells, i)
        if not INT64_MIN // cells.unit < value < INT64_MAX // cells.unit:
            return False
        value *= cells.unit
        if not EARLIEST + YEAR_2000 <= value:
            return False
        value -= YEAR_2000
        if value >= LATEST:
            return False
    else:
        text(stream, cells, cells.data + cells.ends[i], cells.ends[i + 1] - cells.ends[i])
        return True
    stream.number(cells.size, 4)
    stream.number(<uint64_t> value, cells.size)
    return True


cdef inline int64_t number(const Cells* cells, Py_ssize_t i) noexcept nogil:
    """A number of Arrow's; one of 64 bits without sign as if it had one."""
    cdef const void* p = cells.data + i * cells.width
    if cells.width == 8:
        return (<const int64_t*> p)[0]
    if cells.width == 4:
        return (<const int32_t*> p)[0] if cells.is_signed else <int64_t> (<const uint32_t*> p)[0]
    if cells.width == 2:
        return (<const int16_t*> p)[0] if cells.is_signed else <int64_t> (<const uint16_t*> p)[0]
    return (<const int8_t*> p)[0] if cells.is_signed else <int64_t> (<const uint8_t*> p)[0]


cdef inline int text(Stream stream, const Cells* cells, const uint8_t* p, Py_ssize_t size) except -1:
    cdef bytes clean
    if cells.form != OCTETS:
        if not plain(p, size):
            clean = presentable(p, size, cells.most)
            p, size = clean, len(clean)
        elif cells.most and size > cells.most:
            size = cells.most
    if cells.form == JSONB:
        stream.number(size + 1, 4)
        stream.number(1, 1)                                # the only version there is
    else:
        stream.number(size, 4)
    return stream.raw(p, size)


cdef inline bint plain(const uint8_t* p, Py_ssize_t size) noexcept nogil:
    """Nothing but ASCII, and no NUL in it."""
    cdef Py_ssize_t i
    cdef uint8_t odd = 0
    for i in range(size):
        odd |= <uint8_t> (p[i] - 1) > 126                  # NUL wraps around to 255
    return not odd


cdef bytes presentable(const uint8_t* p, Py_ssize_t size, Py_ssize_t most):
    """Bytes as a text column takes them, `most` characters of them."""
    clean = p[:size].decode("utf-8", "replace").replace("\0", "")
    return (clean[:most] if most else clean).encode()
