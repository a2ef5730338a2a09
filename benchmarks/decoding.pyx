# cython: language_level=3
"""The decoder alone, called as the flow calls it: one packet object, loaded again and again. Used by `run` only."""

from hepswitch.wire.hep cimport Hep


def decode(list packets, Py_ssize_t count):
    """Decode `packets` in turn until `count` are done, every chunk indexed; how many were. Raises WireError."""
    cdef Hep hep = Hep(packets[0])
    cdef Py_ssize_t done = 0
    cdef bytes packet
    while done < count:
        for packet in packets:
            hep.load(<unsigned char*><const unsigned char*>packet, len(packet), True)
            done += 1
    return done
