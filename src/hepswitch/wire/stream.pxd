from libc.stdint cimport uint64_t

from hepswitch.wire.batch cimport Batch


cdef class FrameReader:
    # memory[head:tail] is what was read and not given out yet. What was given out stays in place until get_buffer().
    cdef bytearray memory
    cdef Py_ssize_t head, tail
    cdef uint64_t arrival_us

    cdef Py_ssize_t frame(self) except -1      # size of the whole frame at head; 0: not complete yet
