from libc.stdint cimport uint8_t, uint16_t, uint64_t

from hepswitch.wire.frames cimport Frames
from hepswitch.wire.hep cimport Hep


cdef struct Record:                      # views on the record's bytes
    uint64_t arrival_us                  # wall clock, µs since the epoch
    uint8_t family                       # of who sent the packet: 4, 6, or 0 when nobody knows
    uint16_t port
    const unsigned char* address         # 4 or 16 bytes by family
    const unsigned char* mark            # 16 bytes: the message whose first packet this is; NULL: of none
    const unsigned char* meta            # JSON
    Py_ssize_t meta_size                 # 0: nothing to say
    const unsigned char* packet          # the HEP packet
    Py_ssize_t packet_size


# Append the record of hep, as it is now, to frames. sockaddr is who sent it (struct sockaddr_in or _in6, n bytes; NULL: nobody
# knows); meta may be empty; mark (16 bytes) of the message whose first packet it is, or None.
cdef int put_record(Frames frames, Hep hep, const unsigned char* sockaddr, Py_ssize_t n, bytes meta, bytes mark) except -1

# The parts of a record of size bytes at p. Raises WireError when they contradict each other.
cdef int read_record(const unsigned char* p, Py_ssize_t size, Record* out) except -1
