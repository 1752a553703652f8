/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bare libfabric, for comparison: the pattern of a page request without anything of pageferry's.
 *
 *     bare_ofi tcp|net|shm [ordered] [fd]
 *
 * Two processes on this host. Round trip: a 64-byte message answered by a 4 KiB write with
 * completion data. Bandwidth: one-sided writes, a window of them under way, the last with
 * completion data; the clock stops when its arrival is acknowledged. Both sides spin with
 * sched_yield(). "ordered" asks the provider for write ordering, as pageferry does; without it shm
 * writes by process_vm_writev() and looks at no key. "fd" opens the queue so that one could sleep
 * on it, as pageferry does where the provider can: on tcp that takes epoll_wait() for poll().
 *
 * Any error ends the program with a line that names the call.
 */
#include <netinet/in.h>
#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    REQUEST = 64,
    PAGE = 4096,
    ROUNDS = 20000,
    WARM_UP = 1000,
    WINDOW = 32,
    RECEIVES = 64,
    REPEATS = 3,
    MEMORY = 1 << 20,
};

struct peer {
    bool asks;   /* sends the requests and is written to; the other one answers and writes */
    int channel; /* to the other process, for addresses and keys */
    struct fi_info *info;
    struct fid_fabric *fabric;
    struct fid_domain *domain;
    struct fid_eq *eq;
    struct fid_cq *cq;
    struct fid_av *av;
    struct fid_ep *ep;
    fi_addr_t to;
    struct fid_mr *mr;
    char *memory;
    uint64_t remote, key;
    struct fi_context2 receive_contexts[RECEIVES], context;
    char receives[RECEIVES][REQUEST];
    unsigned written, immediates, messages; /* completions seen so far */
};

static void must(ssize_t result, const char *what)
{
    if (result >= 0)
        return;
    fprintf(stderr, "bare_ofi: %s: %s\n", what, fi_strerror((int)-result));
    exit(1);
}

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void tell(struct peer *peer, const void *data, size_t size)
{
    if (write(peer->channel, data, size) != (ssize_t)size)
        must(-FI_EIO, "telling the other process");
}

static void hear(struct peer *peer, void *data, size_t size)
{
    if (recv(peer->channel, data, size, MSG_WAITALL) != (ssize_t)size)
        must(-FI_EIO, "hearing from the other process");
}

static void open_domain(struct peer *peer, const char *provider, bool ordered, bool fd)
{
    bool shm = strcmp(provider, "shm") == 0;
    struct fi_info *hints = fi_allocinfo();
    hints->caps = FI_MSG | FI_RMA;
    hints->mode = FI_CONTEXT | FI_CONTEXT2;
    hints->ep_attr->type = shm ? FI_EP_RDM : FI_EP_MSG;
    hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
    hints->domain_attr->threading = FI_THREAD_SAFE;
    if (ordered)
        hints->tx_attr->msg_order = hints->rx_attr->msg_order =
            FI_ORDER_SAS | FI_ORDER_SAW | FI_ORDER_WAW;
    hints->fabric_attr->prov_name = strdup(provider);
    must(fi_getinfo(FI_VERSION(1, 17), shm ? NULL : "127.0.0.1", shm ? NULL : "0",
                    shm ? 0 : FI_SOURCE, hints, &peer->info),
         "fi_getinfo");
    fi_freeinfo(hints);
    must(fi_fabric(peer->info->fabric_attr, &peer->fabric, NULL), "fi_fabric");
    must(fi_domain(peer->fabric, peer->info, &peer->domain, NULL), "fi_domain");
    struct fi_cq_attr cq = {
        .format = FI_CQ_FORMAT_DATA,
        .wait_obj = fd ? FI_WAIT_FD : FI_WAIT_NONE,
        .size = 1024,
    };
    must(fi_cq_open(peer->domain, &cq, &peer->cq, NULL), "fi_cq_open");
}

static void open_endpoint(struct peer *peer, struct fi_info *info, struct fid *bound_to)
{
    must(fi_endpoint(peer->domain, info, &peer->ep, NULL), "fi_endpoint");
    must(fi_ep_bind(peer->ep, &peer->cq->fid, FI_TRANSMIT | FI_RECV), "fi_ep_bind");
    must(fi_ep_bind(peer->ep, bound_to, 0), "fi_ep_bind");
    must(fi_enable(peer->ep), "fi_enable");
}

