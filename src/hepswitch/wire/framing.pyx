# cython: language_level=3
"""Where a HEPv3 packet ends among others: by the length behind its magic. Not here: streams (`stream`), what is in it (`hep`)."""

from hepswitch.wire.errors import WireError

cdef enum:
    LEAST_FRAME = 6


cdef Py_ssize_t whole_frame(const unsigned char* p, Py_ssize_t have) except -1:
    cdef Py_ssize_t size, i
    for i in range(min(have, <Py_ssize_t> 4)):
        if p[i] != (<const unsigned char*> b"HEP3")[i] and p[i] != (<const unsigned char*> b"EEP3")[i]:
            raise WireError(i, "bad magic")
    if have < LEAST_FRAME:
        return 0
    size = p[4] << 8 | p[5]
    if size < LEAST_FRAME:
        raise WireError(4, "bad length")
    return size if size <= have else 0
