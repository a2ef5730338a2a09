# cython: language_level=3
"""The attributes of a packet that stand for one chunk each, and which chunk somebody means. They follow the table in `chunks`.

Not here: attributes with more behind them, such as the payload (`hep`), and the bytes themselves (`raw`).
"""

from cpython.long cimport PyLong_AsLongAndOverflow
from libc.stdint cimport uint64_t

from hepswitch.wire.index cimport Chunk
from hepswitch.wire.ip_text cimport ROOM, address_text
from hepswitch.wire.raw cimport Raw, out_of_range

from hepswitch.wire.chunks import NAMED, OPENSIPS_NUMBERS, by_id, by_name
from hepswitch.wire.values import encode, number as number_in

cdef int MOST_MEANINGS = 1000    # ways of writing a chunk that are remembered: scripts use few

cdef dict meanings = {name: (chunk.id, name, True) for name, chunk in by_name.items()}
meanings.update({id: (id, name, False) for id, name in OPENSIPS_NUMBERS.items()})


cdef class Field:
    """An attribute that stands for a generic chunk. None when the packet has no such chunk; setting None deletes it."""

    def __cinit__(self, int id):
        self.id = id
        self.name, self.type = by_id[id].name, by_id[id].type

    @property
    def __doc__(self):
        return f"{by_id[self.id].doc} (chunk 0x{self.id:02x}, {self.type})"

    cdef int erase(self, Raw packet) except -1:
        packet.remove(0, self.id)
        return 0

    def __delete__(self, instance):
        self.erase(<Raw?> instance)


cdef class Number(Field):
    def __cinit__(self, int id):
        self.width = {"uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8}[self.type]

    def __get__(self, instance, owner):
        cdef uint64_t value = 0
        if instance is None:
            return self
        if not (<Raw?> instance).number(self.id, &value):
            return None
        return value

    def __set__(self, instance, value):
        cdef uint64_t number
        if value is None:
            self.erase(<Raw?> instance)
            return
        found = value
        if isinstance(value, str):
            found = number_in(value)
            if found is None:
                raise ValueError(out_of_range(self.name, self.width, repr(value)))
        try:
            number = found
        except OverflowError:
            raise ValueError(out_of_range(self.name, self.width, value)) from None
        (<Raw?> instance).put_number(self.id, self.width, number, self.name)


cdef class Kind(Number):
    """A number that has a name too: reads as `Named`, takes the name."""

    def __cinit__(self, int id):
        self.named = NAMED[id].named
        self.kinds = [NAMED[id](number) for number in range(256)]

    def __get__(self, instance, owner):
        cdef uint64_t value = 0
        if instance is None:
            return self
        if not (<Raw?> instance).number(self.id, &value):
            return None
        return self.kinds[value] if value < 256 else value

    def __set__(self, instance, value):
        if isinstance(value, str) and number_in(value) is None:
            value = self.named(value)
        Number.__set__(self, instance, value)


cdef class Octets(Field):
    def __get__(self, instance, owner):
        cdef Raw packet
        cdef Chunk* chunk
        if instance is None:
            return self
        packet = <Raw?> instance
        chunk = packet.find(0, self.id)
        if chunk == NULL:
            return None
        raw = packet.data[chunk.at:chunk.at + chunk.size]
        return raw.decode("utf-8", "surrogateescape") if self.type == "utf8-string" else raw

    def __set__(self, instance, value):
        cdef bytes raw
        if value is None:
            self.erase(<Raw?> instance)
            return
        raw = encode(self.type, value, self.name)
        (<Raw?> instance).put_value(0, self.id, raw, len(raw))


cdef class Address(Field):
    def __get__(self, instance, owner):
        cdef Raw packet
        cdef Chunk* chunk
        cdef char text[ROOM]
        if instance is None:
            return self
        packet = <Raw?> instance
        chunk = packet.address(self.id, self.id + 2)
        if chunk == NULL:
            return None
        return text[:address_text(text, packet.data + chunk.at, chunk.size)].decode("ascii")

    def __set__(self, instance, value):
        if value is None:
            self.erase(<Raw?> instance)
        else:
            (<Raw?> instance).put_address(self.id, self.id + 2, value, self.name)

    cdef int erase(self, Raw packet) except -1:
        packet.remove(0, self.id)
        packet.remove(0, self.id + 2)
        return 0


cdef str kind_of(Chunk* chunk):
    return by_id[chunk.id].type if chunk.vendor == 0 and chunk.id in by_id else "octet-string"


cdef tuple chunk_meant(chunk):
    """(number, name, whether it was given by name) of a chunk: by its name in any case, a number, or a number's text.

    Of numbers only those that OpenSIPS knows by name have one here, else None. ValueError when it is none of them.
    """
    cdef int id
    cdef tuple found = None
    if isinstance(chunk, (str, int)):
        found = meanings.get(chunk)
    if found is None:
        found = meanings.get(chunk.lower()) if isinstance(chunk, str) else None
        if found is None:
            id = small_number(chunk)
            if id < 0:
                raise ValueError(f"no chunk is called {chunk!r}: use a name such as captagent_id, or a number 0..65535")
            found = meanings.get(id) or (id, None, False)
        if isinstance(chunk, str) and len(meanings) < MOST_MEANINGS:
            meanings[chunk] = found
    return found


cdef int vendor_number(vendor) except -1:
    """The number of a vendor given as a number or as its text. ValueError when it is none."""
    cdef int number = small_number(vendor)
    if number < 0:
        raise ValueError(f"a vendor is a number 0..65535, not {vendor!r}")
    return number


cdef int small_number(value) except -2:
    """A number 0..65535 or its text as the number, anything else as -1."""
    cdef int overflow = 0
    cdef long number
    if isinstance(value, str):
        value = number_in(value)
    if not isinstance(value, int):
        return -1
    number = PyLong_AsLongAndOverflow(value, &overflow)
    return <int> number if not overflow and 0 <= number <= 0xFFFF else -1
