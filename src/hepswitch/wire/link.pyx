# cython: language_level=3
"""Link layers: where the IP header begins in a captured frame, and which VLAN the frame is of.

Ethernet with any VLAN tags (802.1Q, 802.1ad), raw IP, Linux cooked v1 and v2, loopback. Not here: IP (`wire.ip`).
"""

cdef enum:
    ETHERNET = 1             # LINKTYPE_ numbers: the registry of tcpdump.org
    COOKED = 113
    COOKED_2 = 276
    BRIDGED = 0x6558         # transparent Ethernet bridging: a whole frame
    DEEPEST = 8              # tags and frames in one another


cdef Py_ssize_t network_layer(const unsigned char* p, Py_ssize_t n, int linktype, int* vlan) noexcept nogil:
    if linktype == ETHERNET:
        return behind_type(p, n, 12, vlan)
    if linktype == COOKED:
        return behind_type(p, n, 14, vlan)
    if linktype == COOKED_2:
        # The type is in front here, and a tag is behind the header.
        return behind(p, n, p[0] << 8 | p[1], 20, vlan) if n >= 20 else -1
    if linktype == 12 or linktype == 14 or linktype == 101 or linktype == 228 or linktype == 229:
        return 0
    # Loopback: the family's number depends on the system, the IP header says it too.
    return 4 if linktype == 0 or linktype == 108 else -1


cdef inline Py_ssize_t behind_type(const unsigned char* p, Py_ssize_t n, Py_ssize_t at, int* vlan) noexcept nogil:
    """Behind the EtherType at `at`."""
    return behind(p, n, p[at] << 8 | p[at + 1], at + 2, vlan) if at + 2 <= n else -1


cdef Py_ssize_t behind(const unsigned char* p, Py_ssize_t n, int kind, Py_ssize_t at, int* vlan) noexcept nogil:
    cdef int i, tag
    for i in range(DEEPEST):
        if kind == 0x0800 or kind == 0x86DD:
            return at
        if kind == BRIDGED:
            at += 12
        elif (kind == 0x8100 or kind == 0x88A8 or kind == 0x9100) and at + 2 <= n:
            tag = (p[at] << 8 | p[at + 1]) & 0xFFF
            if tag:                  # 0 says a priority, and no VLAN
                vlan[0] = tag
            at += 2
        else:
            return -1
        if at + 2 > n:
            return -1
        kind = p[at] << 8 | p[at + 1]
        at += 2
    return -1


def network_at(int linktype, bytes frame not None, int vlan=-1):
    cdef Py_ssize_t at = network_layer(frame, len(frame), linktype, &vlan)
    return at, vlan


def network_behind(int ethertype, bytes data not None, int vlan=-1):
    cdef Py_ssize_t at = behind(data, len(data), ethertype, 0, &vlan)
    return at, vlan
