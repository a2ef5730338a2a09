/* Sends HEPv3 frames over UDP or TCP at a steady rate.
 *
 *   blast [--tcp | --payload] --to HOST:PORT --count N [--rate PER_SECOND] [--number MARK WIDTH MODULUS]… FILE
 *
 * FILE holds HEPv3 frames end to end; they are sent in turn, from the start again at the end. --number: behind the
 * first MARK in a frame stand WIDTH digits, which are replaced by the packet's number modulo MODULUS (0: the number
 * itself). Twice: once for the Call-ID (N calls), once for a sequence number. Rate 0 (the default): as fast as it goes.
 * --payload: only what the frames carry is sent, as a SIP server would.
 * Prints what was sent, seconds and CPU seconds as JSON.
 */
#include "common.h"
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>

enum { MOST_FRAMES = 65536, AT_ONCE = 64, NUMBERS = 2, ROOM = 65536 };

static struct number { const char *mark; int width; uint64_t modulus; } numbers[NUMBERS];
static int number_count;
static struct frame { unsigned char *data; int size, digits[NUMBERS]; } frames[MOST_FRAMES];
static int frame_count;

/* Makes `frame` its payload chunk (type 15), if it has one. */
static void unwrap(struct frame *frame) {
    for (int at = 6; at + 6 <= frame->size;) {
        unsigned char *chunk = frame->data + at;
        int size = chunk[4] << 8 | chunk[5];
        if (size < 6 || at + size > frame->size) return;
        if ((chunk[2] << 8 | chunk[3]) == 15) { *frame = (struct frame){.data = chunk + 6, .size = size - 6}; return; }
        at += size;
    }
}

static void load(const char *path, int payload) {
    int fd = open(path, O_RDONLY);
    struct stat status;
    if (fd < 0 || fstat(fd, &status)) die(path);
    unsigned char *data = malloc(status.st_size + 1);
    if (read(fd, data, status.st_size) != status.st_size) die(path);
    close(fd);
    for (off_t at = 0; at + 6 <= status.st_size && frame_count < MOST_FRAMES;) {
        int size = data[at + 4] << 8 | data[at + 5];
        if (size < 6 || at + size > status.st_size) { fprintf(stderr, "%s: no frame at %ld\n", path, (long)at); exit(2); }
        struct frame *frame = &frames[frame_count++];
        frame->data = data + at;
        frame->size = size;
        if (payload) unwrap(frame);
        for (int n = 0; n < number_count; n++) {
            size_t length = strlen(numbers[n].mark);
            unsigned char *found = memmem(frame->data, frame->size, numbers[n].mark, length);
            frame->digits[n] = -1;
            if (found && found - frame->data + length + numbers[n].width <= (size_t)frame->size)
                frame->digits[n] = found - frame->data + length;
        }
        at += size;
    }
    if (!frame_count) { fprintf(stderr, "%s: no frames\n", path); exit(2); }
}

/* Writes frame number `k` to `out`; gives its size. */
static int make(uint64_t k, unsigned char *out) {
    struct frame *frame = &frames[k % frame_count];
    memcpy(out, frame->data, frame->size);
    for (int n = 0; n < number_count; n++) {
        if (frame->digits[n] < 0) continue;
        uint64_t value = numbers[n].modulus ? k % numbers[n].modulus : k;
        for (unsigned char *p = out + frame->digits[n] + numbers[n].width; p > out + frame->digits[n]; value /= 10)
            *--p = '0' + value % 10;
    }
    return frame->size;
}

static int send_udp(int fd, uint64_t from, int count) {
    static unsigned char room[AT_ONCE][ROOM];
    static struct mmsghdr messages[AT_ONCE];
    static struct iovec vectors[AT_ONCE];
    for (int i = 0; i < count; i++) {
        vectors[i] = (struct iovec){room[i], make(from + i, room[i])};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
    }
    for (int sent = 0, tries = 0; sent < count && !stopping;) {
        int taken = sendmmsg(fd, messages + sent, count - sent, 0);
        if (taken > 0) sent += taken;
        else if (errno != EINTR && errno != ECONNREFUSED && errno != ENOBUFS) die("sendmmsg");
        else if (++tries > 1000) die("sendmmsg");
    }
    return count;
}

static int send_tcp(int fd, uint64_t from, int count) {
    static unsigned char room[AT_ONCE * ROOM];
    size_t size = 0;
    for (int i = 0; i < count; i++) size += make(from + i, room + size);
    for (size_t done = 0; done < size && !stopping;) {
        ssize_t n = write(fd, room + done, size - done);
        if (n > 0) done += n;
        else if (errno != EINTR) die("write");
    }
    return count;
}

int main(int argc, char **argv) {
    const char *to = NULL, *path = NULL;
    uint64_t count = 0;
    double rate = 0;
    int tcp = 0, payload = 0;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--tcp")) tcp = 1;
        else if (!strcmp(argv[i], "--payload")) payload = 1;
        else if (i + 1 < argc && !strcmp(argv[i], "--to")) to = argv[++i];
        else if (i + 1 < argc && !strcmp(argv[i], "--count")) count = strtoull(argv[++i], NULL, 10);
        else if (i + 1 < argc && !strcmp(argv[i], "--rate")) rate = atof(argv[++i]);
        else if (i + 3 < argc && !strcmp(argv[i], "--number") && number_count < NUMBERS) {
            numbers[number_count++] = (struct number){argv[i + 1], atoi(argv[i + 2]), strtoull(argv[i + 3], NULL, 10)};
            i += 3;
        } else path = argv[i];
    }
    if (!to || !path || !count) { fprintf(stderr, "blast needs --to, --count and FILE\n"); return 2; }
    catch_signals();
    prctl(PR_SET_TIMERSLACK, 1);
    load(path, payload);
    int fd = connected(to, tcp ? SOCK_STREAM : SOCK_DGRAM);
    double start = seconds(CLOCK_MONOTONIC);
    uint64_t sent = 0;
    while (sent < count && !stopping) {
        uint64_t due = count;
        if (rate > 0) {
            double elapsed = seconds(CLOCK_MONOTONIC) - start;
            due = (uint64_t)(elapsed * rate) + 1;
            if (due <= sent) {
                /* Small bursts: a tick of 200 µs, longer only when less than one packet is due in it. */
                double until = (sent + 1) / rate - elapsed;
                usleep(until > 2e-4 ? (until < 1 ? until * 1e6 : 1000000) : 200);
                continue;
            }
            if (due > count) due = count;
        }
        int burst = due - sent < AT_ONCE ? (int)(due - sent) : AT_ONCE;
        sent += tcp ? send_tcp(fd, sent, burst) : send_udp(fd, sent, burst);
    }
    if (tcp) shutdown(fd, SHUT_WR);
    double took = seconds(CLOCK_MONOTONIC) - start;
    printf("{\"sent\": %lu, \"seconds\": %.6f, \"user\": %.6f, \"sys\": %.6f}\n", sent, took, cpu(0), cpu(1));
    return 0;
}
