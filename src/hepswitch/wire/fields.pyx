# cython: language_level=3
"""The attributes of a packet that stand for one chunk each, and which chunk somebody means. They follow the table in `chunks`.

Not here: attributes with more behind them, such as the payload (`hep`), and the bytes themselves (`raw`).
"""

from libc.stdint cimport uint64_t

from hepswitch.wire.index cimport PROTO_TYPE, Chunk
from hepswitch.wire.raw cimport Raw, out_of_range

from hepswitch.wire.chunks import ProtoType, by_id, by_name
from hepswitch.wire.values import encode

cdef extern from "<arpa/inet.h>" nogil:
    const char* inet_ntop(int family, const void* address, char* out, unsigned int room)
    enum: AF_INET
    enum: AF_INET6

kinds = [ProtoType(number) for number in range(256)]


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
        self.is_type = id == PROTO_TYPE

    def __get__(self, instance, owner):
        cdef uint64_t value = 0
        if instance is None:
            return self
        if not (<Raw?> instance).number(self.id, &value):
            return None
        return kinds[value] if self.is_type and value < 256 else value

    def __set__(self, instance, value):
        cdef uint64_t number
        if value is None:
            self.erase(<Raw?> instance)
            return
        if self.is_type and isinstance(value, str):
            value = ProtoType.named(value)
        try:
            number = value
        except OverflowError:
            raise ValueError(out_of_range(self.name, self.width, value)) from None
        (<Raw?> instance).put_number(self.id, self.width, number, self.name)


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
        cdef char text[46]
        if instance is None:
            return self
        packet = <Raw?> instance
        chunk = packet.address(self.id, self.id + 2)
        if chunk == NULL:
            return None
        inet_ntop(AF_INET if chunk.size == 4 else AF_INET6, packet.data + chunk.at, text, sizeof(text))
        return (<bytes> text).decode("ascii")

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


cdef int chunk_number(chunk) except -1:
    """The number of a chunk given by name, as a number, or as a number's text. ValueError when it is none of them."""
    number = chunk
    if isinstance(chunk, str):
        if chunk.lower() in by_name:
            return by_name[chunk.lower()].id
        try:
            number = int(chunk, 0)
        except ValueError:
            number = -1
    if not isinstance(number, int) or not 0 <= number <= 0xFFFF:
        raise ValueError(f"no chunk is called {chunk!r}: use a name such as captagent_id, or a number 0..65535")
    return number
