/* The floor to compare with: a bare forwarder that looks at nothing.
 *
 *   forwarder [--tcp] [--nap MICROSECONDS] --listen HOST:PORT --to HOST:PORT
 *
 * UDP: recvmmsg, sendmmsg. --nap: sleep so long when nothing is there instead of waiting in recvmmsg, so that a wake-up
 * serves many packets at moderate rates too. TCP: copies the bytes of one connection after the other.
 * Prints {"port": …} first and, at SIGTERM, its packets (TCP: reads), bytes and CPU seconds.
 */
#include "common.h"

enum { SLOTS = 256, SLOT = 65536 + 832 };

static uint64_t packets, bytes;

static void forward_udp(int in, int out, long nap) {
    static struct mmsghdr messages[SLOTS];
    static struct iovec vectors[SLOTS];
    char *ring = malloc((size_t)SLOTS * SLOT);
    for (int i = 0; i < SLOTS; i++) {
        vectors[i].iov_base = ring + (size_t)i * SLOT;
        messages[i].msg_hdr.msg_iov = &vectors[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    while (!stopping) {
        for (int i = 0; i < SLOTS; i++) vectors[i].iov_len = SLOT;
        int got = recvmmsg(in, messages, SLOTS, nap ? MSG_DONTWAIT : MSG_WAITFORONE, NULL);
        if (got < 0) {
            if (errno == EAGAIN) usleep(nap);
            else if (errno != EINTR) die("recvmmsg");
            continue;
        }
        for (int i = 0; i < got; i++) bytes += vectors[i].iov_len = messages[i].msg_len;
        packets += got;
        for (int sent = 0; sent < got && !stopping;) {
            int taken = sendmmsg(out, messages + sent, got - sent, 0);
            if (taken > 0) sent += taken;
        }
        if (nap && got < SLOTS) usleep(nap);
    }
}

static void forward_tcp(int listener, const char *to) {
    enum { ROOM = 256 << 10 };
    char *buffer = malloc(ROOM);
    while (!stopping) {
        int in = accept(listener, NULL, NULL);
        if (in < 0) continue;
        int out = connected(to, SOCK_STREAM);
        ssize_t got;
        while (!stopping && (got = read(in, buffer, ROOM)) > 0) {
            packets++;
            bytes += got;
            for (ssize_t done = 0, n; done < got && !stopping; done += n > 0 ? n : 0)
                if ((n = write(out, buffer + done, got - done)) < 0 && errno != EINTR) die("write");
        }
        close(in);
        close(out);
    }
}

int main(int argc, char **argv) {
    const char *listen_on = NULL, *to = NULL;
    int tcp = 0;
    long nap = 0;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--tcp")) tcp = 1;
        else if (i + 1 < argc && !strcmp(argv[i], "--nap")) nap = atol(argv[++i]);
        else if (i + 1 < argc && !strcmp(argv[i], "--listen")) listen_on = argv[++i];
        else if (i + 1 < argc && !strcmp(argv[i], "--to")) to = argv[++i];
        else { fprintf(stderr, "unknown option %s\n", argv[i]); return 2; }
    }
    if (!listen_on || !to) { fprintf(stderr, "forwarder needs --listen and --to\n"); return 2; }
    catch_signals();
    int in = bound(listen_on, tcp ? SOCK_STREAM : SOCK_DGRAM);
    if (tcp) forward_tcp(in, to);
    else forward_udp(in, connected(to, SOCK_DGRAM), nap);
    printf("{\"packets\": %lu, \"bytes\": %lu, \"user\": %.6f, \"sys\": %.6f}\n", packets, bytes, cpu(0), cpu(1));
    return 0;
}
