from hepswitch.wire.index cimport Chunk
from hepswitch.wire.raw cimport Raw


cdef class Field:
    cdef int id
    cdef readonly str name
    cdef readonly str type

    cdef int erase(self, Raw packet) except -1             # delete what the attribute stands for


cdef class Number(Field):
    cdef int width


cdef class Kind(Number):
    cdef object named                                      # name → number
    cdef readonly list kinds         # its values by number: every packet gives these objects


cdef class Octets(Field):
    pass


cdef class Address(Field):
    pass


cdef tuple chunk_meant(chunk)
cdef int vendor_number(vendor) except -1
cdef int small_number(value) except -2
cdef str kind_of(Chunk* chunk)