static struct fi_info *next_event(struct peer *peer, uint32_t expected)
{
    struct fi_eq_cm_entry entry;
    uint32_t event;
    ssize_t got;
    while ((got = fi_eq_read(peer->eq, &event, &entry, sizeof entry, 0)) == -FI_EAGAIN)
        if (peer->ep)
            fi_cq_read(peer->cq, NULL, 0);
    must(got, "fi_eq_read");
    if (event != expected)
        must(-FI_EIO, "waiting for a connection");
    return entry.info;
}

static void connect_messages(struct peer *peer)
{
    struct sockaddr_storage address;
    size_t size = sizeof address;
    struct fi_eq_attr eq = {.wait_obj = FI_WAIT_NONE};
    must(fi_eq_open(peer->fabric, &eq, &peer->eq, NULL), "fi_eq_open");
    if (peer->asks) {
        hear(peer, &address, sizeof address);
        open_endpoint(peer, peer->info, &peer->eq->fid);
        must(fi_connect(peer->ep, &address, NULL, 0), "fi_connect");
    } else {
        struct fid_pep *pep;
        must(fi_passive_ep(peer->fabric, peer->info, &pep, NULL), "fi_passive_ep");
        must(fi_pep_bind(pep, &peer->eq->fid, 0), "fi_pep_bind");
        must(fi_listen(pep), "fi_listen");
        must(fi_getname(&pep->fid, &address, &size), "fi_getname");
        tell(peer, &address, sizeof address);
        open_endpoint(peer, next_event(peer, FI_CONNREQ), &peer->eq->fid);
        must(fi_accept(peer->ep, NULL, 0), "fi_accept");
    }
    next_event(peer, FI_CONNECTED);
}

static void connect_datagrams(struct peer *peer)
{
    char own[256] = "", other[256];
    size_t size = sizeof own;
    struct fi_av_attr av = {.type = FI_AV_TABLE, .count = 1};
    must(fi_av_open(peer->domain, &av, &peer->av, NULL), "fi_av_open");
    open_endpoint(peer, peer->info, &peer->av->fid);
    must(fi_getname(&peer->ep->fid, own, &size), "fi_getname");
    tell(peer, own, sizeof own);
    hear(peer, other, sizeof other);
    if (fi_av_insert(peer->av, other, 1, &peer->to, 0, NULL) != 1)
        must(-FI_EIO, "fi_av_insert");
}

static void post_receive(struct peer *peer, size_t i)
{
    must(fi_recv(peer->ep, peer->receives[i], REQUEST, NULL, FI_ADDR_UNSPEC,
                 &peer->receive_contexts[i]),
         "fi_recv");
}

static void exchange_keys(struct peer *peer)
{
    peer->memory = aligned_alloc(PAGE, MEMORY);
    memset(peer->memory, 1, MEMORY);
    must(fi_mr_reg(peer->domain, peer->memory, MEMORY, FI_WRITE | FI_REMOTE_WRITE, 0, 1, 0,
                   &peer->mr, NULL),
         "fi_mr_reg");
    bool virtual_addresses = peer->info->domain_attr->mr_mode & FI_MR_VIRT_ADDR;
    uint64_t own[2] = {virtual_addresses ? (uintptr_t)peer->memory : 0, fi_mr_key(peer->mr)};
    uint64_t other[2];
    tell(peer, own, sizeof own);
    hear(peer, other, sizeof other);
    peer->remote = other[0];
    peer->key = other[1];
    for (size_t i = 0; i < RECEIVES; i++)
        post_receive(peer, i);
}

/* Returns whether anything completed. */
static bool look(struct peer *peer)
{
    struct fi_cq_data_entry entries[16];
    ssize_t got = fi_cq_read(peer->cq, entries, 16);
    if (got == -FI_EAGAIN)
        return false;
    must(got, "fi_cq_read");
    for (ssize_t i = 0; i < got; i++) {
        if (entries[i].flags & FI_REMOTE_WRITE) {
            peer->immediates++;
        } else if (entries[i].flags & FI_RECV) {
            struct fi_context2 *context = entries[i].op_context;
            post_receive(peer, (size_t)(context - peer->receive_contexts));
            peer->messages++;
        } else {
            peer->written++;
        }
    }
    return true;
}

static void wait_for(struct peer *peer, const unsigned *counter, unsigned value)
{
    while (*counter < value)
        if (!look(peer))
            sched_yield();
}

static void message(struct peer *peer)
{
    char request[REQUEST] = {0};
    ssize_t error;
    while ((error = fi_inject(peer->ep, request, REQUEST, peer->to)) == -FI_EAGAIN)
        look(peer);
    must(error, "fi_inject");
}

