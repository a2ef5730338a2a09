from hepswitch.wire.index cimport Chunk
from hepswitch.wire.raw cimport Raw


cdef class Field:
    cdef int id
    cdef readonly str name
    cdef readonly str type

    cdef int erase(self, Raw packet) except -1             # delete what the attribute stands for


cdef class Number(Field):
    cdef int width
    cdef bint is_type


cdef class Octets(Field):
    pass


cdef class Address(Field):
    pass


cdef int chunk_number(chunk) except -1
cdef str kind_of(Chunk* chunk)
