/* What the benchmark programs share: addresses, clocks, CPU time, numbers inside frames. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef SO_RXQ_OVFL
#define SO_RXQ_OVFL 40
#endif
#ifndef SO_RCVBUFFORCE
#define SO_RCVBUFFORCE 33
#endif

static volatile sig_atomic_t stopping;

static inline void stop(int signum) { (void)signum; stopping = 1; }

/* SIGTERM and SIGINT end system calls with EINTR and set `stopping`. */
static inline void catch_signals(void) {
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static inline void die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static inline double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

static inline double cpu(int of_kernel) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    struct timeval t = of_kernel ? usage.ru_stime : usage.ru_utime;
    return t.tv_sec + t.tv_usec * 1e-6;
}

/* "127.0.0.1:9060" or "[::1]:9060". */
static inline struct sockaddr_storage parse_address(const char *text, socklen_t *size) {
    char host[256];
    snprintf(host, sizeof host, "%s", text);
    char *colon = strrchr(host, ':');
    if (colon == NULL) { fprintf(stderr, "%s: write HOST:PORT\n", text); exit(2); }
    *colon = 0;
    char *name = host;
    if (*name == '[') { name++; colon[-1] = 0; }
    struct addrinfo *found, hints = {.ai_flags = AI_NUMERICHOST};
    int error = getaddrinfo(name, colon + 1, &hints, &found);
    if (error) { fprintf(stderr, "%s: %s\n", text, gai_strerror(error)); exit(2); }
    struct sockaddr_storage address;
    memcpy(&address, found->ai_addr, found->ai_addrlen);
    *size = found->ai_addrlen;
    freeaddrinfo(found);
    return address;
}

static inline int bound(const char *text, int kind) {
    socklen_t size;
    struct sockaddr_storage address = parse_address(text, &size);
    int fd = socket(address.ss_family, kind, 0), one = 1, buffer = 64 << 20;
    if (fd < 0) die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (kind == SOCK_DGRAM) {
        if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer))
            setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
        setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &one, sizeof one);
    }
    if (bind(fd, (struct sockaddr *)&address, size)) die(text);
    if (kind == SOCK_STREAM && listen(fd, 128)) die("listen");
    size = sizeof address;
    getsockname(fd, (struct sockaddr *)&address, &size);
    printf("{\"port\": %d}\n", ntohs(((struct sockaddr_in *)&address)->sin_port));
    fflush(stdout);
    return fd;
}

static inline int connected(const char *text, int kind) {
    socklen_t size;
    struct sockaddr_storage address = parse_address(text, &size);
    int fd = socket(address.ss_family, kind, 0), one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, size)) die(text);
    if (kind == SOCK_STREAM) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

/* The kernel's count of datagrams dropped before this one, or `before` when it says nothing. */
static inline uint32_t overflow(struct msghdr *header, uint32_t before) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) memcpy(&before, CMSG_DATA(c), 4);
    return before;
}
