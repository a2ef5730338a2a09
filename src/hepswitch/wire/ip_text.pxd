# IP addresses as text, for the hot paths: inet_ntop writes IPv4 through printf, which takes longer than all else of a look.

from libc.string cimport strlen

cdef extern from "<arpa/inet.h>" nogil:
    const char* inet_ntop(int family, const void* address, char* out, unsigned int room)
    enum: AF_INET6

cdef enum:
    ROOM = 46                # INET6_ADDRSTRLEN


cdef inline Py_ssize_t dotted(char* out, const unsigned char* p) noexcept nogil:
    """The IPv4 address of 4 bytes at p into out (ROOM bytes); gives its length."""
    cdef char* at = out
    cdef int i, octet
    for i in range(4):
        octet = p[i]
        if octet >= 100:
            at[0] = <char> (48 + octet // 100)
            at += 1
        if octet >= 10:
            at[0] = <char> (48 + octet // 10 % 10)
            at += 1
        at[0] = <char> (48 + octet % 10)
        at[1] = 46
        at += 2
    return at - out - 1


cdef inline Py_ssize_t address_text(char* out, const unsigned char* p, Py_ssize_t size) noexcept nogil:
    """The address of 4 or 16 bytes at p into out (ROOM bytes); gives its length."""
    if size == 4:
        return dotted(out, p)
    return <Py_ssize_t> strlen(out) if inet_ntop(AF_INET6, p, out, ROOM) != NULL else 0
