/* Receives and counts HEP over UDP or TCP.
 *
 *   sink [--tcp] --listen HOST:PORT [--expect N] [--idle SECONDS] [--sequence MARK WIDTH MOST]
 *
 * --sequence: behind MARK stand WIDTH digits, each number 0..MOST-1 once: counts numbers missing, doubled and late
 * (smaller than one before, per connection). Prints {"port": …} first; ends at SIGTERM, after N packets, or when nothing
 * came for --idle seconds after the first packet, and prints what came as JSON.
 */
#include "common.h"
#include <fcntl.h>
#include <sys/epoll.h>

enum { SLOTS = 256, SLOT = 65536 + 832, ROOM = 512 << 10, MOST_FDS = 4096 };

static uint64_t packets, bytes, doubled, late, strange, expected = UINT64_MAX;
static uint32_t drops;
static double first, last, idle;
static const char *mark;
static int width;
static uint64_t most;
static unsigned char *seen;

static void count(const unsigned char *data, size_t size, uint64_t *newest) {
    packets++;
    bytes += size;
    if (!mark) return;
    size_t length = strlen(mark);
    const unsigned char *p = memmem(data, size, mark, length);
    uint64_t number = 0;
    if (!p || (size_t)(data + size - p) < length + width) { strange++; return; }
    p += length;
    for (int i = 0; i < width; i++) number = number * 10 + (p[i] - '0');
    if (number >= most) { strange++; return; }
    doubled += seen[number] != 0;
    late += number < *newest;
    seen[number] = 1;
    *newest = number;
}

static int over(void) {
    double now = seconds(CLOCK_MONOTONIC);
    return stopping || packets >= expected || (idle > 0 && packets && now - last > idle);
}

static void arrived(void) {
    last = seconds(CLOCK_MONOTONIC);
    if (!first) first = last;
}

static void sink_udp(int fd) {
    static struct mmsghdr messages[SLOTS];
    static struct iovec vectors[SLOTS];
    static unsigned char controls[SLOTS][64];
    static uint64_t newest;
    unsigned char *ring = malloc((size_t)SLOTS * SLOT);
    while (!over()) {
        for (int i = 0; i < SLOTS; i++) {
            vectors[i] = (struct iovec){ring + (size_t)i * SLOT, SLOT};
            messages[i].msg_hdr = (struct msghdr){
                .msg_iov = &vectors[i], .msg_iovlen = 1, .msg_control = controls[i], .msg_controllen = 64};
        }
        int got = recvmmsg(fd, messages, SLOTS, MSG_DONTWAIT, NULL);
        if (got > 0) {
            arrived();
            for (int i = 0; i < got; i++) count(vectors[i].iov_base, messages[i].msg_len, &newest);
            drops = overflow(&messages[got - 1].msg_hdr, drops);
        }
        if (got < SLOTS) usleep(1000);
    }
}

static struct stream { unsigned char *data; size_t size; uint64_t newest; } streams[MOST_FDS];

/* Reads once; 0 when the connection is over. */
static int read_stream(int fd) {
    struct stream *stream = &streams[fd];
    ssize_t got = read(fd, stream->data + stream->size, ROOM - stream->size);
    if (got <= 0) return got < 0 && (errno == EAGAIN || errno == EINTR);
    arrived();
    stream->size += got;
    size_t at = 0;
    while (stream->size - at >= 6) {
        unsigned char *p = stream->data + at;
        size_t size = p[4] << 8 | p[5];
        if (size < 6 || p[1] != 'E') { strange++; return 0; }
        if (stream->size - at < size) break;
        count(p, size, &stream->newest);
        at += size;
    }
    memmove(stream->data, stream->data + at, stream->size -= at);
    return 1;
}

static void sink_tcp(int listener) {
    int poll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[64];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    while (!over()) {
        int count = epoll_wait(poll, ready, 64, 100);
        for (int i = 0; i < count; i++) {
            int fd = ready[i].data.fd;
            if (fd == listener) {
                fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                if (fd < 0) continue;
                if (fd >= MOST_FDS) { close(fd); continue; }
                streams[fd] = (struct stream){.data = malloc(ROOM)};
                event = (struct epoll_event){.events = EPOLLIN, .data.fd = fd};
                epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
            } else if (!read_stream(fd)) {
                free(streams[fd].data);
                close(fd);
            }
        }
    }
}

int main(int argc, char **argv) {
    const char *listen_on = NULL;
    int tcp = 0;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--tcp")) tcp = 1;
        else if (i + 1 < argc && !strcmp(argv[i], "--listen")) listen_on = argv[++i];
        else if (i + 1 < argc && !strcmp(argv[i], "--expect")) expected = strtoull(argv[++i], NULL, 10);
        else if (i + 1 < argc && !strcmp(argv[i], "--idle")) idle = atof(argv[++i]);
        else if (i + 3 < argc && !strcmp(argv[i], "--sequence")) {
            mark = argv[i + 1];
            width = atoi(argv[i + 2]);
            most = strtoull(argv[i + 3], NULL, 10);
            seen = calloc(most ? most : 1, 1);
            i += 3;
        } else { fprintf(stderr, "unknown option %s\n", argv[i]); return 2; }
    }
    if (!listen_on) { fprintf(stderr, "sink needs --listen\n"); return 2; }
    catch_signals();
    int fd = bound(listen_on, tcp ? SOCK_STREAM : SOCK_DGRAM);
    if (tcp) sink_tcp(fd);
    else sink_udp(fd);
    uint64_t missing = 0;
    for (uint64_t i = 0; i < most; i++) missing += !seen[i];
    printf("{\"packets\": %lu, \"bytes\": %lu, \"kernel_drops\": %u, \"seconds\": %.6f, \"missing\": %lu, \"doubled\": %lu, "
           "\"late\": %lu, \"strange\": %lu, \"user\": %.6f, \"sys\": %.6f}\n",
           packets, bytes, drops, last - first, missing, doubled, late, strange, cpu(0), cpu(1));
    return 0;
}
