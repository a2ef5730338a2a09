/* Counts the UDP frames of a port on an interface: AF_PACKET, TPACKET_V3, a filter of a few instructions, nothing else.
 *
 *   capture --interface NAME --port PORT [--ring MIB]
 *
 * Prints {"port": …} when it captures; ends at SIGTERM and prints what came as JSON.
 */
#include "common.h"
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/mman.h>

enum { BLOCK = 1 << 18, CELL = 2048 };

static void set(int fd, int level, int option, const void *value, socklen_t size) {
    if (setsockopt(fd, level, option, value, size)) die("setsockopt");
}

int main(int argc, char **argv) {
    const char *interface = NULL;
    int port = 0, ring = 64;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--interface")) interface = argv[i + 1];
        else if (!strcmp(argv[i], "--port")) port = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--ring")) ring = atoi(argv[i + 1]);
    }
    if (!interface || !port) { fprintf(stderr, "capture needs --interface and --port\n"); return 2; }
    catch_signals();
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, 8),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 23), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 0, 6),
        BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 14),
        BPF_STMT(BPF_LD | BPF_H | BPF_IND, 14), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, port, 2, 0),
        BPF_STMT(BPF_LD | BPF_H | BPF_IND, 16), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, port, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0xffff), BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    struct tpacket_req3 request = {
        .tp_block_size = BLOCK, .tp_block_nr = ring * 4, .tp_frame_size = CELL, .tp_frame_nr = ring * 4 * (BLOCK / CELL),
        .tp_retire_blk_tov = 10};
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = if_nametoindex(interface)};
    struct packet_mreq promiscuous = {.mr_ifindex = address.sll_ifindex, .mr_type = PACKET_MR_PROMISC};
    int fd = socket(AF_PACKET, SOCK_RAW, 0), version = TPACKET_V3;
    if (fd < 0) die("socket");
    set(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
    set(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version);
    set(fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof request);
    if (bind(fd, (struct sockaddr *)&address, sizeof address)) die(interface);
    set(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof promiscuous);
    size_t size = (size_t)request.tp_block_nr * BLOCK;
    unsigned char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) die("mmap");
    printf("{\"port\": %d}\n", port);
    fflush(stdout);
    uint64_t packets = 0, bytes = 0;
    for (unsigned number = 0, last = 0;;) {
        struct tpacket_block_desc *block = (void *)(memory + (size_t)number * BLOCK);
        if (!(__atomic_load_n(&block->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER)) {
            if (last) break;
            last = stopping;  /* once more: the kernel may still be filling a block */
            poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, last ? 50 : -1);
            continue;
        }
        struct tpacket3_hdr *frame = (void *)((unsigned char *)block + block->hdr.bh1.offset_to_first_pkt);
        for (uint32_t i = 0; i < block->hdr.bh1.num_pkts; i++) {
            packets++;
            bytes += frame->tp_snaplen;
            frame = (void *)((unsigned char *)frame + frame->tp_next_offset);
        }
        __atomic_store_n(&block->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
        number = (number + 1) % request.tp_block_nr;
    }
    struct tpacket_stats_v3 stats = {0};
    socklen_t length = sizeof stats;
    getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &length);
    printf("{\"packets\": %lu, \"bytes\": %lu, \"kernel_drops\": %u, \"user\": %.6f, \"sys\": %.6f}\n",
           packets, bytes, stats.tp_drops, cpu(0), cpu(1));
    return 0;
}
