from hepswitch.wire.raw cimport Raw

cdef enum:
    ROOM_V3 = 160            # more than all but the payload takes when an older packet becomes version 3
    ROOM_OLD = 52


# Write the packet, with this payload, at out: room for the payload and as many bytes as above is there. They give the bytes
# written; version 3 may take more than MOST, then the length in its head is not set.
cdef Py_ssize_t as_v3(Raw packet, unsigned char* out, const unsigned char* payload, Py_ssize_t n) noexcept
cdef Py_ssize_t as_old(Raw packet, int version, unsigned char* out, bint six, const unsigned char* payload,
                       Py_ssize_t n) noexcept
