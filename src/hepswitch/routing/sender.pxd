"""Who sent a packet, as two words: the address without its port, for agents come back from other ports.

IPv4 is written as IPv4-mapped IPv6, so that it is the same on whatever socket it came. Not here: names (`Received`).
"""

from libc.stdint cimport uint16_t, uint64_t
from libc.string cimport memcpy

from hepswitch.wire.batch cimport Item

cdef extern from "<sys/socket.h>" nogil:
    enum: AF_INET
    enum: AF_INET6

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char* text, void* out)
    const char* inet_ntop(int family, const void* address, char* out, unsigned int room)


cdef union Sender:           # all zero: not known
    uint64_t words[2]
    unsigned char octets[16]


cdef inline void mapped(Sender* sender, const void* four) noexcept nogil:
    sender.words[0] = sender.words[1] = 0
    sender.octets[10] = sender.octets[11] = 0xFF
    memcpy(&sender.octets[12], four, 4)


cdef inline void read_sender(Sender* sender, Item* item) noexcept nogil:
    """From the sockaddr that came with a datagram."""
    cdef uint16_t family = 0
    sender.words[0] = sender.words[1] = 0
    if item.sender == NULL or item.sender_size < 8:
        return
    memcpy(&family, item.sender, 2)
    if family == AF_INET:
        mapped(sender, item.sender + 4)
    elif family == AF_INET6 and item.sender_size >= 24:
        memcpy(sender.octets, item.sender + 8, 16)


cdef inline int read_peer(Sender* sender, peer) except -1:
    """From the ("ip", port) of a connection."""
    cdef unsigned char four[4]
    cdef bytes text = peer[0].partition("%")[0].encode("ascii", "replace")
    sender.words[0] = sender.words[1] = 0
    if inet_pton(AF_INET, text, four) == 1:
        mapped(sender, four)
    elif inet_pton(AF_INET6, text, sender.octets) != 1:
        sender.words[0] = sender.words[1] = 0
    return 0


cdef inline str sender_text(const Sender* sender):
    """The address in words; "" when it is not known."""
    cdef char text[46]
    cdef Sender plain
    if sender.words[0] == 0 and sender.words[1] == 0:
        return ""
    mapped(&plain, &sender.octets[12])
    if plain.words[0] == sender.words[0] and plain.words[1] == sender.words[1]:
        inet_ntop(AF_INET, &sender.octets[12], text, sizeof(text))
    else:
        inet_ntop(AF_INET6, sender.octets, text, sizeof(text))
    return (<bytes> text).decode("ascii")
