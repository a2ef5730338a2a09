# cython: language_level=3
"""UDP sockets in batches: recvmmsg into a ring of slots, sendmmsg out of a `Frames` buffer.

Not here: when to read or write (the event loop's business), what a datagram means (`wire`), and any policy of what to
do about a far end that is away.
"""

import os

from libc.errno cimport EAGAIN, ECONNREFUSED, EHOSTUNREACH, EINTR, EMSGSIZE, ENETUNREACH, errno
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from hepswitch.wire.batch cimport Batch
from hepswitch.wire.clock cimport wall_us
from hepswitch.wire.frames cimport Frames

cdef extern from *:
    """
    #ifndef SO_MEMINFO
    #define SO_MEMINFO 55
    #endif
    /* <linux/sock_diag.h>: the field of SO_MEMINFO's answer that counts drops */
    enum { MEMINFO_DROPS = 8 };
    """
    int SO_MEMINFO
    int MEMINFO_DROPS

# A datagram carries at most 65,527 bytes (IPv6), so no slot can cut one. Slots are not a power of two apart: packets
# at equal offsets of 64 KiB would all compete for the same few lines of the processor's caches.
cdef Py_ssize_t SLOT = 65536 + 13 * 64
cdef int SEND_AT_ONCE = 1024                 # UIO_MAXIOV: the kernel takes no more messages a call
cdef int CONTROL = 128                       # bytes for messages of SO_RXQ_OVFL, SO_TIMESTAMPNS and IPV6_PKTINFO


cdef class UdpReceiver:
    """Reads datagrams of `sock` (non-blocking) many at a time; losses in the kernel go to `listener.kernel_drops`.

    `kernel_drops` is the count since the socket was bound, which outlives the process that reads it. Raises OSError when
    the kernel refuses, MemoryError when the ring cannot be had.
    """

    def __cinit__(self, sock, listener, int slots=256):
        if not 1 <= slots <= 1024:
            raise ValueError(f"slots must be 1..1024, not {slots}")
        self.sock = sock
        self.fd = sock.fileno()
        self.listener = listener
        self.slots = self.filled = slots
        self.batch = Batch(listener)
        self.ring = <unsigned char*> calloc(slots, SLOT)
        self.messages = <mmsghdr*> calloc(slots, sizeof(mmsghdr))
        self.vectors = <iovec*> calloc(slots, sizeof(iovec))
        self.senders = <sockaddr_storage*> calloc(slots, sizeof(sockaddr_storage))
        self.controls = <unsigned char*> calloc(slots, CONTROL)
        if not (self.ring and self.messages and self.vectors and self.senders and self.controls):
            raise MemoryError()
        cdef int i
        for i in range(slots):
            self.vectors[i].iov_base = self.ring + i * SLOT
            self.vectors[i].iov_len = SLOT
            self.messages[i].msg_hdr.msg_iov = &self.vectors[i]
            self.messages[i].msg_hdr.msg_iovlen = 1
            self.messages[i].msg_hdr.msg_name = &self.senders[i]
            self.messages[i].msg_hdr.msg_control = self.controls + i * CONTROL
        cdef int on = 1
        if setsockopt(self.fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof(on)) != 0:
            raise _os_error()
        self.count_drops()

    def __dealloc__(self):
        free(self.ring)
        free(self.messages)
        free(self.vectors)
        free(self.senders)
        free(self.controls)

    def receive(self):
        """What has arrived, at most `slots` datagrams, or None when nothing is there.

        The batch and the memory that it points to are valid until the next call.
        """
        cdef Batch batch = self.batch
        cdef mmsghdr* message
        cdef uint64_t now
        cdef int i, got
        for i in range(self.filled):
            self.messages[i].msg_hdr.msg_namelen = sizeof(sockaddr_storage)
            self.messages[i].msg_hdr.msg_controllen = CONTROL
        with nogil:
            got = recvmmsg(self.fd, self.messages, self.slots, MSG_DONTWAIT, NULL)
            while got < 0 and errno == EINTR:
                got = recvmmsg(self.fd, self.messages, self.slots, MSG_DONTWAIT, NULL)
            now = wall_us()
        self.drained = got < self.slots
        if got < 0:
            if errno == EAGAIN:
                return None
            raise _os_error()
        self.filled = got
        batch.count = 0
        batch.arrival_us = now
        for i in range(got):
            message = &self.messages[i]
            batch.put(<unsigned char*> message.msg_hdr.msg_iov.iov_base, message.msg_len,
                      <unsigned char*> message.msg_hdr.msg_name, message.msg_hdr.msg_namelen)
        self.read_overflow(&self.messages[got - 1].msg_hdr)
        return batch

    cdef int read_overflow(self, msghdr* header) except -1:
        # The kernel attaches its count to a datagram only once it has dropped any; the count never falls along a queue.
        cdef cmsghdr* control = CMSG_FIRSTHDR(header)
        cdef uint32_t drops
        while control != NULL:
            if control.cmsg_level == SOL_SOCKET and control.cmsg_type == SO_RXQ_OVFL:
                memcpy(&drops, CMSG_DATA(control), sizeof(drops))
                self.dropped(drops)
            control = CMSG_NXTHDR(header, control)
        return 0

    cdef int dropped(self, uint32_t drops) except -1:
        # The kernel counts in 32 bits. A step back is a wrap when it is short around zero, else an older reading.
        cdef uint32_t more = drops - self.drops_seen
        if more != 0 and more < 0x80000000u:
            self.drops_seen = drops
            self.listener.kernel_drops += more
        return 0

    def count_drops(self) -> None:
        """Bring `listener.kernel_drops` up to date.

        SO_RXQ_OVFL tells of a loss only with a datagram that was queued after it; this tells of the latest ones too.
        """
        cdef uint32_t info[16]
        cdef socklen_t size = sizeof(info)
        memset(info, 0, sizeof(info))
        if getsockopt(self.fd, SOL_SOCKET, SO_MEMINFO, info, &size) != 0:
            raise _os_error()
        self.dropped(info[MEMINFO_DROPS])