static void write_out(struct peer *peer, size_t size, bool with_data)
{
    ssize_t error;
    do {
        error = with_data ? fi_writedata(peer->ep, peer->memory, size, fi_mr_desc(peer->mr), 7,
                                         peer->to, peer->remote, peer->key, &peer->context)
                          : fi_write(peer->ep, peer->memory, size, fi_mr_desc(peer->mr), peer->to,
                                     peer->remote, peer->key, &peer->context);
        if (error == -FI_EAGAIN && !look(peer))
            sched_yield();
    } while (error == -FI_EAGAIN);
    must(error, "fi_write");
}

static bool has_option(int argc, char **argv, const char *name)
{
    for (int i = 2; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return true;
    return false;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void round_trips(struct peer *peer)
{
    static double times[ROUNDS];
    for (unsigned i = 0; i < ROUNDS + WARM_UP; i++) {
        if (!peer->asks) {
            wait_for(peer, &peer->messages, i + 1);
            write_out(peer, PAGE, true);
            continue;
        }
        double start = now_us();
        message(peer);
        wait_for(peer, &peer->immediates, i + 1);
        if (i >= WARM_UP)
            times[i - WARM_UP] = now_us() - start;
    }
    if (!peer->asks) {
        wait_for(peer, &peer->written, ROUNDS + WARM_UP);
        return;
    }
    qsort(times, ROUNDS, sizeof *times, by_value);
    printf("{\"rtt_p50_us\": %.2f, \"rtt_p99_us\": %.2f, \"rtt_p999_us\": %.2f", times[ROUNDS / 2],
           times[(size_t)ROUNDS / 100 * 99], times[(size_t)ROUNDS / 1000 * 999]);
}

/* Best of a few, because the machine may be busy; GB/s at the writer. */
static double bandwidth(struct peer *peer, size_t size, unsigned count)
{
    double best = 0;
    for (unsigned repeat = 0; repeat < REPEATS; repeat++) {
        if (peer->asks) {
            wait_for(peer, &peer->immediates, peer->immediates + 1);
            message(peer);
            continue;
        }
        unsigned before = peer->written, answer = peer->messages + 1;
        double start = now_us();
        for (unsigned i = 0; i < count; i++) {
            if (i >= WINDOW)
                wait_for(peer, &peer->written, before + i - WINDOW + 1);
            write_out(peer, size, i + 1 == count);
        }
        wait_for(peer, &peer->written, before + count);
        wait_for(peer, &peer->messages, answer);
        double rate = (double)size * count / (now_us() - start) / 1e3;
        best = rate > best ? rate : best;
    }
    return best;
}

static void bandwidths(struct peer *peer)
{
    static const struct {
        const char *key;
        size_t size;
        unsigned count;
    } sizes[] = {
        {"write_4k_GBps", 4096, 50000},
        {"write_64k_GBps", 65536, 4000},
        {"write_1m_GBps", 1 << 20, 400},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        double rate = bandwidth(peer, sizes[i].size, sizes[i].count);
        if (!peer->asks)
            tell(peer, &rate, sizeof rate);
        else
            hear(peer, &rate, sizeof rate);
        if (peer->asks)
            printf(", \"%s\": %.2f", sizes[i].key, rate);
    }
    if (peer->asks)
        printf("}\n");
}

int main(int argc, char **argv)
{
    static struct peer peer;
    int channel[2];
    if (argc < 2) {
        fprintf(stderr, "usage: %s tcp|net|shm [ordered] [fd]\n", argv[0]);
        return 2;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, channel) != 0)
        return 1;
    pid_t child = fork();
    peer.asks = child != 0;
    peer.channel = channel[peer.asks];
    close(channel[!peer.asks]);
    open_domain(&peer, argv[1], has_option(argc, argv, "ordered"), has_option(argc, argv, "fd"));
    if (peer.info->ep_attr->type == FI_EP_MSG)
        connect_messages(&peer);
    else
        connect_datagrams(&peer);
    exchange_keys(&peer);
    round_trips(&peer);
    bandwidths(&peer);
    /* Neither ends while the other still has something to read from it. */
    char done = 1;
    tell(&peer, &done, 1);
    hear(&peer, &done, 1);
    fi_close(&peer.ep->fid);
    int status = 0;
    if (peer.asks && waitpid(child, &status, 0) == child)
        return status != 0;
    return 0;
}
