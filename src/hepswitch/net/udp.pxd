from libc.stdint cimport uint32_t, uint64_t

from hepswitch.wire.batch cimport Batch


cdef extern from "<sys/uio.h>" nogil:
    cdef struct iovec:
        void* iov_base
        size_t iov_len

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    cdef struct sockaddr_storage:
        pass
    cdef struct msghdr:
        void* msg_name
        socklen_t msg_namelen
        iovec* msg_iov
        size_t msg_iovlen
        void* msg_control
        size_t msg_controllen
        int msg_flags
    cdef struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    cdef struct cmsghdr:
        int cmsg_level
        int cmsg_type
    cmsghdr* CMSG_FIRSTHDR(msghdr*)
    cmsghdr* CMSG_NXTHDR(msghdr*, cmsghdr*)
    unsigned char* CMSG_DATA(cmsghdr*)
    int recvmmsg(int, mmsghdr*, unsigned int, int, void*)
    int sendmmsg(int, mmsghdr*, unsigned int, int)
    int setsockopt(int, int, int, const void*, socklen_t)
    int getsockopt(int, int, int, void*, socklen_t*)
    int MSG_DONTWAIT, MSG_NOSIGNAL, SOL_SOCKET, SO_RXQ_OVFL


cdef class UdpReceiver:
    cdef object sock                  # keeps fd open
    cdef int fd
    cdef object listener
    cdef Batch batch                  # given out again and again
    cdef int slots
    cdef int filled                   # messages whose lengths the kernel has changed since they were set
    cdef unsigned char* ring          # slots × SLOT bytes; the kernel gives pages only to what is written
    cdef mmsghdr* messages
    cdef iovec* vectors
    cdef sockaddr_storage* senders
    cdef unsigned char* controls
    cdef uint32_t drops_seen
    cdef readonly bint drained        # the last receive() left nothing behind

    cdef int read_overflow(self, msghdr* header) except -1
    cdef int dropped(self, uint32_t drops) except -1


cdef class UdpSender:
    cdef object sock                  # keeps fd open
    cdef int fd
    cdef mmsghdr* messages
    cdef iovec* vectors
    cdef readonly uint64_t sent
    cdef readonly uint64_t oversized