cdef class UdpSender:
    """Sends frames over `sock`, a connected non-blocking datagram socket: one frame, one datagram.

    `sent` counts datagrams that the kernel took, `oversized` those that are too big for UDP or the path (EMSGSIZE); both
    since the sender was made.
    """

    def __cinit__(self, sock):
        self.sock = sock
        self.fd = sock.fileno()
        self.messages = <mmsghdr*> calloc(SEND_AT_ONCE, sizeof(mmsghdr))
        self.vectors = <iovec*> calloc(SEND_AT_ONCE, sizeof(iovec))
        if not (self.messages and self.vectors):
            raise MemoryError()
        cdef int i
        for i in range(SEND_AT_ONCE):
            self.messages[i].msg_hdr.msg_iov = &self.vectors[i]
            self.messages[i].msg_hdr.msg_iovlen = 1

    def __dealloc__(self):
        free(self.messages)
        free(self.vectors)

    def send(self, Frames frames not None) -> int:
        """Send from the front of `frames` until it is empty or the socket takes no more; gives how many were sent.

        What was sent is popped, and so is a frame that is too big (counted in `oversized`). What is left in `frames`
        waits for the socket to become writable.

        Raises OSError when the far end or the way to it is reported dead: an ICMP error of an earlier datagram
        (ECONNREFUSED …) fails one call of the kernel without saying anything about the frames at hand, so they are
        tried once more first. Then too, what was sent is popped and counted in `sent`.
        """
        cdef uint64_t before = self.sent
        cdef int count, taken, error, icmp = 0
        cdef Py_ssize_t i, start
        while frames.last > frames.first:
            count = <int> min(frames.last - frames.first, <Py_ssize_t> SEND_AT_ONCE)
            start = frames.head
            for i in range(count):
                self.vectors[i].iov_base = frames.data + start
                self.vectors[i].iov_len = frames.ends[frames.first + i] - start
                start = frames.ends[frames.first + i]
            with nogil:
                taken = sendmmsg(self.fd, self.messages, count, MSG_DONTWAIT | MSG_NOSIGNAL)
                error = errno
            if taken > 0:
                self.sent += taken
                frames.pop(taken)
            elif error == EMSGSIZE:
                self.oversized += 1
                frames.pop(1)
            elif error == EAGAIN:
                break
            elif error == EINTR:
                continue
            elif icmp == 0 and (error == ECONNREFUSED or error == EHOSTUNREACH or error == ENETUNREACH):
                icmp = error
            else:
                raise OSError(error, os.strerror(error))
        if icmp != 0:
            raise OSError(icmp, os.strerror(icmp))
        return self.sent - before


cdef _os_error():
    return OSError(errno, os.strerror(errno))
